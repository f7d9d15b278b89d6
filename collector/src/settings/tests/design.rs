//! The example of the design page, word for word.

use vigie_decide::{
    calendar::holidays::{HolidaySet, Territory},
    mute::{Nodes, Scope},
    rota::Rota,
    rules::{EscalationStep, Group, Maintenance, Receiver, Route, Rules, Service, When},
};

use super::*;

const EXAMPLE: &str = r#"
language = "fr"                      # of messages; a receiver may set its own
silent_after = "2m"
[outside_watch]                      # sent only while deciding and delivering work
url_file = "/etc/vigie/secrets/outside-watch-url"
every = "1m"
[service.dossier-patient]            # `vigie` itself is a built-in critical service
criticality = "critical"             # critical | important | standard
needs = { D = 4, I = 4, C = 4, T = 3 }
runbook = "https://wiki.gradest.example/dossier-patient"
[service.messagerie]
criticality = "important"
needs = { D = 3, I = 4, C = 4, T = 4 }
[group.app-strasbourg]               # an Ansible group; its nodes may speak for these services only
nodes = ["app-01", "app-02", "db-01"]
services = ["dossier-patient", "messagerie"]
site = "strasbourg"
environment = "production"
[calendar.bureau]                    # when the TEAM is at work; all the rest is on-call time
time_zone = "Europe/Paris"
open = ["Mon-Fri 08:30-18:00"]
holidays = { country = "fr", alsace_moselle = true, good_friday = true }
closed = ["2026-12-24 12:30-24:00", "2027-05-07"]    # a dated line beats a holiday, a holiday beats the week
opened = ["2027-05-17"]
[maintenance.correctifs]             # mutes host, availability and silence only
groups = ["app-strasbourg"]
window = "2nd Tue 22:00-02:00 Europe/Paris"
[channel.mail]
smtp = { host = "smtp.gradest.example", port = 587, tls = "starttls", user = "vigie", password_file = "/etc/vigie/secrets/smtp" }
[channel.sms]
http = { url = "https://sms.example/send", header_file = "/etc/vigie/secrets/sms", body = '{"to":"{to}","text":"{text}"}' }
detail = "minimal"                   # leaves the HDS perimeter: number, service, state, since; no node, no finding
[rota.astreinte]
people = ["am", "jb", "lk", "sd"]    # addresses and numbers in conf.d/people.toml, 0600
handoff = "Mon 08:30 Europe/Paris"
first = "2026-11-23"
[receiver.astreinte]
steps = [{ rota = "astreinte", via = ["sms"], repeat = "5m" }, { after = "15m", people = ["chef"], via = ["sms", "mail"], repeat = "10m" }]
[receiver.equipe-sis]
calendar = "bureau"                  # where its holds and digests wait
email = { to = ["sis@gradest.example"] }
digest = "always"                    # also when empty: a missing morning mail is itself a sign
[[route]]                            # a critical service down, or unmeasured for 5 minutes, at night: wake
match = { criticality = "critical", status = ["critical", "unknown"], environment = "production" }
outside = "bureau"
notify = ["astreinte"]
digest = ["equipe-sis"]              # and in the team's next digest
[[route]]                            # tampering, lost backup, broken TLS: wake where that very need is 4
match = { need = 4, family = ["integrity", "backup", "tls"], status = "critical", environment = "production" }
outside = "bureau"
notify = ["astreinte"]
digest = ["equipe-sis"]
[[route]]                            # everything else: at once in hours, else held on disk until the opening
notify = ["equipe-sis"]
hold = true
"#;

const PEOPLE: &str = r#"
[person.am]
contacts = [{ channel = "sms", to = "+33600000001" }]
[person.jb]
contacts = [{ channel = "sms", to = "+33600000002" }]
[person.lk]
contacts = [{ channel = "sms", to = "+33600000003" }, { channel = "mail", to = "lk@gradest.example" }]
[person.sd]
contacts = [{ channel = "sms", to = "+33600000004" }]
[person.chef]
contacts = [{ channel = "mail", to = "chef@gradest.example" }]
"#;

