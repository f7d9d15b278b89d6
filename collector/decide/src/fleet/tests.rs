#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    alert::{Body, Notice},
    held::DigestLine,
    routing::Policy,
    rules::{Group, Match, Receiver, Route, Rules, Service},
};
use vigie_core::{
    contact::{Contact, NotOk},
    digest::Digest,
    entry::{Draft, Head, Kind, Line},
    log::Frontier,
    observation::{Fact, Facts, Object},
    plan::{Plan, PlannedCheck},
    reason::{availability, vigie},
    status::{Criticality, Environment, Family, Needs, Status},
    time::{Elapsed, Wall},
    token::{Holder, Role},
};

mod night;
mod nobody_forgotten;
mod random_night;
mod silence;

/// A node as the agent would keep it: its own chain.
#[derive(Clone)]
struct Agent {
    /// What its clock shows.
    at: Wall,
    name: NodeName,
    head: Head,
    not_ok: BTreeSet<NotOk>,
}

/// The collector without disk and network: commits at once.
struct Collector {
    state: State,
    policy: Policy,
    /// Every ground that was in force, by the digest of its rules.
    policies: BTreeMap<Digest, Policy>,
    log: Vec<String>,
    all_messages: Vec<String>,
    now: Now,
}

fn rules() -> Rules {
    let needs = Needs {
        availability: 4,
        integrity: 4,
        confidentiality: 4,
        traceability: 4,
    };
    Rules {
        silent_after_ms: 120_000,
        services: [
            (
                "dossier".parse().unwrap(),
                Service {
                    criticality: Criticality::Critical,
                    needs,
                    runbook: None,
                    depends_on: BTreeSet::new(),
                },
            ),
            (
                "mail".parse().unwrap(),
                Service {
                    criticality: Criticality::Standard,
                    needs,
                    runbook: None,
                    depends_on: BTreeSet::new(),
                },
            ),
        ]
        .into(),
        groups: [
            (
                "app".parse().unwrap(),
                Group {
                    nodes: ["app-01".parse().unwrap(), "app-02".parse().unwrap()].into(),
                    services: ["dossier".parse().unwrap()].into(),
                    site: "sxb".parse().unwrap(),
                    environment: Environment::Production,
                },
            ),
            (
                "mx".parse().unwrap(),
                Group {
                    nodes: ["mx-01".parse().unwrap()].into(),
                    services: ["mail".parse().unwrap()].into(),
                    site: "sxb".parse().unwrap(),
                    environment: Environment::Production,
                },
            ),
        ]
        .into(),
        receivers: [
            ("night".parse().unwrap(), Receiver::default()),
            ("day".parse().unwrap(), Receiver::default()),
        ]
        .into(),
        routes: vec![
            Route {
                matches: Match {
                    criticality: [Criticality::Critical].into(),
                    status: [Status::Critical, Status::Unknown].into(),
                    ..Match::default()
                },
                notify: vec!["night".parse().unwrap()],
                ..Route::default()
            },
            Route {
                notify: vec!["day".parse().unwrap()],
                ..Route::default()
            },
        ],
        ..Rules::default()
    }
}

/// A message as tests read it.
fn described(message: &Message) -> String {
    match &message.body {
        Body::Alert(telling) => format!(
            "{} {} {} {}/{} {} {}",
            message.to,
            telling.notice.as_str(),
            telling.alert.node(),
            telling.alert.check(),
            telling.alert.object(),
            telling.status,
            telling.reason,
        ),
        Body::Digest(digest) => {
            let lines = |lines: &[DigestLine]| {
                let texts = lines.iter().map(|line| {
                    format!(
                        "{}/{}x{}",
                        line.alert.node(),
                        line.alert.check(),
                        line.held.times
                    )
                });
                texts.collect::<Vec<_>>().join(",")
            };
            format!(
                "{} digest on[{}] ended[{}]{}",
                message.to,
                lines(&digest.still_on),
                lines(&digest.ended),
                if digest.is_late { " late" } else { "" },
            )
        }
    }
}

impl Collector {
    fn new(nodes: &[&str]) -> (Self, Vec<Agent>) {
        let mut collector = Self {
            state: State::default(),
            policy: Policy {
                rules: Arc::new(rules()),
                ..Policy::default()
            },
            policies: BTreeMap::new(),
            log: Vec::new(),
            all_messages: Vec::new(),
            now: Now {
                wall: Wall(1_795_374_000_000),
                elapsed: Elapsed(50_000),
            },
        };
        collector.does(Event::Clock(ClockEvent::Started {
            collector: "c".to_owned(),
        }));
        let sha256 = collector.policy.rules.digest();
        collector.does(Event::Clock(ClockEvent::RulesLoaded {
            sha256,
            tzdata: "2026b".to_owned(),
        }));
        let agents = nodes
            .iter()
            .map(|name| collector.joins(name, false))
            .collect();
        (collector, agents)
    }

    fn does(&mut self, event: Event) -> Outcome {
        self.does_all(vec![event]).pop().unwrap()
    }

    /// Several events in one commit.
    fn does_all(&mut self, events: Vec<Event>) -> Vec<Outcome> {
        self.now.wall = self.now.wall.plus_ms(7);
        self.now.elapsed = self.now.elapsed.plus_ms(7);
        for event in &events {
            if let Event::Clock(ClockEvent::RulesLoaded { sha256, .. }) = event {
                self.policies.insert(*sha256, self.policy.clone());
            }
        }
        let mut delta = Delta::default();
        let outcomes = events
            .into_iter()
            .map(|event| step(&self.state, &mut delta, &self.policy, event, self.now))
            .collect();
        self.log
            .extend(delta.log.iter().map(|(_, line)| line.clone()));
        // What waited before is only refined.
        let is_new = |message: &&Message| !self.state.outbox.contains_key(&message.key);
        let mut messages: Vec<_> = delta.outbox.values().flatten().filter(is_new).collect();
        messages.sort_by_key(|message| message.order);
        for message in messages {
            self.all_messages.push(described(message));
        }
        self.state.merge(delta);
        outcomes
    }

    /// Lets time pass, as the engine does: it wakes at each deadline.
    fn passes(&mut self, ms: u64) {
        let until = self.now.elapsed.plus_ms(ms);
        while let Some(due) = next_deadline(&self.state, self.now).filter(|due| *due <= until) {
            let ms = due.since_ms(self.now.elapsed);
            self.now.elapsed = self.now.elapsed.plus_ms(ms);
            self.now.wall = self.now.wall.plus_ms(i64::try_from(ms).unwrap());
            self.does(Event::Clock(ClockEvent::Deadline));
        }
        let ms = until.since_ms(self.now.elapsed);
        self.now.elapsed = until;
        self.now.wall = self.now.wall.plus_ms(i64::try_from(ms).unwrap());
    }

    fn joins(&mut self, name: &str, replace: bool) -> Agent {
        let node: NodeName = name.parse().unwrap();
        self.does(Event::Membership(MembershipEvent::TokenIssued {
            id: format!("t-{name}"),
            secret_sha256: Digest::of(b"secret"),
            holder: Holder::Node(node.clone()),
            replace,
            valid_ms: 3_600_000,
            uid: 0,
        }));
        let outcome = self.does(join(&node, name, b"secret"));
        assert_eq!(outcome.join_refused, None);
        let head = self.state.nodes[&node].head;
        Agent {
            at: Wall(1_795_374_000_000),
            name: node,
            head,
            not_ok: BTreeSet::new(),
        }
    }

