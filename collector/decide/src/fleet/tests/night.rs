//! Nights, weekends and mornings: who is woken, what waits, and that nothing is lost or said twice.

use jiff::{civil::Date, tz::TimeZone};

use super::*;
use crate::{
    alert::{Actor, Ended},
    calendar::Calendar,
    mute::{MutedBy, Nodes, SilenceMatch},
    rota::{Handoff, Rota},
    rules::{EscalationStep, Person, When},
    zones::Zones,
};
use vigie_core::id::PersonName;

pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;

#[expect(clippy::disallowed_methods, reason = "tests hand zones in")]
fn paris() -> Zones {
    let zone = TimeZone::get("Europe/Paris").unwrap();
    [("Europe/Paris".to_owned(), zone)].into_iter().collect()
}

/// An instant by the clock of Paris.
pub(super) fn at(text: &str) -> Wall {
    let zones = paris();
    let civil: jiff::civil::DateTime = text.replace(' ', "T").parse().unwrap();
    let instant = zones
        .find("Europe/Paris")
        .unwrap()
        .to_zoned(civil)
        .unwrap()
        .timestamp();
    Wall(instant.as_millisecond())
}

pub(super) fn person(name: &str, channels: &[&str]) -> (PersonName, Person) {
    let channels = channels.iter().map(|c| c.parse().unwrap()).collect();
    (name.parse().unwrap(), Person { channels })
}

/// The example of the settings: a critical service wakes outside hours, the rest waits for the team's morning.
pub(super) fn policy() -> Policy {
    let mut rules = rules();
    rules.calendars = [(
        "bureau".parse().unwrap(),
        Calendar {
            time_zone: "Europe/Paris".to_owned(),
            open: vec!["Mon-Fri 08:30-18:00".parse().unwrap()],
            holidays: None,
            closed: Vec::new(),
            opened: Vec::new(),
        },
    )]
    .into();
    rules.people = [
        person("am", &["sms", "mail"]),
        person("jb", &["sms"]),
        person("chef", &["sms", "mail"]),
        person("nobody", &[]),
    ]
    .into();
    rules.rotas = [(
        "astreinte".parse().unwrap(),
        Rota {
            people: vec!["am".parse().unwrap()],
            handoff: Handoff {
                day: None,
                minute: 510,
                time_zone: "Europe/Paris".to_owned(),
            },
            first: Date::constant(2026, 11, 23),
            overrides: Vec::new(),
        },
    )]
    .into();
    rules.receivers = [
        (
            "astreinte".parse().unwrap(),
            Receiver {
                steps: vec![
                    EscalationStep {
                        rota: Some("astreinte".parse().unwrap()),
                        via: vec!["sms".parse().unwrap()],
                        repeat_ms: Some(5 * MINUTE),
                        ..EscalationStep::default()
                    },
                    EscalationStep {
                        after_ms: 15 * MINUTE,
                        people: vec!["chef".parse().unwrap()],
                        via: vec!["sms".parse().unwrap(), "mail".parse().unwrap()],
                        repeat_ms: Some(10 * MINUTE),
                        ..EscalationStep::default()
                    },
                ],
                ..Receiver::default()
            },
        ),
        (
            "equipe".parse().unwrap(),
            Receiver {
                calendar: Some("bureau".parse().unwrap()),
                ..Receiver::default()
            },
        ),
    ]
    .into();
    rules.routes = vec![
        Route {
            matches: Match {
                criticality: [Criticality::Critical].into(),
                status: [Status::Critical, Status::Unknown].into(),
                ..Match::default()
            },
            when: Some(When::Outside("bureau".parse().unwrap())),
            notify: vec!["astreinte".parse().unwrap()],
            digest: vec!["equipe".parse().unwrap()],
            ..Route::default()
        },
        Route {
            notify: vec!["equipe".parse().unwrap()],
            hold: true,
            ..Route::default()
        },
    ];
    Policy {
        rules: Arc::new(rules),
        zones: paris(),
    }
}