fn all<T: FromStr<Err: fmt::Debug>, C: FromIterator<T>>(names: &[&str]) -> C {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn expected() -> Rules {
    let needs = |d, i, c, t| Needs {
        availability: d,
        integrity: i,
        confidentiality: c,
        traceability: t,
    };
    let person = |channels: &[&str]| vigie_decide::rules::Person {
        channels: all(channels),
    };
    let night = |matches| Route {
        matches,
        when: Some(When::Outside("bureau".parse().unwrap())),
        notify: all(&["astreinte"]),
        digest: all(&["equipe-sis"]),
        hold: false,
    };
    Rules {
        silent_after_ms: 120_000,
        services: [
            (
                "dossier-patient".parse().unwrap(),
                Service {
                    criticality: Criticality::Critical,
                    needs: needs(4, 4, 4, 3),
                    runbook: Some("https://wiki.gradest.example/dossier-patient".to_owned()),
                    depends_on: BTreeSet::new(),
                },
            ),
            (
                "messagerie".parse().unwrap(),
                Service {
                    criticality: Criticality::Important,
                    needs: needs(3, 4, 4, 4),
                    runbook: None,
                    depends_on: BTreeSet::new(),
                },
            ),
        ]
        .into(),
        groups: [(
            "app-strasbourg".parse().unwrap(),
            Group {
                nodes: all(&["app-01", "app-02", "db-01"]),
                services: all(&["dossier-patient", "messagerie"]),
                site: "strasbourg".parse().unwrap(),
                environment: Environment::Production,
            },
        )]
        .into(),
        calendars: [(
            "bureau".parse().unwrap(),
            vigie_decide::calendar::Calendar {
                time_zone: "Europe/Paris".to_owned(),
                open: all(&["Mon-Fri 08:30-18:00"]),
                holidays: Some(HolidaySet {
                    territory: Territory::Metropole,
                    alsace_moselle: true,
                    good_friday: true,
                }),
                closed: all(&["2026-12-24 12:30-24:00", "2027-05-07"]),
                opened: all(&["2027-05-17"]),
            },
        )]
        .into(),
        people: [
            ("am".parse().unwrap(), person(&["sms"])),
            ("jb".parse().unwrap(), person(&["sms"])),
            ("lk".parse().unwrap(), person(&["sms", "mail"])),
            ("sd".parse().unwrap(), person(&["sms"])),
            ("chef".parse().unwrap(), person(&["mail"])),
        ]
        .into(),
        rotas: [(
            "astreinte".parse().unwrap(),
            Rota {
                people: all(&["am", "jb", "lk", "sd"]),
                handoff: "Mon 08:30 Europe/Paris".to_owned().try_into().unwrap(),
                first: "2026-11-23".parse().unwrap(),
                overrides: Vec::new(),
            },
        )]
        .into(),
        receivers: [
            (
                "astreinte".parse().unwrap(),
                Receiver {
                    calendar: None,
                    digest_always: false,
                    steps: vec![
                        EscalationStep {
                            after_ms: 0,
                            rota: Some("astreinte".parse().unwrap()),
                            people: Vec::new(),
                            via: all(&["sms"]),
                            repeat_ms: Some(300_000),
                        },
                        EscalationStep {
                            after_ms: 900_000,
                            rota: None,
                            people: all(&["chef"]),
                            via: all(&["sms", "mail"]),
                            repeat_ms: Some(600_000),
                        },
                    ],
                },
            ),
            (
                "equipe-sis".parse().unwrap(),
                Receiver {
                    calendar: Some("bureau".parse().unwrap()),
                    digest_always: true,
                    steps: Vec::new(),
                },
            ),
        ]
        .into(),
        maintenance: [(
            "correctifs".parse().unwrap(),
            Maintenance {
                place: Nodes {
                    nodes: BTreeSet::new(),
                    groups: all(&["app-strasbourg"]),
                },
                window: "2nd Tue 22:00-02:00 Europe/Paris"
                    .to_owned()
                    .try_into()
                    .unwrap(),
                scope: Scope::Reachability,
                reason: "correctifs".to_owned(),
            },
        )]
        .into(),
        routes: vec![
            night(Match {
                criticality: [Criticality::Critical].into(),
                status: [Status::Critical, Status::Unknown].into(),
                environment: [Environment::Production].into(),
                ..Match::default()
            }),
            night(Match {
                need: [4].into(),
                family: [Family::Integrity, Family::Backup, Family::Tls].into(),
                status: [Status::Critical].into(),
                environment: [Environment::Production].into(),
                ..Match::default()
            }),
            Route {
                notify: all(&["equipe-sis"]),
                hold: true,
                ..Route::default()
            },
        ],
    }
}

#[test]
fn the_example_of_the_design_says_what_it_means() {
    let text = EXAMPLE.replace("/etc/vigie/secrets", "{secrets}");
    let settings = Folder::new(&text)
        .file("conf.d/people.toml", PEOPLE)
        .file("outside-watch-url", "https://watch.example/s3cret\n")
        .file("smtp", "s3cret\n")
        .file("sms", "X-Key: s3cret\n")
        .settings();
    assert_eq!(settings.rules, expected());
    assert_eq!(settings.warnings, []);
    let told: Vec<String> = settings
        .destinations()
        .map(|told| format!("{} {:?}", told.destination, told.by.detail()))
        .collect();
    assert_eq!(
        told,
        [
            "equipe-sis Full",
            "am/sms Minimal",
            "chef/mail Full",
            "jb/sms Minimal",
            "lk/sms Minimal",
            "lk/mail Full",
            "sd/sms Minimal",
        ]
    );
    let ReceiverKind::Contact(team) = &settings.receivers["equipe-sis"].way else {
        panic!("it is told by mail");
    };
    let ContactChannel::Email(email) = &team.way else {
        panic!("it is told by mail");
    };
    // The page leaves out who the mail is from.
    assert_eq!(email.smtp.from.to_string(), "vigie@gradest.example");
    let rules = serde_json::to_string(&settings.rules).unwrap();
    assert_eq!(
        serde_json::from_str::<Rules>(&rules).unwrap(),
        settings.rules,
        "what is kept beside the log decides the same"
    );
}
