//! Do those who read metrics find every one of them, and is what they read true?

use std::{
    collections::HashMap,
    io::Write as _,
    ops::RangeInclusive,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use vigie_core::{remote_write::STALE_NAN_BITS, time::Wall};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{
    Agent, Collector, DrivenClock, Manner, Page, Prometheus, Pushed, Recorder, VictoriaMetrics,
    Webhook, eventually, fetch_plain, value_in,
};

use crate::fleet::{fleet, watches};

/// How a Prometheus of these scenarios reads and writes: as quickly as it can.
const GLOBAL: &str = "global: { scrape_interval: 1s, scrape_timeout: 1s }\n";

/// Twice the collector's `silent_after`, and time for it to look.
const SILENCE: Duration = Duration::from_secs(300);

/// How the content type of a page begins.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// A wall clock in the unit of metrics.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this century are exact"
)]
fn seconds(at: Wall) -> f64 {
    at.0 as f64 / 1000.0
}

/// Whatever is measured in this minute and the next few.
fn lately() -> RangeInclusive<f64> {
    let now = seconds(SystemClock.wall());
    now - 120.0..=now + 600.0
}

/// The one value that a query gives.
async fn value_of(prometheus: &Prometheus, query: &str) -> Result<f64, String> {
    let found = prometheus.query(query).await?;
    let [one] = &*found else {
        return Err(format!("{} series: {found:?}", found.len()));
    };
    let value = one["value"][1].as_str().and_then(|text| text.parse().ok());
    value.ok_or_else(|| one.to_string())
}

