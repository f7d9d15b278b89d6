//! `[calendar.N]` and `[maintenance.N]`.

use vigie_decide::{
    calendar::holidays::{HolidaySet, Territory},
    mute::Scope,
};

use super::*;

/// A calendar that no route goes by.
fn calendar(lines: &str) -> String {
    format!("[calendar.bureau]\n{lines}\n")
}

#[test]
fn a_calendar_says_what_core_reads() {
    let text = calendar(
        "time_zone = \"Europe/Paris\"\nopen = [\"Mon-Thu 08:30-18:00\", \"Fri 08:30-12:00\"]\n\
         holidays = { country = \"fr\", alsace_moselle = true, good_friday = true }\n\
         closed = [\"2020-12-24 12:30-24:00\", \"2027-08-02..2027-08-06\"]\nopened = [\"2027-05-17\"]",
    );
    let settings = Folder::new(&text).settings();
    let calendar = &settings.rules.calendars["bureau"];
    assert_eq!(calendar.time_zone, "Europe/Paris");
    let written = |lines: &[vigie_decide::calendar::rule::Dated]| -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    };
    assert_eq!(calendar.open.len(), 2);
    assert_eq!(
        written(&calendar.closed),
        ["2020-12-24 12:30-24:00", "2027-08-02..2027-08-06"]
    );
    assert_eq!(written(&calendar.opened), ["2027-05-17"]);
    assert_eq!(
        calendar.holidays,
        Some(HolidaySet {
            territory: Territory::Metropole,
            alsace_moselle: true,
            good_friday: true,
        })
    );
    assert!(settings.zones.find("Europe/Paris").is_some());
    let text = "[calendar.a]\ntime_zone = \"Indian/Reunion\"\nopen = [\"Mon-Fri 08:00-16:00\"]\n\
                holidays = { country = \"fr\", territory = \"la-reunion\" }\n";
    let settings = Folder::new(text).settings();
    let holidays = settings.rules.calendars["a"].holidays.unwrap();
    assert_eq!(holidays.territory, Territory::LaReunion);
    assert!(!holidays.alsace_moselle && !holidays.good_friday);
}

