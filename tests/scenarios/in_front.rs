//! vigie in the place of Alertmanager: do Prometheus' own alerts reach people, and end, and who may end them?

use std::{fs, path::Path, process::Output};

use tempfile::TempDir;
use vigie_tests::harness::{Agent, Collector, Prometheus, Webhook, alerts_in, amtool, eventually};

use crate::fleet::fleet;

/// The files of a sender that has joined.
struct Sender {
    place: TempDir,
}

impl Sender {
    fn join(collector: &Collector, name: &str) -> Self {
        let place = tempfile::tempdir().expect("a temporary folder");
        let done = |output: &Output| assert!(output.status.success(), "{output:?}");
        let token = collector.command(&["token", "--sender", name]);
        done(&token);
        let file = place.path().join("token");
        fs::write(&file, &token.stdout).expect("a token can be written");
        let dir = place.path().join("vigie");
        let path = |path: &Path| path.display().to_string();
        let words = [
            "sender",
            "join",
            "--token-file",
            &path(&file),
            "--dir",
            &path(&dir),
        ];
        let words = [&words, ["--name", name].as_slice()].concat();
        done(&Agent::with("").prepare(collector, "app-01").command(&words));
        Self { place }
    }

    /// `tls_config` of Prometheus and of amtool.
    fn tls(&self) -> String {
        let dir = self.place.path().join("vigie/current");
        let dir = dir.display();
        format!(
            "{{ ca_file: {dir}/ca.pem, cert_file: {dir}/certificate.pem, key_file: {dir}/key.pem }}"
        )
    }

    /// A file with which amtool speaks as this sender.
    fn http_settings(&self) -> std::path::PathBuf {
        let file = self.place.path().join("amtool.yml");
        let text = format!("tls_config: {}\n", self.tls());
        fs::write(&file, text).expect("a file can be written");
        file
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_prometheus_is_told_and_so_is_its_end() {
    let night = Webhook::start().await;
    let settings = format!("{}{}", fleet(&["app-01"]), night.as_only_receiver());
    let collector = Collector::with(settings).start().await;
    let sender = Sender::join(&collector, "prom-01");
    // What Prometheus watches, and cannot reach.
    let mut portal = Webhook::away();
    let url = portal.url();
    let target = url.trim_start_matches("http://").trim_end_matches("/vigie");
    let rules = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(
        rules.path(),
        r#"
groups:
  - name: scenario
    rules:
      - alert: PortailInjoignable
        expr: up{job="portail"} == 0
        labels: { severity: page, service: dossier-patient }
        annotations: { summary: "Le portail de Mme Martin ne répond plus" }
"#,
    )
    .expect("rules can be written");
    let _prometheus = Prometheus::start(&format!(
        r#"
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{}"]
alerting:
  alertmanagers:
    - scheme: https
      tls_config: {}
      static_configs: [{{ targets: ["{}"] }}]
scrape_configs:
  - job_name: portail
    metrics_path: /vigie
    static_configs: [{{ targets: ["{target}"] }}]
"#,
        rules.path().display(),
        sender.tls(),
        collector.agents_address(),
    ))
    .await;

    let is_ours = |told: &vigie_tests::harness::Told| told.word("check") == "portailinjoignable";
    let opened = night
        .hears("the portal cannot be reached", |told| {
            told.word("notice") == "open" && is_ours(told)
        })
        .await;
    assert_eq!(opened.word("node"), "@sender/prom-01");
    assert_eq!(opened.word("status"), "critical");
    assert_eq!(
        opened.body["services"],
        serde_json::json!(["dossier-patient"])
    );
    assert!(
        !opened.body.to_string().contains("Martin"),
        "annotations are prose"
    );

    portal.come_back().await;
    let closed = night
        .hears("the portal is back", |told| {
            told.word("notice") == "close" && is_ours(told)
        })
        .await;
    assert_eq!(closed.word("object"), opened.word("object"));
    night.expect_each_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn amtool_adds_asks_and_ends_what_is_its_own() {
    let night = Webhook::start().await;
    let settings = format!("{}{}", fleet(&["app-01"]), night.as_only_receiver());
    let collector = Collector::with(settings).start().await;
    let senders = ["one", "other"].map(|name| Sender::join(&collector, name));
    let [one, other] = senders.each_ref().map(Sender::http_settings);
    let url = collector.url();
    let as_one = |words: &[&str]| amtool(&url, Some(&one), words);
    let as_other = |words: &[&str]| amtool(&url, Some(&other), words);
    let disk = ["alert", "add", "DisquePlein", "severity=critical", "job=db"];

    as_one(&disk).expect("it is taken");
    let opened = night
        .hears("the disk is full", |told| {
            told.word("check") == "disqueplein"
        })
        .await;
    assert_eq!(opened.word("node"), "@sender/one");
    as_one(&["alert", "add", "Chaud", "severity=warning"]).expect("it is taken");
    let found = |http: &Path, matchers: &[&str]| -> Vec<String> {
        let alerts = alerts_in(&url, Some(http), matchers).expect("amtool is answered");
        let name = |alert: &serde_json::Value| alert["labels"]["alertname"].to_string();
        let mut names: Vec<String> = alerts.iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(found(&one, &[]), ["\"Chaud\"", "\"DisquePlein\""]);
    assert_eq!(
        found(&one, &["alertname=~\"D.*\"", "job=db"]),
        ["\"DisquePlein\""]
    );
    assert_eq!(found(&other, &[]), [""; 0]);
    let shown = as_one(&["alert", "query"]).expect("it is answered");
    assert!(
        shown.contains("DisquePlein") && shown.contains("active"),
        "{shown}"
    );

    // The other one says that it is over, which it is not to say.
    let over = [&disk[..], &["--end=2026-01-01T00:00:00Z"]].concat();
    as_other(&over).expect("it is taken");
    assert_eq!(found(&one, &["job=db"]), ["\"DisquePlein\""]);
    as_one(&over).expect("it is taken");
    night
        .hears("the disk has room", |told| {
            told.word("notice") == "close" && told.word("check") == "disqueplein"
        })
        .await;
    assert_eq!(found(&one, &[]), ["\"Chaud\""]);

    // Silences are an operator's.
    let silence = [
        "silence",
        "add",
        "alertname=Chaud",
        "--comment=no",
        "--author=am",
    ];
    as_one(&silence).expect_err("no sender silences");
    // Who is no sender is not let in at all.
    let nobody = amtool(&url, None, &["alert", "query"]);
    nobody.expect_err("it trusts our CA as little as we know it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_crash_is_told_after_it() {
    let mut night = Webhook::away();
    let settings = format!("{}{}", fleet(&["app-01"]), night.as_only_receiver());
    let mut collector = Collector::with(settings).start().await;
    let sender = Sender::join(&collector, "prom-01");
    let http = sender.http_settings();
    let url = collector.url();
    let names: Vec<String> = (0..20).map(|number| format!("Alerte{number}")).collect();
    for name in &names {
        let words = ["alert", "add", name, "severity=critical"];
        amtool(&url, Some(&http), &words).expect("it is taken");
    }
    collector.kill();
    night.come_back().await;
    collector.restart().await;
    for name in &names {
        let name = name.to_lowercase();
        night.hears(&name, |told| told.word("check") == name).await;
    }
    // It knows them still, and says so.
    let known = eventually("amtool is answered", async || {
        alerts_in(&url, Some(&http), &[])
    })
    .await;
    assert_eq!(known.len(), names.len());
}
