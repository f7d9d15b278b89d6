//! A real Alertmanager, and `amtool`, which asks and tells whatever speaks its API.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually, own_address, plain,
    program::{Program, command, run},
};

/// Tells nobody: what it holds is asked for.
const SETTINGS: &str = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";

/// An Alertmanager and its folder. Killed and removed when dropped.
#[derive(Debug)]
pub struct Alertmanager {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    _program: Program,
    _dir: TempDir,
    address: SocketAddr,
}

impl Alertmanager {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it is not installed (`make test` installs it) or does not start.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address: SocketAddr = (own_address(), 9093).into();
        fs::write(dir.path().join("alertmanager.yml"), SETTINGS).expect("settings can be written");
        let mut alertmanager = command("prometheus-alertmanager");
        alertmanager
            .current_dir(dir.path())
            .arg("--config.file=alertmanager.yml")
            .arg("--storage.path=data")
            .arg(format!("--web.listen-address={address}"))
            // It is alone: no gossip.
            .arg("--cluster.listen-address=");
        let log = dir.path().join("alertmanager.log");
        let mut program = Program::start("alertmanager", alertmanager, &log);
        eventually("alertmanager is ready", async || {
            assert!(
                program.is_running(),
                "alertmanager ended:\n{}",
                program.log()
            );
            plain::read(address, "/-/ready").await
        })
        .await;
        Self {
            _program: program,
            _dir: dir,
            address,
        }
    }

    /// Where it answers, as settings name it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Runs `amtool` against an Alertmanager or what takes its place. `http` is a file with the client's settings, such as
/// its certificate.
///
/// # Errors
/// What it said, when it failed.
pub fn amtool(url: &str, http: Option<&Path>, words: &[&str]) -> Result<String, String> {
    let mut amtool = command("amtool");
    // Lest it reads the settings of whoever runs the tests.
    amtool.env("HOME", "/nonexistent");
    amtool.arg(format!("--alertmanager.url={url}"));
    if let Some(file) = http {
        amtool.arg(format!("--http.config.file={}", file.display()));
    }
    let output = run(amtool.args(words));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// What `amtool alert query` finds, as it came over the wire.
///
/// # Errors
/// When it failed.
pub fn alerts(url: &str, http: Option<&Path>, matchers: &[&str]) -> Result<Vec<Value>, String> {
    let words = [&["alert", "query", "--output=json"], matchers].concat();
    let text = amtool(url, http, &words)?;
    serde_json::from_str(&text).map_err(|cause| format!("{cause}: {text}"))
}