#[test]
fn each_mistake_of_a_calendar_has_its_place_and_its_mend() {
    let zone = "time_zone = \"Europe/Paris\"";
    let open = "open = [\"Mon-Fri 08:30-18:00\"]";
    for (lines, told) in [
        (
            open.to_owned(),
            "1:11: `time_zone` is missing in `calendar.bureau`; write `time_zone = \"…\"`",
        ),
        (
            zone.to_owned(),
            "1:11: `open` is missing in `calendar.bureau`; write `open = [\"…\"]`",
        ),
        (
            format!("time_zone = \"Europe/Pari\"\n{open}"),
            "2:13: `time_zone`: no time zone is called \"Europe/Pari\"; did you mean \"Europe/Paris\"?",
        ),
        (
            format!("time_zone = \"Strasbourg\"\n{open}"),
            "2:13: `time_zone`: no time zone is called \"Strasbourg\"; write an IANA name such as \"Europe/Paris\" or \"Indian/Reunion\"",
        ),
        (
            format!("{zone}\nopen = [\"Mon-Fri 08:30-18:00\", \"Sta 09:00-12:00\"]"),
            "3:32: `open`: \"Sta\" is no day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun, as in \"Mon-Fri 08:30-18:00\"",
        ),
        (
            format!("{zone}\nopen = [\"Mon-Fri 8:30-18:00\"]"),
            "3:9: `open`: \"8:30-18:00\" is no span of time; write \"08:30-18:00\"",
        ),
        (
            format!("{zone}\nopen = []"),
            "3:8: `calendar.bureau` is never open; write `open = [\"Mon-Fri 08:30-18:00\"]`",
        ),
        (
            format!("{zone}\n{open}\nclosed = [\"2027-05-07\", \"2027-02-30\"]"),
            "4:25: `closed`: \"2027-02-30\" is no date; write \"2027-05-07\", \"2026-12-24..2027-01-02\" or \"2026-12-24 12:30-24:00\"",
        ),
        (
            format!("{zone}\n{open}\nclosed = [\"2027-01-02..2026-12-24\"]"),
            "4:11: `closed`: \"2027-01-02..2026-12-24\" is no range of at most two years; write the earlier date first",
        ),
        (
            format!("{zone}\n{open}\nopened = [\"2026-12-24 08:00-08:00\"]"),
            "4:11: `opened`: \"08:00-08:00\" is empty; write \"00:00-24:00\" for a whole day",
        ),
        (
            format!(
                "{zone}\n{open}\nclosed = [\"2026-12-24..2027-01-02\"]\nopened = [\"2026-12-20\", \"2026-12-28\"]"
            ),
            "5:25: `opened`: \"2026-12-28\" is closed by \"2026-12-24..2027-01-02\" in `closed`; keep one of the two, or give the hours of the one that is the exception",
        ),
        (
            format!("{zone}\n{open}\nholidays = {{}}"),
            "4:1: `country` is missing in `calendar.bureau.holidays`; write `country = \"…\"`",
        ),
        (
            format!("{zone}\n{open}\nholidays = {{ country = \"de\" }}"),
            "4:24: `country`: \"de\" is not one of the known words; write \"fr\"",
        ),
        (
            format!("{zone}\n{open}\nholidays = {{ country = \"fr\", territory = \"reunion\" }}"),
            "4:42: `territory`: \"reunion\" is not one of the known words; write \"metropole\" or \"guadeloupe\" or \"guyane\" or \"martinique\" or \"mayotte\" or \"la-reunion\" or \"saint-barthelemy\" or \"saint-martin\"",
        ),
        (
            format!(
                "{zone}\n{open}\nholidays = {{ country = \"fr\", territory = \"guyane\", alsace_moselle = true }}"
            ),
            "4:69: `alsace_moselle`: guyane is not in Alsace or Moselle; remove it, or `territory`",
        ),
        (
            format!("{zone}\n{open}\nholidays = \"fr\""),
            "4:12: `holidays`: this is text, not a table; write a table `[calendar.bureau.holidays]`",
        ),
        (
            format!("{zone}\n{open}\nclose = []"),
            "4:1: unknown key `close`; did you mean `closed`?",
        ),
    ] {
        let text = calendar(&lines);
        assert_eq!(
            Folder::new(&text).mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
}

#[test]
fn hours_of_a_day_are_the_exception_to_the_day() {
    let text = calendar(
        "time_zone = \"Europe/Paris\"\nopen = []\nclosed = [\"2026-12-24..2027-01-02\"]\n\
         opened = [\"2026-12-28 09:00-12:00\"]",
    );
    assert!(Folder::new(&text).load().is_ok());
}

#[test]
fn a_window_of_maintenance_says_what_core_reads() {
    let text = format!(
        "{BASE}[maintenance.correctifs]\ngroups = [\"app\"]\nwindow = \"2nd Tue 22:00-02:00 Europe/Paris\"\n\
         [maintenance.new]\nnodes = [\"app-03\"]\nmutes = \"everything\"\nreason = \"being installed\"\n\
         window = \"2026-12-01 22:00..2026-12-07 08:00 Indian/Reunion\"\n{LAST}"
    );
    let settings = Folder::new(&text).settings();
    let usual = &settings.rules.maintenance["correctifs"];
    assert_eq!(usual.scope, Scope::Reachability);
    assert_eq!(usual.place.groups, ["app".parse().unwrap()].into());
    assert_eq!(usual.window.time_zone(), "Europe/Paris");
    assert_eq!(
        usual.reason, "correctifs",
        "its name, where no other is written"
    );
    let new = &settings.rules.maintenance["new"];
    assert_eq!(new.scope, Scope::Everything);
    assert_eq!(new.place.nodes, ["app-03".parse().unwrap()].into());
    assert_eq!(new.reason, "being installed");
    assert!(settings.zones.find("Indian/Reunion").is_some());
}

#[test]
fn each_mistake_of_a_maintenance_has_its_place_and_its_mend() {
    let window = "window = \"2nd Tue 22:00-02:00 Europe/Paris\"";
    for (lines, told) in [
        (
            window.to_owned(),
            "14:14: `maintenance.m` is of no node; write `groups = [\"…\"]` or `nodes = [\"…\"]`",
        ),
        (
            format!("nodes = []\n{window}"),
            "15:9: `maintenance.m` is of no node; write `groups = [\"…\"]` or `nodes = [\"…\"]`",
        ),
        (
            format!("groups = [\"ap\"]\n{window}"),
            "15:11: `groups`: no group is called \"ap\"; did you mean \"app\"?",
        ),
        (
            "groups = [\"app\"]".to_owned(),
            "14:14: `window` is missing in `maintenance.m`; write `window = \"…\"`",
        ),
        (
            "groups = [\"app\"]\nwindow = \"each night\"".to_owned(),
            "16:10: `window`: \"each night\" is no window; write \"2nd Tue 22:00-02:00 Europe/Paris\" or \"2026-12-01 22:00..2026-12-07 08:00 Europe/Paris\"",
        ),
        (
            "groups = [\"app\"]\nwindow = \"2nd Tue 22:00-02:00 Europe/Pars\"".to_owned(),
            "16:10: `window`: no time zone is called \"Europe/Pars\"; did you mean \"Europe/Paris\"?",
        ),
        (
            format!("groups = [\"app\"]\n{window}\nmutes = \"reachabilty\""),
            "17:9: `mutes`: \"reachabilty\" is not one of the known words; did you mean \"reachability\"?",
        ),
        (
            format!("groups = [\"app\"]\n{window}\nmutes = \"everything\"\nreason = \"x\""),
            "16:10: `window`: what keeps everything quiet must come to an end; write a window such as \"2026-12-01 22:00..2026-12-07 08:00 Europe/Paris\", or remove `mutes`",
        ),
        (
            "groups = [\"app\"]\nmutes = \"everything\"\nwindow = \"2026-12-01 22:00..2026-12-07 08:00 Europe/Paris\"".to_owned(),
            "14:14: `reason` is missing in `maintenance.m`; write `reason = \"…\"`",
        ),
        (
            format!("groups = [\"app\"]\n{window}\nreason = \" \""),
            "17:10: `reason`: this is no reason; write in 1 to 200 characters what the work is for",
        ),
    ] {
        let text = format!("{BASE}[maintenance.m]\n{lines}\n{LAST}");
        assert_eq!(
            Folder::new(&text).mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
}
