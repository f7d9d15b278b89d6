#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

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

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o640)).unwrap();
        self
    }

    fn variable(mut self, name: &'static str, text: &'static str) -> Self {
        self.variables.push((name, text));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> LoadedSettings {
        load(&self.path("agent.toml"), self.variables.iter().copied())
    }

    /// What [`read`] makes of it, or one line for each mistake.
    fn read(&self) -> Result<Read, Vec<String>> {
        let loaded = self.load();
        let settings = read(&loaded);
        loaded
            .finish(settings)
            .map_err(|mistakes| self.lines(&mistakes))
    }

    fn lines(&self, mistakes: &Mistakes) -> Vec<String> {
        let prefix = format!("{}/", self.folder.path().display());
        mistakes
            .to_string()
            .replace(&prefix, "")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn mistakes(&self) -> Vec<String> {
        self.read().unwrap_err()
    }
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Level {
    Critical,
    Standard,
}

/// A small program's settings, with one of each kind of key.
#[derive(Debug, PartialEq)]
struct Read {
    collectors: Vec<String>,
    every: Duration,
    failures: u32,
    checks: Vec<(String, String, Percent, Duration)>,
    routes: Vec<(Vec<Level>, bool)>,
}

fn read(loaded: &LoadedSettings) -> Option<Read> {
    let root = loaded.root();
    let collectors = root.url_list("collectors", &["https"]).required();
    let _ = root.secret_file("password_file").optional();
    let defaults = root.sub_or_empty("defaults");
    let second = Duration::from_secs(1);
    let every = defaults
        .duration("every")
        .within(second..=second * 3600)
        .or(second * 30);
    let failures = defaults.integer("failures", 1..=10_u32).or(2);
    let checks = root
        .tables("check")
        .into_iter()
        .map(|check| {
            let kind = check.str("kind").required();
            let used = check
                .sub_or_empty("warning")
                .percent("used")
                .or(Percent::whole(85));
            let every = check.duration("every").or(every);
            let name = check.own_name().to_owned();
            check.finish();
            Some((name, kind?, used, every))
        })
        .collect::<Vec<_>>();
    let levels = [("critical", Level::Critical), ("standard", Level::Standard)];
    let routes = root
        .array_of_tables("route")
        .iter()
        .map(|route| {
            let matched = route.sub("match").map_or(Vec::new(), |m| {
                m.some_of("criticality", &levels).or(Vec::new())
            });
            (matched, route.boolean("hold").or(false))
        })
        .collect();
    drop(defaults);
    root.finish();
    Some(Read {
        collectors: collectors?.iter().map(ToString::to_string).collect(),
        every,
        failures,
        checks: checks.into_iter().collect::<Option<_>>()?,
        routes,
    })
}

const MAIN: &str = r#"collectors = ["https://vigie.example:9443"]
[defaults]
every = "1m"
"#;

#[test]
fn seven_mistakes_in_three_files_and_two_variables_are_told_in_one_run() {
    let folder = Folder::new(
        r#"collectors = ["https://vigie.example:9443"]
[defaults]
evry = "30s"
failures = "2"
[check.disques]
warning = { used = "185%" }
"#,
    )
    .file(
        "conf.d/20-routes.toml",
        "[[route]]\nmatch = { criticality = [\"critical\", \"standart\"] }\nhold = \"yes\"\n",
    )
    .file(
        "conf.d/10-checks.toml",
        "# é\n[check.portail]\nkind = \"http\"\n  every = \"10 m\"\n",
    )
    .variable("VIGIE__DEFAULTS__EVERY", "2h")
    .variable("VIGIE__CHECK__PORTAIL__KNID", "x");
    assert_eq!(
        folder.mistakes(),
        [
            "agent.toml:3:1: unknown key `evry`; did you mean `every`?",
            "agent.toml:4:12: `failures`: this is text, not a whole number; write a whole number from 1 to 10, without quotes",
            "agent.toml:5:8: `kind` is missing in `check.disques`; write `kind = \"…\"`",
            "agent.toml:6:20: `used`: \"185%\" is not a percentage; write a number from 0 to 100 and `%`, such as \"85%\"",
            "conf.d/10-checks.toml:4:11: `every`: \"10 m\" has the unknown unit \" m\"; write a whole number and a unit, such as \"100ms\", \"30s\", \"5m\", \"26h\" or \"30d\"",
            "conf.d/20-routes.toml:2:38: `criticality`: \"standart\" is not one of the known words; did you mean \"standard\"?",
            "conf.d/20-routes.toml:3:8: `hold`: this is text, not true or false; write true or false, without quotes",
            "VIGIE__CHECK__PORTAIL__KNID: unknown key `knid`; did you mean `kind`?",
            "VIGIE__DEFAULTS__EVERY: `every`: 2h is out of bounds; write a duration from \"1s\" to \"1h\"",
        ]
    );
}

#[test]
fn files_and_variables_are_merged_without_changing_a_value() {
    let folder = Folder::new(MAIN)
        .file("conf.d/b.toml", "[check.tls-portail]\nkind = \"tls\"\nevery = \"10m\"\n[defaults]\nfailures = 3\n")
        .file("conf.d/a.toml", "[check.disques]\nkind = \"filesystem\"\n[[route]]\nhold = true\n[[route]]\nmatch = { criticality = \"critical\" }")
        .file("conf.d/.#a.toml", "not toml")
        .file("conf.d/a.toml~", "not toml")
        .variable("VIGIE__CHECK__TLS_PORTAIL__EVERY", "5m")
        .variable("VIGIE__CHECK__DISQUES__WARNING__USED", "70.5%")
        .variable("VIGIE__DEFAULTS__FAILURES", "4")
        .variable("VIGIE_LOG", "debug")
        .variable("PATH", "/bin");
    let read = folder.read().unwrap();
    assert_eq!(read.collectors, ["https://vigie.example:9443"]);
    assert_eq!((read.every, read.failures), (Duration::from_secs(60), 4));
    let checks: Vec<_> = read
        .checks
        .iter()
        .map(|(name, kind, used, every)| {
            (
                name.as_str(),
                kind.as_str(),
                used.hundredths(),
                every.as_secs(),
            )
        })
        .collect();
    assert_eq!(
        checks,
        [
            ("disques", "filesystem", 7_050, 60),
            ("tls-portail", "tls", 8_500, 300)
        ]
    );
    assert_eq!(
        read.routes,
        [(vec![], true), (vec![Level::Critical], false)]
    );
    let loaded = folder.load();
    let names: Vec<_> = loaded
        .sources()
        .iter()
        .map(|source| source.name.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "agent.toml",
            "a.toml",
            "b.toml",
            "VIGIE__CHECK__DISQUES__WARNING__USED",
            "VIGIE__CHECK__TLS_PORTAIL__EVERY",
            "VIGIE__DEFAULTS__FAILURES"
        ]
    );
}

#[test]
fn a_second_sight_names_both_places_and_hides_no_mistake_inside_it() {
    let folder = Folder::new(&format!(
        "{MAIN}[check.a]\nkind = \"tls\"\n[[route]]\nhold = true\n"
    ))
    .file(
        "conf.d/x.toml",
        "[check.a]\nkind = 3\n[defaults]\nevery = \"2m\"\n",
    )
    .file("conf.d/y.toml", "collectors = []\n[[route]]\nhold = 1\n");
    let lines = folder.mistakes();
    let main = folder.path("agent.toml").display().to_string();
    let prefix = format!("{}/", folder.folder.path().display());
    let main = main.replace(&prefix, "");
    assert_eq!(
        lines,
        [
            format!("conf.d/x.toml:1:8: [check.a] is already at {main}:4:8; keep one of the two"),
            "conf.d/x.toml:2:8: `kind`: this is an integer, not text; put it in quotes".to_owned(),
            format!("conf.d/x.toml:4:1: `defaults.every` is already at {main}:3:1; keep one of the two"),
            format!("conf.d/y.toml:1:1: `collectors` is already at {main}:1:1; keep one of the two"),
            format!("conf.d/y.toml:2:3: [[route]] is already at {main}:6:3; keep one of the two"),
            "conf.d/y.toml:3:8: `hold`: this is an integer, not true or false; write true or false, without quotes".to_owned(),
        ]
    );
}

#[test]
fn a_syntax_error_hides_neither_its_neighbours_nor_other_files() {
    let folder = Folder::new(
        "collectors = [\"https://vigie.example\"\n[defaults]\nevery = \"1x\"\nfailures = = 2\n",
    )
    .file(
        "conf.d/a.toml",
        "[check.a]\nkind = \"tls\"\nevry = \"1m\"\n",
    )
    .file(
        "conf.d/b.toml",
        "[check.b]\nkind = tls\nevery = \"soon\"\n[check.b]\n",
    );
    let lines = folder.mistakes();
    let at = |place: &str| lines.iter().filter(|line| line.starts_with(place)).count();
    assert_eq!(
        at("agent.toml:2:1: unclosed array; write `]` here"),
        1,
        "{lines:#?}"
    );
    assert_eq!(at("agent.toml:"), 1, "{lines:#?}");
    assert_eq!(
        at("conf.d/a.toml:3:1: unknown key `evry`; did you mean `every`?"),
        1,
        "{lines:#?}"
    );
    assert_eq!(at("conf.d/b.toml:2:8: "), 1, "{lines:#?}");
    assert_eq!(
        at("conf.d/b.toml:3:9: `every`: \"soon\" is not a duration"),
        1,
        "{lines:#?}"
    );
    assert_eq!(at("conf.d/b.toml:4:"), 1, "{lines:#?}");
    // `kind` is there, only unreadable.
    assert!(
        !lines.iter().any(|line| line.contains("is missing")),
        "{lines:#?}"
    );
}

#[test]
fn after_a_broken_header_no_key_is_taken_for_another_tables() {
    let lines = Folder::new(&format!("{MAIN}[check.\nkind = \"tls\"\nused = 3\n")).mistakes();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("agent.toml:4:"), "{lines:#?}");
}