pub(super) fn check(name: &str) -> SilenceMatch {
    SilenceMatch {
        check: Some(name.to_owned()),
        ..SilenceMatch::default()
    }
}

/// A collector with these rules at this time in Paris, nodes joined and nothing wrong.
pub(super) fn night(start: &str, policy: Policy) -> (Collector, Vec<Agent>) {
    let (mut collector, agents) = Collector::new(&["app-01", "mx-01"]);
    collector.now.wall = at(start).plus_ms(-60_000);
    collector.policy = policy;
    collector.loads();
    collector.passes(60_000 - 14);
    collector.all_messages.clear();
    (collector, agents)
}

impl Collector {
    pub(super) fn loads(&mut self) {
        let sha256 = self.policy.rules.digest();
        self.does(Event::Clock(ClockEvent::RulesLoaded {
            sha256,
            tzdata: "2026b".to_owned(),
        }));
    }

    /// Lets time pass until the clock of Paris shows this.
    pub(super) fn until(&mut self, text: &str) {
        let ms = at(text).0 - self.now.wall.0;
        self.passes(u64::try_from(ms).unwrap());
    }

    pub(super) fn silences(&mut self, matches: SilenceMatch) {
        self.does(Event::Mute(MuteEvent::SilenceStarted {
            matches,
            reason: "connu".to_owned(),
            for_ms: HOUR,
            uid: 0,
        }));
    }

    pub(super) fn sorted(&mut self) -> Vec<String> {
        let mut said = self.messages();
        said.sort();
        said
    }

    pub(super) fn settles(&mut self, agent: &mut Agent, check: &str, status: Status) {
        let service = match agent.name.as_str() {
            "mx-01" => "mail",
            _ => "dossier",
        };
        let line = agent.finds_for(check, None, status, Some(service));
        self.hears(agent, &[line]);
    }

    /// A line without the contact that goes before it otherwise, so that its service is known at once, as by a plan.
    pub(super) fn reads(&mut self, agent: &Agent, line: &Line) {
        self.does(Event::HandedIn(HandInEvent::Entry {
            node: agent.name.clone(),
            doubt: false,
            history: false,
            line: serde_json::from_slice(&line.bytes).unwrap(),
        }));
    }

    pub(super) fn number(&self, check: &str) -> u64 {
        let found = self
            .state
            .alerts
            .iter()
            .find(|(key, _)| key.check() == check);
        found.unwrap().1.number
    }

    pub(super) fn acknowledges(&mut self, check: &str) -> Option<Answered> {
        let number = self.number(check);
        self.does(Event::Operator(OperatorEvent::Acknowledged {
            numbers: vec![number],
            by: Actor::Uid(1000),
            for_ms: None,
        }))
        .answered
    }

    /// Switched off, and on again when the clock of Paris shows this. Its elapsed clock begins anew.
    pub(super) fn is_off_until(&mut self, text: &str) {
        self.now.wall = at(text);
        self.now.elapsed = Elapsed(1_000);
        self.starts();
    }

    /// The first events of a run.
    pub(super) fn starts(&mut self) {
        self.does(Event::Clock(ClockEvent::Started {
            collector: "c".to_owned(),
        }));
        self.loads();
        self.does(Event::Clock(ClockEvent::Deadline));
    }
}

