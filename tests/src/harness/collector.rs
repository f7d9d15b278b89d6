//! A real collector: made with `init`, started, killed, asked.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use vigie_collector::operator::{Answer, Question, ask};
use vigie_core::{id::NodeName, token::JoinToken};

use super::{
    DrivenClock, eventually, own_address, plain,
    program::{Program, command, copy_folder, run, shipped},
};

/// How a collector is to be.
#[derive(Debug, Clone, Default)]
pub struct CollectorSettings {
    settings: String,
    clock: Option<Arc<DrivenClock>>,
    data_on: Option<PathBuf>,
    hosts: Vec<String>,
}

/// A collector and its folder. Killed and removed when dropped.
#[derive(Debug)]
pub struct Collector {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Option<Program>,
    dir: TempDir,
    address: IpAddr,
    clock: Option<Arc<DrivenClock>>,
}

impl CollectorSettings {
    /// Lets it live by a clock that the scenario drives. Not the shipped main then, but the tests' own.
    #[must_use]
    pub fn clock(mut self, clock: &Arc<DrivenClock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// Puts its data folder on another file system: `dir` takes the place of `data`.
    #[must_use]
    pub fn data_on(mut self, dir: &Path) -> Self {
        self.data_on = Some(dir.to_owned());
        self
    }

    /// Other names and addresses in its certificate, before its own. The first of them is what join tokens carry.
    #[must_use]
    pub fn hosts<const N: usize>(mut self, hosts: [String; N]) -> Self {
        self.hosts = hosts.into();
        self
    }

    /// Makes it and waits until it answers agents and operators.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Collector {
        let mut collector = self.prepare();
        collector.restart().await;
        collector
    }

    /// Makes it with `init`, without starting it.
    ///
    /// # Panics
    /// When `init` says no.
    #[must_use]
    pub fn prepare(self) -> Collector {
        let collector = Collector {
            dir: tempfile::tempdir().expect("a temporary folder"),
            address: own_address().into(),
            clock: self.clock,
            program: None,
        };
        let dir = collector.dir.path();
        if let Some(data) = self.data_on {
            std::os::unix::fs::symlink(data, dir.join("data")).expect("a new folder is empty");
        }
        let output = run(command(shipped("vigie-collector"))
            .arg("init")
            .arg("--dir")
            .arg(dir)
            .args(self.hosts.iter().flat_map(|host| ["--host", host]))
            .args(["--host", &collector.address.to_string()])
            .args(["--listen", &collector.agents_address().to_string()])
            .args(["--metrics-listen", &collector.metrics_address().to_string()]));
        assert!(output.status.success(), "init failed: {output:?}");
        fs::create_dir(dir.join("conf.d")).expect("init makes no conf.d");
        collector.write_settings(&self.settings);
        collector
    }
}

impl Collector {
    /// A collector with these tables in its settings, beside what `init` wrote.
    #[must_use]
    pub fn with(settings: impl Into<String>) -> CollectorSettings {
        CollectorSettings {
            settings: settings.into(),
            ..CollectorSettings::default()
        }
    }

    /// Replaces the tables; a running collector reloads at [`Collector::reload`].
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_settings(&self, settings: &str) {
        fs::write(self.dir.path().join("conf.d/scenario.toml"), settings)
            .expect("settings can be written");
    }

    /// Writes who can be reached and how, as settings demand it: in a file that not everybody can read.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_people(&self, people: &str) {
        let path = self.dir.path().join("conf.d/people.toml");
        fs::write(&path, people).expect("settings can be written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
    }

    /// The clock by which it lives, if a scenario drives it.
    #[must_use]
    pub fn clock(&self) -> Option<&Arc<DrivenClock>> {
        self.clock.as_ref()
    }

    /// Asks it to read its settings again.
    pub fn reload(&self) {
        self.program().reload();
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its settings file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("collector.toml")
    }

    /// Where agents reach it.
    #[must_use]
    pub fn agents_address(&self) -> SocketAddr {
        (self.address, 9443).into()
    }

