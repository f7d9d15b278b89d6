//! `[[route]]` by hours, holds and digests, and what must hold between routes.

use vigie_decide::rules::When;

use super::*;

/// Two calendars, a team that has one, people who are woken, a webhook, mail: lines 1 to 24, no route.
const TEAM: &str = r#"[service.dossier]
criticality = "critical"
needs = { D = 4, I = 4, C = 4, T = 3 }
[group.app]
nodes = ["app-01"]
services = ["dossier"]
[calendar.bureau]
time_zone = "Europe/Paris"
open = ["Mon-Fri 08:30-18:00"]
[calendar.nuit]
time_zone = "Europe/Paris"
open = ["Mon-Sun 22:00-06:00"]
[channel.mail]
smtp = { host = "mx.example", from = "vigie@example.org" }
[person.am]
contacts = [{ channel = "mail", to = "am@example.org" }]
[receiver.wake]
steps = [{ people = ["am"] }]
[receiver.team]
calendar = "bureau"
email = { to = ["team@example.org"] }
[receiver.chat]
webhook = { url = "https://chat.example/" }
# here the routes begin
"#;

/// Names all receivers, takes everything: two lines.
const ALL: &str = "[[route]]\nnotify = [\"wake\", \"team\", \"chat\"]\n";

fn mistakes(routes: &str) -> Vec<String> {
    Folder::new(&format!("{TEAM}{routes}")).mistakes()
}

#[test]
fn a_route_says_when_it_counts_and_what_waits() {
    let text = format!(
        "{TEAM}[[route]]\nmatch = {{ status = [\"critical\", \"unknown\"] }}\noutside = \"bureau\"\n\
         notify = [\"wake\"]\ndigest = [\"team\"]\n\
         [[route]]\nmatch = {{ need = 1 }}\ninside = \"nuit\"\ndigest = \"team\"\n\
         [[route]]\nnotify = [\"team\"]\nhold = true\n\
         "
    ) + "[[route]]\nnotify = [\"chat\"]\n";
    // The last one is never reached.
    let told = Folder::new(&text).mistakes();
    assert_eq!(
        told,
        [
            "collector.toml:37:1: no alert reaches this [[route]]: those above it take them all; move it up, or remove it"
        ]
    );
    let text = text.replace("[\"wake\"]\ndigest", "[\"wake\", \"chat\"]\ndigest");
    let text = text
        .strip_suffix("[[route]]\nnotify = [\"chat\"]\n")
        .unwrap();
    let settings = Folder::new(text).settings();
    let [page, morning, rest] = &settings.rules.routes[..] else {
        panic!("three routes");
    };
    assert_eq!(page.when, Some(When::Outside("bureau".parse().unwrap())));
    assert_eq!(page.digest, ["team".parse().unwrap()]);
    assert!(!page.hold && rest.hold && rest.digest.is_empty());
    assert_eq!(morning.when, Some(When::Inside("nuit".parse().unwrap())));
    assert!(morning.notify.is_empty());
    assert_eq!(rest.when, None);
    assert_eq!(settings.warnings, []);
    let team = &settings.rules.receivers["team"];
    assert_eq!(team.calendar, Some("bureau".parse().unwrap()));
    assert!(!team.digest_always);
}

#[test]
fn each_mistake_of_hours_and_holds_has_its_place_and_its_mend() {
    for (routes, told) in [
        (
            format!("[[route]]\ninside = \"burau\"\nnotify = [\"wake\"]\n{ALL}"),
            "26:10: `inside`: no calendar is called \"burau\"; did you mean \"bureau\"?",
        ),
        (
            format!("[[route]]\ninside = [\"bureau\", \"nuit\"]\nnotify = [\"wake\"]\n{ALL}"),
            "26:10: `inside`: this is a list, not text; write one text in quotes",
        ),
        (
            format!(
                "[[route]]\ninside = \"bureau\"\noutside = \"nuit\"\nnotify = [\"wake\"]\n{ALL}"
            ),
            "27:11: this route has both `inside` and `outside`; keep one of the two",
        ),
        (
            format!("{ALL}hold = true\n"),
            "27:8: `hold`: `receiver.chat` has no `calendar`, so nothing can wait for its opening; write `calendar = \"…\"` into `[receiver.chat]`, or leave it out here",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 1 }}\nnotify = [\"wake\"]\nhold = true\n{ALL}"),
            "28:8: `hold`: `receiver.wake` has steps, which wake people and wait for nobody; name it in a `notify` without `hold` only",
        ),
        (
            "[[route]]\nnotify = [\"team\", \"wake\"]\ndigest = []\nhold = true\n".to_owned(),
            "27:10: `digest`: this route would tell nobody; name at least one receiver",
        ),
        (
            "[[route]]\nnotify = [\"team\"]\ndigest = [\"wake\"]\n[[route]]\nmatch = { need = 1 }\nnotify = [\"chat\"]\n".to_owned(),
            "27:11: `digest`: `receiver.wake` has steps, which wake people and wait for nobody; name it in a `notify` without `hold` only",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 1 }}\nnotify = [\"wake\"]\ndigest = [\"team\", \"chat\"]\n{ALL}"),
            "28:19: `digest`: `receiver.chat` has no `calendar`, so nothing can wait for its opening; write `calendar = \"…\"` into `[receiver.chat]`, or leave it out here",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 1 }}\nnotify = [\"team\"]\ndigest = [\"team\"]\n{ALL}"),
            "28:11: `digest`: \"team\" is in `notify` too; name it in one of the two; with `hold = true` what is in `notify` waits too",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 1 }}\ndigest = [\"tem\"]\n{ALL}"),
            "27:11: `digest`: no receiver is called \"tem\"; did you mean \"team\"?",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 1 }}\nnotify = [\"team\"]\nhold = \"yes\"\n{ALL}"),
            "28:8: `hold`: this is text, not true or false; write true or false, without quotes",
        ),
    ] {
        let found = mistakes(&routes);
        // What follows from a route that is not as it was meant is another matter.
        assert_eq!(found[0], format!("collector.toml:{told}"), "{routes}");
    }
}

