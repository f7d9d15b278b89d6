#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_decide::rules::Person;

use super::*;
use crate::commands::test_routes::tests::example;

fn at(text: &str) -> Wall {
    Wall::parse(text).unwrap()
}

#[test]
fn the_shipped_example_has_no_gap() {
    let (folder, settings) = example("fr");
    let now = at("2026-11-23T00:00:00Z");
    assert_eq!(warnings(&settings, now), [""; 0]);
    let command = ProveCoverage {
        days: 30,
        from: Some("2026-11-23 01:00".to_owned()),
        json: true,
    };
    let config = folder.path().join("collector.toml");
    assert_eq!(run(&config, Vec::new(), &command), Exit::Ok);
    let wrong = ProveCoverage {
        from: Some("tomorrow".to_owned()),
        ..command
    };
    assert_eq!(run(&config, Vec::new(), &wrong), Exit::Usage);
    assert_eq!(
        to_text(&teller(&settings, &settings.policy()), &[], now, 400),
        "À chaque instant des 400 jours à partir du lundi 23 novembre 2026 à 01:00 (Europe/Paris), quelqu'un serait prévenu d'un service critique en panne.\n"
    );
}

#[test]
fn whoever_cannot_be_reached_is_named_with_the_nights_that_are_theirs() {
    let (_folder, mut settings) = example("fr");
    settings.rules.people.insert(
        "jb".parse().unwrap(),
        Person {
            channels: Vec::new(),
        },
    );
    // The first hand-off to somebody who can be reached has been.
    let now = at("2026-11-23T08:00:00Z");
    // The next step and the other receiver stand in.
    assert_eq!(warnings(&settings, now), [""; 0]);
    for route in &mut settings.rules.routes {
        route.notify.retain(|name| name.as_str() != "tableau");
    }
    let receiver = settings.rules.receivers.get_mut("astreinte").unwrap();
    receiver.steps.truncate(1);
    let said = warnings(&settings, now);
    assert_eq!(said.len(), WARNINGS_MAX + 1, "{said:#?}");
    assert_eq!(
        said[0],
        "personne ne serait prévenu tout de suite pour dossier-patient du lundi 30 novembre 2026 à 18:00 au mardi 1er décembre 2026 à 08:30 : \
         jb sans contact que l'étape puisse utiliser ; retenue pour equipe-sis jusqu'au mardi 1er décembre 2026 à 08:30 \
         (route 1/3 : criticité critical, état critical ou unknown, environnement production, hors des heures de bureau ; \
         calendrier « bureau » fermé : hors de ses horaires ; ouvre mardi 1er décembre 2026 à 08:30)"
    );
    assert!(said[WARNINGS_MAX].starts_with("et "));
    let policy = settings.policy();
    let found = gaps(&policy, now, DAYS);
    let json = to_json(&teller(&settings, &policy), &found, now, DAYS);
    assert_eq!(json["gaps"][0]["service"], "dossier-patient");
    assert_eq!(json["gaps"][0]["from"], "2026-11-30T17:00:00.000Z");
    assert_eq!(json["gaps"][0]["to"], "2026-12-01T07:30:00.000Z");
    assert_eq!(json["complete"], found.len() < GAPS_MAX);
    // Settings without routes say so in other words.
    settings.rules.routes.clear();
    assert_eq!(warnings(&settings, now), [""; 0]);
}
