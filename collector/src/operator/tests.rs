#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;
use vigie_core::{
    entry::Head,
    id::ReceiverName,
    status::{Environment, Family, Status},
    time::{Elapsed, Now, Wall},
};
use vigie_decide::{
    alert::{AlertKey, Message},
    destination::Destination,
    fleet::{
        DeliveryEvent, Event, HandInEvent, State, TroubleEvent,
        event::SenderAlert,
        state::{Node, Sender},
    },
    mute::{Nodes, SILENCE_MAX_MS, SilenceMatch},
    routing::Policy,
    rules::{Group, Match, Receiver, Route, Rules},
    view::mute::Kind as MuteKind,
};
use vigie_platform::clock::ManualClock;

use super::*;
use crate::{
    acknowledge::{
        link::{About, Linked, Mark},
        told::told_by,
    },
    engine::{Engine, Handle, Notifier, Parts},
    identity::{Pki, authority::ServerNames},
    store::SqliteStore,
};

const NOW: Now = Now {
    wall: Wall(1_795_374_271_207),
    elapsed: Elapsed(60_000),
};

/// Takes messages and keeps them.
#[derive(Default)]
struct Recorder(Mutex<Vec<Message>>);

impl Notifier for Recorder {
    fn take(&self, messages: Vec<Message>) {
        self.0.lock().unwrap().extend(messages);
    }

    fn take_unlogged(&self, _: Vec<Message>) {
        panic!("the log can be written");
    }

    fn refill(&self, _: &Destination, _: Vec<Message>) {}
}

/// A collector with one node, one sender and one receiver that is told everything.
struct Office {
    dir: tempfile::TempDir,
    engine: Handle,
    notifier: Arc<Recorder>,
    _stop: watch::Sender<bool>,
}

fn state() -> State {
    let mut state = State::default();
    let node = Node {
        joined_at: NOW.wall,
        head: Head::EMPTY,
        keys: Vec::new(),
        signing_key: String::new(),
        settled: Default::default(),
        listed: Default::default(),
        dismissed: Default::default(),
        unheard: false,
        denied: false,
        rejoined: false,
    };
    state.nodes.insert("app-01".parse().unwrap(), node);
    let sender = Sender {
        joined_at: NOW.wall,
        keys: Vec::new(),
        denied: false,
    };
    state.senders.insert("prometheus".parse().unwrap(), sender);
    state
}

fn policy() -> Policy {
    let mut rules = Rules {
        silent_after_ms: 120_000,
        ..Rules::default()
    };
    let equipe: ReceiverName = "equipe".parse().unwrap();
    rules.receivers.insert(equipe.clone(), Receiver::default());
    let group = Group {
        nodes: ["app-01".parse().unwrap(), "app-09".parse().unwrap()].into(),
        services: Default::default(),
        site: "strasbourg".parse().unwrap(),
        environment: Environment::Production,
    };
    rules.groups.insert("app".parse().unwrap(), group);
    rules.routes.push(Route {
        matches: Match::default(),
        notify: vec![equipe],
        ..Route::default()
    });
    Policy {
        rules: rules.into(),
        ..Policy::default()
    }
}