    fn sender_joins(&mut self, name: &str, key: &[u8], replace: bool) -> Option<JoinRefused> {
        let sender: SenderName = name.parse().unwrap();
        self.does(Event::Membership(MembershipEvent::TokenIssued {
            id: format!("s-{name}"),
            secret_sha256: Digest::of(b"secret"),
            holder: Holder::Sender(sender.clone()),
            replace,
            valid_ms: 3_600_000,
            uid: 0,
        }));
        self.does(sender_join(&sender, name, key)).join_refused
    }

    /// A contact and the lines after it, in one request.
    fn hears(&mut self, agent: &Agent, lines: &[Line]) {
        self.hears_with(agent, lines, agent.head.seq, false);
    }

    fn hears_with(&mut self, agent: &Agent, lines: &[Line], head_seq: u64, doubt: bool) {
        let contact = Contact {
            at: self.now.wall,
            head: agent.head,
            plan: None,
            not_ok: agent.not_ok.iter().cloned().collect(),
        };
        let node = agent.name.clone();
        let mut events = vec![Event::HandedIn(HandInEvent::Contact {
            node: node.clone(),
            doubt,
            contact,
        })];
        events.extend(lines.iter().map(|line| {
            Event::HandedIn(HandInEvent::Entry {
                node: node.clone(),
                doubt,
                history: line.seq < head_seq,
                line: serde_json::from_slice(&line.bytes).unwrap(),
            })
        }));
        self.does_all(events);
    }

    fn messages(&mut self) -> Vec<String> {
        std::mem::take(&mut self.all_messages)
    }

    fn open(&self) -> Vec<String> {
        self.state
            .alerts
            .iter()
            .map(|(key, alert)| {
                format!(
                    "{} {}/{} {}",
                    key.node(),
                    key.check(),
                    key.object(),
                    alert.status
                )
            })
            .collect()
    }

    /// Feeds the log's events to a new collector and expects the same log, byte for byte.
    fn replays(&self) {
        let mut state = State::default();
        let mut policy = self.policy.clone();
        let mut log = Vec::new();
        for line in &self.log {
            let value: Value = serde_json::from_str(line).unwrap();
            if value["event"]["kind"] == "decision" {
                continue;
            }
            let event: Event = serde_json::from_value(value["event"].clone()).unwrap();
            let now = Now {
                wall: Wall::parse(value["at"].as_str().unwrap()).unwrap(),
                elapsed: Elapsed(value["elapsed_ms"].as_u64().unwrap()),
            };
            if let Event::Clock(ClockEvent::RulesLoaded { sha256, .. }) = &event {
                policy = self.policies[sha256].clone();
            }
            let mut delta = Delta::default();
            step(&state, &mut delta, &policy, event, now);
            log.extend(delta.log.iter().map(|(_, line)| line.clone()));
            state.merge(delta);
        }
        for (again, written) in log.iter().zip(&self.log) {
            assert_eq!(again, written);
        }
        assert_eq!(log.len(), self.log.len());
        let mut frontier = Frontier::default();
        for line in &log {
            frontier.push(line.as_bytes());
        }
        assert_eq!(self.state.meta.frontier, frontier);
        assert_eq!(
            state.alerts.keys().collect::<Vec<_>>(),
            self.state.alerts.keys().collect::<Vec<_>>()
        );
        assert_eq!(state.senders, self.state.senders);
        assert_eq!(state.tokens, self.state.tokens);
    }
}

fn join(node: &NodeName, token: &str, secret: &[u8]) -> Event {
    Event::Membership(MembershipEvent::Join {
        token: format!("t-{token}"),
        secret_sha256: Digest::of(secret),
        node: node.clone(),
        keys: NodeKeys {
            tls_key_sha256: Digest::of(node.as_str().as_bytes()),
            signing_key: "00".repeat(32),
            not_after: Wall(0),
        },
    })
}

fn sender_join(sender: &SenderName, token: &str, key: &[u8]) -> Event {
    Event::Membership(MembershipEvent::SenderJoin {
        token: format!("s-{token}"),
        secret_sha256: Digest::of(b"secret"),
        sender: sender.clone(),
        keys: SenderKeys {
            tls_key_sha256: Digest::of(key),
            not_after: Wall(0),
        },
    })
}

impl Agent {
    fn writes(&mut self, draft: &Draft) -> Line {
        let line = draft.chain(self.head, &self.name, "boot", self.at);
        self.head = line.head();
        line
    }

    fn finds(&mut self, check: &str, object: Option<&str>, status: Status) -> Line {
        self.finds_for(check, object, status, Some("dossier"))
    }

    fn finds_for(
        &mut self,
        check: &str,
        object: Option<&str>,
        status: Status,
        service: Option<&str>,
    ) -> Line {
        let line = self.writes(&Draft {
            kind: Kind::CheckStatus,
            check: Some(check.parse().unwrap()),
            object: object.map(|object| Object::configured(object).unwrap()),
            service: service.map(|service| service.parse().unwrap()),
            status: Some(status),
            reason: if status == Status::Ok {
                availability::HTTP_OK
            } else {
                availability::HTTP_STATUS
            },
            facts: [("got", Fact::Integer(503))].into(),
        });
        self.not_ok
            .retain(|item| item.check.as_str() != check || item.object.as_deref() != object);
        if status != Status::Ok {
            self.not_ok.insert(NotOk {
                check: check.parse().unwrap(),
                object: object.map(str::to_owned),
                status,
                seq: line.seq,
            });
        }
        line
    }

    fn says(&mut self, reason: vigie_core::reason::Reason, facts: Facts) -> Line {
        self.writes(&Draft::own(reason, facts))
    }

    fn plans(&mut self, checks: &[(&str, u64, u64)]) -> Vec<Line> {
        let mut plan = Plan::new();
        let mut lines = Vec::new();
        for (name, every_ms, failures) in checks {
            let planned = PlannedCheck {
                kind: "http".to_owned(),
                family: Family::Availability,
                service: Some("dossier".parse().unwrap()),
                every_ms: *every_ms,
                timeout_ms: 5_000,
                failures: *failures,
                recoveries: 2,
                settings_sha256: Digest::of(b"settings"),
            };
            let number = |value: u64| Fact::from(value);
            lines.push(
                self.writes(&Draft {
                    kind: Kind::Own(vigie::CHECK_PLANNED),
                    check: Some(name.parse().unwrap()),
                    object: None,
                    service: planned.service.clone(),
                    status: None,
                    reason: vigie::CHECK_PLANNED,
                    facts: [
                        ("check_kind", Object::configured("http").unwrap().into()),
                        ("family", Fact::Word("availability")),
                        ("every_ms", number(planned.every_ms)),
                        ("timeout_ms", number(planned.timeout_ms)),
                        ("failures", number(planned.failures)),
                        ("recoveries", number(planned.recoveries)),
                        ("settings_sha256", Fact::Digest(planned.settings_sha256)),
                    ]
                    .into(),
                }),
            );
            plan.insert(name.parse().unwrap(), planned);
        }
        lines.push(
            self.says(
                vigie::PLAN_COMPLETE,
                [
                    ("count", Fact::from(plan.len() as u64)),
                    ("sha256", Fact::Digest(vigie_core::plan::digest(&plan))),
                ]
                .into(),
            ),
        );
        lines
    }
}

