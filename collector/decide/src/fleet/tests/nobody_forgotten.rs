//! Where a page could get lost, or come twice: what kept an alert quiet changes, steps and rules change under it, the
//! clock goes back.

use super::{night::*, *};
use crate::{
    fleet::event::SenderAlert,
    mute::{MutedBy, SilenceMatch},
    rules::{EscalationStep, Person},
};

/// As [`policy`], and `dossier` cannot work without `base`, which the same node carries.
fn policy_with_a_database() -> Policy {
    with_rules(policy(), |rules| {
        let dossier = rules.services.get("dossier").unwrap().clone();
        rules.services.insert("base".parse().unwrap(), dossier);
        let dossier = rules.services.get_mut("dossier").unwrap();
        dossier.depends_on = ["base".parse().unwrap()].into();
        let group = rules.groups.get_mut("app").unwrap();
        group.services.insert("base".parse().unwrap());
    })
}

fn with_rules(mut policy: Policy, edit: impl FnOnce(&mut Rules)) -> Policy {
    let mut rules = (*policy.rules).clone();
    edit(&mut rules);
    policy.rules = Arc::new(rules);
    policy
}

impl Collector {
    fn changes_rules(&mut self, edit: impl FnOnce(&mut Rules)) {
        self.policy = with_rules(self.policy.clone(), edit);
        self.loads();
    }

    fn finds(&mut self, agent: &mut Agent, check: &str, status: Status, service: &str) {
        let line = agent.finds_for(check, None, status, Some(service));
        self.reads(agent, &line);
    }
}

/// The database fails and is told, the portal is explained by it and is not.
fn portal_behind_database() -> (Collector, Vec<Agent>) {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy_with_a_database());
    collector.finds(&mut agents[0], "postgres", Status::Critical, "base");
    collector.messages();
    collector.finds(&mut agents[0], "portail", Status::Critical, "dossier");
    assert!(collector.messages().is_empty());
    (collector, agents)
}

#[test]
fn what_explained_an_alert_and_is_a_mere_warning_now_explains_it_no_more() {
    let (mut collector, mut agents) = portal_behind_database();
    collector.finds(&mut agents[0], "postgres", Status::Warning, "base");
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn a_silence_over_what_explained_an_alert_is_none_over_that_alert() {
    let (mut collector, _) = portal_behind_database();
    collector.silences(check("postgres"));
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn steps_of_what_is_explained_now_stand_still_and_go_on_afterwards() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy_with_a_database());
    collector.finds(&mut agents[0], "portail", Status::Critical, "dossier");
    collector.finds(&mut agents[0], "postgres", Status::Critical, "base");
    collector.messages();
    // New rules route everything anew.
    collector.loads();
    collector.passes(5 * MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 postgres/ critical http.status"]
    );
    collector.finds(&mut agents[0], "postgres", Status::Ok, "base");
    assert_eq!(
        collector.sorted(),
        [
            "am/sms again app-01 portail/ critical http.status",
            "am/sms close app-01 postgres/ critical http.status",
        ]
    );
    collector.replays();
}

#[test]
fn a_site_that_is_cut_stands_for_what_the_silence_of_its_nodes_stood_for() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    let node = agents[0].name.clone();
    collector.silences(check("portail"));
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.does(Event::Trouble(TroubleEvent::NodeSilent {
        node: node.clone(),
        last_contact: collector.now.wall,
    }));
    collector.does(Event::Mute(MuteEvent::MuteEnded { mute: 1, uid: 0 }));
    collector.messages();
    let site: vigie_core::id::SiteName = "sxb".parse().unwrap();
    collector.does(Event::Trouble(TroubleEvent::SiteSilent {
        site: site.clone(),
        nodes: vec![node],
        probes_answer: true,
    }));
    assert_eq!(
        collector.sorted(),
        [
            "am/sms close app-01 @node/silent critical node.silent",
            "am/sms open @collector @site/sxb critical site.cut",
        ]
    );
    collector.does(Event::Trouble(TroubleEvent::SiteHeard { site }));
    assert_eq!(
        collector.sorted(),
        [
            "am/sms close @collector @site/sxb critical site.cut",
            "am/sms still app-01 portail/ critical http.status",
        ]
    );
    collector.replays();
}

