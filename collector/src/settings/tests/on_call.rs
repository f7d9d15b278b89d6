//! `[person.N]`, `[rota.N]`, `[receiver.N]` with steps, `depends_on` and `[acknowledge]`.

use jiff::tz::TimeZone;
use vigie_decide::destination::Destination;
use vigie_deliver::config::{By, Detail, TargetConfig};

use super::*;

/// Two channels, three people and a rota: lines 1 to 15.
const PEOPLE: &str = r#"[channel.mail]
smtp = { host = "mx.example", from = "vigie@example.org" }
[channel.chat]
mattermost = { url_file = "{secrets}/hook" }
[person.am]
contacts = [{ channel = "chat", to = "@am" }, { channel = "mail", to = "am@example.org" }]
[person.jb]
contacts = [{ channel = "chat", to = "@jb" }]
language = "en"
[person.chef]
contacts = [{ channel = "mail", to = "chef@example.org" }]
[rota.week]
people = ["am", "jb"]
handoff = "Mon 08:30 Europe/Paris"
first = "2026-11-23"
"#;

const ROUTE: &str = "[[route]]\nnotify = [\"wake\"]\n";

fn folder(text: &str) -> Folder {
    Folder::new(text).file("hook", "https://chat.example/hooks/s3cret\n")
}

/// A receiver of these steps on lines 16 and 17, and a route to it.
fn steps(steps: &str) -> String {
    format!("{PEOPLE}[receiver.wake]\nsteps = [{steps}]\n{ROUTE}")
}

#[test]
fn people_are_told_by_each_of_their_contacts_in_their_language_and_zone() {
    let text = steps(
        "{ rota = \"week\", repeat = \"5m\" }, { after = \"15m\", people = [\"chef\"], via = [\"mail\"] }",
    );
    let text = format!(
        "{text}[calendar.a]\ntime_zone = \"Indian/Reunion\"\nopen = [\"Mon 08:00-12:00\"]\n"
    );
    let settings = folder(&text).settings();
    let wake = &settings.rules.receivers["wake"];
    assert_eq!(wake.steps.len(), 2);
    assert_eq!(wake.steps[0].rota, Some("week".parse().unwrap()));
    assert_eq!(wake.steps[0].repeat_ms, Some(300_000));
    assert_eq!(wake.steps[0].after_ms, 0);
    assert!(wake.steps[0].via.is_empty());
    assert_eq!(wake.steps[1].people, ["chef".parse().unwrap()]);
    assert_eq!(wake.steps[1].via, ["mail".parse().unwrap()]);
    assert_eq!(wake.steps[1].after_ms, 900_000);
    assert_eq!(
        wake.steps[1].repeat_ms,
        Some(600_000),
        "each step is repeated"
    );
    let am = &settings.rules.people["am"].channels;
    assert_eq!(*am, ["chat".parse().unwrap(), "mail".parse().unwrap()]);
    let told: Vec<_> = settings
        .destinations()
        .map(|told| {
            let zone = told
                .zone
                .as_ref()
                .and_then(TimeZone::iana_name)
                .unwrap_or("UTC");
            (told.destination.to_string(), told.language, zone.to_owned())
        })
        .collect();
    let line = |to: &str, language| (to.to_owned(), language, "Europe/Paris".to_owned());
    assert_eq!(
        told,
        [
            line("am/chat", Language::French),
            line("am/mail", Language::French),
            line("chef/mail", Language::French),
            line("jb/chat", Language::English),
        ],
        "the rota's zone is nearer than the calendar's"
    );
    let rules = serde_json::to_string(&settings.rules).unwrap();
    assert!(
        !rules.contains("example.org") && !rules.contains("@am"),
        "the rules hold no address: {rules}"
    );
    assert_eq!(settings.policy().zones, settings.zones);
}