#[test]
fn an_alert_that_no_route_takes_is_named() {
    let rest = "[[route]]\nmatch = { need = [1, 2, 3, 4] }\ninside = \"bureau\"\nnotify = [\"team\", \"chat\"]\n";
    for (routes, told) in [
        (
            rest.to_owned() + "[[route]]\nmatch = { criticality = \"critical\" }\nnotify = [\"wake\"]\n",
            "29:1: no [[route]] takes an alert with status \"critical\", criticality \"important\", outside \"bureau\"; add a [[route]] for it, or a last one with `notify` alone",
        ),
        (
            rest.to_owned() + "[[route]]\nmatch = { status = [\"critical\", \"unknown\"] }\nnotify = [\"wake\"]\n",
            "29:1: no [[route]] takes an alert with status \"warning\", outside \"bureau\"; add a [[route]] for it, or a last one with `notify` alone",
        ),
        (
            "[[route]]\nmatch = { service = \"dossier\" }\nnotify = [\"wake\", \"team\"]\n[[route]]\nmatch = { service = \"vigie\" }\nnotify = [\"chat\"]\n".to_owned(),
            "28:1: no [[route]] takes an alert with status \"critical\", a service that no `match` names; add a [[route]] for it, or a last one with `notify` alone",
        ),
        (
            rest.to_owned() + "[[route]]\nmatch = { environment = \"production\" }\noutside = \"bureau\"\nnotify = [\"wake\"]\n",
            "29:1: no [[route]] takes an alert with status \"critical\", environment \"staging\", outside \"bureau\"; add a [[route]] for it, or a last one with `notify` alone",
        ),
    ] {
        assert_eq!(
            mistakes(&routes),
            [format!("collector.toml:{told}")],
            "{routes}"
        );
    }
    // Every case has a route, though none is without conditions.
    for last in [
        "outside = \"bureau\"",
        "match = { status = [\"critical\", \"unknown\", \"warning\"] }",
    ] {
        let both = format!("{rest}[[route]]\n{last}\nnotify = [\"wake\"]\n");
        assert!(
            Folder::new(&format!("{TEAM}{both}")).load().is_ok(),
            "{last}"
        );
    }
}

#[test]
fn a_route_that_no_alert_reaches_is_refused() {
    let hidden = "move it up, or remove it";
    for (routes, line) in [
        (
            format!(
                "[[route]]\nmatch = {{ status = \"critical\" }}\nnotify = [\"wake\"]\n\
                 [[route]]\nmatch = {{ status = \"critical\", family = \"tls\" }}\nnotify = [\"team\"]\n{ALL}"
            ),
            28,
        ),
        (
            format!(
                "[[route]]\ninside = \"bureau\"\nnotify = [\"wake\"]\n[[route]]\noutside = \"bureau\"\nnotify = [\"team\"]\n{ALL}"
            ),
            31,
        ),
        (
            format!(
                "[[route]]\nmatch = {{ need = [1, 2] }}\nnotify = [\"wake\"]\n[[route]]\nmatch = {{ need = [3, 4] }}\nnotify = [\"wake\"]\n{ALL}"
            ),
            31,
        ),
    ] {
        assert_eq!(
            mistakes(&routes),
            [format!(
                "collector.toml:{line}:1: no alert reaches this [[route]]: those above it take them all; {hidden}"
            )],
            "{routes}"
        );
    }
}