#[test]
fn a_critical_service_wakes_step_by_step_and_a_standard_one_waits() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert_eq!(
        collector.messages(),
        ["am/sms open app-01 portail/ critical http.status"]
    );
    collector.settles(&mut agents[1], "courriel", Status::Critical);
    assert!(
        collector.messages().is_empty(),
        "a standard service wakes nobody"
    );
    collector.passes(5 * MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 portail/ critical http.status"]
    );
    collector.passes(10 * MINUTE + 100);
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "am/sms again app-01 portail/ critical http.status",
            "am/sms again app-01 portail/ critical http.status",
            "chef/mail still app-01 portail/ critical http.status",
            "chef/sms still app-01 portail/ critical http.status",
        ]
    );
    assert!(matches!(
        collector.acknowledges("portail"),
        Some(Answered::Acknowledged { numbers, .. }) if numbers.len() == 1
    ));
    collector.passes(12 * HOUR);
    assert!(collector.messages().is_empty(), "somebody is on it");
    collector.until("2026-11-30 08:31");
    assert_eq!(
        collector.messages(),
        ["equipe digest on[app-01/portailx1,mx-01/courrielx1] ended[]"]
    );
    collector.settles(&mut agents[0], "portail", Status::Ok);
    collector.settles(&mut agents[1], "courriel", Status::Ok);
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "am/sms close app-01 portail/ critical http.status",
            "chef/mail close app-01 portail/ critical http.status",
            "chef/sms close app-01 portail/ critical http.status",
            "equipe close app-01 portail/ critical http.status",
            "equipe close mx-01 courriel/ critical http.status",
        ]
    );
    collector.replays();
}

#[test]
fn what_comes_and_goes_in_the_night_is_one_line_of_the_digest() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    for _ in 0..3 {
        collector.settles(&mut agents[1], "courriel", Status::Critical);
        collector.passes(MINUTE);
        collector.settles(&mut agents[1], "courriel", Status::Ok);
    }
    assert!(collector.messages().is_empty());
    collector.until("2026-11-25 08:30:01");
    assert_eq!(
        collector.messages(),
        ["equipe digest on[] ended[mx-01/courrielx3]"]
    );
    assert!(collector.state.held.is_empty());
    collector.until("2026-11-26 09:00");
    assert!(
        collector.messages().is_empty(),
        "nothing waited, nothing is said"
    );
    collector.replays();
}

#[test]
fn a_digest_that_is_always_wanted_says_also_that_nothing_happened() {
    let mut policy = policy();
    let mut rules = (*policy.rules).clone();
    rules.receivers.get_mut("equipe").unwrap().digest_always = true;
    policy.rules = Arc::new(rules);
    let (mut collector, _) = night("2026-11-24 20:00", policy);
    collector.until("2026-11-27 12:00");
    assert_eq!(
        collector.messages(),
        ["equipe digest on[] ended[]"; 3].map(str::to_owned)
    );
    collector.until("2026-11-30 08:29");
    assert!(collector.messages().is_empty());
    collector.until("2026-11-30 08:31");
    assert_eq!(collector.messages().len(), 1);
    collector.replays();
}

/// Nasty case 2 (OnCall #1206).
#[test]
fn a_host_that_was_off_at_the_opening_sends_its_digest_at_boot_and_says_that_it_is_late() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    collector.settles(&mut agents[1], "courriel", Status::Critical);
    collector.until("2026-11-25 03:00");
    assert!(collector.messages().is_empty());
    collector.is_off_until("2026-11-25 11:00");
    assert_eq!(
        collector.messages(),
        ["equipe digest on[mx-01/courrielx1] ended[] late"]
    );
    collector.is_off_until("2026-11-25 11:05");
    collector.until("2026-11-25 17:00");
    assert!(collector.messages().is_empty(), "once");
    collector.replays();
}

/// Nasty case 3.
#[test]
fn what_ends_half_a_second_after_the_edge_is_one_page_and_one_close_or_neither() {
    let (mut collector, mut agents) = night("2026-11-26 17:59:58", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert_eq!(
        collector.messages(),
        ["equipe open app-01 portail/ critical http.status"]
    );
    collector.until("2026-11-26 18:00:00");
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.passes(500);
    collector.settles(&mut agents[0], "portail", Status::Ok);
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "am/sms close app-01 portail/ critical http.status",
            "equipe close app-01 portail/ critical http.status"
        ]
    );
    collector.until("2026-11-27 09:00");
    collector.messages();
    collector.replays();
}