#[test]
fn a_secret_in_the_settings_is_refused_and_not_quoted() {
    let folder = Folder::new(
        "collectors = [\"https://u:hunter2@vigie.example\", \"https://vigie.example?token=hunter2\"]\npassword = \"hunter2\"\npassword_file = \"hunter2\"\n",
    );
    let lines = folder.mistakes();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(!lines.concat().contains("hunter2"), "{lines:#?}");
    assert_eq!(
        lines[2],
        "agent.toml:2:1: `password` must not be in the settings; put it into a file of mode 0600 and write `password_file` with its path"
    );
}

#[test]
fn settings_that_others_can_write_are_refused() {
    let folder = Folder::new(MAIN).file("conf.d/a.toml", "");
    fs::set_permissions(folder.path("agent.toml"), fs::Permissions::from_mode(0o660)).unwrap();
    fs::set_permissions(
        folder.path("conf.d/a.toml"),
        fs::Permissions::from_mode(0o646),
    )
    .unwrap();
    fs::set_permissions(folder.path("conf.d"), fs::Permissions::from_mode(0o777)).unwrap();
    let lines = folder.mistakes();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[0].starts_with(
            "agent.toml: group or others can write here (mode 0660); run `chmod go-w "
        ),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("conf.d: "), "{lines:#?}");
    assert!(lines[2].starts_with("conf.d/a.toml: "), "{lines:#?}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    let folder = Folder::new(MAIN);
    fs::remove_file(folder.path("agent.toml")).unwrap();
    fs::create_dir(folder.path("conf.d/x.toml")).unwrap();
    fs::write(folder.path("conf.d/y.toml"), b"# ok\nx = \"\xff\"\n").unwrap();
    fs::set_permissions(
        folder.path("conf.d/y.toml"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let lines = folder.mistakes();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[0].starts_with("agent.toml: cannot read this file: "),
        "{lines:#?}"
    );
    assert_eq!(
        lines[1],
        "conf.d/x.toml: cannot read this file: it is not a regular file; make it a readable file"
    );
    assert_eq!(
        lines[2],
        "conf.d/y.toml:2:6: this is not UTF-8 text; save the file in UTF-8"
    );
}

#[test]
fn wrong_variables_are_told_by_name() {
    let folder = Folder::new(&format!(
        "{MAIN}[check.a-b]\nkind = \"x\"\n[check.a_b]\nkind = \"x\"\n"
    ))
    .variable("VIGIE__CHECK", "3")
    .variable("VIGIE__CHECK__A_B__KIND", "y")
    .variable("VIGIE__COLLECTORS", "[\"https://x.example\", 3]")
    .variable("VIGIE__DEFAULTS__", "1")
    .variable("VIGIE__DEFAULTS__FAILURES", "eleven")
    .variable("VIGIE__DEFAULTS__failures", "3")
    .variable("VIGIE__NEW", "{ x = ");
    let lines = folder.mistakes();
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "VIGIE__CHECK",
            "VIGIE__CHECK__A_B__KIND",
            "VIGIE__COLLECTORS",
            "VIGIE__DEFAULTS__",
            "VIGIE__DEFAULTS__FAILURES",
            "VIGIE__DEFAULTS__failures",
            "VIGIE__NEW"
        ],
        "{lines:#?}"
    );
}

