//! Does an administrator learn of every mistake in one run?

use std::{fs, path::Path};

use vigie_tests::harness::{Agent, Collector};

fn write(dir: &Path, name: &str, text: &str) {
    fs::create_dir_all(dir.join("conf.d")).expect("a folder can be made");
    fs::write(dir.join(name), text).expect("settings can be written");
}

/// Expects `mistakes`, each as its place and a part of what is said, and nothing else.
fn expect_mistakes(said: &str, mistakes: &[(&str, &str)]) {
    for (place, part) in mistakes {
        let found = said
            .lines()
            .any(|line| line.contains(place) && line.contains(part));
        assert!(found, "{place} … {part} is not among:\n{said}");
    }
    let lines = said.lines().filter(|line| line.contains(".toml:")).count();
    assert_eq!(lines, mistakes.len(), "{said}");
    let mended = said
        .lines()
        .filter(|line| line.contains(".toml:") && line.contains("; "))
        .count();
    assert_eq!(
        mended,
        mistakes.len(),
        "each says what to write instead:\n{said}"
    );
}

#[tokio::test]
async fn seven_mistakes_over_three_files_of_a_collector_are_told_in_one_run() {
    let collector = Collector::with("").prepare();
    let dir = collector
        .config()
        .parent()
        .expect("settings are in a folder")
        .to_owned();
    write(
        &dir,
        "collector.toml",
        "listen = \"here\"\nsilent_after = \"2 sheep\"\nlanguage = \"de\"\n",
    );
    write(
        &dir,
        "conf.d/10-services.toml",
        "[service.dossier]\ncriticality = \"vital\"\nneeds = { D = 9, I = 1, C = 1, T = 1 }\n",
    );
    write(
        &dir,
        "conf.d/20-routes.toml",
        "[receiver.night]\nwebhook = { url = \"https://a.example/\" }\n[[route]]\nnotify = [\"nigth\"]\nnotifi = 1\n",
    );
    let output = collector.command(&["check-config"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    expect_mistakes(
        &String::from_utf8_lossy(&output.stderr),
        &[
            ("collector.toml:1:10", "listen"),
            ("collector.toml:2:16", "silent_after"),
            ("collector.toml:3:12", "language"),
            ("10-services.toml:2:15", "criticality"),
            ("10-services.toml:3:15", "D"),
            ("20-routes.toml:4:11", "nigth"),
            ("20-routes.toml:5:1", "notifi"),
        ],
    );
}

#[tokio::test]
async fn seven_mistakes_over_three_files_of_an_agent_are_told_in_one_run() {
    let collector = Collector::with("").prepare();
    let agent = Agent::with("").prepare(&collector, "app-01");
    let dir = agent
        .config()
        .parent()
        .expect("settings are in a folder")
        .to_owned();
    write(
        &dir,
        "agent.toml",
        "collectors = [\"http://a.example\"]\nstate-dir = \"/tmp\"\n[defaults]\nevery = 30\n",
    );
    write(
        &dir,
        "conf.d/10-portail.toml",
        "[check.portail]\nkind = \"https\"\n[check.base]\nkind = \"tcp\"\ntarget = \"db-01:5432\"\nfailures = 9999\n",
    );
    write(
        &dir,
        "conf.d/20-disques.toml",
        "[check.base]\nkind = \"tcp\"\ntarget = \"db-02:5432\"\n[check.memoire]\nkind = \"memory\"\ntimeout = \"2m\"\n",
    );
    let output = agent.command(&["check-config"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    expect_mistakes(
        &String::from_utf8_lossy(&output.stderr),
        &[
            ("agent.toml:1:15", "collectors"),
            ("agent.toml:2:1", "state-dir"),
            ("agent.toml:4:9", "every"),
            ("10-portail.toml:2:8", "https"),
            ("10-portail.toml:6:12", "failures"),
            ("20-disques.toml:1:8", "base"),
            ("20-disques.toml:6:11", "timeout"),
        ],
    );
}