#[test]
fn not_knowing_wakes_after_five_minutes_and_a_warning_never() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Warning);
    collector.settles(&mut agents[0], "base", Status::Unknown);
    collector.passes(4 * MINUTE);
    assert!(collector.messages().is_empty());
    collector.passes(MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 base/ unknown http.status"]
    );
    // A held alert that becomes critical pages.
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert_eq!(
        collector.messages(),
        ["am/sms worse app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn five_minutes_of_not_knowing_begin_anew_when_it_was_known_between() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Unknown);
    collector.passes(4 * MINUTE);
    collector.settles(&mut agents[0], "portail", Status::Warning);
    collector.passes(2 * MINUTE);
    collector.settles(&mut agents[0], "portail", Status::Unknown);
    collector.passes(4 * MINUTE);
    assert!(collector.messages().is_empty());
    collector.passes(MINUTE + 100);
    assert_eq!(collector.messages().len(), 1);
    collector.replays();
}

#[test]
fn in_hours_the_team_is_told_at_the_closing_edge_the_on_call_and_nobody_twice() {
    let (mut collector, mut agents) = night("2026-11-26 17:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.settles(&mut agents[0], "base", Status::Critical);
    collector.messages();
    collector.acknowledges("base");
    collector.until("2026-11-26 18:00");
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "am/sms handover app-01 base/ critical http.status",
            "am/sms still app-01 portail/ critical http.status",
        ]
    );
    collector.passes(30 * MINUTE);
    assert!(
        collector
            .messages()
            .iter()
            .all(|said| !said.contains("base")),
        "what is handed over is one message"
    );
    collector.acknowledges("portail");
    collector.until("2026-11-27 10:00");
    // Both are in the digest of the morning and told nowhere else: the on-call keeps what they hold.
    assert_eq!(
        collector.messages(),
        ["equipe digest on[app-01/portailx1,app-01/basex1] ended[]"]
    );
    collector.replays();
}

/// Nasty case 10.
#[test]
fn an_acknowledgement_counts_once_expires_and_does_not_cover_what_gets_worse() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.messages();
    let by_link = |numbers, for_ms| {
        Event::Operator(OperatorEvent::Acknowledged {
            numbers,
            by: Actor::Link("am/sms".parse().unwrap()),
            for_ms,
        })
    };
    let number = collector.number("portail");
    let nothing = collector.does(by_link(vec![number + 1], None)).answered;
    assert_eq!(nothing, Some(Answered::NothingThere), "no such alert");
    assert_eq!(
        collector
            .does(by_link(vec![number, number + 1], Some(HOUR)))
            .answered,
        Some(Answered::Acknowledged {
            numbers: vec![number],
            before: Vec::new()
        })
    );
    assert_eq!(
        collector.acknowledges("portail"),
        Some(Answered::Acknowledged {
            numbers: Vec::new(),
            before: vec![(number, Actor::Link("am/sms".parse().unwrap()))]
        }),
        "a second one is told who is on it"
    );
    collector.passes(59 * MINUTE);
    assert!(collector.messages().is_empty());
    collector.passes(2 * MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 portail/ critical http.status"],
        "forgotten: it begins anew"
    );
    collector.settles(&mut agents[0], "base", Status::Unknown);
    collector.passes(5 * MINUTE);
    collector.acknowledges("base");
    collector.messages();
    collector.settles(&mut agents[0], "base", Status::Critical);
    assert_eq!(
        collector.messages(),
        ["am/sms worse app-01 base/ critical http.status"],
        "louder than what was acknowledged"
    );
    collector.replays();
}

#[test]
fn who_cannot_be_reached_is_skipped_at_once_and_that_is_said() {
    let mut policy = policy();
    let mut rules = (*policy.rules).clone();
    let steps = &mut rules.receivers.get_mut("astreinte").unwrap().steps;
    steps[0].rota = None;
    steps[0].people = vec!["nobody".parse().unwrap()];
    policy.rules = Arc::new(rules);
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "chef/mail open app-01 portail/ critical http.status",
            "chef/sms open app-01 portail/ critical http.status",
        ]
    );
    assert!(
        collector
            .log
            .iter()
            .any(|line| line.contains("\"skipped\""))
    );
    collector.replays();
}