#[test]
fn a_silence_of_a_status_ends_with_that_status() {
    let (mut collector, mut agents) = night("2026-11-26 10:00", policy());
    collector.silences(SilenceMatch {
        matches: Match {
            status: [Status::Critical].into(),
            ..Match::default()
        },
        ..SilenceMatch::default()
    });
    collector.settles(&mut agents[1], "courriel", Status::Critical);
    assert!(collector.messages().is_empty());
    collector.settles(&mut agents[1], "courriel", Status::Warning);
    assert_eq!(
        collector.messages(),
        ["equipe still mx-01 courriel/ warning http.status"]
    );
    collector.replays();
}

#[test]
fn a_check_that_speaks_for_a_critical_service_from_now_on_pages() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.changes_rules(|rules| {
        let group = rules.groups.get_mut("app").unwrap();
        group.services.insert("mail".parse().unwrap());
    });
    collector.finds(&mut agents[0], "portail", Status::Critical, "mail");
    assert!(collector.messages().is_empty());
    collector.finds(&mut agents[0], "portail", Status::Critical, "dossier");
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn an_acknowledgement_that_is_withdrawn_tells_again_once_and_not_what_another_explains() {
    let (mut collector, _) = portal_behind_database();
    for name in ["portail", "postgres"] {
        collector.acknowledges(name);
        let number = collector.number(name);
        collector.does(Event::Operator(OperatorEvent::Unacknowledged {
            number,
            uid: 0,
        }));
    }
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 postgres/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn a_clock_that_is_set_back_over_the_morning_loses_no_digest() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    collector.settles(&mut agents[1], "courriel", Status::Critical);
    collector.until("2026-11-25 08:30:02");
    assert_eq!(collector.messages().len(), 1);
    let first: Vec<_> = collector.state.outbox.keys().copied().collect();
    collector.now.wall = at("2026-11-25 08:29:58");
    collector.settles(&mut agents[1], "disque", Status::Critical);
    assert!(collector.messages().is_empty());
    collector.passes(5_000);
    assert_eq!(
        collector.messages(),
        ["equipe digest on[mx-01/disquex1] ended[]"]
    );
    for key in first {
        assert!(collector.state.outbox.contains_key(&key), "overwritten");
    }
    collector.replays();
}

#[test]
fn an_edge_that_comes_twice_is_an_edge_twice_and_tells_nobody_twice() {
    let (mut collector, mut agents) = night("2026-11-26 17:59:50", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.until("2026-11-26 18:00:01");
    collector.messages();
    // Not so far that anybody would call it a step.
    collector.now.wall = at("2026-11-26 17:59:57");
    collector.settles(&mut agents[0], "base", Status::Critical);
    assert_eq!(
        collector.messages(),
        ["equipe open app-01 base/ critical http.status"]
    );
    collector.until("2026-11-26 18:00:01");
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 base/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn in_doubt_digests_are_flushed_once_not_at_each_step_of_the_clock() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    collector.does(Event::Clock(ClockEvent::ClockStep { by_ms: 3_600_000 }));
    collector.messages();
    let mut digests = 0;
    for number in 0..5 {
        collector.settles(&mut agents[0], &format!("c{number}"), Status::Critical);
        collector.does(Event::Clock(ClockEvent::ClockStep { by_ms: 6_000 }));
        collector.loads();
        let said = collector.messages();
        digests += said.iter().filter(|said| said.contains("digest")).count();
    }
    assert_eq!(digests, 0, "who is on call was told of each");
    collector.does(Event::Clock(ClockEvent::ClockTrusted { uid: Some(0) }));
    collector.until("2026-11-25 08:31");
    let said = collector.messages();
    assert_eq!(
        said.iter().filter(|said| said.contains("digest")).count(),
        1
    );
    collector.replays();
}

#[test]
fn a_calendar_that_never_opens_again_says_at_once_what_waited_and_keeps_nothing() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    collector.settles(&mut agents[1], "courriel", Status::Critical);
    collector.settles(&mut agents[1], "disque", Status::Critical);
    collector.settles(&mut agents[1], "disque", Status::Ok);
    collector.changes_rules(|rules| {
        rules.calendars.get_mut("bureau").unwrap().open.clear();
    });
    assert_eq!(
        collector.messages(),
        ["equipe digest on[mx-01/courrielx1] ended[mx-01/disquex1]"]
    );
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert!(collector.state.held.is_empty(), "for no morning");
    assert_eq!(collector.messages().len(), 1);
    collector.replays();
}

