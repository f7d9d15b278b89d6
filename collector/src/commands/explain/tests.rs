#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use vigie_core::{digest::Digest, plan::Plan, reason::message::Language, time::Wall};
use vigie_decide::fleet::{Delta, State};

use super::*;
use crate::{
    commands::test_routes::tests::example,
    store::{LogReader, SqliteStore, Store as _},
};

fn instant_of(policy: &Policy, text: &str) -> Instant {
    instant::read(text, zone_of(policy)).unwrap()
}

fn supposed(policy: &Policy, text: &str, status: Status) -> (Supposition, Instant) {
    let instant = instant_of(policy, text);
    let supposition = of_service(
        &policy.rules,
        &"dossier-patient".parse().unwrap(),
        Family::Availability,
        Environment::Production,
        status,
        &instant,
    );
    (supposition.unwrap(), instant)
}

fn json(language: &str, text: &str, status: Status) -> Value {
    let (_folder, settings) = example(language);
    let policy = settings.policy();
    let (supposition, instant) = supposed(&policy, text, status);
    let explanation = explain(&policy, &supposition.asked);
    let teller = Teller {
        language: settings.language,
        zone: zone_of(&policy),
        rules: &policy.rules,
    };
    to_json(&teller, &supposition, &instant, &explanation)
}

fn text(language: &str, at: &str, status: Status) -> String {
    let (_folder, settings) = example(language);
    let policy = settings.policy();
    let (supposition, instant) = supposed(&policy, at, status);
    let explanation = explain(&policy, &supposition.asked);
    let teller = Teller {
        language: settings.language,
        zone: zone_of(&policy),
        rules: &policy.rules,
    };
    to_text(&teller, &supposition, &instant, &explanation)
}

#[test]
fn times_are_instants_or_civil_times_of_the_settings() {
    let (_folder, settings) = example("fr");
    let policy = settings.policy();
    let zone = zone_of(&policy);
    assert_eq!(zone.unwrap().0, "Europe/Paris");
    for (text, instant) in [
        ("2026-12-25 03:00", "2026-12-25T02:00:00Z"),
        ("2026-12-25T03:00:30", "2026-12-25T02:00:30Z"),
        ("2026-12-25T02:00:00Z", "2026-12-25T02:00:00Z"),
        ("2026-12-25T02:00:00+02:00", "2026-12-25T00:00:00Z"),
        // Skipped: the end of the gap, whatever the minute.
        ("2027-03-28 02:05", "2027-03-28T01:00:00Z"),
        ("2027-03-28 02:55", "2027-03-28T01:00:00Z"),
        // Twice: the first.
        ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
    ] {
        let read = instant::read(text, zone).unwrap();
        assert_eq!(read.at, Wall::parse(instant).unwrap(), "{text}");
    }
    let note = |text, language| {
        let note = instant::read(text, zone).unwrap().note;
        note.map(|note| note.words(language))
    };
    assert_eq!(note("2026-12-25 03:00", Language::English), None);
    assert_eq!(
        note("2027-03-28 02:05", Language::English).unwrap(),
        "no clock shows this time; counted as 03:00, the end of the gap"
    );
    assert_eq!(
        note("2026-10-25 02:30", Language::French).unwrap(),
        "cette heure passe deux fois ; comptée comme la première (UTC+2), la seconde s'écrit avec +01"
    );
    for wrong in ["", "now", "03:00", "2026-12-25", "2026-02-30 03:00"] {
        assert!(instant::read(wrong, zone).is_err(), "{wrong}");
    }
    assert_eq!(
        instant::read("2026-12-25 03:00", None).unwrap().at,
        Wall::parse("2026-12-25T03:00:00Z").unwrap()
    );
}

#[test]
fn the_night_of_christmas_is_told_to_programs() {
    let told = json("fr", "2026-12-25 03:00", Status::Critical);
    assert_eq!(told["route"], 0);
    assert_eq!(told["told_now"], json!(["astreinte", "tableau"]));
    assert_eq!(told["calendar"]["name"], "bureau");
    assert_eq!(told["calendar"]["open"], false);
    assert_eq!(told["calendar"]["why"], "holiday");
    assert_eq!(told["calendar"]["holiday"], "christmas");
    assert_eq!(told["calendar"]["next_edge"], "2026-12-28T07:30:00.000Z");
    assert_eq!(told["held_until"], "2026-12-28T07:30:00.000Z");
    assert_eq!(
        told["held"],
        json!([{"receiver": "equipe-sis", "until": "2026-12-28T07:30:00.000Z"}])
    );
    assert_eq!(
        told["steps"],
        json!([
            {"receiver": "astreinte", "step": 0, "at": "2026-12-25T02:00:00.000Z", "after": "0s", "to": ["chef/sms"], "unreachable": [], "repeat": "5m"},
            {"receiver": "astreinte", "step": 1, "at": "2026-12-25T02:15:00.000Z", "after": "15m", "to": ["chef/sms", "chef/mail"], "unreachable": [], "repeat": "10m"},
        ])
    );
    assert_eq!(told["reason"]["code"], "told_and_held");
    let reason = told["reason"]["text"].as_str().unwrap();
    assert!(
        reason.contains("Noël") && reason.contains("« bureau » fermé"),
        "{reason}"
    );
    let assumed = &told["assumed"];
    assert_eq!(assumed["service"], "dossier-patient");
    assert_eq!(assumed["family"], "availability");
    assert_eq!(assumed["environment"], "production");
    assert_eq!(assumed["status"], "critical");
    assert_eq!(assumed["groups"], json!(["app-strasbourg"]));
    assert_eq!(assumed["node"], Value::Null);
    assert_eq!(told["muted"], Value::Null);
}