#[test]
fn a_variable_that_is_not_utf_8_is_told() {
    use std::os::unix::ffi::OsStringExt;
    let folder = Folder::new(MAIN);
    let pair = (
        "VIGIE__DEFAULTS__EVERY".into(),
        OsString::from_vec(vec![0xff]),
    );
    let loaded = load(
        &folder.path("agent.toml"),
        [pair] as [(OsString, OsString); 1],
    );
    let settings = read(&loaded);
    let lines = folder.lines(&loaded.finish(settings).unwrap_err());
    assert_eq!(
        lines,
        ["VIGIE__DEFAULTS__EVERY: the value is not UTF-8 text; write it in UTF-8"]
    );
}

#[test]
fn a_credential_is_found_where_systemd_put_it() {
    let folder = Folder::new("f_file = \"credential:smtp\"\ng_file = \"credential:../x\"\n")
        .variable("CREDENTIALS_DIRECTORY", "/run/credentials/x");
    let loaded = folder.load();
    let root = loaded.root();
    assert_eq!(
        root.secret_file("f_file").required().unwrap().path(),
        PathBuf::from("/run/credentials/x/smtp")
    );
    assert_eq!(root.secret_file("g_file").optional(), None);
    drop(root);
    assert_eq!(folder.lines(&loaded.finish(Some(())).unwrap_err()).len(), 1);
}

