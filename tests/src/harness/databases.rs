//! Real time series databases, Prometheus and VictoriaMetrics: they scrape, receive, forward, and are asked what they know.

use std::{fs, net::SocketAddr, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually, own_address, plain,
    program::{Program, command},
};

/// A Prometheus and its folder. Killed and removed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Program,
    dir: TempDir,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one with these settings (the text of prometheus.yml), and waits until it is ready. It takes remote write.
    ///
    /// # Panics
    /// When Prometheus is not installed (`make test` installs it) or refuses its settings.
    pub async fn start(settings: &str) -> Self {
        Self::start_with(|_| settings.to_owned()).await
    }

    /// Starts one whose settings name its own address.
    ///
    /// # Panics
    /// As [`Prometheus::start`].
    pub async fn start_with(settings: impl FnOnce(SocketAddr) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address: SocketAddr = (own_address(), 9090).into();
        fs::write(dir.path().join("prometheus.yml"), settings(address))
            .expect("settings can be written");
        let mut prometheus = command("prometheus");
        prometheus
            .current_dir(dir.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver");
        let log = dir.path().join("prometheus.log");
        let mut started = Self {
            program: Program::start("prometheus", prometheus, &log),
            dir,
            address,
        };
        eventually("prometheus is ready", async || {
            assert!(
                started.program.is_running(),
                "prometheus ended:\n{}",
                started.program.log()
            );
            plain::read(address, "/-/ready").await
        })
        .await;
        started
    }

    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes remote write.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Its folder, for files that its settings name by a relative path.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// The running process.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// What an instant query gives: the elements of its vector, each `{metric: {…}, value: [time, "text"]}`.
    ///
    /// # Errors
    /// When it does not answer, or refuses the query.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        vector(self.address, query).await
    }

    /// Waits until a query gives something, and returns it.
    pub async fn answers(&self, query: &str) -> Vec<Value> {
        eventually(&format!("prometheus answers {query}"), async || {
            let found = self.query(query).await?;
            if found.is_empty() {
                return Err("nothing".to_owned());
            }
            Ok(found)
        })
        .await
    }
}

/// A real VictoriaMetrics (single node). Killed and removed when dropped.
#[derive(Debug)]
pub struct VictoriaMetrics {
    program: Program,
    _dir: TempDir,
    address: SocketAddr,
}

impl VictoriaMetrics {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it is not installed (`make test` installs it) or does not start.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address: SocketAddr = (own_address(), 8428).into();
        let mut victoria = command("victoria-metrics");
        victoria
            .current_dir(dir.path())
            .arg("-storageDataPath=data")
            .arg(format!("-httpListenAddr={address}"))
            // What was written is seen by the next query, not half a minute later.
            .arg("-search.latencyOffset=0s")
            .arg("-search.disableCache");
        let log = dir.path().join("victoria-metrics.log");
        let mut program = Program::start("victoria-metrics", victoria, &log);
        eventually("victoria-metrics is ready", async || {
            assert!(
                program.is_running(),
                "victoria-metrics ended:\n{}",
                program.log()
            );
            plain::read(address, "/health").await
        })
        .await;
        Self {
            program,
            _dir: dir,
            address,
        }
    }

    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes remote write.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The running process.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Waits until a query gives something, and returns it.
    pub async fn answers(&self, query: &str) -> Vec<Value> {
        eventually(&format!("victoria-metrics answers {query}"), async || {
            let found = vector(self.address, query).await?;
            if found.is_empty() {
                return Err("nothing".to_owned());
            }
            Ok(found)
        })
        .await
    }
}

/// The vector that an instant query gives (Prometheus HTTP API).
async fn vector(address: SocketAddr, query: &str) -> Result<Vec<Value>, String> {
    let escaped: String = query
        .bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let path = format!("/api/v1/query?query={escaped}");
    let text = plain::read(address, &path).await?;
    let answer: Value = serde_json::from_str(&text).map_err(|cause| cause.to_string())?;
    match answer["data"]["result"].as_array() {
        Some(found) => Ok(found.clone()),
        None => Err(text),
    }
}
