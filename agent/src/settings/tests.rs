#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

const SHIPPED: &str = include_str!("../../../packaging/agent.toml");

/// The least that is accepted.
const LEAST: &str = "collectors = [\"https://vigie.example:9443\"]\n";

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
        folder.file("agent.toml", main)
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
        load(&self.path("agent.toml"), self.variables.iter().copied())
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

/// A certificate that signs itself, and its key.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["app-01.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn names(settings: &Settings) -> Vec<&str> {
    let names = settings.checks.iter().map(|check| check.name.as_str());
    names.collect()
}

#[test]
fn the_shipped_settings_have_no_mistake() {
    let settings = Folder::new(SHIPPED).settings();
    assert_eq!(
        names(&settings),
        ["charge", "disques", "memoire", "processeur"]
    );
    assert_eq!(settings.state_dir, Path::new("/var/lib/vigie-agent"));
    assert_eq!(settings.listen, Some("127.0.0.1:9478".parse().unwrap()));
    assert_eq!((settings.proxy, settings.fallback), (None, None));
}

#[test]
fn every_setting_that_the_shipped_file_offers_is_accepted() {
    let text = with_everything(SHIPPED)
        .replace("/etc/vigie/secrets", "{secrets}")
        .replace("/etc/vigie/scrape", "{secrets}");
    let (certificate, key) = certificate();
    let folder = Folder::new(&text)
        .file("fallback-url", "https://pager.example/s3cret\n")
        .file("certificate.pem", &certificate)
        .file("clients.pem", &certificate)
        .file("key.pem", &key)
        .file("token", "0123456789abcdef0123456789abcdef\n");
    let settings = folder.settings();
    assert_eq!(settings.scrape.scheme(), "https");
    let Some(Fallback {
        webhook: Webhook::SecretUrl(file),
    }) = &settings.fallback
    else {
        panic!("the file offers a fallback");
    };
    assert_eq!(file.path(), folder.path("fallback-url"));
    assert_eq!(
        settings.proxy.as_ref().unwrap().authority(),
        "proxy.example:3128"
    );
    let kinds: BTreeSet<&str> = settings
        .checks
        .iter()
        .map(|check| check.kind.name)
        .collect();
    let known: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(kinds, known, "the shipped file shows every kind");
}

