//! Programs that send metrics and cannot join by themselves: how do they get in, and how are they shut out?

use std::{path::Path, process::Output};

use vigie_core::{token::JoinToken, wire::RENEW_PATH};
use vigie_platform::tls::{HotCredential, SecretKey, client_config, parse_certificates};
use vigie_tests::harness::{Agent, Collector};

use crate::fleet::fleet;

/// The token that a command of the collector printed.
fn token(output: &Output) -> JoinToken {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout)
        .parse()
        .expect("the command prints a token and no more")
}

/// A client that uses the three files which the printed lines name, as Prometheus would.
fn client(dir: &Path) -> reqwest::Client {
    let read = |name: &str| std::fs::read(dir.join("current").join(name)).expect("it is there");
    let certificates =
        |name: &str| parse_certificates(&read(name), name).expect("certificates in PEM");
    let key = SecretKey::parse(&read("key.pem"), "key.pem").expect("a key in PEM");
    let own = HotCredential::new(certificates("certificate.pem"), &key).expect("they fit");
    let tls = client_config(&certificates("ca.pem"), "ca.pem", Some(own.into()))
        .expect("CAs are roots of trust");
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .build()
        .expect("a client can be built")
}

/// What the collector says to a request that it would refuse anyway: who speaks is asked first.
async fn error_of(client: &reqwest::Client, collector: &Collector) -> (u16, String) {
    let request = client.post(format!("{}{RENEW_PATH}", collector.url()));
    let answer = request.body("{}").send().await.expect("there is an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("with a body");
    let body: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default().to_owned();
    (status, error)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_joins_by_command_speaks_with_its_own_files_and_is_shut_out() {
    // A node of the same name is somebody else.
    let collector = Collector::with(fleet(&["prom-01"])).start().await;
    let agent = Agent::with("").prepare(&collector, "prom-01");
    let place = tempfile::tempdir().expect("a temporary folder");
    let (dir, file) = (place.path().join("vigie"), place.path().join("token"));
    let joins = |token: &JoinToken, more: &[&str]| {
        std::fs::write(&file, token.reveal()).expect("a token can be written");
        let (file, dir) = (file.display().to_string(), dir.display().to_string());
        let words = ["sender", "join", "--token-file", &file, "--dir", &dir];
        agent.command(&[&words, ["--name", "prom-01"].as_slice(), more].concat())
    };

    let of_node = token(&collector.command(&["token", "--node", "prom-01"]));
    let output = joins(&of_node, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the token is for a node"), "{said}");

    let of_sender = token(&collector.command(&["token", "--sender", "prom-01"]));
    let output = joins(&of_sender, &[]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let url = format!("  - url: \"{}/api/v1/write\"\n", collector.url());
    assert!(printed.contains(&url), "{printed}");
    for (key, name) in [
        ("ca_file", "ca.pem"),
        ("cert_file", "certificate.pem"),
        ("key_file", "key.pem"),
    ] {
        let path = dir.join("current").join(name);
        let line = format!("      {key}: \"{}\"\n", path.display());
        assert!(printed.contains(&line), "{line} is not in {printed}");
    }
    assert_eq!(
        joins(&of_sender, &[]).status.code(),
        Some(2),
        "it has joined"
    );

    let prometheus = client(&dir);
    // It is known: what is wrong is its request.
    let known = (400, "renew.malformed".to_owned());
    assert_eq!(error_of(&prometheus, &collector).await, known);
    let renew = || {
        let dir = dir.display().to_string();
        agent.command(&["sender", "renew", "--dir", &dir])
    };
    let output = renew();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"not due"), "{output:?}");

    let list = collector.command(&["sender", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    assert_eq!(list[0]["sender"], "prom-01");
    assert_eq!(list[0]["denied"], false);
    assert!(collector.node("prom-01").await.is_null());
    assert!(
        collector.alerts().await.is_empty(),
        "nothing is expected of a sender"
    );

    // From the next request on, also over a connection that is open.
    let operates = |word: &str| {
        let output = collector.command(&["sender", word, "prom-01"]);
        assert!(output.status.success(), "{output:?}");
    };
    operates("deny");
    let denied = (403, "sender.denied".to_owned());
    assert_eq!(error_of(&prometheus, &collector).await, denied);
    operates("allow");
    assert_eq!(error_of(&prometheus, &collector).await, known);

    // Another machine takes over the name, if an operator says so.
    let again = token(&collector.command(&["token", "--sender", "prom-01"]));
    let output = joins(&again, &["--replace"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has joined already"), "{said}");
    let replacing = token(&collector.command(&["token", "--sender", "prom-01", "--replace"]));
    let output = joins(&replacing, &["--replace"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(error_of(&client(&dir), &collector).await, known);
    let out = (403, "key.unknown".to_owned());
    assert_eq!(error_of(&prometheus, &collector).await, out);

    operates("retire");
    let gone = (403, "sender.unknown".to_owned());
    assert_eq!(error_of(&client(&dir), &collector).await, gone);
    let output = collector.command(&["sender", "retire", "prom-01"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
