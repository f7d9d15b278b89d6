#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt};

use vigie_core::status::{Criticality, Environment, Family, Needs, Status};
use vigie_decide::rules::Match;
use vigie_deliver::config::{Address, Contact, ContactChannel, SmtpTls, WebhookFormat};

use super::*;

mod addresses;
mod calendars;
mod design;
mod on_call;
mod routing;

const SHIPPED: &str = include_str!("../../../packaging/collector.toml");

/// Two services, a group, two receivers and no route: lines 1 to 13.
const BASE: &str = r#"[service.dossier]
criticality = "critical"
needs = { D = 4, I = 4, C = 4, T = 3 }
[service.mail]
criticality = "important"
needs = { D = 3, I = 4, C = 4, T = 4 }
[group.app]
nodes = ["app-01", "app-02"]
services = ["dossier", "mail"]
[receiver.night]
webhook = { url = "https://pager.example/" }
[receiver.day]
webhook = { url = "https://chat.example/" }
"#;

/// A last route that names both receivers.
const LAST: &str = "[[route]]\nnotify = [\"night\", \"day\"]\n";

/// A folder with settings files; paths in what is told are shown relative to it.
struct Folder {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Folder {
    fn new(main: &str) -> Self {
        let folder = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        };
        fs::create_dir(folder.path("conf.d")).unwrap();
        fs::set_permissions(folder.path("conf.d"), fs::Permissions::from_mode(0o755)).unwrap();
        folder.file("collector.toml", main)
    }