    /// The same as an address for settings.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.agents_address())
    }

    /// Where Prometheus reads.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        (self.address, 9477).into()
    }

    /// The running process.
    ///
    /// # Panics
    /// When it was killed or stopped.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("the collector runs")
    }

    /// Starts it (again) without waiting for anything.
    pub fn launch(&mut self) {
        let command = match &self.clock {
            Some(clock) => {
                let mut command = command(test_main("test-collector"));
                command.arg(clock.path()).arg(self.config());
                command
            }
            None => {
                let mut command = command(shipped("vigie-collector"));
                command.arg("--config").arg(self.config()).arg("run");
                command
            }
        };
        self.program = Some(Program::start(
            "collector",
            command,
            &self.dir.path().join("collector.log"),
        ));
    }

    /// Starts it (again) and waits until it answers agents and operators.
    pub async fn restart(&mut self) {
        self.launch();
        self.is_there().await;
    }

    /// Waits until it answers agents and operators.
    pub async fn is_there(&mut self) {
        let address = self.agents_address();
        eventually("the collector is there", async || {
            let program = self.program.as_mut().ok_or("it was not started")?;
            assert!(
                program.is_running(),
                "the collector ended:\n{}",
                program.log()
            );
            self.try_status().await?;
            match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Ok(()),
                Err(cause) => Err(cause.to_string()),
            }
        })
        .await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn stop(&mut self) -> ExitStatus {
        self.program
            .take()
            .expect("the collector runs")
            .stop()
            .await
    }

    /// A copy of its data folder as it is now, as a backup takes it.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn snapshot(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_folder(&self.data_dir(), copy.path());
        copy
    }

    /// Puts a snapshot in the place of its data. The collector must not run.
    ///
    /// # Panics
    /// When it runs, or files cannot be copied.
    pub fn restore(&self, snapshot: &TempDir) {
        assert!(self.program.is_none(), "stop the collector first");
        fs::remove_dir_all(self.data_dir()).expect("the data can be removed");
        copy_folder(snapshot.path(), &self.data_dir());
    }

    /// Runs a command of the shipped binary about this collector.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        run(&mut self.prepared_command(arguments))
    }

    /// Runs a command of the shipped binary beside the scenario, to its end.
    #[must_use]
    pub fn begins(&self, arguments: &[&str]) -> JoinHandle<Output> {
        let mut command = self.prepared_command(arguments);
        tokio::task::spawn_blocking(move || run(&mut command))
    }

    fn prepared_command(&self, arguments: &[&str]) -> Command {
        let mut command = command(shipped("vigie-collector"));
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }

    /// Asks it as an operator.
    ///
    /// # Panics
    /// When it does not answer or refuses.
    pub async fn ask(&self, question: Question) -> Value {
        match ask(&self.data_dir(), &question).await {
            Ok(Answer::Done(value)) => value,
            other => panic!("the collector did not do {question:?}: {other:?}"),
        }
    }

    /// The fleet, or why not.
    ///
    /// # Errors
    /// When the collector does not answer.
    pub async fn try_status(&self) -> Result<Value, String> {
        match ask(&self.data_dir(), &Question::Status).await {
            Ok(Answer::Done(value)) => Ok(value),
            other => Err(format!("{other:?}")),
        }
    }

    /// The fleet as `status --json` shows it.
    pub async fn status(&self) -> Value {
        self.ask(Question::Status).await
    }

    /// A join token for `node`.
    ///
    /// # Panics
    /// When `node` is no name.
    pub async fn token(&self, node: &str) -> JoinToken {
        self.make_token(node, false).await
    }

    /// A join token with which another machine takes over `node`.
    ///
    /// # Panics
    /// When `node` is no name.
    pub async fn replacement_token(&self, node: &str) -> JoinToken {
        self.make_token(node, true).await
    }

    async fn make_token(&self, node: &str, replace: bool) -> JoinToken {
        let node: NodeName = node.parse().expect("scenarios use good names");
        let answer = self.ask(Question::Token { node, replace }).await;
        let token = answer["token"].as_str().expect("a token is text");
        token.parse().expect("the collector makes good tokens")
    }

    /// Open alerts as `node check/object status reason`, sorted.
    pub async fn alerts(&self) -> Vec<String> {
        alert_lines(&self.status().await)
    }

    /// Waits until an alert with this reason about `node` is open, and returns it.
    pub async fn shows(&self, node: &str, reason: &str) -> Value {
        eventually(&format!("status shows {reason} of {node}"), async || {
            let status = self.try_status().await?;
            let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
            let mut alerts = alerts.into_iter();
            alerts
                .find(|alert| alert["node"] == node && alert["reason"] == reason)
                .ok_or_else(|| format!("{:?}", alert_lines(&status)))
        })
        .await
    }

    /// Waits until the open alerts, as in [`Collector::alerts`], satisfy `wanted`.
    pub async fn settles(&self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        eventually(what, async || {
            let alerts = alert_lines(&self.try_status().await?);
            if wanted(&alerts) {
                Ok(())
            } else {
                Err(format!("{alerts:?}"))
            }
        })
        .await;
    }

    /// Waits until `node` is heard, has said what it watches, and nothing at all is wrong.
    pub async fn is_fine(&self, node: &str) {
        eventually(&format!("{node} and all else is fine"), async || {
            let status = self.try_status().await?;
            let rows = status["nodes"].as_array().cloned().unwrap_or_default();
            let is_ok = rows
                .iter()
                .any(|row| row["node"] == node && row["status"] == "ok");
            let alerts = alert_lines(&status);
            if is_ok && alerts.is_empty() {
                Ok(())
            } else {
                Err(format!("{alerts:?} {rows:?}"))
            }
        })
        .await;
    }

    /// The row of `node` in the status; null when there is none.
    pub async fn node(&self, node: &str) -> Value {
        let status = self.status().await;
        let rows = status["nodes"].as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .find(|row| row["node"] == node)
            .unwrap_or_default()
    }

    /// Its metrics, as Prometheus reads them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn metrics(&self) -> Result<String, String> {
        self.page("/metrics").await
    }

    /// The page at `path` of its metrics port.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn page(&self, path: &str) -> Result<String, String> {
        plain::read(self.metrics_address(), path).await
    }

    /// Waits until the page at `path` of its metrics port satisfies `wanted`, and returns it.
    pub async fn shows_page(
        &self,
        path: &str,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        eventually(&format!("{path} shows {what}"), async || {
            let page = self.page(path).await?;
            if wanted(&page) { Ok(page) } else { Err(page) }
        })
        .await
    }

    /// One series of its metrics, by name and labels as written; 0 when it is not there.
    ///
    /// # Panics
    /// When metrics cannot be read.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await.expect("the collector shows metrics");
        plain::value(&text, series).unwrap_or(0.0)
    }
}

fn alert_lines(status: &Value) -> Vec<String> {
    let word = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<String> = alerts
        .iter()
        .map(|alert| {
            let object = word(alert, "object");
            let slash = if object.is_empty() { "" } else { "/" };
            format!(
                "{} {}{slash}{object} {} {}",
                word(alert, "node"),
                word(alert, "check"),
                word(alert, "status"),
                word(alert, "reason")
            )
        })
        .collect();
    lines.sort();
    lines
}

/// Where one of the tests' own mains is: beside the shipped binaries, built with the scenarios.
pub(super) fn test_main(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own.ancestors().find(|folder| folder.join("deps").is_dir());
    folder
        .expect("tests run from cargo's target folder")
        .join(name)
}