#[test]
fn a_failure_is_told_once_with_its_details_and_its_end_to_the_same_receiver() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let down = agent.finds("portail", Some("web"), Status::Critical);
    collector.hears(agent, &[down]);
    assert_eq!(
        collector.messages(),
        ["night open app-01 portail/web critical http.status"]
    );
    let up = agent.finds("portail", Some("web"), Status::Ok);
    collector.hears(agent, &[up]);
    assert_eq!(
        collector.messages(),
        ["night close app-01 portail/web critical http.status"]
    );
    assert!(collector.open().is_empty());
    collector.replays();
}

#[test]
fn a_second_object_failing_while_the_first_is_critical_is_told() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let first = agent.finds("disques", Some("root"), Status::Critical);
    collector.hears(agent, &[first]);
    collector.messages();
    let second = agent.finds("disques", Some("data"), Status::Critical);
    collector.hears(agent, &[second]);
    assert_eq!(
        collector.messages(),
        ["night open app-01 disques/data critical http.status"]
    );
}

#[test]
fn a_louder_status_is_told_as_worse_and_goes_where_the_louder_one_belongs() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    for (status, expected) in [
        (
            Status::Warning,
            vec!["day open app-01 portail/ warning http.status"],
        ),
        (
            Status::Critical,
            vec!["night worse app-01 portail/ critical http.status"],
        ),
        (Status::Warning, vec![]),
        (
            Status::Unknown,
            vec!["day worse app-01 portail/ unknown http.status"],
        ),
    ] {
        let line = agent.finds("portail", None, status);
        collector.hears(agent, &[line]);
        assert_eq!(collector.messages(), expected);
    }
    let up = agent.finds("portail", None, Status::Ok);
    collector.hears(agent, &[up]);
    let mut closes = collector.messages();
    closes.sort();
    assert_eq!(
        closes,
        [
            "day close app-01 portail/ unknown http.status",
            "night close app-01 portail/ unknown http.status"
        ]
    );
}

#[test]
fn what_began_and_ended_in_an_outage_wakes_nobody_and_what_is_still_wrong_pages_first() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let mut backlog = vec![
        agent.finds("passing", None, Status::Critical),
        agent.finds("lasting", None, Status::Critical),
        agent.finds("passing", None, Status::Ok),
        agent.finds("flapping", None, Status::Critical),
        agent.finds("flapping", None, Status::Ok),
        agent.finds("flapping", None, Status::Critical),
    ];
    // The contact alone, before any line of the backlog.
    collector.hears(agent, &[]);
    assert_eq!(
        collector.messages(),
        [
            "night open app-01 flapping/ critical contact.listed",
            "night open app-01 lasting/ critical contact.listed"
        ]
    );
    let rest = backlog.split_off(3);
    collector.hears(agent, &backlog);
    collector.hears(agent, &rest);
    assert!(
        collector.messages().is_empty(),
        "the backlog tells nobody anything new"
    );
    assert_eq!(
        collector.open(),
        ["app-01 flapping/ critical", "app-01 lasting/ critical"]
    );
    assert_eq!(collector.state.nodes[&agent.name].head, agent.head);
    collector.replays();
}

#[test]
fn a_node_in_doubt_can_open_and_worsen_but_not_end() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let down = agent.finds("portail", None, Status::Warning);
    collector.hears_with(agent, &[down], 1, true);
    let worse = agent.finds("portail", None, Status::Critical);
    collector.hears_with(agent, &[worse], 2, true);
    assert_eq!(collector.messages().len(), 2);
    let up = agent.finds("portail", None, Status::Ok);
    collector.hears_with(agent, &[up], 3, true);
    assert_eq!(collector.open(), ["app-01 portail/ critical"]);
    assert!(collector.log.last().unwrap().contains(r#""why":"doubt""#));
}

#[test]
fn a_fork_and_a_gap_are_alarms_and_end_nothing() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let down = agent.finds("portail", None, Status::Critical);
    let mut clone = agent.clone();
    collector.hears(agent, &[down]);
    let own = agent.finds("autre", None, Status::Ok);
    collector.hears(agent, &[own]);
    // The clone goes on from the same line and says that all is well.
    let forged = clone.finds("portail", None, Status::Ok);
    collector.hears(&clone, &[forged]);
    assert_eq!(
        collector.open(),
        ["app-01 @chain/fork critical", "app-01 portail/ critical"]
    );
    // Lines are left out.
    let mut skipping = agent.clone();
    skipping.finds("x", None, Status::Ok);
    let after_gap = skipping.finds("portail", None, Status::Ok);
    collector.hears(&skipping, &[after_gap]);
    assert_eq!(
        collector.open(),
        [
            "app-01 @chain/broken critical",
            "app-01 @chain/fork critical",
            "app-01 portail/ critical"
        ]
    );
    collector.does(Event::Membership(MembershipEvent::Confirmed {
        node: agent.name.clone(),
        uid: 0,
    }));
    assert_eq!(
        collector.open(),
        ["app-01 portail/ critical"],
        "an operator ends chain alarms, not failures"
    );
    collector.replays();
}

#[test]
fn every_way_to_weaken_a_plan_stays_an_alarm_until_confirmed() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let plan = agent.plans(&[("portail", 30_000, 2), ("base", 30_000, 2)]);
    collector.hears(agent, &plan);
    let down = agent.finds("base", None, Status::Critical);
    collector.hears(agent, &[down]);
    collector.messages();
    let weaker = agent.plans(&[("portail", 30_000, 9_999)]);
    collector.hears(agent, &weaker);
    assert_eq!(
        collector.open(),
        [
            "app-01 @plan/base warning",
            "app-01 @plan/portail warning",
            "app-01 base/ critical"
        ]
    );
    // Putting it back does not unsay it.
    let restored = agent.plans(&[("portail", 30_000, 2), ("base", 30_000, 2)]);
    collector.hears(agent, &restored);
    assert_eq!(collector.open().len(), 3);
    let weaker = agent.plans(&[("portail", 30_000, 9_999)]);
    collector.hears(agent, &weaker);
    collector.does(Event::Membership(MembershipEvent::Confirmed {
        node: agent.name.clone(),
        uid: 1000,
    }));
    assert!(collector.open().is_empty(), "{:?}", collector.open());
    let again = agent.plans(&[("portail", 30_000, 9_999)]);
    collector.hears(agent, &again);
    assert!(collector.open().is_empty());
    collector.replays();
}

#[test]
fn a_check_that_came_later_may_not_be_weakened_or_removed_either() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    for plan in [
        agent.plans(&[("portail", 30_000, 2)]),
        agent.plans(&[
            ("portail", 30_000, 2),
            ("base", 30_000, 2),
            ("mail", 30_000, 2),
        ]),
    ] {
        collector.hears(agent, &plan);
    }
    assert!(collector.open().is_empty());
    let weaker = agent.plans(&[("portail", 30_000, 2), ("base", 30_000, 100)]);
    collector.hears(agent, &weaker);
    assert_eq!(
        collector.open(),
        ["app-01 @plan/base warning", "app-01 @plan/mail warning"]
    );
}