    /// A file of mode 0600. `{secrets}` in it becomes the folder's path.
    fn file(self, name: &str, text: &str) -> Self {
        let text = text.replace("{secrets}", &self.folder.path().display().to_string());
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn variable(mut self, name: &'static str, text: &'static str) -> Self {
        self.variables.push((name, text));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Settings {
        match self.load() {
            Ok(settings) => settings,
            Err(mistakes) => panic!("{mistakes}"),
        }
    }

    fn mistakes(&self) -> Vec<String> {
        let Err(mistakes) = self.load() else {
            panic!("these settings have mistakes");
        };
        let prefix = format!("{}/", self.folder.path().display());
        let text = mistakes.to_string().replace(&prefix, "");
        text.lines().map(str::to_owned).collect()
    }

    fn load(&self) -> Result<Settings, Mistakes> {
        load(&self.path("collector.toml"), self.variables.iter().copied())
    }
}

/// Text with the settings that stand behind a `#` switched on.
fn with_everything(shipped: &str) -> String {
    let is_setting = |c: char| c.is_ascii_lowercase() || c == '[';
    shipped
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(is_setting) => setting,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_settings_say_what_an_empty_file_says() {
    let shipped = Folder::new(SHIPPED).settings();
    assert_eq!(shipped, Folder::new("").settings());
    assert_eq!(shipped.data_dir, Path::new("/var/lib/vigie-collector"));
    assert_eq!(shipped.listen, "0.0.0.0:9443".parse().unwrap());
    assert_eq!(shipped.metrics_listen, "127.0.0.1:9477".parse().unwrap());
    assert_eq!(shipped.domain, "vigie");
    assert_eq!(shipped.rules.silent_after_ms, 120_000);
    assert!(shipped.rules.routes.is_empty() && shipped.receivers.is_empty());
}

#[test]
fn every_setting_that_the_shipped_file_offers_is_accepted() {
    let text = with_everything(SHIPPED)
        .replace("/etc/vigie/secrets", "{secrets}")
        .replace("/etc/vigie/scrape", "{secrets}");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["vigie.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let folder = Folder::new(&text)
        .file("certificate.pem", &certificate)
        .file("clients.pem", &certificate)
        .file("key.pem", &key.serialize_pem())
        .file("token", "0123456789abcdef0123456789abcdef\n")
        .file("outside-watch-url", "https://watch.example/s3cret\n")
        .file("tableau-header", "Authorization: Bearer s3cret\n")
        .file("smtp", "s3cret\n")
        .file("sms", "X-Key: s3cret\n")
        .file("tableau-url", "https://chat.example/s3cret\n");
    let settings = folder.settings();
    assert_eq!(settings.scrape.scheme(), "https");
    assert_eq!(settings.host, ["vigie.example", "192.0.2.10"]);
    assert_eq!(
        settings.outside_watch.as_ref().unwrap().every,
        Duration::from_secs(60)
    );
    let probes: Vec<String> = settings.probes.iter().map(ToString::to_string).collect();
    assert_eq!(probes, ["gateway.example:443", "192.0.2.1:53"]);
    let rules = &settings.rules;
    assert_eq!(
        rules.services["dossier-patient"].needs,
        Needs {
            availability: 4,
            integrity: 4,
            confidentiality: 4,
            traceability: 3
        }
    );
    assert_eq!(
        rules.services["dossier-patient"].runbook.as_deref(),
        Some("https://wiki.example/dossier-patient")
    );
    assert_eq!(rules.groups["app-strasbourg"].nodes.len(), 3);
    assert_eq!(rules.groups["app-strasbourg"].site.as_str(), "strasbourg");
    assert_eq!(
        rules.routes[1].matches,
        Match {
            need: [4].into(),
            family: [Family::Integrity, Family::Backup, Family::Tls].into(),
            status: [Status::Critical].into(),
            environment: [Environment::Production].into(),
            ..Match::default()
        }
    );
    let night = &settings.receivers["astreinte"];
    assert_eq!(night.way, ReceiverKind::Steps);
    assert!(night.language.is_none());
    let board = &settings.receivers["tableau"];
    let ReceiverKind::Webhook(webhook) = &board.way else {
        panic!("{board:?}");
    };
    assert_eq!(webhook.format, WebhookFormat::Alertmanager);
    assert_eq!(board.language, Some(Language::English));
    assert!(webhook.header_file.is_some());
    assert!(matches!(webhook.address, Address::File(_)));
    let ReceiverKind::Contact(Contact {
        way: ContactChannel::Email(email),
        ..
    }) = &settings.receivers["equipe-sis"].way
    else {
        panic!("the receiver `equipe-sis` is told by mail");
    };
    assert_eq!(email.smtp.port, 587);
    assert_eq!(email.smtp.tls, SmtpTls::Starttls);
    assert_eq!(email.to.len(), 2);
    assert!(
        rules.receivers.keys().eq(settings.receivers.keys()),
        "the rules name the receivers that have an address"
    );
    assert!(rules.people.keys().eq(settings.people.keys()));
    assert_eq!(settings.warnings, []);
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("tableau-url"),
        "{shown}"
    );
}

#[test]
fn every_condition_of_a_route_takes_one_value_or_several() {
    let route = |conditions: &str| {
        let text = format!(
            "{BASE}[group.b]\nnodes = []\nservices = []\nsite = \"lyon\"\n\
             [[route]]\nmatch = {{ {conditions} }}\nnotify = \"night\"\n{LAST}"
        );
        Folder::new(&text).settings().rules.routes[0].clone()
    };
    let one = route(
        "criticality = \"critical\", service = \"mail\", family = \"host\", status = \"unknown\", node = \"stranger\", group = \"app\", site = \"lyon\", environment = \"test\", need = 3",
    );
    assert_eq!(
        one.matches,
        Match {
            criticality: [Criticality::Critical].into(),
            service: ["mail".parse().unwrap()].into(),
            family: [Family::Host].into(),
            status: [Status::Unknown].into(),
            node: ["stranger".parse().unwrap()].into(),
            group: ["app".parse().unwrap()].into(),
            site: ["lyon".parse().unwrap()].into(),
            environment: [Environment::Test].into(),
            need: [3].into(),
        }
    );
    assert_eq!(one.notify, ["night".parse().unwrap()]);
    let several = route(
        "criticality = [\"important\", \"standard\"], service = [\"vigie\", \"mail\"], family = [\"host\", \"vigie\"], status = [\"warning\", \"critical\"], node = [\"a\", \"b\"], group = [\"app\", \"b\"], site = [\"default\", \"lyon\"], environment = [\"staging\", \"development\"], need = [1, 2]",
    );
    let m = &several.matches;
    let counts = [
        m.criticality.len(),
        m.service.len(),
        m.family.len(),
        m.status.len(),
        m.node.len(),
        m.group.len(),
        m.site.len(),
        m.environment.len(),
        m.need.len(),
    ];
    assert_eq!(counts, [2; 9]);
}

#[test]
fn tables_may_be_spread_over_files() {
    let settings = Folder::new("language = \"en\"\n")
        .file("conf.d/services.toml", BASE)
        .file("conf.d/routes.toml", LAST)
        .variable("VIGIE__SILENT_AFTER", "45s")
        .settings();
    assert_eq!(settings.silent_after, Duration::from_secs(45));
    assert_eq!(settings.rules.silent_after_ms, 45_000);
    assert_eq!(settings.rules.services.len(), 2);
    assert_eq!(settings.language, Language::English);
}

#[test]
fn the_trust_domain_is_the_first_dns_name() {
    let domain = |text: &str| Folder::new(text).settings().domain;
    assert_eq!(domain("host = [\"192.0.2.1\"]"), "vigie");
    assert_eq!(
        domain("host = [\"192.0.2.1\", \"Vigie.Example\", \"b.example\"]"),
        "vigie.example"
    );
    assert_eq!(
        domain("domain = \"hds.example\"\nhost = [\"a.example\"]"),
        "hds.example"
    );
    // As `init` is given it.
    assert_eq!(domain_of(&["A.Example.".to_owned()]), "a.example");
}

#[test]
fn each_mistake_of_a_value_has_its_place_and_its_mend() {
    for (text, told) in [
        (
            "data_dir = \"data\"",
            "1:12: `data_dir`: \"data\" is not an absolute path; write a path that begins with `/`",
        ),
        (
            "listen = \"9443\"",
            "1:10: `listen`: \"9443\" is not an IP address and a port; write an address such as \"0.0.0.0:9443\" or \"[::]:9443\"",
        ),
        (
            "metrics_listen = \"0.0.0.0:9477\"",
            "1:18: `metrics_listen`: metrics would be open to other machines; write an address of this machine alone, such as 127.0.0.1, or a section `[scrape]` with `certificate_file`, `key_file`, and `client_ca_file` or `bearer_file`",
        ),
        (
            "metrics_listen = \"127.0.0.1:9443\"",
            "1:18: `metrics_listen`: agents and metrics would share port 9443; write another port",
        ),
        (
            "listen = \"127.0.0.1:9477\"",
            "1:10: `listen`: agents and metrics would share port 9477; write another port",
        ),
        (
            "host = [\"vigie.example\", \"https://vigie.example\"]",
            "1:26: `host`: \"https://vigie.example\" is not valid: it is neither a DNS name nor an IP address; write DNS names or IP addresses, without scheme and port",
        ),
        (
            "domain = \"Vigie Example\"",
            "1:10: `domain`: \"Vigie Example\" is not a trust domain; write up to 253 lower-case letters, digits, `.`, `_`, `-`",
        ),
        (
            "language = \"de\"",
            "1:12: `language`: \"de\" is not one of the known words; write \"fr\" or \"en\"",
        ),
        (
            "log_level = \"loud\"",
            "1:13: `log_level`: \"loud\" is not a log level; write \"error\", \"warn\", \"info\" or \"debug\"",
        ),
        (
            "silent_after = \"2h\"",
            "1:16: `silent_after`: 2h is out of bounds; write a duration from \"10s\" to \"1h\"",
        ),
        (
            "silent_after = 120",
            "1:16: `silent_after`: this is an integer, not text; put it in quotes",
        ),
        (
            "probes = [\"gateway.example\"]",
            "1:11: `probes`: \"gateway.example\" is not valid: a probe is a DNS name or an IP address, `:` and a port; write \"host.example:443\", \"192.0.2.1:53\" or \"[2001:db8::1]:53\"",
        ),
        (
            "[outside_watch]\nevery = \"1m\"",
            "1:2: `url_file` is missing in `outside_watch`; write `url_file = \"/etc/vigie/secrets/…\"`",
        ),
        (
            "[outside_watch]\nurl_file = \"{secrets}/collector.toml\"\nurl = \"https://watch.example/s3cret\"",
            "3:1: `url` must not be in the settings; put it into a file of mode 0600 and write `url_file` with its path",
        ),
        (
            "[outside_watch]\nurl_file = \"{secrets}/none\"",
            "2:12: `url_file`: cannot read the secret in none: No such file or directory (os error 2); put the secret there, in a file of mode 0600 that the collector's account owns",
        ),
        (
            "[service.x]\nneeds = { D = 1, I = 1, C = 1, T = 1 }",
            "1:10: `criticality` is missing in `service.x`; write `criticality = \"…\"`",
        ),
        (
            "[service.x]\ncriticality = \"critcal\"\nneeds = { D = 1, I = 1, C = 1, T = 1 }",
            "2:15: `criticality`: \"critcal\" is not one of the known words; did you mean \"critical\"?",
        ),
        (
            "[service.x]\ncriticality = \"standard\"",
            "1:10: `needs` is missing in `service.x`; write `needs = { D = 4, I = 4, C = 4, T = 4 }`, each from 1 to 4",
        ),
        (
            "[service.x]\ncriticality = \"standard\"\nneeds = { D = 0, I = 1, C = 1, T = 1 }",
            "3:15: `D`: 0 is out of bounds; write a whole number from 1 to 4, without quotes",
        ),
        (
            "[service.x]\ncriticality = \"standard\"\nneeds = { D = 1, I = 1, C = 1 }",
            "3:1: `T` is missing in `service.x.needs`; write `T = 1`",
        ),
        (
            "[service.vigie]\ncriticality = \"standard\"\nneeds = { D = 1, I = 1, C = 1, T = 1 }",
            "1:10: the service `vigie` is built in: critical, with every need at 4; remove this table, or give your service another name",
        ),
        (
            "[service.x]\ncriticality = \"standard\"\nneeds = { D = 1, I = 1, C = 1, T = 1 }\nrunbook = \"wiki\"",
            "4:11: `runbook`: this is not an address with a scheme; write an address such as \"https://host.example/\"",
        ),
        (
            "[group.x]\nservices = []",
            "1:8: `nodes` is missing in `group.x`; write `nodes = [\"…\"]`",
        ),
        (
            "[group.x]\nnodes = [\"App-01\"]\nservices = []",
            "2:10: `nodes`: \"App-01\" is not valid: a name is 1 to 63 of a-z, 0-9, '.', '_', '-', and starts with a letter or digit; write a name such as \"app-01\": lower-case letters, digits, `.`, `_`, `-`",
        ),
        (
            "[group.x]\nnodes = []\nservices = [\"dossier\"]",
            "3:13: `services`: no service is called \"dossier\"; declare a service first",
        ),
        (
            "[group.x]\nnodes = []\nservices = []\nenvironment = \"prod\"",
            "4:15: `environment`: \"prod\" is not one of the known words; write \"production\" or \"staging\" or \"test\" or \"development\"",
        ),
    ] {
        let folder = Folder::new(&format!("{text}\n"));
        assert_eq!(
            folder.mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
}

#[test]
fn receivers_without_any_route_are_told() {
    assert_eq!(
        Folder::new(BASE).mistakes(),
        [
            "collector.toml:10:11: no [[route]] names `receiver.night`; name it in the `notify` or `digest` of a `[[route]]`, or remove it",
            "collector.toml:12:11: no [[route]] names `receiver.day`; name it in the `notify` or `digest` of a `[[route]]`, or remove it",
        ]
    );
}

#[test]
fn what_samples_may_cost_can_be_set_within_bounds() {
    let text =
        "[ingest]\nbody = \"1MiB\"\nin_flight = \"512MiB\"\nnode_series = 20000\npast = \"7d\"\n";
    let set = Folder::new(text).settings().ingest;
    let usual = Folder::new("").settings().ingest;
    assert_eq!(usual, Ingest::default());
    assert_eq!(set.intake.body_len_max, 1024 * 1024);
    assert_eq!(set.intake.in_flight_len_max, 512 * 1024 * 1024);
    assert_eq!(set.intake.request, usual.intake.request);
    assert_eq!(set.latest.series_per_node, 20_000);
    assert_eq!(set.latest.series_per_sender, usual.latest.series_per_sender);
    assert_eq!(set.latest.past_ms, 7 * 86_400_000);
    assert_eq!(
        Folder::new(
            "[ingest]\nbody = \"4 MB\"\ndecoded = \"1GiB\"\nnode_requests = 0\nfuture = \"1s\"\n"
        )
        .mistakes(),
        [
            "collector.toml:2:8: `body`: \"4 MB\" is not a length; write a whole number and a unit, such as \"512KiB\", \"4MiB\" or \"1GiB\"",
            "collector.toml:3:11: `decoded`: 1GiB is out of bounds; write a length from \"1MiB\" to \"256MiB\"",
            "collector.toml:4:17: `node_requests`: 0 is out of bounds; write a whole number from 1 to 16, without quotes",
            "collector.toml:5:10: `future`: 1s is out of bounds; write a duration from \"1m\" to \"1d\"",
        ]
    );
    assert_eq!(
        Folder::new("[ingest]\nbody = \"64MiB\"\n").mistakes(),
        [
            "collector.toml:2:8: `body`: fewer than 4 of the longest bodies would fit; write an `in_flight` of at least \"256MiB\"",
            "collector.toml:2:8: `body`: unpacked bodies would have to be shorter than packed ones; write a `decoded` of at least \"64MiB\"",
        ]
    );
}

#[test]
fn settings_of_parts_to_come_are_refused() {
    let mistakes = Folder::new("[forward]\n").mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    assert!(mistakes[0].contains("unknown key"), "{mistakes:#?}");
}

#[test]
fn seven_mistakes_over_three_files_are_told_in_one_run() {
    let folder = Folder::new("silent_after = \"5\"\n[outside_wach]\nevery = \"1m\"\n")
        .file(
            "conf.d/10-services.toml",
            "[service.dossier]\ncriticality = \"critical\"\nneeds = { D = 4, I = 4, C = 4, T = 5 }\n\
             [group.app]\nnodes = [\"app-01\"]\nservices = [\"dosier\"]\n",
        )
        .file(
            "conf.d/20-routes.toml",
            "[receiver.night]\nwebhook = { url = \"https://pager.example/\", formt = \"vigie\" }\n\
             [[route]]\nmatch = { status = \"critial\" }\nnotify = [\"night\"]\n\
             [[route]]\nnotify = [\"nigth\"]\n",
        );
    assert_eq!(
        folder.mistakes(),
        [
            "collector.toml:1:16: `silent_after`: \"5\" has no unit; write a whole number and a unit, such as \"100ms\", \"30s\", \"5m\", \"26h\" or \"30d\"",
            "collector.toml:2:2: unknown key `outside_wach`; did you mean `outside_watch`?",
            "conf.d/10-services.toml:3:36: `T`: 5 is out of bounds; write a whole number from 1 to 4, without quotes",
            "conf.d/10-services.toml:6:13: `services`: no service is called \"dosier\"; did you mean \"dossier\"?",
            "conf.d/20-routes.toml:2:45: unknown key `formt`; did you mean `format`?",
            "conf.d/20-routes.toml:4:20: `status`: \"critial\" is not one of the known words; did you mean \"critical\"?",
            "conf.d/20-routes.toml:7:11: `notify`: no receiver is called \"nigth\"; did you mean \"night\"?",
        ]
    );
}

#[test]
fn what_cannot_be_read_is_not_taken_for_undeclared() {
    let folder = Folder::new(&format!("{BASE}{LAST}"))
        .file(
            "conf.d/a.toml",
            "[service.other\ncriticality = \"standard\"\n",
        )
        .file(
            "conf.d/b.toml",
            "[group.b]\nnodes = []\nservices = [\"other\"]\n",
        );
    let mistakes = folder.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    assert!(mistakes[0].starts_with("conf.d/a.toml:1:"), "{mistakes:#?}");
}

#[test]
fn routes_in_two_files_are_one_mistake() {
    let folder = Folder::new(&format!("{BASE}{LAST}"))
        .file("conf.d/a.toml", "[[route]]\nnotify = [\"day\"]\n");
    assert_eq!(
        folder.mistakes(),
        ["conf.d/a.toml:1:3: [[route]] is already at collector.toml:14:3; keep one of the two"]
    );
}

#[test]
fn the_summary_says_what_would_decide() {
    let settings = Folder::new(&format!("{BASE}{LAST}")).settings();
    assert_eq!(
        settings.summary().to_string(),
        "agents     0.0.0.0:9443\n\
         metrics    http://127.0.0.1:9477/metrics\n\
         data       /var/lib/vigie-collector\n\
         watched    no\n\
         services   dossier, mail\n\
         groups     app\n\
         nodes      2\n\
         receivers  day, night\n\
         calendars  none\n\
         rotas      none\n\
         people     0\n\
         windows    0\n\
         links      none\n\
         routes     1"
    );
    let json = serde_json::to_value(settings.summary()).unwrap();
    assert_eq!(json["rules_sha256"], settings.rules.digest().to_string());
    let nothing = Folder::new("").settings().summary().to_string();
    assert!(nothing.ends_with("links      none\nroutes     none: nobody is told of any alert"));
}