/// The person on call after a hand-off has no SMS.
#[test]
fn repeats_that_reach_nobody_any_more_reach_whoever_still_can_be() {
    let policy = with_rules(policy(), |rules| {
        rules
            .people
            .insert("jb".parse().unwrap(), Person::default());
        let rota = rules.rotas.get_mut("astreinte").unwrap();
        rota.people.push("jb".parse().unwrap());
    });
    let (mut collector, mut agents) = night("2026-11-28 08:20", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    let first = collector.messages();
    assert_eq!(first.len(), 1);
    collector.passes(5 * MINUTE + 50);
    collector.messages();
    collector.passes(5 * MINUTE + 50);
    let said = collector.sorted();
    let expected = if first[0].starts_with("am") {
        // am hands off to jb at 08:30: the next step does not wait.
        vec![
            "chef/mail still app-01 portail/ critical http.status",
            "chef/sms still app-01 portail/ critical http.status",
        ]
    } else {
        vec!["am/sms again app-01 portail/ critical http.status"]
    };
    assert_eq!(said, expected);
    collector.replays();
}

#[test]
fn a_receiver_of_which_nobody_can_be_reached_any_more_is_an_alarm_also_at_a_repeat() {
    let policy = with_rules(policy(), |rules| {
        rules
            .people
            .insert("jb".parse().unwrap(), Person::default());
        let rota = rules.rotas.get_mut("astreinte").unwrap();
        rota.people = vec!["jb".parse().unwrap(), "am".parse().unwrap()];
        let steps = &mut rules.receivers.get_mut("astreinte").unwrap().steps;
        steps.truncate(1);
    });
    let (mut collector, mut agents) = night("2026-11-28 08:20", policy.clone());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.passes(30 * MINUTE);
    assert!(
        collector
            .open()
            .contains(&"@collector @receiver/astreinte critical".to_owned())
    );
    collector.replays();
}

#[test]
fn other_steps_go_on_where_the_old_ones_were() {
    // The last step was repeated without a word of it in the settings; it is the last no more.
    let policy = with_rules(policy(), |rules| {
        let steps = &mut rules.receivers.get_mut("astreinte").unwrap().steps;
        steps.truncate(1);
        steps[0].repeat_ms = None;
    });
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.messages();
    collector.changes_rules(|rules| {
        let steps = &mut rules.receivers.get_mut("astreinte").unwrap().steps;
        steps.push(EscalationStep {
            after_ms: 20 * MINUTE,
            people: vec!["chef".parse().unwrap()],
            via: vec!["sms".parse().unwrap()],
            ..EscalationStep::default()
        });
    });
    collector.passes(21 * MINUTE);
    let said = collector.messages();
    assert!(
        said.contains(&"chef/sms still app-01 portail/ critical http.status".to_owned()),
        "{said:?}"
    );
    // And the other way round: what was not repeated is the last one now.
    collector.changes_rules(|rules| {
        let steps = &mut rules.receivers.get_mut("astreinte").unwrap().steps;
        steps.truncate(1);
    });
    collector.passes(16 * MINUTE);
    assert_eq!(
        collector.messages(),
        ["am/sms again app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn a_step_that_waits_for_a_warning_to_get_worse_is_looked_at_rarely() {
    let policy = with_rules(policy(), |rules| {
        let steps = &mut rules.receivers.get_mut("astreinte").unwrap().steps;
        steps[1].after_ms = 0;
    });
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.settles(&mut agents[0], "portail", Status::Warning);
    let before = collector.log.len();
    collector.passes(HOUR);
    assert!(collector.log.len() - before < 200, "it wakes for nothing");
    collector.replays();
}

#[test]
fn not_knowing_for_a_moment_is_not_quieter_than_a_warning() {
    let policy = with_rules(policy(), |rules| {
        rules.routes.insert(
            0,
            Route {
                matches: Match {
                    status: [Status::Warning, Status::Unknown].into(),
                    ..Match::default()
                },
                notify: vec!["equipe".parse().unwrap()],
                ..Route::default()
            },
        );
    });
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    collector.settles(&mut agents[1], "courriel", Status::Unknown);
    assert_eq!(
        collector.messages(),
        ["equipe open mx-01 courriel/ unknown http.status"]
    );
    collector.replays();
}

#[test]
fn whoever_could_not_be_reached_is_told_once_they_can_be() {
    let policy = with_rules(policy(), |rules| {
        for step in &mut rules.receivers.get_mut("astreinte").unwrap().steps {
            step.rota = None;
            step.people = vec!["nobody".parse().unwrap()];
        }
    });
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.messages();
    collector.changes_rules(|rules| {
        let (name, person) = person("nobody", &["sms"]);
        rules.people.insert(name, person);
    });
    let said = collector.messages();
    assert!(
        said.contains(&"nobody/sms still app-01 portail/ critical http.status".to_owned()),
        "{said:?}"
    );
    collector.replays();
}

#[test]
fn an_exercise_ends_with_its_receiver() {
    let (mut collector, _) = night("2026-11-26 12:00", policy());
    collector.does(Event::Operator(OperatorEvent::ExerciseStarted {
        receiver: "astreinte".parse().unwrap(),
        uid: 0,
    }));
    collector.messages();
    collector.changes_rules(|rules| {
        rules.routes.remove(0);
        rules.receivers.remove("astreinte");
    });
    assert!(collector.open().is_empty());
    assert_eq!(
        collector.messages(),
        ["am/sms close @collector @exercise/astreinte critical vigie.exercise"]
    );
    collector.replays();
}

#[test]
fn an_end_is_told_wherever_a_digest_or_a_handover_or_an_earlier_rota_told_it() {
    let policy = with_rules(policy(), |rules| {
        let rota = rules.rotas.get_mut("astreinte").unwrap();
        rota.people.push("jb".parse().unwrap());
    });
    let (mut collector, mut agents) = night("2026-11-26 12:00", policy);
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.acknowledges("portail");
    collector.until("2026-11-27 19:00");
    let handed: Vec<_> = collector
        .messages()
        .into_iter()
        .filter(|said| said.contains("handover"))
        .collect();
    assert_eq!(
        handed.len(),
        2,
        "one each evening, to whoever's turn it is: {handed:?}"
    );
    collector.until("2026-11-29 12:00");
    assert!(
        collector
            .messages()
            .iter()
            .all(|said| said.contains("digest")),
        "a rota's hand-off alone moves nothing that somebody is on"
    );
    collector.changes_rules(|rules| {
        rules.people.remove("jb");
        rules.rotas.get_mut("astreinte").unwrap().people.truncate(1);
    });
    collector.settles(&mut agents[0], "portail", Status::Ok);
    assert_eq!(
        collector.sorted(),
        [
            "am/sms close app-01 portail/ critical http.status",
            "equipe close app-01 portail/ critical http.status",
            "jb/sms close app-01 portail/ critical http.status",
        ]
    );
    collector.replays();
}

#[test]
fn maintenance_that_ends_with_the_working_day_tells_those_of_the_night() {
    let policy = with_rules(policy(), |rules| {
        rules.maintenance.insert(
            "travaux".parse().unwrap(),
            crate::rules::Maintenance {
                place: crate::mute::Nodes {
                    nodes: ["app-01".parse().unwrap()].into(),
                    ..Default::default()
                },
                window: serde_json::from_value(serde_json::json!("Thu 12:00-18:00 Europe/Paris"))
                    .unwrap(),
                scope: crate::mute::Scope::Reachability,
                reason: "noyau".to_owned(),
            },
        );
    });
    let (mut collector, mut agents) = night("2026-11-26 11:59", policy);
    collector.until("2026-11-26 12:00");
    collector.settles(&mut agents[0], "portail", Status::Critical);
    assert!(collector.messages().is_empty());
    let alert = collector.state.alerts.values().next().unwrap();
    assert_eq!(
        alert.muted,
        Some(MutedBy::Window("travaux".parse().unwrap()))
    );
    collector.until("2026-11-26 18:00");
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn a_site_is_quiet_only_while_all_of_it_is_worked_at() {
    let (mut collector, agents) = night("2026-11-28 23:00", policy());
    let work = |nodes: &[&str]| {
        Event::Mute(MuteEvent::MaintenanceStarted {
            place: crate::mute::Nodes {
                nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
                ..Default::default()
            },
            reason: "courant".to_owned(),
            for_ms: HOUR,
            uid: 0,
        })
    };
    collector.does(work(&["app-01"]));
    let site: vigie_core::id::SiteName = "sxb".parse().unwrap();
    let silent = Event::Trouble(TroubleEvent::SiteSilent {
        site: site.clone(),
        nodes: agents.iter().map(|agent| agent.name.clone()).collect(),
        probes_answer: true,
    });
    collector.does(silent.clone());
    assert_eq!(collector.messages().len(), 1);
    collector.does(Event::Trouble(TroubleEvent::SiteHeard { site }));
    collector.does(work(&["mx-01", "app-01"]));
    collector.messages();
    collector.does(silent);
    assert!(collector.messages().is_empty());
    collector.passes(HOUR);
    assert_eq!(
        collector.messages(),
        ["am/sms still @collector @site/sxb critical site.cut"]
    );
    collector.replays();
}

#[test]
fn a_refusal_of_a_close_a_digest_or_an_old_message_begins_nothing() {
    let (mut collector, mut agents) = night("2026-11-24 20:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.until("2026-11-25 08:31");
    collector.settles(&mut agents[0], "portail", Status::Ok);
    collector.settles(&mut agents[0], "portail", Status::Warning);
    collector.messages();
    let keys: Vec<Digest> = collector.state.outbox.keys().copied().collect();
    assert!(keys.len() > 3);
    for key in keys {
        collector.does(Event::Delivery(DeliveryEvent::Refused {
            key,
            http_status: 400,
        }));
    }
    assert!(collector.messages().is_empty());
    collector.replays();
}

#[test]
fn a_silence_is_ended_by_hand_or_time_and_an_acknowledgement_under_it_stays() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.silences(check("portail"));
    collector.settles(&mut agents[0], "portail", Status::Critical);
    collector.acknowledges("portail");
    collector.does(Event::Mute(MuteEvent::MuteEnded { mute: 1, uid: 0 }));
    collector.passes(2 * HOUR);
    assert!(collector.messages().is_empty(), "somebody is on it");
    let number = collector.number("portail");
    collector.does(Event::Operator(OperatorEvent::Unacknowledged {
        number,
        uid: 0,
    }));
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ critical http.status"]
    );
    collector.replays();
}

#[test]
fn a_sender_that_falls_silent_about_a_warning_wakes_five_minutes_later() {
    let (mut collector, _) = night("2026-11-28 23:00", policy());
    collector.does(Event::HandedIn(HandInEvent::SenderAlert {
        sender: "prometheus".parse().unwrap(),
        alert: Box::new(SenderAlert {
            fingerprint: "ab".to_owned(),
            name: "disk".to_owned(),
            status: Status::Warning,
            service: Some("dossier".parse().unwrap()),
            labels: Default::default(),
            since: at("2026-11-28 22:58"),
            good_for_ms: 5 * MINUTE,
        }),
    }));
    collector.passes(9 * MINUTE);
    assert!(collector.messages().is_empty());
    collector.passes(MINUTE + 100);
    assert_eq!(
        collector.messages(),
        ["am/sms still @sender/prometheus disk/ab unknown sender.silent"]
    );
    collector.replays();
}

/// Not knowing counts from when it began, not from the collector's last start.
#[test]
fn restarts_do_not_put_off_the_five_minutes_of_not_knowing() {
    let (mut collector, mut agents) = night("2026-11-28 23:00", policy());
    collector.settles(&mut agents[0], "portail", Status::Unknown);
    collector.is_off_until("2026-11-28 23:02");
    collector.is_off_until("2026-11-28 23:04");
    assert!(collector.messages().is_empty());
    collector.until("2026-11-28 23:05:01");
    assert_eq!(
        collector.messages(),
        ["am/sms still app-01 portail/ unknown http.status"]
    );
    collector.replays();
}