#[test]
fn a_node_is_settled_once_every_planned_check_has_spoken_since_its_start() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let mut lines = vec![agent.says(vigie::AGENT_START, Facts::new())];
    lines.extend(agent.plans(&[("portail", 30_000, 2), ("base", 30_000, 2)]));
    lines.push(agent.finds("portail", None, Status::Ok));
    collector.hears(agent, &lines);
    let settled = |collector: &Collector| {
        collector
            .state
            .nodes
            .values()
            .map(|node| node.settled.len())
            .sum::<usize>()
    };
    assert_eq!(settled(&collector), 1);
    let base = agent.finds("base", None, Status::Ok);
    collector.hears(agent, &[base]);
    assert_eq!(settled(&collector), 2);
    let restart = agent.says(vigie::AGENT_START, Facts::new());
    collector.hears(agent, &[restart]);
    assert_eq!(settled(&collector), 0);
}

#[test]
fn a_plan_whose_lines_do_not_add_up_is_an_alarm() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let mut plan = agent.plans(&[("portail", 30_000, 2), ("base", 30_000, 2)]);
    plan.remove(0);
    collector.hears(agent, &plan);
    assert_eq!(
        collector.open(),
        [
            "app-01 @chain/broken critical",
            "app-01 @plan/@lines critical"
        ]
    );
}

#[test]
fn speaking_for_a_foreign_service_is_an_alarm_and_never_quieter() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    // `mail` is only standard, so speaking for it instead would be the quiet way to fail.
    let down = agent.finds_for("portail", None, Status::Critical, Some("mail"));
    collector.hears(agent, &[down]);
    assert_eq!(
        collector.open(),
        ["app-01 @service/mail warning", "app-01 portail/ critical"]
    );
    assert!(
        collector
            .messages()
            .iter()
            .any(|message| message.starts_with("night open app-01 portail/"))
    );
}

#[test]
fn amnesia_is_an_alarm_unless_an_operator_let_the_node_rejoin() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let amnesia = agent.says(vigie::AGENT_AMNESIA, Facts::new());
    collector.hears(agent, &[amnesia]);
    assert_eq!(collector.open(), ["app-01 @agent/amnesia critical"]);
    collector.does(Event::Membership(MembershipEvent::Confirmed {
        node: agent.name.clone(),
        uid: 0,
    }));
    let mut again = collector.joins("app-01", true);
    let amnesia = again.says(vigie::AGENT_AMNESIA, Facts::new());
    collector.hears(&again, &[amnesia]);
    assert!(collector.open().is_empty());
}

#[test]
fn a_machine_that_was_let_in_again_may_forget_once_and_at_once() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    let mut agent = collector.joins("app-01", true);
    let start = agent.says(vigie::AGENT_START, Facts::new());
    collector.hears(&agent, &[start]);
    let later = agent.says(vigie::AGENT_AMNESIA, Facts::new());
    collector.hears(&agent, &[later]);
    assert_eq!(collector.open(), ["app-01 @agent/amnesia critical"]);
}

#[test]
fn what_a_restored_node_found_before_a_failure_does_not_end_it() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let start = agent.at;
    agent.at = start.plus_ms(60_000);
    let down = agent.finds("portail", None, Status::Critical);
    collector.hears(agent, &[down]);
    // Restored from a copy with a line that had not been handed in yet: all was well then.
    agent.not_ok.clear();
    let amnesia = agent.says(vigie::AGENT_AMNESIA, Facts::new());
    agent.at = start;
    let was_ok = agent.finds("portail", None, Status::Ok);
    collector.hears(agent, &[amnesia, was_ok]);
    let still_down = ["app-01 @agent/amnesia critical", "app-01 portail/ critical"];
    assert_eq!(collector.open(), still_down);
    // What it finds from now on counts.
    agent.at = start.plus_ms(90_000);
    let is_ok = agent.finds("portail", None, Status::Ok);
    collector.hears(agent, &[is_ok]);
    assert_eq!(collector.open(), ["app-01 @agent/amnesia critical"]);
    collector.replays();
}

#[test]
fn a_retired_name_that_joins_again_goes_on_with_its_numbers() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let line = agents[0].finds("portail", None, Status::Critical);
    collector.hears(&agents[0], std::slice::from_ref(&line));
    collector.does(Event::Membership(MembershipEvent::NodeRetired {
        node: agents[0].name.clone(),
        uid: 0,
    }));
    assert!(collector.open().is_empty());
    let mut agent = collector.joins("app-01", false);
    assert_eq!(agent.head, line.head());
    let amnesia = agent.says(vigie::AGENT_AMNESIA, Facts::new());
    collector.hears(&agent, &[amnesia]);
    assert!(collector.open().is_empty(), "an operator let it in");
    collector.replays();
}

#[test]
fn what_an_operator_confirmed_stays_confirmed_and_what_nobody_lists_can_be_confirmed() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let plan = agent.plans(&[("disques", 30_000, 2), ("portail", 30_000, 2)]);
    collector.hears(agent, &plan);
    let mut gone = agent.finds("disques", Some("usb"), Status::Unknown);
    let text = String::from_utf8(gone.bytes.clone())
        .unwrap()
        .replace("http.status", "object.gone");
    gone.bytes = text.into_bytes();
    gone.sha256 = Digest::of(&gone.bytes);
    agent.head = gone.head();
    collector.hears(agent, &[gone]);
    collector.does(Event::Membership(MembershipEvent::Confirmed {
        node: agent.name.clone(),
        uid: 0,
    }));
    assert!(collector.open().is_empty());
    let other = agent.finds("portail", None, Status::Critical);
    collector.hears(agent, &[other]);
    assert_eq!(
        collector.open(),
        ["app-01 portail/ critical"],
        "the confirmed one stays quiet"
    );
    collector.does(Event::Membership(MembershipEvent::Confirmed {
        node: agent.name.clone(),
        uid: 0,
    }));
    assert_eq!(
        collector.open(),
        ["app-01 portail/ critical"],
        "what is listed is wrong now"
    );
    agent.not_ok.clear();
    collector.hears(agent, &[]);
    assert_eq!(
        collector.open(),
        ["app-01 portail/ critical"],
        "a contact ends nothing"
    );
    collector.does(Event::Membership(MembershipEvent::Confirmed {
        node: agent.name.clone(),
        uid: 0,
    }));
    assert!(collector.open().is_empty());
    collector.replays();
}

#[test]
fn a_line_in_doubt_makes_nothing_quieter() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let down = agent.finds("portail", None, Status::Critical);
    collector.hears(agent, &[down]);
    let softer = agent.finds("portail", None, Status::Warning);
    collector.hears_with(agent, &[softer], 2, true);
    assert_eq!(collector.open(), ["app-01 portail/ critical"]);
    let mut forger = agent.clone();
    forger.head.seq += 5;
    let forged = forger.finds("portail", None, Status::Warning);
    collector.hears_with(&forger, &[forged], 0, false);
    assert_eq!(
        collector.open(),
        ["app-01 @chain/broken critical", "app-01 portail/ critical"]
    );
}