#[test]
fn what_is_unknown_is_assumed_to_last() {
    let told = json("en", "2026-11-25 23:00", Status::Unknown);
    assert_eq!(told["told_now"], json!(["astreinte", "tableau"]));
    assert_eq!(told["counts_after"], "5m");
    assert_eq!(told["told"][0]["at"], "2026-11-25T22:05:00.000Z");
    let notes = told["assumed"]["notes"].as_array().unwrap();
    assert!(notes.contains(&json!("unknown lasts 5 minutes")));
}

#[test]
fn while_machines_are_worked_at_nobody_is_told_and_that_is_said() {
    let told = json("fr", "2026-12-08 23:00", Status::Critical);
    assert_eq!(told["told_now"], json!([]));
    assert_eq!(told["held_until"], Value::Null);
    assert_eq!(told["reason"]["code"], "muted");
    assert_eq!(told["muted"]["window"], "correctifs");
    assert_eq!(told["muted"]["until"], "2026-12-09T01:00:00.000Z");
    assert_eq!(
        told["muted"]["without_it"]["told_now"],
        json!(["astreinte", "tableau"])
    );
    let said = text("fr", "2026-12-08 23:00", Status::Critical);
    assert!(
        said.contains(
            "La maintenance correctifs (monthly updates) la tait jusqu'au mercredi 9 décembre 2026 à 02:00"
        ),
        "{said}"
    );
}

#[test]
fn people_read_it_in_french() {
    assert_eq!(
        text("fr", "2026-12-25 03:00", Status::Critical),
        "\
vendredi 25 décembre 2026 à 03:00 (Europe/Paris) : dossier-patient en panne
Supposé : service dossier-patient, criticité critical, besoin D4, famille availability, production, groupe app-strasbourg, un nœud qu'aucune route ne nomme
Route 1/3 : criticité critical, état critical ou unknown, environnement production, hors des heures de bureau
Calendrier « bureau » fermé : jour férié, Noël, vendredi 25 décembre 2026 ; ouvre lundi 28 décembre 2026 à 08:30
Prévenus tout de suite : astreinte, tableau
  03:00  astreinte étape 1 : chef par sms, rappel toutes les 5m
  03:15  astreinte étape 2 : chef par sms, chef par mail, 15m après la précédente, rappel toutes les 10m
Dans le bilan de equipe-sis : lundi 28 décembre 2026 à 08:30
"
    );
}

#[test]
fn people_read_it_in_english_with_who_is_told_when_the_team_goes_home() {
    assert_eq!(
        text("en", "2026-11-25 17:50", Status::Critical),
        "\
Wednesday 25 November 2026 at 17:50 (Europe/Paris): dossier-patient down
Assumed: service dossier-patient, criticality critical, need D4, family availability, production, group app-strasbourg, a node that no route names
Route 3/3: everything else, holds outside the receiver's hours
Calendar \"bureau\" open: hours of Wednesday 25 November 2026; closes Wednesday 25 November 2026 at 18:00
Told now: equipe-sis
Wednesday 25 November 2026 at 18:00, if it is still on and nobody has taken it: astreinte
  18:00  astreinte step 1: am by sms, again every 5m
  18:15  astreinte step 2: chef by sms, chef by mail, 15m after the one before, again every 10m
Wednesday 25 November 2026 at 18:00, if it is still on and nobody has taken it: tableau
"
    );
}

fn planned(service: Option<&str>, family: Family, kind: &str) -> NodePlan {
    let check = PlannedCheck {
        kind: kind.to_owned(),
        family,
        service: service.map(|service| service.parse().unwrap()),
        every_ms: 30_000,
        timeout_ms: 5_000,
        failures: 2,
        recoveries: 2,
        settings_sha256: Digest::ZERO,
    };
    let plan: Plan = [("portail".parse().unwrap(), check)].into();
    NodePlan {
        complete: Some((Digest::ZERO, Arc::new(plan))),
        ..NodePlan::default()
    }
}