#[test]
fn a_receiver_that_reaches_nobody_is_an_alarm_of_its_own() {
    let mut policy = policy();
    let mut rules = (*policy.rules).clone();
    for step in &mut rules.receivers.get_mut("astreinte").unwrap().steps {
        step.rota = None;
        step.people = vec!["nobody".parse().unwrap()];
    }
    policy.rules = Arc::new(rules);
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert!(
        collector
            .open()
            .contains(&"@collector @receiver/astreinte critical".to_owned())
    );
    collector.replays();
}

#[test]
fn a_refusal_for_good_begins_the_next_step_at_once() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    let key = *collector.state.outbox.keys().next().unwrap();
    collector.messages();
    let refused = Event::Delivery(DeliveryEvent::Refused {
        key,
        http_status: 400,
    });
    collector.does(refused.clone());
    assert_eq!(collector.messages().len(), 2, "chef by both");
    collector.does(refused);
    assert!(collector.messages().is_empty(), "there is no third step");
    collector.replays();
}

#[test]
fn maintenance_keeps_quiet_what_work_disturbs_and_tells_what_still_fails_at_its_end() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    let began = collector.does(Event::Mute(MuteEvent::MaintenanceStarted {
        place: Nodes {
            nodes: ["app-01".parse().unwrap()].into(),
            ..Nodes::default()
        },
        reason: "noyau".to_owned(),
        for_ms: HOUR,
        uid: 0,
    }));
    assert!(matches!(
        began.answered,
        Some(Answered::Muted { mute: 1, .. })
    ));
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.settles(&mut agents[0], "base", Status::Critical);
    collector.settles(&mut agents[0], "base", Status::Ok);
    assert!(collector.messages().is_empty());
    let would: Vec<_> = collector
        .log
        .iter()
        .filter(|line| line.contains("\"would_tell\":[\"astreinte\"]"))
        .collect();
    assert_eq!(would.len(), 2);
    assert_eq!(
        collector.state.alerts.values().next().unwrap().muted,
        Some(MutedBy::Mute(1))
    );
    collector.passes(59 * MINUTE);
    assert!(collector.messages().is_empty());
    collector.passes(MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn a_silence_stops_the_steps_and_its_end_resumes_them_and_an_end_within_is_told() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.settles(&mut agents[0], "base", Status::Critical);
    collector.messages();
    let silence = |check: &str| {
        Event::Mute(MuteEvent::SilenceStarted {
            matches: SilenceMatch {
                check: Some(check.to_owned()),
                ..SilenceMatch::default()
            },
            reason: "connu".to_owned(),
            for_ms: HOUR,
            uid: 0,
        })
    };
    let number = collector.number("portail");
    assert_eq!(
        collector.does(silence("portail")).answered,
        Some(Answered::Muted {
            mute: 1,
            hits: vec![number]
        })
    );
    collector.does(silence("base"));
    collector.passes(50 * MINUTE);
    assert!(collector.messages().is_empty());
    collector.settles(&mut agents[0], "base", Status::Ok);
    assert_eq!(
        collector.messages(),
        ["am/sms close app-01 base/ critical http.status"],
        "nothing told is left unclosed"
    );
    collector.passes(10 * MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 portail/ critical http.status"]
    );
    collector.replays();
}