#[test]
fn pages_of_an_outage_of_the_log_are_adopted_and_get_their_end() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    // What the engine sent while it could not commit: the same decision, dropped.
    let down = agent.finds("portail", None, Status::Critical);
    let mut dropped = Delta::default();
    let event = Event::HandedIn(HandInEvent::Entry {
        node: agent.name.clone(),
        doubt: false,
        history: false,
        line: serde_json::from_slice(&down.bytes).unwrap(),
    });
    step(
        &collector.state,
        &mut dropped,
        &collector.policy,
        event,
        collector.now,
    );
    let told: Vec<_> = dropped.outbox.into_values().flatten().collect();
    let key = told[0].key;
    collector.does(Event::Delivery(DeliveryEvent::CommitFailed {
        count: 1,
        told,
    }));
    assert_eq!(collector.open(), ["app-01 portail/ critical"]);
    assert!(collector.state.outbox.contains_key(&key));
    collector.messages();
    collector.hears(agent, &[down]);
    assert!(collector.messages().is_empty(), "nobody is told twice");
    let up = agent.finds("portail", None, Status::Ok);
    collector.hears(agent, &[up]);
    assert_eq!(
        collector.messages(),
        ["night close app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn one_node_cannot_bury_the_collector_in_alerts() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    for number in 0..2_100_u64 {
        agent.not_ok.insert(NotOk {
            check: "c".parse().unwrap(),
            object: Some(format!("o{number}")),
            status: Status::Critical,
            seq: 1,
        });
    }
    collector.hears(agent, &[]);
    assert_eq!(collector.state.alerts.len(), 2_001);
    assert!(
        collector
            .open()
            .contains(&"app-01 @node/alerts critical".to_owned())
    );
}

#[test]
fn an_alert_of_a_receiver_that_is_gone_ends_with_it() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    collector.does(Event::Delivery(DeliveryEvent::DeliveryFailing {
        receiver: "day".parse().unwrap(),
        waiting: 1,
        http_status: 0,
    }));
    assert_eq!(collector.open(), ["@collector @delivery/day critical"]);
    let mut changed = rules();
    changed.receivers.remove("day");
    changed.routes[1].notify = vec!["night".parse().unwrap()];
    collector.policy.rules = Arc::new(changed);
    let sha256 = collector.policy.rules.digest();
    collector.does(Event::Clock(ClockEvent::RulesLoaded {
        sha256,
        tzdata: String::new(),
    }));
    assert!(collector.open().is_empty());
}

#[test]
fn tokens_open_one_door_once() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    let node: NodeName = "app-02".parse().unwrap();
    collector.does(Event::Membership(MembershipEvent::TokenIssued {
        id: "t-x".to_owned(),
        secret_sha256: Digest::of(b"s"),
        holder: Holder::Node(node.clone()),
        replace: false,
        valid_ms: 60_000,
        uid: 0,
    }));
    let lines = collector.log.len();
    let refused = |collector: &mut Collector, node: &str, secret: &[u8]| {
        collector
            .does(join(&node.parse().unwrap(), "x", secret))
            .join_refused
    };
    assert_eq!(
        refused(&mut collector, "app-02", b"guess"),
        Some(JoinRefused::UnknownToken)
    );
    assert_eq!(
        refused(&mut collector, "app-01", b"s"),
        Some(JoinRefused::OtherName(Role::Node))
    );
    assert_eq!(
        collector.log.len(),
        lines,
        "anybody can try, so a refusal writes nothing"
    );
    assert_eq!(refused(&mut collector, "app-02", b"s"), None);
    let lines = collector.log.len();
    assert_eq!(
        refused(&mut collector, "app-02", b"s"),
        None,
        "its answer was lost: the same keys may ask again"
    );
    assert_eq!(collector.log.len(), lines);
    let mut thief = join(&"app-02".parse().unwrap(), "x", b"s");
    if let Event::Membership(MembershipEvent::Join { keys, .. }) = &mut thief {
        keys.tls_key_sha256 = Digest::of(b"thief");
    }
    assert_eq!(
        collector.does(thief).join_refused,
        Some(JoinRefused::UnknownToken)
    );
    // A live name needs --replace; an expired token is gone.
    for (replace, valid_ms, expected) in [
        (false, 60_000, Some(JoinRefused::NameInUse(Role::Node))),
        (true, 0, Some(JoinRefused::UnknownToken)),
        (true, 60_000, None),
    ] {
        collector.does(Event::Membership(MembershipEvent::TokenIssued {
            id: "t-x".to_owned(),
            secret_sha256: Digest::of(b"s"),
            holder: Holder::Node(node.clone()),
            replace,
            valid_ms,
            uid: 0,
        }));
        assert_eq!(
            refused(&mut collector, "app-02", b"s"),
            expected,
            "{replace} {valid_ms}"
        );
    }
    collector.replays();
}

#[test]
fn a_sender_joins_like_a_node_in_a_name_space_of_its_own() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    let sender: SenderName = "app-01".parse().unwrap();
    // A node of that name is another matter.
    assert_eq!(collector.sender_joins("app-01", b"k1", false), None);
    let keys = |collector: &Collector| -> Vec<Digest> {
        let row = &collector.state.senders["app-01"];
        row.keys.iter().map(|key| key.tls_key_sha256).collect()
    };
    assert_eq!(keys(&collector), [Digest::of(b"k1")]);
    assert_eq!(collector.state.nodes.len(), 1);
    assert!(
        collector.open().is_empty(),
        "nothing is expected of a sender"
    );

    let refused = |collector: &mut Collector, event| collector.does(event).join_refused;
    let lines = collector.log.len();
    let again = sender_join(&sender, "app-01", b"k1");
    assert_eq!(refused(&mut collector, again), None, "its answer was lost");
    let thief = sender_join(&sender, "app-01", b"thief");
    assert_eq!(
        refused(&mut collector, thief),
        Some(JoinRefused::UnknownToken)
    );
    assert_eq!(collector.log.len(), lines);

    // The role of a token is as binding as its name.
    for (holder, expected) in [
        (
            Holder::Node("app-01".parse().unwrap()),
            JoinRefused::OtherRole(Role::Node),
        ),
        (
            Holder::Sender("prom".parse().unwrap()),
            JoinRefused::OtherName(Role::Sender),
        ),
    ] {
        collector.does(Event::Membership(MembershipEvent::TokenIssued {
            id: "s-x".to_owned(),
            secret_sha256: Digest::of(b"secret"),
            holder,
            replace: true,
            valid_ms: 60_000,
            uid: 0,
        }));
        let join = sender_join(&sender, "x", b"k2");
        assert_eq!(refused(&mut collector, join), Some(expected));
    }
    let node = join(&"prom".parse().unwrap(), "x", b"secret");
    let Event::Membership(MembershipEvent::Join {
        mut token,
        secret_sha256,
        node,
        keys: node_keys,
    }) = node
    else {
        unreachable!()
    };
    token.replace_range(..1, "s");
    let as_node = Event::Membership(MembershipEvent::Join {
        token,
        secret_sha256,
        node,
        keys: node_keys,
    });
    assert_eq!(
        refused(&mut collector, as_node),
        Some(JoinRefused::OtherRole(Role::Sender))
    );

    assert_eq!(
        collector.sender_joins("app-01", b"k2", false),
        Some(JoinRefused::NameInUse(Role::Sender))
    );
    let joined_at = collector.state.senders["app-01"].joined_at;
    assert_eq!(collector.sender_joins("app-01", b"k2", true), None);
    assert_eq!(keys(&collector), [Digest::of(b"k2")]);
    assert_eq!(collector.state.senders["app-01"].joined_at, joined_at);
    collector.replays();
}

