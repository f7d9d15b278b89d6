//! A real agent: joined with a token by its own command, started, killed, asked.

use std::{
    ffi::OsString,
    fs,
    io::Read as _,
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use vigie_core::token::JoinToken;

use super::{
    Collector, DrivenClock,
    collector::test_main,
    eventually, own_address, plain,
    program::{Program, command, copy_folder, run, shipped},
};

/// How an agent is to be.
#[derive(Debug, Clone, Default)]
pub struct AgentSettings {
    settings: String,
    clock: Option<Arc<DrivenClock>>,
    collectors: Vec<String>,
    inside: Vec<String>,
    state_on: Option<PathBuf>,
}

/// An agent and its folder. Killed and removed when dropped.
#[derive(Debug)]
pub struct Agent {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Option<Program>,
    dir: TempDir,
    node: String,
    collectors: Vec<String>,
    metrics_address: SocketAddr,
    clock: Option<Arc<DrivenClock>>,
    inside: Vec<String>,
}

impl AgentSettings {
    /// Lets it live by a clock that the scenario drives. Not the shipped main then, but the tests' own.
    #[must_use]
    pub fn clock(mut self, clock: &Arc<DrivenClock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// The addresses of its collector, in this order, instead of the collector's own one.
    #[must_use]
    pub fn collectors<const N: usize>(mut self, urls: [String; N]) -> Self {
        self.collectors = urls.into();
        self
    }

    /// Runs it by this command, which is given the agent's own as its last arguments and becomes it: an agent in
    /// namespaces of its own.
    #[must_use]
    pub fn inside(mut self, command: &[&str]) -> Self {
        self.inside = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Puts its state folder on another file system: `dir` takes the place of `state`.
    #[must_use]
    pub fn state_on(mut self, dir: &Path) -> Self {
        self.state_on = Some(dir.to_owned());
        self
    }

    /// Joins `collector` as `node`, starts, and waits until it runs.
    ///
    /// # Panics
    /// When joining fails.
    pub async fn start(self, collector: &Collector, node: &str) -> Agent {
        let mut agent = self.prepare(collector, node);
        let output = agent.join(&collector.token(node).await);
        assert!(output.status.success(), "{node} cannot join: {output:?}");
        agent.restart().await;
        agent
    }

    /// Makes it without joining or starting it.
    ///
    /// # Panics
    /// When its folder cannot be made.
    #[must_use]
    pub fn prepare(self, collector: &Collector, node: &str) -> Agent {
        let collectors = if self.collectors.is_empty() {
            vec![collector.url()]
        } else {
            self.collectors
        };
        let agent = Agent {
            dir: tempfile::tempdir().expect("a temporary folder"),
            node: node.to_owned(),
            collectors,
            metrics_address: (own_address(), 9478).into(),
            clock: self.clock,
            inside: self.inside,
            program: None,
        };
        if let Some(state) = self.state_on {
            std::os::unix::fs::symlink(state, agent.state_dir()).expect("a new folder is empty");
        }
        agent.write_settings(&self.settings);
        agent
    }
}

impl Agent {
    /// An agent with these tables in its settings.
    #[must_use]
    pub fn with(settings: impl Into<String>) -> AgentSettings {
        AgentSettings {
            settings: settings.into(),
            ..AgentSettings::default()
        }
    }

    /// Replaces the tables of its settings. A running agent notices by itself.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_settings(&self, tables: &str) {
        let text = format!(
            "collectors = {:?}\nstate_dir = {:?}\nlisten = \"{}\"\n{tables}",
            self.collectors,
            self.state_dir(),
            self.metrics_address,
        );
        let new = self.dir.path().join("agent.toml.new");
        fs::write(&new, text).expect("settings can be written");
        fs::rename(new, self.config()).expect("settings can be replaced");
    }

    /// Its settings file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("agent.toml")
    }

    /// Its state folder.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The running process.
    ///
    /// # Panics
    /// When it was killed or stopped.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("the agent runs")
    }

    /// Runs its `join` command with `token`.
    ///
    /// # Panics
    /// When the token cannot be written to its file.
    #[must_use]
    pub fn join(&self, token: &JoinToken) -> Output {
        let file = self.dir.path().join("token");
        fs::write(&file, token.reveal()).expect("a token can be written");
        let file = file.to_str().expect("temporary folders have plain names");
        self.command(&["join", "--token-file", file, "--node", &self.node])
    }

    /// Runs a command of the shipped binary about this agent.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        run(command(shipped("vigie-agent"))
            .arg("--config")
            .arg(self.config())
            .args(arguments))
    }

    /// Starts it (again) without waiting for anything.
    pub fn launch(&mut self) {
        let (program, arguments) = match &self.clock {
            Some(clock) => {
                let arguments = [clock.path().into(), self.config().into()];
                (test_main("test-agent"), arguments.to_vec())
            }
            None => {
                let arguments = ["--config".into(), self.config().into(), "run".into()];
                (shipped("vigie-agent"), arguments.to_vec())
            }
        };
        let arguments: Vec<OsString> = arguments;
        let command = match &*self.inside {
            [] => {
                let mut command = command(program);
                command.args(arguments);
                command
            }
            [outer, own @ ..] => {
                let mut command = command(outer);
                command.args(own).arg(program).args(arguments);
                command
            }
        };
        let log = self.dir.path().join("agent.log");
        self.program = Some(Program::start(
            &format!("agent {}", self.node),
            command,
            &log,
        ));
    }

    /// Starts it (again) and waits until it shows its state.
    pub async fn restart(&mut self) {
        self.launch();
        let name = self.node.clone();
        eventually(&format!("agent {name} runs"), async || {
            let program = self.program.as_mut().ok_or("it was not started")?;
            assert!(
                program.is_running(),
                "agent {name} ended:\n{}",
                program.log()
            );
            self.status().map(drop)
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
        self.program.take().expect("the agent runs").stop().await
    }

    /// What it says of itself on its socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Value, String> {
        let mut text = String::new();
        UnixStream::connect(self.state_dir().join("admin.sock"))
            .and_then(|mut socket| socket.read_to_string(&mut text))
            .map_err(|cause| cause.to_string())?;
        serde_json::from_str(&text).map_err(|cause| cause.to_string())
    }

    /// Waits until `check` as a whole has settled as `status` since this process started.
    pub async fn settles(&self, check: &str, status: &str) {
        eventually(&format!("{check} is {status}"), async || {
            let state = self.status()?;
            let checks = state["checks"].as_array().cloned().unwrap_or_default();
            let found = checks
                .iter()
                .find(|row| row["name"] == check)
                .ok_or("it is not planned")?;
            if found["status"] == status {
                Ok(())
            } else {
                Err(found.to_string())
            }
        })
        .await;
    }

    /// Where Prometheus reads.
    #[must_use]
    pub const fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Its metrics, as Prometheus reads them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn metrics(&self) -> Result<String, String> {
        plain::read(self.metrics_address, "/metrics").await
    }

    /// One series of its metrics, by name and labels as written.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn metric(&self, series: &str) -> Result<f64, String> {
        let text = self.metrics().await?;
        plain::value(&text, series).ok_or_else(|| format!("no {series}"))
    }

    /// A copy of its state folder as it is now, as a thief or a restore from backup would take it.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[must_use]
    pub fn snapshot(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_folder(&self.state_dir(), copy.path());
        copy
    }

    /// Puts a snapshot in the place of its state. The agent must not run.
    ///
    /// # Panics
    /// When it runs, or files cannot be copied.
    pub fn restore(&self, snapshot: &TempDir) {
        assert!(self.program.is_none(), "stop the agent first");
        fs::remove_dir_all(self.state_dir()).expect("the state can be removed");
        copy_folder(snapshot.path(), &self.state_dir());
    }

    /// Removes what it remembers and has not sent, and leaves it its identity. The agent must not run.
    ///
    /// # Panics
    /// When it runs, or a file cannot be removed.
    pub fn forget_spool(&self) {
        assert!(self.program.is_none(), "stop the agent first");
        for entry in fs::read_dir(self.state_dir()).expect("the state can be listed") {
            let path = entry.expect("the state can be listed").path();
            if path.file_name().is_some_and(|name| name != "identity") {
                if path.is_dir() {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                }
                .unwrap_or_else(|cause| panic!("cannot remove {}: {cause}", path.display()));
            }
        }
    }
}
