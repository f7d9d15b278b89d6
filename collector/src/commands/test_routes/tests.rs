#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::settings::Settings;

const SHIPPED: &str = include_str!("../../../../packaging/collector.toml");
const EXPECTED: &str = include_str!("../../../../packaging/routes.toml");

/// A folder with the shipped settings, their examples switched on as far as they decide; `language` replaces theirs.
pub(in crate::commands) fn example(language: &str) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let is_setting = |c: char| c.is_ascii_lowercase() || c == '[';
    let wanted = |paragraph: &&str| {
        !["#[scrape]", "#[outside_watch]", "#host =", "#probes ="]
            .iter()
            .any(|key| paragraph.contains(key))
    };
    let text: String = SHIPPED
        .split("\n\n")
        .filter(wanted)
        .flat_map(|paragraph| paragraph.lines().chain([""]))
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(is_setting) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let text = text
        .replace("/etc/vigie/secrets", &folder.path().display().to_string())
        .replace("language = \"fr\"", &format!("language = {language:?}"));
    write(&folder, "collector.toml", &text);
    for (secret, text) in [
        ("smtp", "s3cret\n"),
        ("sms", "X-Key: s3cret\n"),
        ("tableau-header", "X-Key: s3cret\n"),
        ("tableau-url", "https://chat.example/s3cret\n"),
    ] {
        write(&folder, secret, text);
    }
    let settings = match loaded(&folder) {
        Ok(settings) => settings,
        Err(mistakes) => panic!("{mistakes}"),
    };
    (folder, settings)
}

fn loaded(folder: &tempfile::TempDir) -> Result<Settings, Mistakes> {
    let none: [(OsString, OsString); 0] = [];
    settings::load(&folder.path().join("collector.toml"), none)
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// What is wrong with these expectations, with lines for places.
fn judged(text: &str) -> Vec<String> {
    let (folder, settings) = example("en");
    let file = write(&folder, "routes.toml", text);
    let policy = settings.policy();
    let prefix = format!("{}/", folder.path().display());
    let said = match read(&file, &policy) {
        Ok(expectations) => expectations
            .iter()
            .flat_map(|one| check(one, &policy))
            .map(|mismatch| mismatch.to_string())
            .collect(),
        Err(mistakes) => mistakes.to_string().lines().map(str::to_owned).collect(),
    };
    let said: Vec<String> = said;
    said.into_iter()
        .map(|line| line.replace(&prefix, ""))
        .collect()
}

#[test]
fn the_shipped_expectations_hold_for_the_shipped_settings() {
    assert_eq!(judged(EXPECTED), [""; 0]);
    assert!(EXPECTED.matches("[[expect]]").count() >= 15);
}

#[test]
fn the_command_says_by_its_exit_code_how_it_went() {
    let (folder, _) = example("fr");
    let config = folder.path().join("collector.toml");
    let exit = |files: Vec<PathBuf>, json| {
        let command = TestRoutes { files, json };
        run(&config, Vec::new(), &command)
    };
    let good = write(&folder, "good.toml", EXPECTED);
    let other = write(
        &folder,
        "other.toml",
        &EXPECTED.replace("told = [\"equipe-sis\"]", "told = []"),
    );
    let wrong = write(&folder, "wrong.toml", "[[expect]]\nat = \"soon\"\n");
    assert_eq!(exit(vec![good.clone()], false), Exit::Ok);
    assert_eq!(exit(vec![good.clone()], true), Exit::Ok);
    assert_eq!(exit(vec![good.clone(), other], false), Exit::Finding);
    assert_eq!(exit(vec![good, wrong], true), Exit::Usage);
    assert_eq!(
        exit(vec![folder.path().join("absent.toml")], false),
        Exit::Usage
    );
}

#[test]
fn what_comes_otherwise_is_told_where_it_was_expected() {
    let said = judged(
        r#"[[expect]]
at = "2026-12-25 03:00"
if = { service = "dossier-patient", status = "critical" }
told = ["astreinte"]
held = []
steps = ["am/sms"]
held_until = "2026-12-25 08:30"
route = 1
calendar_open = true
muted = "correctifs"
"#,
    );
    let because = "dossier-patient availability critical at Friday 25 December 2026 at 03:00 (Europe/Paris): \
        route 1/3: criticality critical, status critical or unknown, environment production, outside bureau; \
        calendar \"bureau\" closed: public holiday, Christmas, Friday 25 December 2026; \
        opens Monday 28 December 2026 at 08:30";
    let expected = [
        r#"4:8: told: expected ["astreinte"], got ["astreinte","tableau"]"#,
        r#"5:8: held: expected [], got ["equipe-sis"]"#,
        r#"6:9: steps: expected ["am/sms"], got ["chef/sms"]"#,
        r#"7:14: held_until: expected "2026-12-25T07:30:00.000Z", got "2026-12-28T07:30:00.000Z""#,
        r#"8:9: route: expected 1, got 0"#,
        r#"9:17: calendar_open: expected true, got false"#,
        r#"10:9: muted: expected "correctifs", got """#,
    ];
    let expected: Vec<String> = expected
        .iter()
        .map(|line| format!("routes.toml:{line}; {because}"))
        .collect();
    assert_eq!(said, expected);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = judged(
        r#"[[expect]]
at = "2026-12-25"
if = { service = "dossier", status = "ok", family = "hosts" }
told = ["nobody"]
[[expect]]
at = "2026-12-25 03:00"
if = { service = "messagerie", status = "critical", node = "app-01", group = "app-strasbourg" }
[[expect]]
at = "2026-12-25 03:00"
told = []
route = 3
muted = "others"
hold = true
[other]
"#,
    );
    let places: Vec<&str> = said
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    let lines: Vec<&str> = places
        .iter()
        .map(|place| place.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "2", "3", "3", "3", "4", "5", "7", "8", "11", "12", "13", "14"
        ],
        "{said:#?}"
    );
    assert_eq!(judged("# nothing\n").len(), 1);
}