#[test]
fn a_senders_old_key_is_good_until_the_new_one_took_over() {
    let (mut collector, _) = Collector::new(&[]);
    assert_eq!(collector.sender_joins("prom", b"k1", false), None);
    let sender: SenderName = "prom".parse().unwrap();
    let keys = |collector: &Collector| -> Vec<Digest> {
        let row = &collector.state.senders["prom"];
        row.keys.iter().map(|key| key.tls_key_sha256).collect()
    };
    let renewed = |collector: &mut Collector, key: &[u8]| {
        collector.does(Event::Membership(MembershipEvent::SenderRenewed {
            sender: "prom".parse().unwrap(),
            tls_key_sha256: Digest::of(key),
            asked_with: Some(Digest::of(b"k1")),
            not_after: Wall(9),
        }));
    };
    renewed(&mut collector, b"lost");
    renewed(&mut collector, b"k2");
    assert_eq!(keys(&collector), [Digest::of(b"k1"), Digest::of(b"k2")]);
    let used = |key: &[u8]| {
        Event::Membership(MembershipEvent::SenderKeyUsed {
            sender: "prom".parse().unwrap(),
            tls_key_sha256: Digest::of(key),
        })
    };
    let lines = collector.log.len();
    collector.does(used(b"k1"));
    assert_eq!(collector.log.len(), lines, "the old one says nothing");
    collector.does_all(vec![used(b"k2"), used(b"k2")]);
    assert_eq!(keys(&collector), [Digest::of(b"k2")]);
    assert_eq!(collector.log.len(), lines + 1, "it is said once");

    collector.does(Event::Membership(MembershipEvent::SenderDenied {
        sender: sender.clone(),
        denied: true,
        uid: 0,
    }));
    assert!(collector.state.senders["prom"].denied);
    assert_eq!(
        collector.sender_joins("prom", b"k3", true),
        Some(JoinRefused::Denied(Role::Sender)),
        "a token does not go past a denial"
    );
    collector.does(Event::Membership(MembershipEvent::SenderRetired {
        sender,
        uid: 0,
    }));
    assert!(collector.state.senders.is_empty());
    assert_eq!(collector.sender_joins("prom", b"k3", false), None);
    collector.replays();
}

#[test]
fn a_renewal_under_way_does_not_outlive_the_key_it_was_asked_with() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    assert_eq!(collector.sender_joins("prom", b"k1", false), None);
    let (node, sender): (NodeName, SenderName) =
        ("app-01".parse().unwrap(), "prom".parse().unwrap());
    let node_renews = |with: &[u8], key: &[u8]| {
        Event::Membership(MembershipEvent::Renewed {
            node: node.clone(),
            tls_key_sha256: Digest::of(key),
            asked_with: Some(Digest::of(with)),
            not_after: Wall(9),
        })
    };
    let sender_renews = |with: &[u8], key: &[u8]| {
        Event::Membership(MembershipEvent::SenderRenewed {
            sender: sender.clone(),
            tls_key_sha256: Digest::of(key),
            asked_with: Some(Digest::of(with)),
            not_after: Wall(9),
        })
    };
    let keys = |collector: &Collector| -> Vec<Digest> {
        let node = collector.state.nodes.get(&node).map(|row| &row.keys);
        let sender = collector.state.senders.get(&sender).map(|row| &row.keys);
        let both = node.into_iter().chain(sender).flatten();
        both.map(|key| key.tls_key_sha256).collect()
    };
    let refused = |outcomes: Vec<Outcome>| -> Vec<bool> {
        outcomes
            .iter()
            .map(|outcome| outcome.renewal_refused)
            .collect()
    };

    // Another machine takes over both names while the old ones are asking for new keys, in one commit.
    for (id, holder) in [
        ("t-app-01", Holder::Node(node.clone())),
        ("s-prom", Holder::Sender(sender.clone())),
    ] {
        collector.does(Event::Membership(MembershipEvent::TokenIssued {
            id: id.to_owned(),
            secret_sha256: Digest::of(b"secret"),
            holder,
            replace: true,
            valid_ms: 60_000,
            uid: 0,
        }));
    }
    let mut taken_over = join(&node, "app-01", b"secret");
    if let Event::Membership(MembershipEvent::Join { keys, .. }) = &mut taken_over {
        keys.tls_key_sha256 = Digest::of(b"n2");
    }
    let outcomes = collector.does_all(vec![
        taken_over,
        sender_join(&sender, "prom", b"s2"),
        node_renews(b"app-01", b"thief"),
        sender_renews(b"k1", b"thief"),
    ]);
    assert_eq!(refused(outcomes), [false, false, true, true]);
    assert_eq!(keys(&collector), [Digest::of(b"n2"), Digest::of(b"s2")]);

    // Who asks with a new key goes on with it, whether or not it has said so in another way.
    collector.does_all(vec![node_renews(b"n2", b"n3"), sender_renews(b"s2", b"s3")]);
    collector.does_all(vec![node_renews(b"n3", b"n4"), sender_renews(b"s3", b"s4")]);
    let expected = [b"n3", b"n4", b"s3", b"s4"].map(|key| Digest::of(key));
    assert_eq!(keys(&collector), expected);

    // A key that is exchanged for itself is one key.
    collector.does_all(vec![node_renews(b"n3", b"n3"), sender_renews(b"s3", b"s3")]);
    assert_eq!(keys(&collector), [b"n3", b"s3"].map(|key| Digest::of(key)));

    // Nor does it get past a denial or a retirement.
    let lines = collector.log.len();
    let outcomes = collector.does_all(vec![
        Event::Membership(MembershipEvent::NodeDenied {
            node: node.clone(),
            denied: true,
            uid: 0,
        }),
        Event::Membership(MembershipEvent::SenderDenied {
            sender: sender.clone(),
            denied: true,
            uid: 0,
        }),
        node_renews(b"n3", b"n5"),
        sender_renews(b"s3", b"s5"),
        Event::Membership(MembershipEvent::NodeRetired {
            node: node.clone(),
            uid: 0,
        }),
        Event::Membership(MembershipEvent::SenderRetired {
            sender: sender.clone(),
            uid: 0,
        }),
        node_renews(b"n3", b"n5"),
        sender_renews(b"s3", b"s5"),
    ]);
    assert_eq!(
        refused(outcomes),
        [false, false, true, true, false, false, true, true]
    );
    assert_eq!(collector.log.len(), lines + 4, "a refusal writes nothing");
    assert_eq!(keys(&collector), []);
    collector.replays();
}

