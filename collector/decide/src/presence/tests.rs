#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    fleet::{NodeKeys, state::Node},
    rules::Group,
};
use vigie_core::{entry::Head, status::Environment};

struct Fleet {
    state: State,
    rules: Rules,
    presence: Presence,
    now: Now,
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

impl Fleet {
    fn of(nodes: &[&str], site: &str) -> Self {
        let now = Now {
            wall: Wall(1_000_000_000_000),
            elapsed: Elapsed(1_000_000),
        };
        let keys = NodeKeys {
            tls_key_sha256: Digest::ZERO,
            signing_key: String::new(),
            not_after: Wall(0),
        };
        let mut state = State::default();
        for node in nodes {
            state
                .nodes
                .insert(name(node), Node::joined(keys.clone(), now));
        }
        let rules = Rules {
            silent_after_ms: 120_000,
            groups: [(
                "g".parse().unwrap(),
                Group {
                    nodes: nodes.iter().map(|node| name(node)).collect(),
                    services: BTreeSet::new(),
                    site: site.parse().unwrap(),
                    environment: Environment::Production,
                },
            )]
            .into(),
            ..Rules::default()
        };
        let presence = Presence::new(&state, &rules, now);
        Self {
            state,
            rules,
            presence,
            now,
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.elapsed = self.now.elapsed.plus_ms(seconds * 1000);
        self.now.wall = Wall(self.now.wall.0 + i64::try_from(seconds).unwrap() * 1000);
    }

    fn contact(&mut self, node: &str) {
        self.presence.stamp(&name(node), self.now);
    }

    fn say(&mut self, node: &str, seq: u64, plan: Option<Digest>, off_ms: i64) {
        self.contact(node);
        let contact = Contact {
            at: Wall(self.now.wall.0 + off_ms),
            head: Head {
                seq,
                sha256: Digest::ZERO,
            },
            plan,
            not_ok: Vec::new(),
        };
        self.presence.said(&name(node), &contact, self.now);
    }

    fn poll(&mut self) -> Vec<String> {
        self.presence
            .poll(&self.state, &self.rules, None, self.now)
            .into_iter()
            .map(|event| match event {
                Event::Trouble(TroubleEvent::NodeSilent { node, .. }) => format!("silent {node}"),
                Event::Trouble(TroubleEvent::NodeHeard { node }) => format!("heard {node}"),
                Event::Trouble(TroubleEvent::SiteSilent {
                    site,
                    nodes,
                    probes_answer,
                }) => {
                    format!(
                        "site {site} {} {}",
                        nodes.len(),
                        if probes_answer { "cut" } else { "blind" }
                    )
                }
                Event::Trouble(TroubleEvent::SiteHeard { site }) => format!("site {site} heard"),
                Event::Trouble(TroubleEvent::EntriesWithheld {
                    said_seq, has_seq, ..
                }) => format!("withheld {said_seq} {has_seq}"),
                Event::Trouble(TroubleEvent::EntriesHandedIn { .. }) => "handed in".to_owned(),
                Event::Trouble(TroubleEvent::PlanDiffers { .. }) => "plan differs".to_owned(),
                Event::Trouble(TroubleEvent::PlanAgrees { .. }) => "plan agrees".to_owned(),
                Event::Trouble(TroubleEvent::NodeClock { by_ms, .. }) => format!("clock {by_ms}"),
                Event::Clock(ClockEvent::ClockTrusted { .. }) => "trusted".to_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }
}

#[test]
fn a_node_is_silent_once_and_heard_once() {
    let mut fleet = Fleet::of(&["a", "b"], "sxb");
    fleet.contact("a");
    fleet.contact("b");
    fleet.pass(119);
    fleet.contact("b");
    assert!(fleet.poll().is_empty());
    fleet.pass(1);
    assert_eq!(fleet.poll(), ["silent a"]);
    assert!(fleet.poll().is_empty());
    fleet.pass(30);
    fleet.contact("a");
    assert_eq!(fleet.poll(), ["heard a"]);
    assert!(fleet.poll().is_empty());
}

#[test]
fn a_restart_gives_everybody_the_usual_time() {
    let mut fleet = Fleet::of(&["a"], "sxb");
    fleet.pass(100);
    assert!(fleet.poll().is_empty());
    fleet.pass(20);
    assert_eq!(fleet.poll(), ["silent a"]);
}

#[test]
fn most_of_a_site_falling_silent_is_one_event_and_ends_as_one() {
    let mut fleet = Fleet::of(&["a", "b", "c", "d"], "sxb");
    fleet
        .state
        .nodes
        .insert(name("far"), fleet.state.nodes[&name("a")].clone());
    for node in ["a", "b", "c"] {
        fleet.pass(5);
        fleet.contact(node);
    }
    fleet.pass(110);
    fleet.contact("d");
    fleet.contact("far");
    assert_eq!(
        fleet.poll(),
        ["site sxb 3 cut"],
        "told once, when the first is silent"
    );
    fleet.pass(60);
    fleet.contact("d");
    fleet.contact("far");
    assert!(fleet.poll().is_empty());
    fleet.contact("a");
    assert_eq!(
        fleet.poll(),
        ["heard a"],
        "one of three is not yet the site"
    );
    fleet.contact("b");
    assert_eq!(fleet.poll(), ["heard b", "site sxb heard", "silent c"]);
    fleet.contact("c");
    assert_eq!(fleet.poll(), ["heard c"]);
}

#[test]
fn everybody_falling_silent_means_the_collector_may_be_blind() {
    let mut fleet = Fleet::of(&["a", "b", "c"], "sxb");
    fleet.pass(120);
    assert_eq!(fleet.poll(), ["site sxb 3 blind"]);
}

#[test]
fn lines_that_are_promised_and_not_handed_in_are_noticed() {
    let mut fleet = Fleet::of(&["a"], "sxb");
    let plan = Some(Digest::of(b"p"));
    let row = crate::fleet::state::NodePlan {
        complete: plan.map(|digest| (digest, std::sync::Arc::default())),
        ..Default::default()
    };
    fleet.state.plans.insert(name("a"), row);
    fleet.say("a", 10, plan, 0);
    assert!(fleet.poll().is_empty());
    for _ in 0..4 {
        fleet.pass(60);
        fleet.say("a", 10, plan, 0);
        assert!(fleet.poll().is_empty());
    }
    fleet.pass(60);
    fleet.say("a", 11, plan, 0);
    assert_eq!(fleet.poll(), ["withheld 11 0"]);
    fleet.state.nodes.get_mut(&name("a")).unwrap().head.seq = 11;
    assert_eq!(fleet.poll(), ["handed in"]);
}

#[test]
fn a_plan_that_is_missing_or_another_and_a_clock_that_is_off_are_noticed_once() {
    let mut fleet = Fleet::of(&["a"], "sxb");
    fleet.say("a", 0, None, 86_400_000);
    assert_eq!(fleet.poll(), ["clock 86400000"]);
    fleet.pass(100);
    fleet.say("a", 0, None, 86_400_000);
    assert!(fleet.poll().is_empty());
    fleet.pass(20);
    fleet.say("a", 0, None, 100_000);
    assert_eq!(fleet.poll(), ["plan differs"]);
    fleet.say("a", 0, None, 5);
    assert_eq!(fleet.poll(), ["clock 5"]);
}

#[test]
fn three_nodes_that_agree_with_the_collectors_clock_restore_trust() {
    let mut fleet = Fleet::of(&["a", "b", "c"], "sxb");
    fleet.state.meta.clock_in_doubt = true;
    fleet.say("a", 0, None, 0);
    fleet.say("b", 0, None, 1_000);
    assert!(!fleet.poll().contains(&"trusted".to_owned()));
    fleet.say("c", 0, None, 999_000_000);
    assert!(fleet.poll().contains(&"trusted".to_owned()));
}

#[test]
fn a_node_that_flaps_inside_a_cut_site_is_heard_each_time() {
    let mut fleet = Fleet::of(&["a", "b", "c", "d"], "sxb");
    fleet.pass(120);
    assert_eq!(fleet.poll(), ["site sxb 4 blind"]);
    fleet.contact("a");
    assert_eq!(fleet.poll(), ["heard a"]);
    fleet.pass(120);
    assert_eq!(fleet.poll(), ["silent a"]);
    fleet.contact("a");
    assert_eq!(fleet.poll(), ["heard a"]);
}

#[test]
fn two_nodes_are_no_site() {
    let mut fleet = Fleet::of(&["a", "b", "c"], "sxb");
    fleet.pass(100);
    fleet.contact("c");
    fleet.pass(21);
    assert_eq!(fleet.poll(), ["silent a", "silent b"]);
}

#[test]
fn a_trickle_of_old_lines_is_withholding() {
    let mut fleet = Fleet::of(&["a"], "sxb");
    let plan = Some(Digest::of(b"p"));
    let row = crate::fleet::state::NodePlan {
        complete: plan.map(|digest| (digest, std::sync::Arc::default())),
        ..Default::default()
    };
    fleet.state.plans.insert(name("a"), row);
    let mut said = Vec::new();
    for minute in 0..12 {
        fleet.state.nodes.get_mut(&name("a")).unwrap().head.seq = minute;
        fleet.say("a", 1_000 + minute, plan, 0);
        said.extend(fleet.poll());
        fleet.pass(60);
    }
    assert_eq!(said, ["withheld 1005 5"]);
}

#[test]
fn a_restart_ends_no_alarm_before_the_node_has_spoken() {
    let fleet = Fleet::of(&["a"], "sxb");
    let mut state = fleet.state.clone();
    let alert = crate::alert::Alert {
        number: 1,
        family: vigie_core::status::Family::Vigie,
        claimed: BTreeSet::new(),
        status: vigie_core::status::Status::Critical,
        reason: String::new(),
        facts: serde_json::Map::new(),
        since: Wall(0),
        opening: 1,
        told: BTreeMap::new(),
        tellings: 0,
        until_confirmed: false,
        unknown_counts: None,
        eases: None,
        acknowledged: None,
        muted: None,
        folded_into: None,
        good_until: None,
    };
    for (check, object) in [("@node", "withheld"), ("@plan", ""), ("@node", "clock")] {
        let key = AlertKey::from_parts("a", check, object).unwrap();
        state.alerts.insert(key, alert.clone());
    }
    let presence = Presence::new(&state, &fleet.rules, fleet.now);
    let mut fleet = Fleet {
        state,
        presence,
        ..fleet
    };
    assert!(fleet.poll().is_empty());
}

#[test]
fn an_offset_from_before_the_collectors_own_step_restores_no_trust() {
    let mut fleet = Fleet::of(&["a", "b", "c"], "sxb");
    for node in ["a", "b", "c"] {
        fleet.say(node, 0, None, 0);
    }
    fleet.now.wall = fleet.now.wall.plus_ms(31_536_000_000);
    fleet.state.meta.clock_in_doubt = true;
    assert!(!fleet.poll().contains(&"trusted".to_owned()));
}

#[test]
fn only_a_contact_that_is_older_in_both_ways_was_overtaken() {
    let mut fleet = Fleet::of(&["a"], "sxb");
    fleet.say("a", 10, None, 0);
    let contact = |seq, at: i64| Contact {
        at: Wall(fleet.now.wall.0 + at),
        head: Head {
            seq,
            sha256: Digest::ZERO,
        },
        plan: None,
        not_ok: Vec::new(),
    };
    assert!(fleet.presence.is_overtaken(&name("a"), &contact(9, -1), 10));
    // A restored snapshot is older in its chain and newer in time: it must be read.
    assert!(!fleet.presence.is_overtaken(&name("a"), &contact(9, 1), 10));
    assert!(
        !fleet
            .presence
            .is_overtaken(&name("a"), &contact(10, -1), 10)
    );
}

#[test]
fn readers_are_told_of_whoever_changed_once_and_of_all_at_first() {
    let mut fleet = Fleet::of(&["a", "b"], "sxb");
    let changed = |fleet: &mut Fleet| -> Vec<(String, Option<LastHeard>)> {
        let changed = fleet.presence.take_changed().into_iter();
        changed
            .map(|(node, heard)| (node.to_string(), heard))
            .collect()
    };
    let never = Some(LastHeard::default());
    assert_eq!(
        changed(&mut fleet),
        [("a".to_owned(), never), ("b".to_owned(), never)]
    );
    assert_eq!(changed(&mut fleet), []);
    fleet.contact("a");
    let heard = LastHeard {
        at: Some(fleet.now.wall),
        is_silent: false,
    };
    assert!(heard.is_heard());
    assert_eq!(changed(&mut fleet), [("a".to_owned(), Some(heard))]);
    fleet.pass(121);
    let (state, rules, now) = (&fleet.state, &fleet.rules, fleet.now);
    fleet.presence.poll(state, rules, None, now);
    let silent = LastHeard {
        is_silent: true,
        ..heard
    };
    assert!(!silent.is_heard());
    let silent_too = LastHeard {
        is_silent: true,
        ..LastHeard::default()
    };
    assert_eq!(
        changed(&mut fleet),
        [
            ("a".to_owned(), Some(silent)),
            ("b".to_owned(), Some(silent_too))
        ]
    );
    fleet.presence.forget(&name("a"));
    assert_eq!(changed(&mut fleet), [("a".to_owned(), None)]);
}