impl Office {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notifier = Arc::new(Recorder::default());
        let (_, probes) = watch::channel(None);
        let (engine, handle, _) = Engine::new(Parts {
            store: SqliteStore::open(dir.path()).await.unwrap(),
            state: state(),
            policy: policy(),
            tzdata: String::new(),
            collector: "c".to_owned(),
            clock: Arc::new(ManualClock::at(NOW)),
            notifier: Arc::clone(&notifier) as _,
            directory: Arc::default(),
            health: Arc::default(),
            probes,
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(engine.run(stopped));
        let names = ServerNames::parse(["localhost"]).unwrap();
        let pki = Pki::create(dir.path(), names, "vigie", NOW.wall).unwrap();
        let operators = Operators::listen(dir.path(), handle.clone(), Arc::new(pki), None).unwrap();
        tokio::spawn(operators.serve());
        Self {
            dir,
            engine: handle,
            notifier,
            _stop: stop,
        }
    }

    async fn ask(&self, question: Question) -> Answer<Value> {
        ask(self.dir.path(), &question).await.unwrap()
    }

    async fn done(&self, question: Question) -> Value {
        match self.ask(question).await {
            Answer::Done(mut value) => {
                // The form's version is the same in all.
                assert_eq!(value["v"].take(), 1);
                value.as_object_mut().unwrap().remove("v");
                value
            }
            Answer::Refused { error, mend } => panic!("{error}; {mend}"),
        }
    }

    async fn refused(&self, question: Question) -> String {
        match self.ask(question).await {
            Answer::Done(value) => panic!("{value}"),
            Answer::Refused { error, mend } => format!("{error}; {mend}"),
        }
    }

    /// Opens the node's alert that it is silent, and returns its number.
    async fn silent(&self) -> u64 {
        let event = Event::Trouble(TroubleEvent::NodeSilent {
            node: "app-01".parse().unwrap(),
            last_contact: NOW.wall,
        });
        self.engine.perform(event).await.unwrap();
        self.number("app-01").await
    }

    /// Opens an alert of the sender, and returns its number.
    async fn of_sender(&self) -> u64 {
        let alert = SenderAlert {
            fingerprint: "ab12".to_owned(),
            name: "DiskFull".to_owned(),
            status: Status::Critical,
            service: None,
            labels: Default::default(),
            since: NOW.wall,
            good_for_ms: 300_000,
        };
        let sender = "prometheus".parse().unwrap();
        let event = Event::HandedIn(HandInEvent::SenderAlert {
            sender,
            alert: Box::new(alert),
        });
        self.engine.perform(event).await.unwrap();
        self.number("@sender/prometheus").await
    }

    async fn number(&self, node: &str) -> u64 {
        let fleet = self.engine.view().await.unwrap();
        let row = fleet.alerts.iter().find(|row| row.key.node() == node);
        row.unwrap_or_else(|| panic!("no alert of {node}: {fleet:#?}"))
            .number
    }
}

fn silence(matches: SilenceMatch) -> Question {
    Question::Silence {
        matches,
        reason: "travaux".to_owned(),
        for_ms: 3_600_000,
    }
}

fn of_node(node: &str) -> SilenceMatch {
    SilenceMatch {
        matches: Match {
            node: [node.parse().unwrap()].into(),
            ..Match::default()
        },
        ..SilenceMatch::default()
    }
}

fn maintain(place: Nodes) -> Question {
    Question::Maintain {
        place,
        reason: "noyau".to_owned(),
        for_ms: 3_600_000,
    }
}

#[tokio::test]
async fn an_acknowledgement_says_what_came_of_each_number_and_who_did_it() {
    let office = Office::open().await;
    let number = office.silent().await;
    let question = || Question::Acknowledge {
        numbers: vec![number, 999],
        for_ms: Some(7_200_000),
    };
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(
        office.done(question()).await,
        json!({ "acknowledged": [number], "before": [], "missing": [999] })
    );
    assert_eq!(
        office.done(question()).await,
        json!({ "acknowledged": [], "before": [{ "number": number, "by": { "uid": uid } }], "missing": [999] })
    );
    let snapshot = office.done(Question::Status).await;
    let row = snapshot["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["number"] == number)
        .unwrap();
    assert_eq!(row["acknowledged"]["by"], json!({ "uid": uid }));
    assert_eq!(row["acknowledged"]["until"], "2026-11-22T21:04:31.207Z");

    office.done(Question::Unacknowledge { number }).await;
    let again = office.refused(Question::Unacknowledge { number }).await;
    assert!(again.contains("is acknowledged"), "{again}");
    let none = office
        .done(Question::Acknowledge {
            numbers: vec![999],
            for_ms: None,
        })
        .await;
    assert_eq!(none["missing"], json!([999]));
}

#[tokio::test]
async fn a_link_s_message_is_what_the_snapshot_says_was_told() {
    let office = Office::open().await;
    let number = office.silent().await;
    let message = office.notifier.0.lock().unwrap().last().unwrap().clone();
    let snapshot = office.engine.view().await.unwrap();
    let telling = message.telling().unwrap();
    let linked = Linked {
        to: message.to.clone(),
        last: message.order,
        about: About::Alerts(vec![Mark::of(&telling.alert, telling.opening)]),
    };
    let told = told_by(&snapshot, &linked).unwrap();
    let shown: Vec<u64> = told.iter().map(|alert| alert.number).collect();
    assert_eq!(shown, [number]);
}

#[tokio::test]
async fn only_what_nothing_else_ends_is_ended_by_hand() {
    let office = Office::open().await;
    let (ours, theirs) = (office.silent().await, office.of_sender().await);
    let end = |number, reason: &str| Question::EndAlert {
        number,
        reason: reason.to_owned(),
    };
    let not_yours = office.refused(end(ours, "x")).await;
    assert!(not_yours.contains("plan confirm"), "{not_yours}");
    assert!(office.refused(end(theirs, " ")).await.contains("--reason"));
    assert!(
        office
            .refused(end(theirs, "\u{1b}[2J"))
            .await
            .contains("control")
    );
    office.done(end(theirs, "Prometheus reconstruit")).await;
    assert!(
        office
            .refused(end(theirs, "x"))
            .await
            .contains("no open alert")
    );
}

#[tokio::test]
async fn a_silence_does_what_its_preview_showed_and_ends_by_its_own_number_only() {
    let office = Office::open().await;
    let number = office.silent().await;
    let matches = of_node("app-01");
    let preview = Question::PreviewSilence {
        matches: matches.clone(),
    };
    let preview = office.done(preview).await;
    let shown: Vec<&Value> = preview["hits"].as_array().unwrap().iter().collect();
    assert!(shown.iter().any(|row| row["number"] == number));
    let snapshot = office.done(Question::Status).await;
    assert_eq!(snapshot["mutes"], json!([]));

    let begun = office.done(silence(matches)).await;
    let numbers = |hits: &Value| -> Vec<u64> {
        let mut numbers: Vec<u64> = hits
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["number"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(&begun["hits"]), numbers(&preview["hits"]));
    assert_eq!(begun["until"], "2026-11-22T20:04:31.207Z");
    let mute = begun["mute"].as_u64().unwrap();

    let end = |kind| Question::EndMute { mute, kind };
    let other = office.refused(end(MuteKind::Maintenance)).await;
    assert!(other.contains("no maintenance"), "{other}");
    office.done(end(MuteKind::Silence)).await;
    let over = office.refused(end(MuteKind::Silence)).await;
    assert!(over.contains("silence list"), "{over}");
}

#[tokio::test]
async fn what_no_silence_may_be_is_refused_by_the_collector_too() {
    let office = Office::open().await;
    let everything = office.refused(silence(SilenceMatch::default())).await;
    assert!(everything.contains("--node"), "{everything}");
    let long = Question::Silence {
        matches: of_node("app-01"),
        reason: "x".to_owned(),
        for_ms: SILENCE_MAX_MS + 1,
    };
    assert!(office.refused(long).await.contains("8h"));
    let slip = silence(of_node("app-02"));
    assert!(office.refused(slip).await.contains("did you mean app-01?"));
    let site = SilenceMatch {
        matches: Match {
            site: ["strasburg".parse().unwrap()].into(),
            ..Match::default()
        },
        ..SilenceMatch::default()
    };
    let preview = Question::PreviewSilence { matches: site };
    assert!(
        office
            .refused(preview)
            .await
            .contains("did you mean strasbourg?")
    );
    let over = SilenceMatch {
        number: Some(999),
        ..SilenceMatch::default()
    };
    assert!(
        office
            .refused(silence(over))
            .await
            .contains("no open alert")
    );
    let nowhere = office.refused(maintain(Nodes::default())).await;
    assert!(nowhere.contains("--group"), "{nowhere}");
    let snapshot = office.done(Question::Status).await;
    assert_eq!(snapshot["mutes"], json!([]));
}

#[tokio::test]
async fn maintenance_is_of_nodes_and_groups_that_exist() {
    let office = Office::open().await;
    let number = office.silent().await;
    let nodes = |name: &str| Nodes {
        nodes: [name.parse().unwrap()].into(),
        ..Nodes::default()
    };
    let unknown = office.refused(maintain(nodes("ap-01"))).await;
    assert!(
        unknown.contains("node list") && unknown.contains("did you mean app-01?"),
        "{unknown}"
    );
    let group = |name: &str| Nodes {
        groups: [name.parse().unwrap()].into(),
        ..Nodes::default()
    };
    let unknown = office.refused(maintain(group("apps"))).await;
    assert!(unknown.contains("did you mean app?"), "{unknown}");
    // Named in a group, and not joined yet: it is being installed.
    office.done(maintain(nodes("app-09"))).await;
    let begun = office.done(maintain(group("app"))).await;
    let hits = begun["numbers"].as_array().unwrap();
    assert!(hits.contains(&json!(number)), "{begun:#}");
}

#[tokio::test]
async fn an_exercise_is_followed_through_the_log() {
    let office = Office::open().await;
    let nobody = Question::Exercise {
        receiver: "nobody".parse().unwrap(),
    };
    let refused = office.refused(nobody).await;
    assert!(refused.contains("nothing named nobody is a receiver"));
    let near = Question::Exercise {
        receiver: "equipes".parse().unwrap(),
    };
    assert!(office.refused(near).await.contains("did you mean equipe?"));
    let receiver: ReceiverName = "equipe".parse().unwrap();
    let begun = office
        .done(Question::Exercise {
            receiver: receiver.clone(),
        })
        .await;
    let (number, from) = (
        begun["number"].as_u64().unwrap(),
        begun["from"].as_u64().unwrap(),
    );
    let snapshot = office.done(Question::Status).await;
    let row = snapshot["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["number"] == number)
        .unwrap();
    assert_eq!(
        (&row["exercise"], &row["told"]),
        (&json!(true), &json!(["equipe"]))
    );
    assert_eq!(row["check"], AlertKey::exercise(&receiver).check());
    let message = office.notifier.0.lock().unwrap().last().unwrap().clone();
    let delivered = Event::Delivery(DeliveryEvent::Delivered {
        key: message.key,
        carried_by: None,
    });
    office.engine.perform(delivered).await.unwrap();
    office
        .done(Question::Acknowledge {
            numbers: vec![number],
            for_ms: None,
        })
        .await;

    let story = office.done(Question::Story { number, from }).await;
    let said: Vec<&str> = story["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let event = &line["event"];
            event["decided"]
                .as_str()
                .or(event["kind"].as_str())
                .unwrap()
        })
        .collect();
    assert_eq!(
        said[..5],
        [
            "alert.opened",
            "told",
            "delivered",
            "alert.acknowledged",
            "alert.closed"
        ],
        "{story:#}"
    );
    let next = story["next"].as_u64().unwrap();
    let nothing = office.done(Question::Story { number, from: next }).await;
    assert_eq!(nothing, json!({ "lines": [], "next": next, "read": 0 }));
    assert_eq!(Family::Vigie.as_str(), row["family"]);
}
