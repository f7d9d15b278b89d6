//! What a node says while its silence is an open alert: heard, in whatever order things were noticed.

use super::{night::*, *};
use vigie_core::id::SiteName;

/// What happens around the return of a node that was away for longer than its certificate lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// The collector notices that the certificate has ended. What comes later is in doubt.
    Expiry,
    /// The collector judges the node, or its site, silent.
    Absence,
    /// The node hands in that `base` is critical.
    HandIn,
}

/// Which silence it is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Silence {
    OfTheNode,
    OfTheSite,
}

const ORDERS: [[Moment; 3]; 6] = {
    use Moment::{Absence, Expiry, HandIn};
    [
        [Expiry, Absence, HandIn],
        [Expiry, HandIn, Absence],
        [Absence, Expiry, HandIn],
        [Absence, HandIn, Expiry],
        [HandIn, Expiry, Absence],
        [HandIn, Absence, Expiry],
    ]
};

impl Collector {
    fn judges_silent(&mut self, node: &NodeName, silence: Silence) {
        self.does(match silence {
            Silence::OfTheNode => Event::Trouble(TroubleEvent::NodeSilent {
                node: node.clone(),
                last_contact: self.now.wall,
            }),
            Silence::OfTheSite => Event::Trouble(TroubleEvent::SiteSilent {
                site: "sxb".parse::<SiteName>().unwrap(),
                nodes: vec![node.clone()],
                probes_answer: true,
            }),
        });
    }
}

#[test]
fn what_a_node_hands_in_is_told_once_in_whatever_order_its_absence_and_expiry_are_noticed() {
    for silence in [Silence::OfTheNode, Silence::OfTheSite] {
        for order in ORDERS {
            for lines_follow in [true, false] {
                let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
                let agent = &mut agents[0];
                let planned = agent.finds_for("base", None, Status::Ok, Some("dossier"));
                collector.hears(agent, &[planned]);
                let mut doubt = false;
                for moment in order {
                    match moment {
                        Moment::Expiry => {
                            doubt = true;
                            collector.does(Event::Trouble(TroubleEvent::NodeExpired {
                                node: agent.name.clone(),
                                not_after: collector.now.wall,
                            }));
                        }
                        Moment::Absence => collector.judges_silent(&agent.name, silence),
                        Moment::HandIn => {
                            let line =
                                agent.finds_for("base", None, Status::Critical, Some("dossier"));
                            let lines = [line];
                            let lines: &[Line] = if lines_follow { &lines } else { &[] };
                            let head_seq = agent.head.seq;
                            collector.hears_with(agent, lines, head_seq, doubt);
                        }
                    }
                }
                let said = collector.messages();
                let of_base = said.iter().filter(|text| text.contains(" base/ "));
                let case = format!("{silence:?} {order:?} lines: {lines_follow}: {said:?}");
                assert_eq!(of_base.count(), 1, "{case}");
                collector.replays();
            }
        }
    }
}

#[test]
fn what_a_silence_stood_for_is_told_when_the_node_itself_still_says_so() {
    for silence in [Silence::OfTheNode, Silence::OfTheSite] {
        for doubt in [true, false] {
            let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
            let agent = &mut agents[0];
            collector.silences(check("portail"));
            collector.settles(agent, "portail", Status::Critical);
            collector.judges_silent(&agent.name, Silence::OfTheNode);
            collector.does(Event::Mute(MuteEvent::MuteEnded { mute: 1, uid: 0 }));
            if silence == Silence::OfTheSite {
                collector.judges_silent(&agent.name, Silence::OfTheSite);
            }
            collector.messages();
            // The same contact as before the silence: nothing in it is news but that it came.
            let head_seq = agent.head.seq;
            collector.hears_with(agent, &[], head_seq, doubt);
            let still = ["am/sms still app-01 portail/ critical http.status"];
            assert_eq!(
                collector.messages(),
                still,
                "{silence:?}, in doubt: {doubt}"
            );
            collector.hears_with(agent, &[], head_seq, doubt);
            assert!(collector.messages().is_empty());
            collector.replays();
        }
    }
}

#[test]
fn a_node_in_doubt_that_lists_a_failure_no_more_leaves_it_to_nobody() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    let agent = &mut agents[0];
    collector.silences(check("portail"));
    collector.settles(agent, "portail", Status::Critical);
    collector.judges_silent(&agent.name, Silence::OfTheNode);
    collector.does(Event::Mute(MuteEvent::MuteEnded { mute: 1, uid: 0 }));
    collector.messages();
    let line = agent.finds_for("portail", None, Status::Ok, Some("dossier"));
    let head_seq = agent.head.seq;
    collector.hears_with(agent, &[line], head_seq, true);
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"],
        "its word does not end it, so somebody has to know"
    );
    collector.replays();
}

#[test]
fn a_node_that_comes_back_and_is_well_again_wakes_nobody_for_what_was_in_between() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    let agent = &mut agents[0];
    collector.silences(check("portail"));
    collector.settles(agent, "portail", Status::Critical);
    collector.judges_silent(&agent.name, Silence::OfTheNode);
    collector.does(Event::Mute(MuteEvent::MuteEnded { mute: 1, uid: 0 }));
    collector.messages();
    let line = agent.finds_for("portail", None, Status::Ok, Some("dossier"));
    collector.hears(agent, &[line]);
    collector.does(Event::Trouble(TroubleEvent::NodeHeard {
        node: agent.name.clone(),
    }));
    assert_eq!(
        collector.messages(),
        ["am/sms close app-01 @node/silent critical node.silent"]
    );
    collector.replays();
}