/// Nasty case 12.
#[test]
fn what_another_alert_explains_is_told_when_that_one_ends() {
    let mut policy = policy();
    let mut rules = (*policy.rules).clone();
    let dossier = rules.services.get("dossier").unwrap().clone();
    rules.services.insert("base".parse().unwrap(), dossier);
    let services = &mut rules.services;
    services.get_mut("dossier").unwrap().depends_on = ["base".parse().unwrap()].into();
    let group = rules.groups.get_mut("app").unwrap();
    group.services.insert("base".parse().unwrap());
    policy.rules = Arc::new(rules);
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    let agent = &mut agents[0];
    let line = agent.finds_for("postgres", None, Status::Critical, Some("base"));
    collector.reads(agent, &line);
    collector.messages();
    let line = agent.finds_for("portail", None, Status::Critical, Some("dossier"));
    collector.reads(agent, &line);
    assert!(collector.messages().is_empty(), "explained by the database");
    let line = agent.finds_for("postgres", None, Status::Ok, Some("base"));
    collector.reads(agent, &line);
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "am/sms close app-01 postgres/ critical http.status",
            "am/sms still app-01 portail/ critical http.status",
        ]
    );
    collector.replays();
}

#[test]
fn a_silent_node_stands_for_what_nobody_can_report_of_it() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    let node = agents[0].name.clone();
    // Known before, and to be told for the first time while nobody can say how it is now.
    collector.silences(check("portail"));
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.does(Event::Trouble(TroubleEvent::NodeSilent {
        node: node.clone(),
        last_contact: collector.now.wall,
    }));
    assert_eq!(collector.messages().len(), 1);
    collector.does(Event::Mute(MuteEvent::MuteEnded { mute: 1, uid: 0 }));
    assert!(collector.messages().is_empty());
    collector.does(Event::Trouble(TroubleEvent::NodeHeard { node }));
    let mut said = collector.messages();
    said.sort();
    assert_eq!(
        said,
        [
            "am/sms close app-01 @node/silent critical node.silent",
            "am/sms still app-01 portail/ critical http.status"
        ]
    );
    collector.replays();
}

#[test]
fn an_exercise_goes_the_real_way_to_one_receiver_and_ends() {
    let (mut collector, _) = night("2026-11-26 12:00", policy());
    let exercise = |receiver: &str| {
        Event::Operator(OperatorEvent::ExerciseStarted {
            receiver: receiver.parse().unwrap(),
            uid: 0,
        })
    };
    assert_eq!(
        collector.does(exercise("nowhere")).answered,
        Some(Answered::NoSuchReceiver)
    );
    collector.does(exercise("astreinte"));
    assert_eq!(
        collector.messages(),
        ["am/sms open @collector @exercise/astreinte critical vigie.exercise"]
    );
    collector.acknowledges("@exercise");
    assert_eq!(
        collector.messages(),
        ["am/sms close @collector @exercise/astreinte critical vigie.exercise"]
    );
    collector.does(exercise("equipe"));
    collector.messages();
    collector.passes(31 * MINUTE);
    assert_eq!(
        collector.messages(),
        ["equipe close @collector @exercise/equipe critical vigie.exercise"]
    );
    collector.replays();
}

#[test]
fn what_a_sender_opened_only_it_ends_and_silence_is_not_knowing() {
    use crate::fleet::event::SenderAlert;
    let (mut collector, _) = night("2026-11-28 23:00", policy());
    let says = |status| {
        Event::HandedIn(HandInEvent::SenderAlert {
            sender: "prometheus".parse().unwrap(),
            alert: Box::new(SenderAlert {
                fingerprint: "ab".to_owned(),
                name: "disk".to_owned(),
                status,
                service: Some("dossier".parse().unwrap()),
                labels: Default::default(),
                since: at("2026-11-28 22:58"),
                good_for_ms: 5 * MINUTE,
            }),
        })
    };
    collector.does(says(Status::Ok));
    assert!(collector.open().is_empty());
    collector.does(says(Status::Critical));
    assert_eq!(collector.messages().len(), 1);
    collector.passes(4 * MINUTE);
    collector.does(says(Status::Critical));
    collector.passes(4 * MINUTE);
    assert_eq!(collector.open(), ["@sender/prometheus disk/ab critical"]);
    collector.passes(2 * MINUTE);
    assert_eq!(collector.open(), ["@sender/prometheus disk/ab unknown"]);
    collector.messages();
    collector.does(says(Status::Ok));
    assert_eq!(
        collector.messages(),
        ["am/sms close @sender/prometheus disk/ab unknown sender.silent"]
    );
    collector.replays();
}