#[test]
fn a_person_speaks_the_language_of_who_calls_them_and_receivers_their_own() {
    let text = format!(
        "{PEOPLE}[receiver.wake]\nsteps = [{{ rota = \"week\" }}]\nlanguage = \"en\"\n\
         [calendar.reunion]\ntime_zone = \"Indian/Reunion\"\nopen = [\"Mon 08:00-12:00\"]\n\
         [receiver.team]\ncalendar = \"reunion\"\nemail = {{ to = [\"team@example.org\"] }}\n\
         [receiver.hook]\nwebhook = {{ url = \"https://hook.example/\" }}\n\
         [receiver.room]\ncontact = {{ channel = \"chat\" }}\n\
         [[route]]\nnotify = [\"wake\", \"team\", \"hook\", \"room\"]\n"
    );
    let settings = folder(&text).settings();
    let told: BTreeMap<String, TargetConfig> = settings
        .destinations()
        .map(|told| (told.destination.to_string(), told))
        .collect();
    let zone = |to: &str| {
        told[to]
            .zone
            .as_ref()
            .and_then(TimeZone::iana_name)
            .unwrap()
    };
    assert_eq!(told["am/mail"].language, Language::English);
    assert_eq!(
        told["chef/mail"].language,
        Language::French,
        "nobody calls them"
    );
    assert_eq!(zone("am/chat"), "Europe/Paris");
    assert_eq!(zone("team"), "Indian/Reunion");
    assert_eq!(
        zone("hook"),
        "Indian/Reunion",
        "the first calendar's, having none"
    );
    assert!(matches!(told["hook"].by, By::Webhook(_)));
    assert!(matches!(told["room"].by, By::Contact(_)));
    assert_eq!(told["hook"].by.detail(), Detail::Full);
    assert_eq!(told.len(), 7, "{:?}", told.keys());
    assert!(
        !told.contains_key("wake"),
        "who is told step by step has no address"
    );
    assert_eq!(
        told["am/chat"].destination,
        Destination::Person {
            person: "am".parse().unwrap(),
            channel: "chat".parse().unwrap(),
        }
    );
}