#[test]
fn a_key_used_by_who_was_replaced_shuts_nobody_out() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    let node: NodeName = "app-01".parse().unwrap();
    let used = |key: &[u8]| {
        Event::Membership(MembershipEvent::KeyUsed {
            node: node.clone(),
            tls_key_sha256: Digest::of(key),
        })
    };
    let lines = collector.log.len();
    collector.does_all(vec![used(b"of the machine before"), used(b"app-01")]);
    assert_eq!(collector.log.len(), lines, "it changes nothing");
    let keys = &collector.state.nodes[&node].keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].tls_key_sha256, Digest::of(b"app-01"));
    collector.replays();
}

#[test]
fn a_token_used_once_says_no_more_to_who_was_shut_out_since() {
    let (mut collector, _) = Collector::new(&["app-01"]);
    assert_eq!(collector.sender_joins("prom", b"k1", false), None);
    let (node, sender): (NodeName, SenderName) =
        ("app-01".parse().unwrap(), "prom".parse().unwrap());
    let again = |collector: &mut Collector| {
        [
            join(&node, "app-01", b"secret"),
            sender_join(&sender, "prom", b"k1"),
        ]
        .map(|event| collector.does(event).join_refused)
    };
    assert_eq!(again(&mut collector), [None, None], "the answer was lost");
    for denied in [true, false] {
        collector.does(Event::Membership(MembershipEvent::NodeDenied {
            node: node.clone(),
            denied,
            uid: 0,
        }));
        collector.does(Event::Membership(MembershipEvent::SenderDenied {
            sender: sender.clone(),
            denied,
            uid: 0,
        }));
        let expected =
            [Role::Node, Role::Sender].map(|role| denied.then_some(JoinRefused::Denied(role)));
        assert_eq!(again(&mut collector), expected);
    }
    collector.does(Event::Membership(MembershipEvent::NodeRetired {
        node: node.clone(),
        uid: 0,
    }));
    collector.does(Event::Membership(MembershipEvent::SenderRetired {
        sender: sender.clone(),
        uid: 0,
    }));
    assert_eq!(again(&mut collector), [Some(JoinRefused::UnknownToken); 2]);
}

#[test]
fn a_host_check_of_unknown_kind_counts_as_the_one_that_matters_most() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let mut rules = rules();
    for service in rules.services.values_mut() {
        service.needs = Needs {
            availability: 1,
            integrity: 1,
            confidentiality: 1,
            traceability: 4,
        };
    }
    let line = agents[0].finds("time", None, Status::Warning);
    collector.hears(&agents[0], &[line]);
    let (key, alert) = collector
        .state
        .alerts
        .iter()
        .find(|(key, _)| key.check() == "time")
        .unwrap();
    let need = |family, kind: Option<&str>| {
        let planned = kind.map(|kind| {
            let check = PlannedCheck {
                kind: kind.to_owned(),
                family,
                service: None,
                every_ms: 60_000,
                timeout_ms: 5_000,
                failures: 1,
                recoveries: 1,
                settings_sha256: Digest::ZERO,
            };
            state::NodePlan {
                coming: Arc::new([("time".parse().unwrap(), check)].into()),
                ..state::NodePlan::default()
            }
        });
        let alert = Alert {
            family,
            ..alert.clone()
        };
        subject(&rules, planned.as_ref(), key, &alert).need
    };
    assert_eq!(need(Family::Host, Some("clock")), 4);
    assert_eq!(need(Family::Host, Some("memory")), 1);
    assert_eq!(need(Family::Host, None), 4, "it may be a clock");
    assert_eq!(need(Family::Availability, None), 1);
}

#[test]
fn lines_and_tokens_from_before_there_were_senders_read_as_a_nodes() {
    let line = r#"{"kind":"token.issued","id":"t","secret_sha256":"0000000000000000000000000000000000000000000000000000000000000000","node":"app-01","replace":false,"valid_ms":5,"uid":0}"#;
    let event: Event = serde_json::from_str(line).unwrap();
    assert!(matches!(
        &event,
        Event::Membership(MembershipEvent::TokenIssued { holder: Holder::Node(node), .. }) if node.as_str() == "app-01"
    ));
    let written: Value = serde_json::to_value(&event).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
    let of_sender = line.replace("node", "sender");
    let event: Event = serde_json::from_str(&of_sender).unwrap();
    assert!(matches!(
        event,
        Event::Membership(MembershipEvent::TokenIssued {
            holder: Holder::Sender(_),
            ..
        })
    ));
}

#[test]
fn a_silent_node_and_a_site_are_told_and_ended() {
    let (mut collector, _) = Collector::new(&["app-01", "app-02", "mx-01"]);
    let node: NodeName = "app-01".parse().unwrap();
    collector.does(Event::Trouble(TroubleEvent::NodeSilent {
        node: node.clone(),
        last_contact: Wall(1),
    }));
    assert_eq!(
        collector.messages(),
        ["night open app-01 @node/silent critical node.silent"]
    );
    collector.does(Event::Trouble(TroubleEvent::SiteSilent {
        site: "sxb".parse().unwrap(),
        nodes: vec![node, "app-02".parse().unwrap()],
        probes_answer: true,
    }));
    let mut told = collector.messages();
    told.sort();
    assert_eq!(
        told,
        [
            "night close app-01 @node/silent critical node.silent",
            "night open @collector @site/sxb critical site.cut"
        ]
    );
    collector.does(Event::Trouble(TroubleEvent::SiteHeard {
        site: "sxb".parse().unwrap(),
    }));
    assert_eq!(
        collector.messages(),
        ["night close @collector @site/sxb critical site.cut"]
    );
    collector.replays();
}

#[test]
fn a_node_without_group_is_critical_and_somebody_is_told_to_put_it_right() {
    let (mut collector, mut agents) = Collector::new(&["stray"]);
    assert_eq!(
        collector.messages(),
        ["day open stray @node/ungrouped warning node.ungrouped"]
    );
    let down = agents[0].finds_for("x", None, Status::Critical, None);
    collector.hears(&agents[0], &[down]);
    assert_eq!(
        collector.messages(),
        ["night open stray x/ critical http.status"]
    );
}

#[test]
fn new_rules_tell_those_who_were_not_told() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let down = agents[0].finds("portail", None, Status::Critical);
    collector.hears(&agents[0], &[down]);
    collector.messages();
    let mut changed = rules();
    changed.routes.remove(0);
    collector.policy.rules = Arc::new(changed);
    let sha256 = collector.policy.rules.digest();
    collector.does(Event::Clock(ClockEvent::RulesLoaded {
        sha256,
        tzdata: String::new(),
    }));
    assert_eq!(
        collector.messages(),
        ["day still app-01 portail/ critical http.status"]
    );
    let up = agents[0].finds("portail", None, Status::Ok);
    collector.hears(&agents[0], &[up]);
    assert_eq!(
        collector.messages().len(),
        2,
        "everybody who was told is told the end"
    );
}