#[test]
fn an_abandoned_section_says_nothing_of_its_other_keys() {
    let folder = Folder::new("[check.a]\nkind = \"htpp\"\nurl = \"x\"\n");
    let loaded = folder.load();
    let root = loaded.root();
    for check in root.tables("check") {
        assert_eq!(
            check.one_of("kind", &[("http", 1), ("tls", 2)]).required(),
            None
        );
        check.abandon();
    }
    root.finish();
    let lines = folder.lines(&loaded.finish::<()>(None).unwrap_err());
    assert_eq!(
        lines,
        ["agent.toml:2:8: `kind`: \"htpp\" is not one of the known words; did you mean \"http\"?"]
    );
}

#[test]
fn what_is_not_a_table_is_told_where_a_table_is_wanted() {
    let lines = Folder::new(
        "collectors = [\"https://x.example\"]\ncheck = [1]\ndefaults = 3\nroute = [{}, 4]\n",
    )
    .mistakes();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[0].starts_with("agent.toml:2:9: `check`: this is a list, not a table; "),
        "{lines:#?}"
    );
    assert!(
        lines[1].starts_with("agent.toml:3:12: `defaults`: this is an integer, not a table; "),
        "{lines:#?}"
    );
    assert!(
        lines[2].starts_with("agent.toml:4:14: `route`: this is an integer, not a table; "),
        "{lines:#?}"
    );
}