#[test]
fn a_check_is_explained_from_the_plan_of_its_node() {
    let (_folder, settings) = example("en");
    let policy = settings.policy();
    let instant = instant_of(&policy, "2026-11-25 23:00");
    let portail: Supposed = "portail=critical".parse().unwrap();
    let of = |plans: &BTreeMap<NodeName, NodePlan>, node: Option<&str>| {
        let node = node.map(|node| node.parse().unwrap());
        of_check(&policy, plans, &portail, node.as_ref(), &instant)
    };
    let web = planned(Some("dossier-patient"), Family::Availability, "http");
    let mut plans: BTreeMap<NodeName, NodePlan> = [
        ("app-01".parse().unwrap(), web.clone()),
        ("app-02".parse().unwrap(), web),
    ]
    .into();
    let found = of(&plans, None).unwrap();
    assert_eq!(found.asked.node, "app-01");
    assert_eq!(found.same_on, ["app-02".parse().unwrap()]);
    assert_eq!(found.asked.subject.need, 4);
    assert!(matches!(of(&plans, Some("db-01")), Err(Refused::NoPlan(_))));
    assert!(matches!(
        of(&BTreeMap::new(), None),
        Err(Refused::NoPlan(_))
    ));
    plans.insert(
        "app-02".parse().unwrap(),
        planned(Some("messagerie"), Family::Availability, "http"),
    );
    let Err(Refused::Usage(said)) = of(&plans, None) else {
        panic!("they are not told alike");
    };
    assert_eq!(
        said,
        "several nodes run portail, and not all would be told alike: app-01, app-02; add --node"
    );
    assert_eq!(of(&plans, Some("app-02")).unwrap().asked.node, "app-02");
    let mut rules = (*policy.rules).clone();
    let mut named = rules.routes[0].clone();
    named.matches.node = ["app-02".parse().unwrap()].into();
    named.notify = vec!["equipe-sis".parse().unwrap()];
    rules.routes.insert(0, named);
    let policy = Policy {
        rules: Arc::new(rules),
        ..policy
    };
    let web = plans.values().next().unwrap().clone();
    plans.insert("app-02".parse().unwrap(), web);
    let told_apart = of_check(&policy, &plans, &portail, None, &instant);
    assert!(matches!(told_apart, Err(Refused::Usage(_))));
    for wrong in [
        "portail",
        "portail=ok",
        "portail=bad",
        "=critical",
        "Portail=critical",
    ] {
        assert!(wrong.parse::<Supposed>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn plans_are_read_beside_a_running_collector_and_their_absence_is_exit_3() {
    let (folder, _) = example("en");
    let data = folder.path().join("data");
    let config = folder.path().join("collector.toml");
    let variables = || {
        let name = OsString::from("VIGIE__DATA_DIR");
        vec![(name, data.clone().into_os_string())]
    };
    let command = |check: Option<&str>, service: Option<&str>| Explain {
        at: "2026-12-25 03:00".to_owned(),
        check: check.map(|check| check.parse().unwrap()),
        node: None,
        service: service.map(|service| service.parse().unwrap()),
        status: Some(Status::Critical),
        family: None,
        environment: None,
        json: true,
    };
    let check = || command(Some("portail=critical"), None);
    assert_eq!(
        run(&config, variables(), check()).await,
        Exit::Unreachable,
        "no data folder"
    );
    std::fs::create_dir(&data).unwrap();
    let store = SqliteStore::open(&data).await.unwrap();
    assert_eq!(
        run(&config, variables(), check()).await,
        Exit::Unreachable,
        "no plan"
    );
    let plan = planned(Some("dossier-patient"), Family::Availability, "http");
    let node: NodeName = "app-01".parse().unwrap();
    let delta = Delta {
        meta: Some(State::default().meta),
        plans: [(node.clone(), Some(plan.clone()))].into(),
        ..Delta::default()
    };
    store.commit(&delta).await.unwrap();
    let reader = LogReader::open(&data).await.unwrap();
    assert_eq!(reader.plans().await.unwrap(), [(node, plan)].into());
    assert_eq!(run(&config, variables(), check()).await, Exit::Ok);
    // A service needs none of that.
    let service = |name| command(None, Some(name));
    let nowhere = vec![("VIGIE__DATA_DIR".into(), "/nonexistent".into())];
    assert_eq!(
        run(&config, nowhere, service("dossier-patient")).await,
        Exit::Ok
    );
    assert_eq!(
        run(&config, variables(), service("dossier")).await,
        Exit::Usage
    );
}