/// What `promtool check metrics` says of a page. It is silent about a good one.
fn lint(page: &str) -> String {
    let mut linter = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed with prometheus");
    let mut stdin = linter.stdin.take().expect("its input is a pipe");
    // It says nothing before it has read everything.
    stdin
        .write_all(page.as_bytes())
        .expect("it reads its input");
    drop(stdin);
    let output = linter.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}{}{}",
        text(&output.stdout),
        text(&output.stderr),
        if output.status.success() {
            ""
        } else {
            "refused"
        }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_knows_the_collector_alone_finds_all_nodes_and_every_core_metric() {
    let service = Webhook::start().await;
    let webhook = Webhook::start().await;
    let collector = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver())
        .start()
        .await;
    let agent = Agent::with(watches(&service.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;
    service.behave(Manner::Answers(503));
    webhook.hears_line("open app-01 portail").await;

    let settings = format!(
        r#"{GLOBAL}
scrape_configs:
  - job_name: fleet
    http_sd_configs: [{{ url: "http://{}/sd", refresh_interval: 1s }}]
  - job_name: agent
    static_configs: [{{ targets: ["{}"] }}]
"#,
        collector.metrics_address(),
        agent.metrics_address()
    );
    let prometheus = Prometheus::start(&settings).await;

    let check = r#"node="app-01",service="dossier-patient",check="portail",kind="http""#;
    let node = r#"node="app-01""#;
    let own = format!(r#"instance="{}""#, collector.metrics_address());
    let (one, none) = (1.0..=1.0, 0.0..=0.0);
    let some = 0.0..=1e12;
    let mut truths = vec![
        (format!("vigie_node_up{{{node},{own}}}"), one.clone()),
        (
            format!("vigie_node_up{{{node},instance=\"app-01\"}}"),
            one.clone(),
        ),
        (
            format!("vigie_node_last_contact_timestamp_seconds{{{node},{own}}}"),
            lately(),
        ),
        (
            r#"vigie_alerts{state="critical",criticality="critical"}"#.to_owned(),
            one.clone(),
        ),
        (
            r#"sum(vigie_alerts{state!="critical"})"#.to_owned(),
            none.clone(),
        ),
        (
            r#"sum(vigie_deliveries_total{receiver="night",result="accepted"})"#.to_owned(),
            1.0..=100.0,
        ),
        (format!("vigie_build_info{{{own}}}"), one.clone()),
        // Every page that was discovered, and the agent's own.
        (r#"sum(up{job="fleet"})"#.to_owned(), 2.0..=2.0),
        (r#"sum(up{job="agent"})"#.to_owned(), one.clone()),
    ];
    // The same things are said by the node's page at the collector and by the agent itself.
    for source in [r#"job="fleet",instance="app-01""#, r#"job="agent""#] {
        let of_check = |name: &str| format!("{name}{{{check},{source}}}");
        truths.extend([
            (of_check("vigie_check_status"), 2.0..=2.0),
            (of_check("vigie_check_duration_seconds"), 0.000_001..=5.0),
            (of_check("vigie_check_last_ok_timestamp_seconds"), lately()),
            (of_check("vigie_check_last_run_timestamp_seconds"), lately()),
            (format!("vigie_build_info{{{node},{source}}}"), one.clone()),
        ]);
        for lane in ["entries", "metrics"] {
            truths.push((
                format!("vigie_spool_bytes{{{node},lane=\"{lane}\",{source}}}"),
                some.clone(),
            ));
        }
        truths.push((
            format!("sum(vigie_spool_dropped_total{{{node},lane=\"entries\",{source}}})"),
            none.clone(),
        ));
    }
    for (query, wanted) in truths {
        eventually(&format!("{query} is true"), async || {
            match value_of(&prometheus, &query).await? {
                value if wanted.contains(&value) => Ok(()),
                value => Err(format!("{value}, not {wanted:?}")),
            }
        })
        .await;
    }

    // Nothing of ours had to give way to a label of Prometheus'.
    for label in ["exported_node", "exported_instance", "exported_job"] {
        let query = format!("{{__name__=~\"vigie_.+\",{label}!=\"\"}}");
        let found = prometheus.query(&query).await.expect("it answers");
        assert!(found.is_empty(), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_sends_is_shown_under_its_name_and_cannot_speak_for_vigie() {
    let collector = Collector::with(fleet(&["app-01"])).start().await;
    let token = collector.command(&["token", "--sender", "prom-01"]);
    assert!(token.status.success(), "{token:?}");
    let place = tempfile::tempdir().expect("a temporary folder");
    let (dir, file) = (place.path().join("vigie"), place.path().join("token"));
    std::fs::write(&file, &token.stdout).expect("a token can be written");
    let (dir, file) = (dir.display().to_string(), file.display().to_string());
    let joined = Agent::with("").prepare(&collector, "app-01").command(&[
        "sender",
        "join",
        "--token-file",
        &file,
        "--dir",
        &dir,
        "--name",
        "prom-01",
    ]);
    assert!(joined.status.success(), "{joined:?}");

    // What the command prints is what is written into prometheus.yml, and nothing else is needed.
    let printed = String::from_utf8_lossy(&joined.stdout).into_owned();
    let prometheus = Prometheus::start_with(|address| {
        format!(
            r#"{GLOBAL}
scrape_configs:
  - job_name: self
    static_configs: [{{ targets: ["{address}"], labels: {{ node: "app-01" }} }}]
{printed}
    queue_config: {{ batch_send_deadline: 500ms }}
    write_relabel_configs:
      - {{ source_labels: [__name__], regex: prometheus_build_info, target_label: __name__, replacement: vigie_fake }}
      - {{ source_labels: [__name__], regex: prometheus_ready, target_label: __name__, replacement: vigie_node_up }}
"#
        )
    })
    .await;

    let page = collector
        .shows_page("/senders/prom-01/metrics", "what it sends", |page| {
            page.contains("\nprometheus_tsdb_head_series{")
        })
        .await;
    let series: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &series {
        assert!(line.contains("sender=\"prom-01\""), "{line}");
        assert!(!line.starts_with("vigie_"), "{line}");
        // The node that it speaks of is what it says, not who it is.
        assert!(
            !line.contains(",node=") && !line.contains("{node="),
            "{line}"
        );
    }
    assert!(
        series
            .iter()
            .any(|line| line.contains("exported_node=\"app-01\"")),
        "{page}"
    );
    eventually("both know the same number of series", async || {
        let own = value_of(&prometheus, "prometheus_tsdb_head_series").await?;
        let page = collector.page("/senders/prom-01/metrics").await?;
        let line = page
            .lines()
            .find(|line| line.starts_with("prometheus_tsdb_head_series{"));
        let shown = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        // It stays the same once every series is there.
        if own > 0.0 && shown == Some(own) {
            Ok(())
        } else {
            Err(format!("{shown:?} here, {own} there"))
        }
    })
    .await;
    assert!(
        series.len() > 100,
        "a prometheus says much about itself: {}",
        series.len()
    );

    let refused = collector
        .metric("vigie_samples_refused_total{reason=\"reserved\"}")
        .await;
    assert!(refused >= 2.0, "both of them: {refused}");
    let requests = collector
        .metric("vigie_samples_requests_total{result=\"partial\"}")
        .await;
    assert!(requests >= 1.0, "it was told: {requests}");
    // A sender is no node, whatever it says: nobody watches it, and it says nothing of those that are.
    assert_eq!(
        collector.page("/nodes/prom-01/metrics").await,
        Err("404".to_owned())
    );
    let own = collector.metrics().await.expect("the collector answers");
    assert!(!own.contains("node=\"app-01\""), "{own}");
    let sd = collector.page("/sd").await.expect("the collector answers");
    assert!(sd.contains("/senders/prom-01/metrics"), "{sd}");
    assert!(collector.alerts().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_writes_to_other_databases_what_it_writes_to_its_collector() {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let collector = Collector::with(fleet(&["app-01"]))
        .clock(&clock)
        .start()
        .await;
    let victoria = VictoriaMetrics::start().await;
    let prometheus = Prometheus::start(GLOBAL).await;
    let settings = format!(
        r#"
        remote_write = [
            {{ name = "victoria", url = "{}" }},
            {{ name = "prometheus", url = "{}" }},
        ]
        {}"#,
        victoria.write_url(),
        prometheus.write_url(),
        watches(&service.url())
    );
    let agent = Agent::with(settings)
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let flight = clock.keep_flying();
    agent.settles("portail", "ok").await;
    for destination in ["collector", "victoria", "prometheus"] {
        eventually(&format!("{destination} takes samples"), async || {
            let status = agent.status()?;
            let shown = &status["samples"]["destinations"][destination];
            match shown["taken"].as_u64() {
                Some(2..) => Ok(()),
                _ => Err(shown.to_string()),
            }
        })
        .await;
    }
    drop(flight);

    let check = r#"vigie_check_status{node="app-01",service="dossier-patient",check="portail",kind="http"}"#;
    // Their clocks are behind the agent's, which has flown.
    let query = format!("last_over_time({check}[20m] offset -10m)");
    for (name, found) in [
        ("victoria", victoria.answers(&query).await),
        ("prometheus", prometheus.answers(&query).await),
    ] {
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert_eq!(found[0]["value"][1], "0", "{name}: {found:?}");
    }
    let page = collector
        .shows_page("/nodes/app-01/metrics", "the check", |page| {
            page.contains("vigie_check_status{")
        })
        .await;
    let line = page
        .lines()
        .find(|line| line.starts_with("vigie_check_status{"))
        .unwrap_or_default();
    for label in [
        "node=\"app-01\"",
        "service=\"dossier-patient\"",
        "check=\"portail\"",
        "kind=\"http\"",
    ] {
        assert!(line.contains(label), "{line}");
    }
    assert!(line.ends_with(" 0"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linter_has_nothing_to_say_about_any_page_and_a_page_is_packed_for_who_asks() {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let collector = Collector::with(fleet(&["app-01"]))
        .clock(&clock)
        .start()
        .await;
    let settings = watches(&service.url())
        + r#"
        [check.disques]
        kind = "filesystem"
        mounts = ["/"]
        [check.memoire]
        kind = "memory"
        [check.charge]
        kind = "load"
        [check.processeur]
        kind = "cpu"
        [check.reseau]
        kind = "network"
        interfaces = ["lo"]
        "#;
    let agent = Agent::with(settings)
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let flight = clock.keep_flying();
    for check in ["portail", "disques", "memoire", "charge"] {
        agent.settles(check, "ok").await;
    }
    let path = "/nodes/app-01/metrics";
    collector
        .shows_page(path, "what was measured", |page| {
            ["filesystem_size", "memory_size", "load_average"]
                .iter()
                .all(|name| page.contains(&format!("\nvigie_host_{name}")))
        })
        .await;
    drop(flight);

    for (address, path) in [
        (collector.metrics_address(), "/metrics"),
        (collector.metrics_address(), path),
        (agent.metrics_address(), "/metrics"),
    ] {
        let plain = fetch_plain(address, path, &[]).await.expect("it answers");
        assert_eq!(plain.status, 200);
        let content_type = header(&plain, "content-type");
        assert!(content_type.starts_with(TEXT_FORMAT), "{content_type}");
        assert_eq!(header(&plain, "content-encoding"), "");
        let text = String::from_utf8_lossy(&plain.body);
        assert_eq!(lint(&text), "", "{address}{path}:\n{text}");
    }
    assert!(
        !lint("a_metric_without_help 1\n").is_empty(),
        "the linter is one"
    );

    // As Prometheus asks.
    let gzip = [("accept-encoding", "gzip")];
    let address = collector.metrics_address();
    let packed = fetch_plain(address, path, &gzip).await.expect("it answers");
    assert!(header(&packed, "content-type").starts_with(TEXT_FORMAT));
    assert_eq!(header(&packed, "content-encoding"), "gzip");
    assert_eq!(header(&packed, "vary"), "accept-encoding");
    let plain = collector.page(path).await.expect("it answers");
    assert!(packed.body.len() < plain.len() / 2);
    assert_eq!(
        unpack(&packed.body),
        plain,
        "nothing new came in between, and they are the same page"
    );
}

fn header<'a>(page: &'a Page, name: &str) -> &'a str {
    let value = page.headers.get(name).map(|value| value.to_str());
    value.and_then(Result::ok).unwrap_or_default()
}

/// What gzip(1) makes of it: another implementation than the one that packed it.
fn unpack(packed: &[u8]) -> String {
    let place = tempfile::tempdir().expect("a temporary folder");
    let file = place.path().join("page.gz");
    std::fs::write(&file, packed).expect("a file can be written");
    let output = Command::new("gzip")
        .arg("-dc")
        .arg(file)
        .output()
        .expect("gzip is everywhere");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_no_more_is_shown_no_more_and_of_a_silent_node_only_that_it_is_down() {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let collector = Collector::with(fleet(&["app-01", "app-02"]))
        .clock(&clock)
        .start()
        .await;
    let recorder = Recorder::start().await;
    let first = format!(
        "remote_write = [{{ name = \"recorder\", url = \"{}\" }}]\n{}",
        recorder.write_url(),
        watches(&service.url())
    );
    let second = "[check.memoire]\nkind = \"memory\"\nevery = \"1s\"\ntimeout = \"500ms\"\n";
    let mut agent = Agent::with(format!("{first}{second}"))
        .clock(&clock)
        .start(&collector, "app-01")
        .await;
    let other = Agent::with(watches(&service.url()))
        .clock(&clock)
        .start(&collector, "app-02")
        .await;
    let path = "/nodes/app-01/metrics";
    let flight = clock.keep_flying();
    agent.settles("memoire", "ok").await;
    other.settles("portail", "ok").await;
    let page = collector
        .shows_page(path, "both checks", |page| {
            page.contains("check=\"memoire\"") && page.contains("check=\"portail\"")
        })
        .await;
    assert_eq!(value_in(&page, "vigie_node_up{node=\"app-01\"}"), Some(1.0));

    agent.write_settings(&first);
    let page = collector
        .shows_page(path, "what is left", |page| {
            !page.contains("check=\"memoire\"")
        })
        .await;
    assert!(page.contains("check=\"portail\""), "{page}");
    // Each of its series was ended by a word, and did not just grow old.
    eventually("the end of the check is told", async || {
        let pushed: Vec<Pushed> = recorder.requests().into_iter().flatten().collect();
        let of_check = |pushed: &&Pushed| pushed.series.contains("check=\"memoire\"");
        let mut last = HashMap::new();
        for pushed in pushed.iter().filter(of_check) {
            last.insert(Arc::clone(&pushed.series), pushed.value_bits);
        }
        let live = last.values().filter(|bits| **bits != STALE_NAN_BITS);
        match (last.len(), live.count()) {
            (1.., 0) => Ok(()),
            (all, live) => Err(format!("{live} of {all} are live")),
        }
    })
    .await;
    drop(flight);

    agent.kill();
    clock.fly(SILENCE).await;
    // Who is heard is asked again every two seconds of the collector's clock.
    let _flight = clock.keep_flying();
    let page = collector
        .shows_page(path, "that it is not heard", |page| {
            value_in(page, "vigie_node_up{node=\"app-01\"}") == Some(0.0)
        })
        .await;
    let series: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(series, ["vigie_node_up{node=\"app-01\"} 0"], "{page}");
    assert_eq!(lint(&page), "");
    let up = collector.metric("vigie_node_up{node=\"app-01\"}").await;
    assert_eq!(up, 0.0);

    // Nobody else's page has changed.
    collector
        .shows_page("/nodes/app-02/metrics", "all that it did", |page| {
            value_in(page, "vigie_node_up{node=\"app-02\"}") == Some(1.0)
                && page.contains("vigie_check_status{")
        })
        .await;
}