#[test]
fn a_number_too_large_is_one_mistake() {
    let lines = Folder::new(&format!("{MAIN}failures = 99999999999999999999\n")).mistakes();
    assert_eq!(
        lines,
        ["agent.toml:4:12: the number is too large; write a number up to 9223372036854775807"]
    );
}

#[test]
fn keys_with_dots_and_brackets_are_taken_as_they_are() {
    let loaded_from =
        Folder::new("\"a.b\" = \"1\"\n\"c[0]\" = \"2\"\n[\"d.e\".\"f.g\"]\nh = \"3\"\n");
    let loaded = loaded_from.load();
    let root = loaded.root();
    assert_eq!(root.str("a.b").optional().as_deref(), Some("1"));
    assert_eq!(root.str("c[0]").optional().as_deref(), Some("2"));
    let tables = root.tables("d.e");
    assert_eq!(
        (
            tables[0].own_name(),
            tables[0].str("h").optional().as_deref()
        ),
        ("f.g", Some("3"))
    );
    drop((tables, root));
    assert!(loaded.finish(Some(())).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_reading_panic(main in "[a-z\\[\\]{}=\"'.,#\n 0-9é]{0,80}", other in any::<String>()) {
        let folder = Folder::new(&main).file("conf.d/a.toml", &other);
        let _ = folder.read();
    }
}

#[test]
fn a_program_that_gives_up_early_adds_no_false_mistake() {
    let folder = Folder::new("[check.a]\nevery = \"1m\"\n[check.b]\nkind = \"x\"\n");
    let loaded = folder.load();
    let root = loaded.root();
    let kinds: Option<Vec<String>> = root
        .tables("check")
        .iter()
        .map(|check| check.str("kind").required())
        .collect();
    drop(root);
    let lines = folder.lines(&loaded.finish(kinds).unwrap_err());
    assert_eq!(
        lines,
        ["agent.toml:1:8: `kind` is missing in `check.a`; write `kind = \"…\"`"]
    );
}

#[test]
fn a_name_that_nobody_declares_is_told_at_its_own_place() {
    let main = "one = [\"night\", \"nigth\"]\ntwo = \"day\"\nthree = [\"x\"]\nfour = [3]\n";
    let folder = Folder::new(main);
    let loaded = folder.load();
    let root = loaded.root();
    let declared: std::collections::BTreeSet<String> =
        ["day".to_owned(), "night".to_owned()].into();
    assert_eq!(
        root.references("one", "receiver", &declared).optional(),
        None
    );
    assert_eq!(
        root.references("two", "receiver", &declared)
            .optional()
            .unwrap(),
        ["day"]
    );
    let none = std::collections::BTreeSet::<String>::new();
    assert_eq!(root.references("three", "receiver", &none).optional(), None);
    assert_eq!(
        root.references("four", "receiver", &declared).optional(),
        None
    );
    drop(root);
    assert_eq!(
        folder.lines(&loaded.finish(Some(())).unwrap_err()),
        [
            "agent.toml:1:17: `one`: no receiver is called \"nigth\"; did you mean \"night\"?",
            "agent.toml:3:10: `three`: no receiver is called \"x\"; declare a receiver first",
            "agent.toml:4:9: `four`: this is an integer, not text; put it in quotes",
        ]
    );
}

#[test]
fn a_sections_digest_follows_what_is_written_and_not_how() {
    let digest = |folder: &Folder| {
        let loaded = folder.load();
        let root = loaded.root();
        let digest = root.tables("check").first().unwrap().digest();
        root.abandon();
        digest
    };
    let first =
        Folder::new("[check.a]\nkind = \"x\"\nwarning = { used = \"1%\", other = [1, true] }\n");
    let moved = Folder::new("# elsewhere\n").file(
        "conf.d/a.toml",
        "[check.a.warning]\nother = [ 1,\n true ]\nused = '1%'\n[check.a]\nkind = \"x\"\n",
    );
    assert_eq!(digest(&first), digest(&moved));
    let changed = moved.variable("VIGIE__CHECK__A__WARNING__USED", "2%");
    assert_ne!(digest(&first), digest(&changed));
}

#[test]
fn words_of_a_command_are_read_like_settings() {
    let loaded = from_words("TARGET", [("url", "https://x.example"), ("port", "70000")]);
    let root = loaded.root();
    assert!(root.url("url", &["https"]).required().is_some());
    assert_eq!(root.integer("port", 1..=65_535_u32).optional(), None);
    drop(root);
    assert_eq!(
        loaded.finish(Some(())).unwrap_err().to_string(),
        "TARGET: `port`: 70000 is out of bounds; write a whole number from 1 to 65535, without quotes"
    );
}

#[test]
fn numbers_may_stand_alone_or_in_a_list() {
    let loaded_from = Folder::new("a = 4\nb = [3, 4]\nc = [5]\n");
    let loaded = loaded_from.load();
    let root = loaded.root();
    assert_eq!(root.some_integers("a", 1..=4_u8).optional(), Some(vec![4]));
    assert_eq!(
        root.some_integers("b", 1..=4_u8).optional(),
        Some(vec![3, 4])
    );
    assert_eq!(root.some_integers("c", 1..=4_u8).optional(), None);
    drop(root);
    assert!(loaded.finish(Some(())).is_err());
}

#[test]
fn a_list_is_judged_item_by_item_and_each_has_its_place() {
    let folder =
        Folder::new("even = [\"2\", \"3\",\n\"x\"]\none = \"a\"\ntwo = [\"a\"]\nthree = \"c\"\n");
    let loaded = folder.load();
    let root = loaded.root();
    let even = |text: &str| match text.parse::<u32>() {
        Ok(number) if number % 2 == 0 => Ok(number),
        _ => Err(Complaint::new(format!("{text} is not even"), "write 2")),
    };
    assert_eq!(root.judged_list("even", even).optional(), None);
    assert_eq!(root.place_of_item("even", 2).line(), 2);
    assert_eq!(root.place_of_item("even", 1).column(), 14);
    assert_eq!(root.place_of_item("even", 9), root.place_of("even"));
    assert_eq!(root.place_of_item("one", 0), root.place_of("one"));
    let declared = ["a", "b"].map(str::to_owned).into();
    let one = root.reference("one", "letter", &declared);
    assert_eq!(one.required().as_deref(), Some("a"));
    assert_eq!(root.reference("two", "letter", &declared).optional(), None);
    assert_eq!(
        root.reference("three", "letter", &declared).optional(),
        None
    );
    root.finish();
    let mistakes = loaded.finish(Some(())).unwrap_err();
    assert_eq!(
        folder.lines(&mistakes),
        [
            "agent.toml:1:14: `even`: 3 is not even; write 2",
            "agent.toml:2:1: `even`: x is not even; write 2",
            "agent.toml:4:7: `two`: this is a list, not text; write one text in quotes",
            "agent.toml:5:9: `three`: no letter is called \"c\"; did you mean \"a\"?",
        ]
    );
}