#[test]
fn defaults_shown_in_the_shipped_file_are_the_defaults() {
    let plan = |text: &str| {
        let settings = Folder::new(text).settings();
        let pace = settings.plan().into_values().map(|check| {
            (
                check.every_ms,
                check.timeout_ms,
                check.failures,
                check.recoveries,
            )
        });
        (
            pace.collect::<Vec<_>>(),
            settings.state_dir,
            settings.listen,
        )
    };
    let check = "[check.a]\nkind = \"cpu\"\n";
    let shown: String = with_everything(SHIPPED)
        .lines()
        .take_while(|line| !line.starts_with("[check"))
        .filter(|line| !line.contains("fallback") && !line.contains("scrape"))
        .filter(|line| !line.starts_with("proxy"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        plan(&format!("{shown}{check}")),
        plan(&format!("{LEAST}{check}"))
    );
}

#[test]
fn a_check_takes_its_own_pace_else_the_defaults() {
    let settings = Folder::new(&format!(
        "{LEAST}[defaults]\nevery = \"1m\"\nfailures = 3\n\
         [check.a]\nkind = \"cpu\"\n\
         [check.b]\nkind = \"load\"\nservice = \"dossier\"\nevery = \"15s\"\ntimeout = \"1s\"\nrecoveries = 9\n"
    ))
    .variable("VIGIE__DEFAULTS__TIMEOUT", "20s")
    .settings();
    let pace: Vec<_> = settings
        .checks
        .iter()
        .map(|check| {
            (
                check.every.as_secs(),
                check.timeout.as_secs(),
                check.patience.failures,
                check.patience.recoveries,
            )
        })
        .collect();
    assert_eq!(pace, [(60, 20, 3, 2), (15, 1, 3, 9)]);
    let plan = settings.plan();
    assert_eq!(plan["b"].service, Some("dossier".parse().unwrap()));
    assert_eq!(
        (plan["a"].kind.as_str(), plan["a"].family),
        ("cpu", Family::Host)
    );
}

#[test]
fn a_checks_digest_follows_its_own_keys_alone() {
    let digest = |text: &str| {
        let folder = Folder::new(&format!("{LEAST}{text}"));
        folder.settings().checks[0].settings_sha256
    };
    let first = digest("[check.a]\nkind = \"cpu\"\nwarning = { used = \"90%\" }\n");
    let other_layout = "[check.a.warning]\nused = \"90%\" # high\n[check.a]\nkind = 'cpu'\n";
    assert_eq!(digest(other_layout), first);
    let other_default = format!("[defaults]\nevery = \"1m\"\n{other_layout}");
    assert_eq!(digest(&other_default), first);
    for change in [
        "[check.a]\nkind = \"cpu\"\nwarning = { used = \"91%\" }\n",
        "[check.a]\nkind = \"cpu\"\nwarning = { used = \"90%\" }\nfailures = 2\n",
        "[check.a]\nkind = \"cpu\"\ncritical = { used = \"90%\" }\n",
        "[check.a]\nkind = \"memory\"\nwarning = { used = \"90%\" }\n",
    ] {
        assert_ne!(digest(change), first, "{change}");
    }
}

#[test]
fn each_mistake_has_its_place_and_its_mend() {
    for (text, told) in [
        (
            "collectors = []\n",
            "agent.toml:1:14: `collectors`: no collector is named; write `collectors = [\"https://vigie.example:9443\"]`",
        ),
        (
            "",
            "agent.toml: `collectors` is missing; write `collectors = [\"https://…\"]`",
        ),
        (
            "collectors = [\"http://vigie.example\"]\n",
            "agent.toml:1:15: `collectors`: the address has a scheme that does not fit here; begin it with https://",
        ),
        (
            "collectors = [\"https://vigie.example/v1\"]\n",
            "agent.toml:1:14: `collectors`: the address has a path; write scheme, host and port alone, such as \"https://vigie.example:9443\"",
        ),
        (
            "collectors = [\"https://a.example\", \"https://a.example/\"]\n",
            "agent.toml:1:14: `collectors`: a.example is named twice; keep one of the two",
        ),
    ] {
        assert_eq!(Folder::new(text).mistakes(), [told], "{text}");
    }
    for (text, told) in [
        (
            "proxy = \"https://proxy.example\"",
            "2:9: `proxy`: the address has a scheme that does not fit here; begin it with http://",
        ),
        (
            "proxy = \"http://me:pw@proxy.example\"",
            "2:9: `proxy`: the address holds a user or a password; remove it; secrets are in files of mode 0600, named by a key that ends in `_file`",
        ),
        (
            "state_dir = \"var\"",
            "2:13: `state_dir`: \"var\" is not an absolute path; write a path that begins with `/`",
        ),
        (
            "listen = \"0.0.0.0:9478\"",
            "2:10: `listen`: metrics would be open to other machines; write an address of this machine alone, such as 127.0.0.1, or a section `[scrape]` with `certificate_file`, `key_file`, and `client_ca_file` or `bearer_file`",
        ),
        (
            "listen = \"localhost\"",
            "2:10: `listen`: \"localhost\" is not an IP address and a port; write \"127.0.0.1:9478\", \"[::1]:9478\" or \"off\"",
        ),
        (
            "log_level = \"loud\"",
            "2:13: `log_level`: \"loud\" is not a log level; write \"error\", \"warn\", \"info\" or \"debug\"",
        ),
        (
            "[fallback]",
            "2:2: `webhook` is missing in `fallback`; write `webhook = { url_file = \"/etc/vigie/secrets/…\" }`",
        ),
        (
            "fallback.webhook = {}",
            "2:10: `url` is missing in `fallback.webhook`; write `url = \"https://…\"`",
        ),
        (
            "fallback.webhook = { url = \"https://x.example\", url_file = \"{secrets}/agent.toml\" }",
            "2:28: `url` and `url_file` are both written; keep one of the two",
        ),
        (
            "fallback.webhook = { url_file = \"{secrets}/no\" }",
            "2:33: `url_file`: cannot read the secret in no: No such file or directory (os error 2); put the secret there, in a file of mode 0600 that the agent's account owns",
        ),
        (
            "[defaults]\nevery = \"500ms\"\ntimeout = \"400ms\"",
            "3:9: `every`: 500ms is out of bounds; write a duration from \"1s\" to \"1d\"",
        ),
        (
            "[defaults]\nfailures = 0",
            "3:12: `failures`: 0 is out of bounds; write a whole number from 1 to 100, without quotes",
        ),
        (
            "[defaults]\ntimeout = \"30s\"",
            "3:11: `timeout`: a run could last until the next one is due; write a `timeout` shorter than `every`",
        ),
        (
            "[check.a]\nkind = \"cpu\"\nevery = \"5s\"",
            "4:9: `every`: the next run would be due before the timeout of this one; write a shorter `timeout` beside it",
        ),
        (
            "[check.a]\nkind = \"cpu\"\nevery = \"5s\"\ntimeout = \"6s\"",
            "5:11: `timeout`: a run could last until the next one is due; write a `timeout` shorter than `every`",
        ),
        (
            "[check.a]\nkind = \"htpp\"\nurl = \"x\"",
            "3:8: `kind`: \"htpp\" is not one of the known words; did you mean \"http\"?",
        ),
        (
            "[check.a]\nservice = \"x\"",
            "2:8: `kind` is missing in `check.a`; write `kind = \"…\"`",
        ),
        (
            "[check.A]\nkind = \"cpu\"",
            "2:8: the name \"A\" is not valid: a name is 1 to 63 of a-z, 0-9, '.', '_', '-', and starts with a letter or digit; write a name such as \"app-01\": lower-case letters, digits, `.`, `_`, `-`",
        ),
        (
            "[check.a]\nkind = \"cpu\"\nservice = \"vigie\"",
            "4:11: `service`: \"vigie\" is what vigie calls its own troubles; write the name of a service that the collector's settings declare",
        ),
        (
            "[check.a]\nkind = \"cpu\"\nwarnings = 1",
            "4:1: unknown key `warnings`; did you mean `warning`?",
        ),
        (
            "collector = 1",
            "2:1: unknown key `collector`; did you mean `collectors`?",
        ),
    ] {
        let folder = Folder::new(&format!("{LEAST}{text}\n"));
        assert_eq!(folder.mistakes(), [format!("agent.toml:{told}")], "{text}");
    }
}

#[test]
fn settings_of_kinds_to_come_are_refused() {
    let folder = Folder::new(&format!("{LEAST}[check.a]\nkind = \"integrity\"\n"));
    let known: Vec<_> = KINDS
        .iter()
        .map(|kind| format!("{:?}", kind.name))
        .collect();
    let told = format!(
        "agent.toml:3:8: `kind`: \"integrity\" is not one of the known words; write {}",
        known.join(" or ")
    );
    assert_eq!(folder.mistakes(), [told]);
    for key in ["history = 1", "[integrity]", "[tool.restic]", "[[check]]"] {
        let folder = Folder::new(&format!("{LEAST}{key}\n"));
        assert_eq!(folder.mistakes().len(), 1, "{key}");
    }
}

#[test]
fn seven_mistakes_over_three_files_are_told_in_one_run() {
    let folder = Folder::new(
        "collectors = [\"vigie.example\"]\n[defaults]\nevry = \"30s\"\n",
    )
    .file(
        "conf.d/10-host.toml",
        "[check.disques]\nkind = \"filesystm\"\n[check.memoire]\nkind = \"memory\"\nwarning = { used = \"190%\" }\n",
    )
    .file(
        "conf.d/20-web.toml",
        "[check.portail]\nkind = \"http\"\nfailures = \"2\"\n[check.smtp]\nkind = \"tcp\"\n",
    );
    let mistakes = folder.mistakes();
    assert_eq!(
        mistakes,
        [
            "agent.toml:1:15: `collectors`: this is not an address with a scheme; write an address such as \"https://host.example/\"",
            "agent.toml:3:1: unknown key `evry`; did you mean `every`?",
            "conf.d/10-host.toml:2:8: `kind`: \"filesystm\" is not one of the known words; did you mean \"filesystem\"?",
            "conf.d/10-host.toml:5:20: `used`: \"190%\" is not a percentage; write a number from 0 to 100 and `%`, such as \"85%\"",
            "conf.d/20-web.toml:1:8: `url` is missing in `check.portail`; write `url = \"https://…\"`",
            "conf.d/20-web.toml:3:12: `failures`: this is text, not a whole number; write a whole number from 1 to 100, without quotes",
            "conf.d/20-web.toml:4:8: `target` is missing in `check.smtp`; write `target = \"…\"`",
        ]
    );
}

#[test]
fn a_check_in_two_files_names_both() {
    let folder = Folder::new(&format!("{LEAST}[check.a]\nkind = \"cpu\"\n"))
        .file("conf.d/x.toml", "[check.a]\nkind = \"cpu\"\n");
    assert_eq!(
        folder.mistakes(),
        ["conf.d/x.toml:1:8: [check.a] is already at agent.toml:2:8; keep one of the two"]
    );
}

#[test]
fn no_kind_takes_a_known_key_for_an_unknown_one_when_its_target_is_wrong() {
    for kind in KINDS {
        let key = kind.target_key;
        let written: Vec<&str> = kind.example.lines().collect();
        let wrong: String = written
            .iter()
            .map(|line| match line.split_once(" = ") {
                Some((name, _)) if name == key => format!("{key} = 3\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        if wrong != kind.example {
            let mistakes = Folder::new(&format!("{LEAST}{wrong}")).mistakes();
            assert_eq!(mistakes.len(), 1, "{}: {mistakes:#?}", kind.name);
        }
    }
}

#[test]
fn a_probe_is_built_from_its_target_alone() {
    let http = vigie_checks::find("http").unwrap();
    assert!(probe_settings(http, Some("http://portail.example/health")).is_ok());
    let told = |kind: &str, target: Option<&str>| {
        let kind = vigie_checks::find(kind).unwrap();
        probe_settings(kind, target)
            .map(|_| ())
            .map_err(|mistakes| mistakes.to_string())
    };
    assert_eq!(told("tcp", Some("smtp.example:25")), Ok(()));
    assert_eq!(told("cpu", None), Ok(()));
    assert_eq!(
        told("http", Some("portail.example")),
        Err("TARGET: `url`: this is not an address with a scheme; write an address such as \"https://host.example/\"".to_owned())
    );
    assert_eq!(
        told("cpu", Some("x")),
        Err("TARGET: the kind `cpu` looks at the whole machine; leave the target out".to_owned())
    );
    assert_eq!(
        told("http", None),
        Err("TARGET: `url` is missing; write `url = \"https://…\"`".to_owned())
    );
}

#[test]
fn the_summary_says_what_would_run() {
    let settings = Folder::new(&format!(
        "{LEAST}listen = \"off\"\n[check.a]\nkind = \"cpu\"\nevery = \"90s\"\ntimeout = \"1500ms\"\nservice = \"dossier\"\n[check.b]\nkind = \"load\"\n"
    ))
    .settings();
    assert_eq!(
        settings.summary().to_string(),
        "collector  https://vigie.example:9443\n\
         state      /var/lib/vigie-agent\n\
         metrics    off\n\
         fallback   none\n\
         checks     2\n  \
         a                        cpu          every 90s, timeout 1500ms, for dossier\n  \
         b                        load         every 30s, timeout 5s, for all services"
    );
    let json = serde_json::to_value(settings.summary()).unwrap();
    assert_eq!(json["checks"][0]["every_ms"], 90_000);
    assert_eq!(json["listen"], serde_json::Value::Null);
}

#[test]
fn metrics_are_shown_to_other_machines_only_with_tls_and_a_proof() {
    let (certificate, key) = certificate();
    let load = |scrape: &str| {
        Folder::new(&format!(
            "{LEAST}listen = \"0.0.0.0:9478\"\n[scrape]\n{scrape}"
        ))
        .file("certificate.pem", &certificate)
        .file("key.pem", &key)
        .file("token", "0123456789abcdef0123456789abcdef\n")
    };
    let tls =
        "certificate_file = \"{secrets}/certificate.pem\"\nkey_file = \"{secrets}/key.pem\"\n";
    let token = "bearer_file = \"{secrets}/token\"\n";
    let settings = load(&format!("{tls}{token}")).settings();
    assert_eq!(settings.listen, Some("0.0.0.0:9478".parse().unwrap()));
    let summary = settings.summary().to_string();
    assert!(
        summary.contains("metrics    https://0.0.0.0:9478/metrics"),
        "{summary}"
    );
    for (scrape, told) in [
        (
            tls,
            "agent.toml:2:10: `listen`: metrics would be open to whoever asks, though encrypted; write `client_ca_file` or `bearer_file` into `[scrape]` too",
        ),
        (
            token,
            "agent.toml:2:10: `listen`: metrics would be open to other machines; write an address of this machine alone, such as 127.0.0.1, or a section `[scrape]` with `certificate_file`, `key_file`, and `client_ca_file` or `bearer_file`",
        ),
    ] {
        assert_eq!(load(scrape).mistakes(), [told]);
    }
}