#[test]
fn a_year_of_french_holidays_is_as_it_is_lived() {
    let expect = |at: &str, told: &str| {
        format!(
            "[[expect]]\nat = {at:?}\nif = {{ service = \"dossier-patient\", status = \"critical\" }}\n{told}\n"
        )
    };
    let team = "told = [\"equipe-sis\"]\ncalendar_open = true";
    let night = "told = [\"astreinte\", \"tableau\"]\ncalendar_open = false";
    let text: String = [
        // Ascension, then an ordinary Friday.
        expect("2028-05-25 10:00", night),
        expect("2028-05-25 08:29", night),
        expect("2028-05-26 08:29", night),
        expect("2028-05-26 08:30", team),
        expect("2028-05-26 17:59:59", team),
        expect("2028-05-26 18:00", night),
        // Good Friday in Strasbourg, the weekend of the change, Easter Monday: 26 to 29 March 2027.
        expect("2027-03-25 17:59", team),
        expect("2027-03-26 00:00", night),
        expect("2027-03-26 14:00", night),
        expect("2027-03-28 02:30", night),
        expect("2027-03-29 14:00", night),
        expect("2027-03-30 08:30", team),
        // The day after Christmas, and the half day before it.
        expect("2029-12-26 10:00", night),
        expect("2026-12-24 12:29:59", team),
        expect("2026-12-24 12:30", night),
        expect("2026-12-24 20:00", "steps = [\"chef/sms\"]"),
        // The hand-off, and the instant before it; who stands in ends at an hour of the day.
        expect("2026-12-26 08:29", "steps = [\"chef/sms\"]"),
        expect("2026-12-26 08:30", "steps = [\"am/sms\"]"),
        expect("2026-12-28 08:29", "steps = [\"am/sms\"]"),
        expect("2026-12-28 23:00", "steps = [\"jb/sms\"]"),
        // In hours, and at once those who come after them: an hour that comes twice.
        expect("2026-10-25T00:30:00Z", night),
        expect("2026-10-25T01:30:00Z", night),
    ]
    .concat();
    assert_eq!(judged(&text), [""; 0]);
}