#[test]
fn each_mistake_of_a_rota_has_its_place_and_its_mend() {
    let rota = |lines: &str| format!("[person.am]\n[person.jb]\n[rota.week]\n{lines}\n");
    let whole =
        "people = [\"am\", \"jb\"]\nhandoff = \"Mon 08:30 Europe/Paris\"\nfirst = \"2026-11-23\"\n";
    for (lines, told) in [
        (
            whole.replace("jb", "jbb"),
            "4:17: `people`: no person is called \"jbb\"; did you mean \"jb\"?",
        ),
        (
            whole.replace("\"am\", \"jb\"", ""),
            "4:10: `people`: nobody would ever be on call; name at least one person",
        ),
        (
            whole.replace("Mon 08:30", "Monday morning"),
            "5:11: `handoff`: \"Monday morning Europe/Paris\" is no hand-off; write \"Mon 08:30 Europe/Paris\", or \"08:30 Europe/Paris\" for every day",
        ),
        (
            whole.replace("Paris", "Paros"),
            "5:11: `handoff`: no time zone is called \"Europe/Paros\"; did you mean \"Europe/Paris\"?",
        ),
        (
            whole.replace("11-23", "11-24"),
            "6:9: `first`: 2026-11-24 is a Tuesday, and shifts begin on a Monday; write the date of the first person's first hand-off",
        ),
        (
            whole.replace("2026-11-23", "23/11/2026"),
            "6:9: `first`: \"23/11/2026\" is no date; write \"2026-11-23\"",
        ),
        (
            whole.to_owned()
                + "overrides = [{ from = \"2026-12-24 18:00\", to = \"2026-12-26 8:30\", person = \"jb\" }]",
            "7:48: `to`: \"2026-12-26 8:30\" is no date and time of day; write \"2026-12-24 18:00\"",
        ),
        (
            whole.to_owned()
                + "overrides = [{ from = \"2026-12-26 08:30\", to = \"2026-12-24 18:00\", person = \"jb\" }]",
            "7:48: `to`: this ends before it begins; write the later time as `to`",
        ),
        (
            whole.to_owned()
                + "overrides = [{ from = \"2026-12-24 18:00\", to = \"2026-12-26 08:30\", person = \"jbb\" }]",
            "7:77: `person`: no person is called \"jbb\"; did you mean \"jb\"?",
        ),
        (
            whole.to_owned()
                + "overrides = [{ from = \"2026-12-24 18:00\", to = \"2026-12-26 08:30\" }]",
            "7:14: `person` is missing in `rota.week.overrides`; write `person = \"…\"`",
        ),
    ] {
        let text = rota(&lines);
        assert_eq!(
            Folder::new(&text).mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
    let daily = rota(&whole.replace("Mon ", "").replace("11-23", "11-24"))
        + "overrides = [{ from = \"2026-12-24 18:00\", to = \"2026-12-26 08:30\", person = \"am\" }]\n";
    let settings = Folder::new(&daily).settings();
    let rota = &settings.rules.rotas["week"];
    assert_eq!(rota.handoff.day, None);
    assert_eq!(rota.overrides[0].person.as_str(), "am");
    assert_eq!(rota.overrides[0].from.to_string(), "2026-12-24T18:00:00");
    assert!(settings.zones.find("Europe/Paris").is_some());
}

#[test]
fn each_mistake_of_steps_has_its_place_and_its_mend() {
    for (written, told) in [
        ("", "17:9: `steps`: 0 are too few; write 1 to 10".to_owned()),
        (
            "{ via = [\"mail\"] }",
            "17:10: this step tells nobody; write `rota = \"…\"` or `people = [\"…\"]`, one of the two".to_owned(),
        ),
        (
            "{ people = [] }",
            "17:21: `people`: this step tells nobody; name at least one person".to_owned(),
        ),
        (
            "{ rota = \"week\", people = [\"chef\"] }",
            "17:10: this step has both `rota` and `people`; write `rota = \"…\"` or `people = [\"…\"]`, one of the two".to_owned(),
        ),
        (
            "{ rota = \"weak\" }",
            "17:19: `rota`: no rota is called \"weak\"; did you mean \"week\"?".to_owned(),
        ),
        (
            "{ people = [\"am\", \"jbb\"] }",
            "17:28: `people`: no person is called \"jbb\"; did you mean \"jb\"?".to_owned(),
        ),
        (
            "{ people = [\"am\", \"am\"] }",
            "17:21: `people`: \"am\" is named twice; name each once".to_owned(),
        ),
        (
            "{ people = [\"am\"], after = \"5m\" }",
            "17:37: `after`: the first step begins at once; remove it".to_owned(),
        ),
        (
            "{ people = [\"am\"] }, { people = [\"chef\"] }",
            "17:31: only the first step has no `after`; write how long after the step before this one is added, such as `after = \"15m\"`".to_owned(),
        ),
        (
            "{ people = [\"am\"], repeat = \"10s\" }",
            "17:38: `repeat`: 10s is out of bounds; write a duration from \"1m\" to \"1d\"".to_owned(),
        ),
        (
            "{ people = [\"am\"], via = [\"chat\", \"sms\"] }",
            "17:44: `via`: no channel is called \"sms\"; write \"chat\" or \"mail\"".to_owned(),
        ),
        (
            "{ people = [\"am\"], via = [] }",
            "17:35: `via`: an empty list could mean all or none; name at least one channel, or remove the key for each person's own".to_owned(),
        ),
        (
            "{ people = [\"am\", \"chef\"], via = [\"chat\"] }",
            "17:21: `people`: \"chef\" cannot be reached by \"chat\"; add `{ channel = \"chat\", to = \"…\" }` to `contacts` in `[person.chef]`".to_owned(),
        ),
        (
            "{ rota = \"week\", via = [\"mail\"] }",
            "17:19: `rota`: \"jb\" cannot be reached by \"mail\"; add `{ channel = \"mail\", to = \"…\" }` to `contacts` in `[person.jb]`".to_owned(),
        ),
    ] {
        let text = steps(written);
        assert_eq!(
            folder(&text).mistakes(),
            [format!("collector.toml:{told}")],
            "{written}"
        );
    }
    let eleven =
        "{ people = [\"am\"] }".to_owned() + &", { people = [\"am\"], after = \"1m\" }".repeat(10);
    assert_eq!(
        folder(&steps(&eleven)).mistakes(),
        ["collector.toml:17:9: `steps`: 11 are too many; write 1 to 10"]
    );
    let nobody = steps("{ people = [\"new\"] }") + "[person.new]\n";
    assert_eq!(
        folder(&nobody).mistakes(),
        [
            "collector.toml:17:21: `people`: \"new\" has no contact; add `{ channel = \"…\", to = \"…\" }` to `contacts` in `[person.new]`"
        ]
    );
    let either = steps("{ people = [\"chef\", \"jb\"], via = [\"mail\", \"chat\"] }");
    assert!(folder(&either).load().is_ok());
}

#[test]
fn each_mistake_of_a_receiver_has_its_place_and_its_mend() {
    for (lines, told) in [
        (
            "webhook = { url = \"https://x.example/\" }\nsteps = [{ people = [\"am\"] }]",
            "18:9: `receiver.wake` has both `webhook` and `steps`; keep one of the two, and declare another receiver for the other",
        ),
        (
            "email = { to = [\"a@b.example\"] }\ncontact = { channel = \"chat\" }",
            "18:1: `receiver.wake` has both `email` and `contact`; keep one of the two, and declare another receiver for the other",
        ),
        (
            "email = { to = [\"a@b.example\"] }\ndigest = \"always\"",
            "18:10: `digest`: without a `calendar` nobody knows when a digest is due; write `calendar = \"…\"`, or remove it",
        ),
        (
            "steps = [{ people = [\"am\"] }]\ndigest = \"always\"",
            "18:10: `digest`: steps wake people, they get no digest; remove it, and name another receiver in the `digest` of a route",
        ),
        (
            "email = { to = [\"a@b.example\"] }\ncalendar = \"bureau\"",
            "18:12: `calendar`: no calendar is called \"bureau\"; declare a calendar first",
        ),
        (
            "email = { to = [\"a@b.example\"] }\ncalendar = \"bureau\"\ndigest = \"allways\"",
            "18:12: `calendar`: no calendar is called \"bureau\"; declare a calendar first",
        ),
    ] {
        let text = format!("{PEOPLE}[receiver.wake]\n{lines}\n{ROUTE}");
        let found = folder(&text).mistakes();
        assert_eq!(found[0], format!("collector.toml:{told}"), "{lines}");
        assert_eq!(found.len(), 1 + usize::from(lines.contains("allways")));
    }
}

#[test]
fn people_in_a_file_that_everybody_can_read_are_refused_once_for_each_file() {
    let folder = folder("").file("conf.d/people.toml", "[person.am]\n[person.jb]\n");
    let path = folder.path("conf.d/people.toml");
    let with_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o600, 0o640, 0o400] {
        with_mode(mode);
        assert!(folder.load().is_ok(), "{mode:o}");
    }
    with_mode(0o644);
    assert_eq!(
        folder.mistakes(),
        [
            "conf.d/people.toml:1:9: people and how to reach them stand in a file that everybody can read (mode 0644); run `chmod 0640 conf.d/people.toml`"
        ]
    );
}

#[test]
fn services_that_wait_for_each_other_are_told_as_a_circle() {
    let service = |name: &str, on: &str| {
        format!(
            "[service.{name}]\ncriticality = \"standard\"\nneeds = {{ D = 1, I = 1, C = 1, T = 1 }}\n{on}"
        )
    };
    let text = service("a", "depends_on = [\"b\"]\n")
        + &service("b", "depends_on = [\"c\"]\n")
        + &service("c", "");
    let settings = Folder::new(&text).settings();
    assert_eq!(
        settings.rules.services["a"].depends_on,
        ["b".parse().unwrap()].into()
    );
    for (last, told) in [
        (
            "depends_on = [\"a\"]\n",
            "4:14: `depends_on`: these services wait for each other: a → b → c → a; keep the direction in which a failure spreads",
        ),
        (
            "depends_on = [\"c\"]\n",
            "12:14: `depends_on`: these services wait for each other: c → c; keep the direction in which a failure spreads",
        ),
        (
            "depends_on = [\"dd\"]\n",
            "12:15: `depends_on`: no service is called \"dd\"; write \"a\" or \"b\" or \"c\"",
        ),
        (
            "depends_on = [\"vigie\"]\n",
            "12:15: `depends_on`: no service is called \"vigie\"; write \"a\" or \"b\" or \"c\"",
        ),
    ] {
        let text = service("a", "depends_on = [\"b\"]\n")
            + &service("b", "depends_on = [\"c\"]\n")
            + &service("c", last);
        assert_eq!(
            Folder::new(&text).mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
}

#[test]
fn links_have_an_address_and_bounds() {
    let written =
        "[acknowledge]\nlisten = \"127.0.0.1:9479\"\nurl = \"https://vigie.example/ack/\"\n";
    let usual = Folder::new(written).settings().acknowledge.unwrap();
    assert_eq!(usual.listen, "127.0.0.1:9479".parse().unwrap());
    assert_eq!(usual.url, "https://vigie.example/ack");
    assert_eq!(usual.lasts, Duration::from_secs(86_400));
    assert_eq!((usual.tls, usual.expires), (None, None));
    let set = format!("{written}lasts = \"8h\"\nexpires = \"4h\"\n");
    let set = Folder::new(&set).settings().acknowledge.unwrap();
    assert_eq!(set.lasts, Duration::from_secs(8 * 3_600));
    assert_eq!(set.expires, Some(Duration::from_secs(4 * 3_600)));
    assert_eq!(Folder::new("").settings().acknowledge, None);

    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["vigie.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let open = written.replace("127.0.0.1", "0.0.0.0")
        + "tls = { certificate_file = \"{secrets}/certificate.pem\", key_file = \"{secrets}/key.pem\" }\n";
    let folder = Folder::new(&open)
        .file("certificate.pem", &certificate)
        .file("key.pem", &key.serialize_pem());
    assert!(folder.settings().acknowledge.unwrap().tls.is_some());
}

#[test]
fn each_mistake_of_links_has_its_place_and_its_mend() {
    let listen = "listen = \"127.0.0.1:9479\"";
    let url = "url = \"https://vigie.example/ack\"";
    for (lines, told) in [
        (
            url.to_owned(),
            "1:2: `listen` is missing in `acknowledge`; write `listen = \"…\"`",
        ),
        (
            listen.to_owned(),
            "1:2: `url` is missing in `acknowledge`; write `url = \"https://…\"`",
        ),
        (
            format!("listen = \"0.0.0.0:9479\"\n{url}"),
            "2:10: `listen`: links would travel without encryption; write `tls = { certificate_file = \"…\", key_file = \"…\" }`, or an address of this machine alone, such as 127.0.0.1",
        ),
        (
            format!("listen = \"127.0.0.1:9443\"\n{url}"),
            "2:10: `listen`: port 9443 is taken already; write another port",
        ),
        (
            format!("{listen}\nurl = \"http://vigie.example/ack\""),
            "3:7: `url`: links would travel without encryption; write an address with https://",
        ),
        (
            format!("{listen}\nurl = \"https://vigie.example/?a=b\""),
            "3:7: `url`: the address has a query; remove it; links are made by adding to the path",
        ),
        (
            format!("{listen}\n{url}\nlasts = \"1m\""),
            "4:9: `lasts`: 1m is out of bounds; write a duration from \"10m\" to \"7d\"",
        ),
        (
            format!("{listen}\n{url}\nexpires = \"30d\""),
            "4:11: `expires`: 30d is out of bounds; write a duration from \"10m\" to \"7d\"",
        ),
        (
            format!(
                "{listen}\n{url}\ntls = {{ certificate_file = \"{{secrets}}/none\", key_file = \"{{secrets}}/collector.toml\" }}"
            ),
            "4:28: `certificate_file`: cannot read none: No such file or directory (os error 2); put the certificate there as PEM",
        ),
    ] {
        let text = format!("[acknowledge]\n{lines}\n");
        assert_eq!(
            Folder::new(&text).mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
}

#[test]
fn text_messages_of_everything_are_warned_of_and_a_webhook_may_say_less() {
    let sms = |detail: &str, body: &str| {
        let text = format!(
            "{BASE}{LAST}[channel.sms]\nhttp = {{ url = \"https://sms.example/\", body = '{body}' }}\n{detail}\n"
        );
        let warnings = Folder::new(&text).settings().warnings;
        warnings
            .iter()
            .map(|warning| (warning.what.clone(), warning.mend.clone()))
            .collect::<Vec<_>>()
    };
    let warnings = sms("", "{\"text\":\"{text}\"}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].0.contains("`channel.sms`"), "{warnings:?}");
    assert!(
        warnings[0].1.contains("detail = \"minimal\""),
        "{warnings:?}"
    );
    assert_eq!(sms("detail = \"minimal\"", "{\"text\":\"{text}\"}"), []);
    assert_eq!(sms("", "{\"text\":\"{title}\"}"), []);

    let text = format!("{BASE}{LAST}").replace(
        "url = \"https://chat.example/\"",
        "url = \"https://chat.example/\", detail = \"minimal\"",
    );
    let settings = Folder::new(&text).settings();
    let told: Vec<String> = settings
        .destinations()
        .map(|told| format!("{} {:?}", told.destination, told.by.detail()))
        .collect();
    assert_eq!(told, ["day Minimal", "night Full"]);
}
