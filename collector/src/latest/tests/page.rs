//! Pages, letter by letter.

use vigie_core::{
    remote_write::{MetricType, Sample, Version},
    time::{Now, Wall},
};

use super::fixture::{NOW, Said, at, gauge, labelled, node, sender, take_in, take_in_body};
use crate::{
    latest::{Latest, Limits, Origin, Refusal},
    scrape::tests::promtool_on,
};

fn page(latest: &Latest, origin: &Origin, now_ms: i64) -> String {
    let mut out = Vec::new();
    latest.text(origin, at(now_ms - NOW), &mut out);
    String::from_utf8(out).unwrap()
}

fn described(said: Said, metric_type: MetricType, help: &str) -> Said {
    Said {
        metadata: Some((metric_type, help.to_owned())),
        ..said
    }
}

/// What an agent sends, in both versions; families are described by a series that has their name.
fn of_an_agent() -> Vec<Said> {
    let name = |name| ("__name__", name);
    let bucket = |le| labelled(&[name("request_duration_seconds_bucket"), ("le", le)], 4.0);
    let quantile = |q| labelled(&[name("pause_seconds"), ("quantile", q)], 0.25);
    vec![
        described(
            labelled(
                &[
                    name("vigie_check_status"),
                    ("check", "disques"),
                    ("node", "app-01"),
                ],
                2.0,
            ),
            MetricType::Gauge,
            "Status of the check\nas \\ number",
        ),
        labelled(&[name("vigie_check_status"), ("check", "charge")], 0.0),
        described(
            labelled(
                &[name("vigie_pushes_total"), ("result", "a\"b\\c\nd")],
                1e21,
            ),
            MetricType::Counter,
            "Pushes",
        ),
        bucket("+Inf"),
        bucket("10"),
        bucket("2.5"),
        gauge("request_duration_seconds_sum", 0.1),
        gauge("request_duration_seconds_count", 4.0),
        quantile("0.5"),
        gauge("pause_seconds_sum", f64::NAN),
        gauge("pause_seconds_count", f64::INFINITY),
        labelled(
            &[name("http.server/duration"), ("0k.é", "ü")],
            f64::NEG_INFINITY,
        ),
        gauge("tiny_ratio", 1.5e-9),
        gauge("half_ratio", -0.5),
    ]
}

const OF_AN_AGENT: &str = r#"# HELP half_ratio No description was sent.
# TYPE half_ratio untyped
half_ratio{node="app-01"} -0.5
# HELP http_server_duration No description was sent.
# TYPE http_server_duration untyped
http_server_duration{node="app-01",_k__="ü"} -Inf
# HELP pause_seconds Pauses
# TYPE pause_seconds summary
pause_seconds{node="app-01",quantile="0.5"} 0.25
pause_seconds_sum{node="app-01"} NaN
pause_seconds_count{node="app-01"} +Inf
# HELP request_duration_seconds Durations
# TYPE request_duration_seconds histogram
request_duration_seconds_bucket{node="app-01",le="2.5"} 4
request_duration_seconds_bucket{node="app-01",le="10"} 4
request_duration_seconds_bucket{node="app-01",le="+Inf"} 4
request_duration_seconds_sum{node="app-01"} 0.1
request_duration_seconds_count{node="app-01"} 4
# HELP tiny_ratio No description was sent.
# TYPE tiny_ratio untyped
tiny_ratio{node="app-01"} 1.5e-9
# HELP vigie_check_status Status of the check\nas \\ number
# TYPE vigie_check_status gauge
vigie_check_status{node="app-01",check="charge"} 0
vigie_check_status{node="app-01",check="disques"} 2
# HELP vigie_pushes_total Pushes
# TYPE vigie_pushes_total counter
vigie_pushes_total{node="app-01",result="a\"b\\c\nd"} 1e21
"#;

fn agent_page(version: Version) -> String {
    let latest = Latest::new(Limits::default());
    let mut said = of_an_agent();
    let describe = |said: &mut Said, metric_type, help: &str, v1_name: &str| {
        said.metadata = Some((metric_type, help.to_owned()));
        if version == Version::V1 {
            // In 1.0 metadata is about the family: here it comes beside a series of that very name, already stale.
            said.labels = vec![("__name__".to_owned(), v1_name.to_owned())];
            said.samples = vec![Sample::stale(NOW)];
        }
    };
    let mut histogram = gauge("request_duration_seconds_count", 4.0);
    let family = "request_duration_seconds";
    describe(&mut histogram, MetricType::Histogram, "Durations", family);
    let mut summary = gauge("pause_seconds_count", f64::INFINITY);
    describe(&mut summary, MetricType::Summary, "Pauses", "pause_seconds");
    // Before the others: remote write 2.0 reads metadata of a series when it is new.
    said.splice(0..0, [histogram, summary]);
    take_in(&latest, &node("app-01"), version, &said, at(0));
    page(&latest, &node("app-01"), NOW)
}