#[test]
fn who_is_woken_by_warnings_is_warned_of_and_allowed() {
    let settings = Folder::new(&format!("{TEAM}{ALL}")).settings();
    let warnings = settings.summary().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].ends_with(
            "collector.toml:25:1: this [[route]] wakes `receiver.wake` for warnings too; write `status = [\"critical\", \"unknown\"]` into its `match`"
        ),
        "{warnings:?}"
    );
    let shown = settings.summary().to_string();
    assert!(
        shown.lines().last().unwrap().starts_with("warning    "),
        "{shown}"
    );
    let quiet = "[[route]]\nmatch = { status = \"warning\" }\nnotify = [\"team\", \"chat\"]\n[[route]]\nnotify = [\"wake\"]\n";
    let settings = Folder::new(&format!("{TEAM}{quiet}")).settings();
    assert_eq!(
        settings.warnings,
        [],
        "no warning comes as far as the second route"
    );
    let by_day = "[[route]]\ninside = \"bureau\"\nnotify = [\"wake\"]\n[[route]]\nnotify = [\"team\", \"chat\"]\n";
    let settings = Folder::new(&format!("{TEAM}{by_day}")).settings();
    assert_eq!(settings.warnings, [], "at work nobody is woken");
}

#[test]
fn routes_that_nobody_can_check_need_a_last_one_for_all() {
    let calendars: String = (0..30)
        .map(|n| {
            format!(
                "[calendar.c{n}]\ntime_zone = \"UTC\"\nopen = [\"Mon 0{}:00-12:00\"]\n",
                n % 10
            )
        })
        .collect();
    let routes: String = (0..30)
        .map(|n| {
            format!(
                "[[route]]\nmatch = {{ node = \"n{n}\" }}\ninside = \"c{n}\"\nnotify = [\"chat\"]\n"
            )
        })
        .collect();
    let text = format!("{TEAM}{calendars}{routes}");
    let told = Folder::new(&text).mistakes();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(
        told[2].ends_with(
            "the routes are too many and too various to see whether each alert finds one; add a last [[route]] with `notify` alone"
        ),
        "{told:#?}"
    );
    assert!(Folder::new(&format!("{text}{ALL}")).load().is_ok());
}

#[test]
fn each_mistake_of_a_route_has_its_place_and_its_mend() {
    let matching =
        |conditions: &str| format!("[[route]]\nmatch = {conditions}\nnotify = [\"night\"]\n{LAST}");
    for (routes, told) in [
        (
            matching("{ status = \"critcal\" }"),
            "15:20: `status`: \"critcal\" is not one of the known words; did you mean \"critical\"?",
        ),
        (
            matching("{ status = [\"critical\", \"ok\"] }"),
            "15:33: `status`: \"ok\" is not one of the known words; write \"warning\" or \"critical\" or \"unknown\"",
        ),
        (
            matching("{ family = \"backups\" }"),
            "15:20: `family`: \"backups\" is not one of the known words; did you mean \"backup\"?",
        ),
        (
            matching("{ need = 5 }"),
            "15:18: `need`: 5 is out of bounds; write a whole number from 1 to 4, without quotes",
        ),
        (
            matching("{ service = [\"mail\", \"dosier\"] }"),
            "15:30: `service`: no service is called \"dosier\"; did you mean \"dossier\"?",
        ),
        (
            matching("{ group = \"app2\" }"),
            "15:19: `group`: no group is called \"app2\"; did you mean \"app\"?",
        ),
        (
            matching("{ site = \"strasbourg\" }"),
            "15:18: `site`: no site is called \"strasbourg\"; write \"default\"",
        ),
        (
            matching("{ node = [] }"),
            "15:18: `node`: an empty list could mean all or none; write at least one value, or remove the key for all",
        ),
        (
            matching("{ hour = 3 }"),
            "15:11: unknown key `hour`; remove it or use one of `criticality`, `environment`, `family`, `group`, `need`, `node`, `service`, `site`, `status`",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 4 }}\n{LAST}"),
            "14:1: `notify` is missing in `route`; write `notify = [\"…\"]`",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 4 }}\nnotify = []\n{LAST}"),
            "16:10: `notify`: this route would tell nobody; name at least one receiver",
        ),
        (
            format!("[[route]]\nmatch = {{ need = 4 }}\nnotify = [\"day\", \"nigth\"]\n{LAST}"),
            "16:18: `notify`: no receiver is called \"nigth\"; did you mean \"night\"?",
        ),
        (
            matching("{}"),
            "17:1: no alert reaches this [[route]]: those above it take them all; move it up, or remove it",
        ),
        (
            "[[route]]\nnotify = [\"night\", \"day\", \"night\"]\n".to_owned(),
            "15:10: `notify`: \"night\" is named twice; name each once",
        ),
        (
            format!("[[route]]\nnotify = [\"night\"]\n{LAST}"),
            "16:1: no alert reaches this [[route]]: those above it take them all; move it up, or remove it",
        ),
        (
            "[[route]]\nmatch = { need = 4 }\nnotify = [\"night\", \"day\"]\n".to_owned(),
            "14:1: no [[route]] takes an alert with status \"critical\", need 3; add a [[route]] for it, or a last one with `notify` alone",
        ),
        (
            "[[route]]\nnotify = [\"night\"]\n".to_owned(),
            "12:11: no [[route]] names `receiver.day`; name it in the `notify` or `digest` of a `[[route]]`, or remove it",
        ),
    ] {
        let folder = Folder::new(&format!("{BASE}{routes}"));
        assert_eq!(
            folder.mistakes(),
            [format!("collector.toml:{told}")],
            "{routes}"
        );
    }
}