#[test]
fn a_line_that_cannot_be_read_moves_the_head_by_its_digest() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let sha256 = Digest::of(b"garbage");
    collector.does(Event::HandedIn(HandInEvent::EntryRefused {
        node: agent.name.clone(),
        sha256,
        len: 7,
    }));
    agent.head = Head { seq: 1, sha256 };
    let next = agent.finds("portail", None, Status::Critical);
    collector.hears(agent, &[next]);
    assert_eq!(collector.state.nodes[&agent.name].head, agent.head);
    assert_eq!(
        collector.open(),
        ["app-01 @chain/refused warning", "app-01 portail/ critical"]
    );
    collector.replays();
}

#[test]
fn message_keys_never_repeat_for_different_messages() {
    let (mut collector, mut agents) = Collector::new(&["app-01"]);
    let agent = &mut agents[0];
    let mut seen = BTreeSet::new();
    for status in [
        Status::Critical,
        Status::Warning,
        Status::Critical,
        Status::Ok,
        Status::Critical,
        Status::Ok,
    ] {
        collector.passes(20 * 60_000);
        let line = agent.finds("portail", None, status);
        collector.hears(agent, &[line]);
        for key in collector.state.outbox.keys().copied().collect::<Vec<_>>() {
            assert!(seen.insert(key));
            collector.does(Event::Delivery(DeliveryEvent::Delivered {
                key,
                carried_by: None,
            }));
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(collector.state.outbox.is_empty());
}

#[derive(Debug, Clone)]
enum Act {
    Find {
        agent: usize,
        check: usize,
        object: usize,
        status: usize,
    },
    Send {
        agent: usize,
        lines: usize,
        doubt: bool,
    },
    Plan {
        agent: usize,
        every: u64,
    },
    Silent(usize),
    Heard(usize),
    Confirm(usize),
    Deliver(usize),
    Rejoin(usize),
    Forge {
        agent: usize,
    },
    Sender {
        sender: usize,
        key: u8,
        what: usize,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let agent = 0..3_usize;
    let act = prop_oneof![
        8 => (agent.clone(), 0..3_usize, 0..2_usize, 0..4_usize)
            .prop_map(|(agent, check, object, status)| Act::Find { agent, check, object, status }),
        6 => (agent.clone(), 0..6_usize, prop::bool::weighted(0.1))
            .prop_map(|(agent, lines, doubt)| Act::Send { agent, lines, doubt }),
        1 => (agent.clone(), 1..4_u64).prop_map(|(agent, every)| Act::Plan { agent, every }),
        1 => agent.clone().prop_map(Act::Silent),
        1 => agent.clone().prop_map(Act::Heard),
        1 => agent.clone().prop_map(Act::Confirm),
        2 => (0..10_usize).prop_map(Act::Deliver),
        1 => agent.clone().prop_map(Act::Rejoin),
        1 => agent.prop_map(|agent| Act::Forge { agent }),
        2 => (0..2_usize, 0..4_u8, 0..7_usize)
            .prop_map(|(sender, key, what)| Act::Sender { sender, key, what }),
    ];
    prop::collection::vec(act, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens: the log replays to itself, what is listed as not ok has an alert once everything is handed
    /// in, and nobody who was told of an alert that ended is left without its end.
    #[test]
    fn a_long_random_run_replays_to_the_same_decisions(acts in acts()) {
        let names = ["app-01", "mx-01", "stray"];
        let (mut collector, mut agents) = Collector::new(&names);
        let mut spools: Vec<Vec<Line>> = vec![Vec::new(); 3];
        for act in acts {
            match act {
                Act::Find { agent, check, object, status } => {
                    let line = agents[agent].finds(
                        ["a", "b", "c"][check],
                        [None, Some("o")][object],
                        Status::ALL[status],
                    );
                    spools[agent].push(line);
                }
                Act::Send { agent, lines, doubt } => {
                    let count = lines.min(spools[agent].len());
                    let batch: Vec<Line> = spools[agent].drain(..count).collect();
                    collector.hears_with(&agents[agent], &batch, agents[agent].head.seq, doubt);
                }
                Act::Plan { agent, every } => {
                    let plan = agents[agent].plans(&[("a", every * 1000, 2)]);
                    spools[agent].extend(plan);
                }
                Act::Silent(agent) => {
                    collector.does(Event::Trouble(TroubleEvent::NodeSilent { node: agents[agent].name.clone(), last_contact: Wall(5) }));
                }
                Act::Heard(agent) => {
                    collector.does(Event::Trouble(TroubleEvent::NodeHeard { node: agents[agent].name.clone() }));
                }
                Act::Confirm(agent) => {
                    collector.does(Event::Membership(MembershipEvent::Confirmed { node: agents[agent].name.clone(), uid: 1 }));
                }
                Act::Deliver(index) => {
                    if let Some(key) = collector.state.outbox.keys().nth(index).copied() {
                        collector.does(Event::Delivery(DeliveryEvent::Delivered {
                key,
                carried_by: None,
            }));
                    }
                }
                Act::Rejoin(agent) => {
                    let not_ok = std::mem::take(&mut agents[agent].not_ok);
                    agents[agent] = collector.joins(names[agent], true);
                    agents[agent].not_ok = not_ok;
                    spools[agent].clear();
                }
                Act::Sender { sender, key, what } => {
                    // The one bears a node's name.
                    let text = ["prom", "app-01"][sender];
                    let name: SenderName = text.parse().unwrap();
                    let tls_key_sha256 = Digest::of(&[key]);
                    let sender = name.clone();
                    match what {
                        0 | 1 => drop(collector.sender_joins(text, &[key], what == 1)),
                        2 => drop(collector.does(sender_join(&name, text, &[key]))),
                        3 => drop(collector.does(Event::Membership(MembershipEvent::SenderRenewed {
                            sender,
                            tls_key_sha256,
                            asked_with: [None, Some(Digest::of(&[key ^ 1]))][usize::from(key > 0)],
                            not_after: Wall(9),
                        }))),
                        4 => drop(collector.does(Event::Membership(MembershipEvent::SenderKeyUsed { sender, tls_key_sha256 }))),
                        5 => drop(collector.does(Event::Membership(MembershipEvent::SenderDenied { sender, denied: key > 1, uid: 1 }))),
                        _ => drop(collector.does(Event::Membership(MembershipEvent::SenderRetired { sender, uid: 1 }))),
                    }
                }
                Act::Forge { agent } => {
                    let mut forger = agents[agent].clone();
                    forger.head.seq += 3;
                    let line = forger.finds("a", None, Status::Ok);
                    let forged = Agent { head: agents[agent].head, ..forger };
                    collector.hears_with(&forged, &[line], 0, false);
                    // The true node notices and goes on from there.
                    let head = collector.state.nodes[&agents[agent].name].head;
                    agents[agent].head = head;
                    spools[agent].clear();
                }
            }
        }
        for (agent, spool) in agents.iter().zip(&mut spools) {
            collector.hears(agent, &std::mem::take(spool));
            for item in &agent.not_ok {
                let key = AlertKey::from_parts(agent.name.as_str(), item.check.as_str(), &item.object.clone().unwrap_or_default()).unwrap();
                let dismissed = collector.state.nodes[&agent.name].dismissed.contains(item);
                let has_alert = collector.state.alerts.contains_key(&key);
                prop_assert!(has_alert || dismissed, "{key:?} is not ok and has no alert");
            }
        }
        collector.replays();
    }
}