#[test]
fn a_page_has_its_families_in_order_and_every_text_escaped() {
    assert_eq!(agent_page(Version::V1), OF_AN_AGENT);
    assert_eq!(agent_page(Version::V2), OF_AN_AGENT);
}

#[test]
fn promtool_finds_nothing_in_a_page() {
    let text = agent_page(Version::V1);
    // The file of an exporter that nobody would call well named is not what is tested here.
    let text: String = text
        .lines()
        .filter(|line| !line.contains("http_server_duration"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(promtool_on(&text), "", "{text}");
}

#[test]
fn promtool_reads_a_page_whatever_the_labels_are() {
    let latest = Latest::new(Limits::default());
    let texts = [
        "\0", "\r\n", "\"", "\\", "\\n", "{", "} 1", ",=", "#", "\u{feff}", "\u{2028}", "é", "1",
        " ", "__name__", ":", "le", "NaN",
    ];
    let mut said = Vec::new();
    for (n, name) in texts.iter().enumerate() {
        for value in texts {
            said.push(labelled(&[("__name__", name), ("n", value)], n as f64));
        }
        if *name != "__name__" {
            said.push(labelled(&[("__name__", "b_bucket"), (name, "1")], 1.0));
        }
    }
    let bucket = gauge("b", 1.0);
    said.push(described(bucket, MetricType::Histogram, "a\\\n\"#\r"));
    for origin in [node("app-01"), sender("prom")] {
        let applied = take_in(&latest, &origin, Version::V1, &said, at(0));
        assert_eq!(applied.refused_total(), 0, "{:?}", applied.example);
        let text = page(&latest, &origin, NOW);
        let complaints = promtool_on(&text);
        assert!(!complaints.contains("error"), "{complaints}\n{text}");
    }
}

#[test]
fn a_senders_own_origin_labels_are_moved_aside() {
    let latest = Latest::new(Limits::default());
    let said = [labelled(
        &[
            ("__name__", "up"),
            ("exported_node", "c"),
            ("node", "app-01"),
            ("sender", "other"),
        ],
        1.0,
    )];
    take_in(&latest, &sender("prom"), Version::V1, &said, at(0));
    let text = page(&latest, &sender("prom"), NOW);
    let line = text.lines().last().unwrap();
    assert_eq!(
        line,
        r#"up{sender="prom",exported_node="c",exported_exported_node="app-01",exported_sender="other"} 1"#
    );
}

#[test]
fn series_that_are_shown_alike_are_shown_once_and_the_newest_stands() {
    let latest = Latest::new(Limits::default());
    let mut older = gauge("a.b", 1.0);
    older.samples[0].timestamp_ms -= 1000;
    let said = [gauge("a_b", 2.0), older];
    take_in(&latest, &node("app-01"), Version::V1, &said, at(0));
    let text = page(&latest, &node("app-01"), NOW);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, [r#"a_b{node="app-01"} 2"#]);
}

#[test]
fn only_what_is_live_is_shown() {
    let latest = Latest::new(Limits::default());
    let origin = node("app-01");
    let minute_ms = 60_000;
    let of = |name, ago| {
        let mut said = gauge(name, 1.0);
        said.samples[0].timestamp_ms -= ago;
        said
    };
    let mut ended = gauge("ended", 1.0);
    ended.samples = vec![Sample::stale(NOW - 3 * minute_ms)];
    // A clock that is three minutes slow: its newest counts, not ours.
    let said = [
        of("newest", 3 * minute_ms),
        of("slow", 7 * minute_ms),
        of("gone", 9 * minute_ms),
        ended,
    ];
    take_in(&latest, &origin, Version::V1, &said, at(0));
    let shown = |now_ms| -> Vec<String> {
        let text = page(&latest, &origin, now_ms);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split('{').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(shown(NOW), ["newest", "slow"]);
    assert_eq!(shown(NOW + 5 * minute_ms), ["newest", "slow"]);
    assert!(
        shown(NOW + 5 * minute_ms + 1).is_empty(),
        "an origin that fell silent shows nothing"
    );
    assert_eq!(page(&latest, &node("other"), NOW), "");
}

#[test]
fn no_name_becomes_a_reserved_one_by_being_shown() {
    let latest = Latest::new(Limits::default());
    let shown = |origin: &Origin, names: &[&str]| {
        let said: Vec<Said> = names.iter().map(|name| gauge(name, 1.0)).collect();
        let applied = take_in(&latest, origin, Version::V1, &said, at(0));
        (
            applied.refused_for(Refusal::Reserved),
            page(&latest, origin, NOW),
        )
    };
    let (refused, text) = shown(
        &sender("prom"),
        &["vigie.alerts", "vigie-node.up", "vigie alerts", "vigieé"],
    );
    assert_eq!((refused, &*text), (4, ""));
    let (refused, text) = shown(&node("app-01"), &["vigie.node_up", "vigie node-up"]);
    assert_eq!((refused, &*text), (2, ""));
    let (refused, _) = shown(
        &sender("prom"),
        &["vigie", "vigie:alerts", "vigies", "_vigie_"],
    );
    assert_eq!(refused, 0);
}

#[test]
fn no_family_of_a_node_is_that_of_whether_it_is_up() {
    let latest = Latest::new(Limits::default());
    for (family, version) in [
        ("vigie_node_up", Version::V2),
        ("vigie.node_up", Version::V2),
    ] {
        let series = gauge(&format!("{family}_sum"), 1.0);
        let said = [described(series, MetricType::Summary, "Not yours")];
        take_in(&latest, &node("app-01"), version, &said, at(0));
    }
    let text = page(&latest, &node("app-01"), NOW);
    assert!(!text.contains("# TYPE vigie_node_up "), "{text}");
}

#[test]
fn a_clock_that_is_set_makes_nobody_heard_and_nobody_silent() {
    let latest = Latest::new(Limits::default());
    let origin = node("app-01");
    take_in(&latest, &origin, Version::V1, &[gauge("a", 1.0)], at(0));
    let is_shown = |wall_ms: i64, elapsed_ms: i64| {
        let now = Now {
            wall: Wall(NOW + wall_ms),
            elapsed: at(elapsed_ms).elapsed,
        };
        let mut out = Vec::new();
        latest.text(&origin, now, &mut out);
        !out.is_empty()
    };
    assert!(is_shown(3_600_000, 1000), "an hour forwards");
    assert!(is_shown(-60_000, 300_000), "a minute back");
    assert!(!is_shown(-60_000, 300_001), "silent for all that");
}

#[test]
fn of_what_a_request_says_twice_about_a_family_the_last_stands() {
    let latest = Latest::new(Limits::default());
    let origin = node("app-01");
    let of = |name, help| described(gauge(name, 1.0), MetricType::Gauge, help);
    let helps = || -> Vec<String> {
        let text = page(&latest, &origin, NOW);
        let lines = text.lines().filter(|line| line.starts_with("# HELP"));
        lines.map(str::to_owned).collect()
    };
    let said = [of("b", "1"), of("a", "1"), of("b", "2"), of("b", "3")];
    take_in(&latest, &origin, Version::V1, &said, at(0));
    assert_eq!(helps(), ["# HELP a 1", "# HELP b 3"]);
    let said = [of("c", "1"), of("a", "2"), of("aa", "1"), of("a", "3")];
    take_in(&latest, &origin, Version::V1, &said, at(0));
    let expected = ["# HELP a 3", "# HELP aa 1", "# HELP b 3", "# HELP c 1"];
    assert_eq!(helps(), expected);
}

#[test]
fn families_beyond_their_number_are_learnt_anew() {
    let latest = Latest::new(Limits::default());
    let origin = node("app-01");
    let request = |range: std::ops::Range<u32>| {
        let mut body = Vec::new();
        for n in range {
            let metadata = vigie_core::remote_write::Metadata {
                metric_type: MetricType::Gauge,
                family: &format!("m_{:05}", 99_999 - n),
                help: "",
                unit: "",
            };
            vigie_core::remote_write::v1::write_metadata(&metadata, &mut body);
        }
        body
    };
    let send = |body: &[u8]| take_in_body(&latest, &origin, Version::V1, body, at(0));
    let names = ["m_99999", "m_95904", "m_95903"];
    let said: Vec<Said> = names.iter().map(|name| gauge(name, 1.0)).collect();
    take_in(&latest, &origin, Version::V1, &said, at(0));
    let gauges = || {
        let text = page(&latest, &origin, NOW);
        names.map(|name| text.contains(&format!("# TYPE {name} gauge")))
    };
    send(&request(0..10_000));
    assert_eq!(gauges(), [true, true, false], "the first 4,096");
    send(&request(4_096..4_097));
    assert_eq!(gauges(), [false, false, true]);
    send(&request(0..1));
    assert_eq!(gauges(), [true, false, true]);
}