/// Nasty case 8.
#[test]
fn a_changed_calendar_moves_what_waits_and_loses_nothing() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    for number in 0..40 {
        collector.settles(&mut agents[1], &format!("c{number}"), Status::Critical);
    }
    assert_eq!(collector.state.held.len(), 40);
    let mut rules = (*collector.policy.rules).clone();
    let bureau = rules.calendars.get_mut("bureau").unwrap();
    bureau.closed = vec!["2026-11-25".parse().unwrap()];
    collector.policy.rules = Arc::new(rules);
    collector.loads();
    collector.until("2026-11-26 08:29");
    assert!(collector.messages().is_empty());
    collector.until("2026-11-26 08:31");
    let said = collector.messages();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].matches("x1").count(), 40);
    // A receiver that can hold no longer says at once what waited.
    collector.until("2026-11-26 20:00");
    collector.settles(&mut agents[1], "late", Status::Critical);
    assert!(collector.messages().is_empty());
    let mut rules = (*collector.policy.rules).clone();
    rules.receivers.get_mut("equipe").unwrap().calendar = None;
    collector.policy.rules = Arc::new(rules);
    collector.loads();
    assert_eq!(
        collector.messages(),
        ["equipe digest on[mx-01/latex1] ended[]"]
    );
    collector.replays();
}

#[test]
fn in_doubt_about_the_clock_nobody_waits_for_a_morning() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    collector.settles(&mut agents[1], "courriel", Status::Critical);
    collector.does(Event::Clock(ClockEvent::ClockStep { by_ms: 3_600_000 }));
    let said = collector.messages();
    assert!(
        said.iter()
            .any(|said| said.starts_with("equipe digest") && said.contains("courriel")),
        "{said:?}"
    );
    collector.settles(&mut agents[1], "disque", Status::Warning);
    assert_eq!(
        collector.messages(),
        ["equipe open mx-01 disque/ warning http.status"]
    );
    collector.replays();
}

/// Nasty case 1 of the decisions' side: a restart says nothing anew, and what was due meanwhile is due.
#[test]
fn a_restart_announces_nothing_anew_and_steps_go_on() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.messages();
    collector.is_off_until("2026-11-28 23:02");
    assert!(collector.messages().is_empty());
    collector.until("2026-11-28 23:05:01");
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 portail/ critical http.status"]
    );
    collector.replays();
}

/// What a message says must not depend on which events shared a commit: a later reader has only the events.
#[test]
fn details_reach_a_message_that_waits_whatever_shared_its_commit() {
    let said = |is_one_commit: bool| {
        let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
        let line = agents[0].finds_for("portail", None, Status::Critical, Some("dossier"));
        if is_one_commit {
            collector.hears(&agents[0], &[line]);
        } else {
            collector.hears(&agents[0], &[]);
            collector.reads(&agents[0], &line);
        }
        let message = collector.state.outbox.values().next().unwrap().clone();
        message.telling().unwrap().reason.clone()
    };
    assert_eq!(said(true), "http.status");
    assert_eq!(said(false), "http.status");
}

#[test]
fn what_somebody_took_on_as_a_warning_is_told_when_it_is_critical_again() {
    let (mut collector, mut agents) = night("2026-11-26 10:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.settles(&mut agents[0], "portail", Status::Warning);
    collector.acknowledges("portail");
    collector.messages();
    collector.passes(MINUTE);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert_eq!(
        collector.messages(),
        ["equipe again app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn ended_words_of_an_exercise_are_its_own() {
    assert_eq!(
        serde_json::to_value(Ended::Exercised).unwrap(),
        serde_json::json!("exercised")
    );
}
