//! Who takes alerts in by Alertmanager's API v2: a collector from a sender that has joined, and Debian's Alertmanager.

use std::{fs, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use vigie_agent::join::{Existing, Join, join, sender::Sender};
use vigie_collector::operator::Question;
use vigie_core::{id::SenderName, token::JoinToken};
use vigie_tests::harness::{Collector, Program, command, eventually, own_address, read_plain};

use crate::sink::Sink;

/// How an end comes to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `kill -9`.
    Killed,
    /// SIGTERM, as at an upgrade.
    Stopped,
}

/// One of the two, with what is needed to post to it.
pub enum Party {
    /// A collector, over mutual TLS.
    Vigie(Box<Collector>, Poster),
    /// An Alertmanager, over plain HTTP, which is in its favour.
    Alertmanager(Alertmanager, Poster),
}

impl Party {
    /// A collector with one sender, that tells this sink of everything.
    pub async fn vigie(sink: &Sink) -> Self {
        let settings = crate::fleet::group(&["n-0".to_owned()])
            + &sink.as_receiver()
            + "[[route]]\nnotify = [\"tableau\"]\n";
        let collector = Collector::with(settings).start().await;
        let poster = Poster::of_sender(&collector, "prom-01").await;
        Self::Vigie(Box::new(collector), poster)
    }

    /// An Alertmanager that tells this sink of each alert by itself, at once.
    pub async fn alertmanager(sink: &Sink) -> Self {
        let program = Alertmanager::start(sink).await;
        let poster = Poster::plain(&format!("http://{}", program.address));
        Self::Alertmanager(program, poster)
    }

    pub const fn poster(&self) -> &Poster {
        match self {
            Self::Vigie(_, poster) | Self::Alertmanager(_, poster) => poster,
        }
    }

    /// Ends it.
    pub async fn end(&mut self, end: End) {
        match (self, end) {
            (Self::Vigie(collector, _), End::Killed) => collector.kill(),
            (Self::Vigie(collector, _), End::Stopped) => {
                collector.stop().await;
            }
            (Self::Alertmanager(alertmanager, _), End::Killed) => alertmanager.program.kill(),
            (Self::Alertmanager(alertmanager, _), End::Stopped) => {
                alertmanager.program.stop().await;
            }
        }
    }

    /// Starts it again and waits until it answers.
    pub async fn restart(&mut self) {
        match self {
            Self::Vigie(collector, _) => collector.restart().await,
            Self::Alertmanager(alertmanager, _) => alertmanager.restart().await,
        }
    }
}

/// Who posts.
pub struct Poster {
    client: reqwest::Client,
    url: String,
    /// Holds its identity, where it has one.
    _dir: Option<TempDir>,
}

impl Poster {
    fn plain(url: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            client: client.expect("a client can be built"),
            url: format!("{url}/api/v2/alerts"),
            _dir: None,
        }
    }

    /// Joins as a sender.
    pub async fn of_sender(collector: &Collector, name: &str) -> Self {
        let name: SenderName = name.parse().expect("a good name");
        let answer = collector
            .ask(Question::SenderToken {
                sender: name.clone(),
                replace: false,
            })
            .await;
        let token = answer["token"].as_str().expect("a token is text");
        let token: JoinToken = token.parse().expect("the collector makes good tokens");
        let place = tempfile::tempdir().expect("a temporary folder");
        let joined = join(&Join::<Sender> {
            token: &token,
            name: &name,
            dir: &place.path().join("vigie"),
            proxy: None,
            existing: Existing::Keep,
        })
        .await;
        let joined = joined.expect("a good token opens the door");
        let tls = joined
            .identity
            .client_config()
            .expect("a new identity is good");
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .build();
        Self {
            client: client.expect("a client can be built"),
            url: format!("{}/api/v2/alerts", collector.url()),
            _dir: Some(place),
        }
    }

    /// Posts alerts in one request; the status of the answer.
    pub async fn post(&self, alerts: &[Value]) -> u16 {
        let body = Value::from(alerts.to_vec()).to_string();
        let request = self.client.post(&self.url).body(body);
        let request = request.header("content-type", "application/json");
        let answer = request.send().await.expect("there is an answer");
        let status = answer.status().as_u16();
        // Read to its end, so that the connection serves again.
        let _ = answer.bytes().await;
        status
    }
}

/// An alert of Prometheus, as it is posted.
pub fn posted(name: &str, service: &str) -> Value {
    json!({
        "labels": {
            "alertname": name,
            "severity": "critical",
            "service": service,
            "instance": "portail.chu.example:9100",
            "job": "portail",
        },
        "annotations": {"summary": "Le portail ne répond plus"},
        "generatorURL": "http://prometheus.chu.example/graph?g0.expr=up%3D%3D0",
    })
}

/// Debian's Alertmanager and its folder.
pub struct Alertmanager {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Program,
    dir: TempDir,
    address: SocketAddr,
}

impl Alertmanager {
    pub const fn program(&self) -> &Program {
        &self.program
    }

    async fn start(sink: &Sink) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        // What it takes to tell each alert by itself and without delay. The rest is as it ships: it tries for as long
        // as `group_interval`.
        let settings = format!(
            "route: {{ receiver: sink, group_by: ['...'], group_wait: 0s, group_interval: 5m }}\n\
             receivers: [{{ name: sink, webhook_configs: [{{ url: \"{}\" }}] }}]\n",
            sink.url()
        );
        fs::write(dir.path().join("alertmanager.yml"), settings).expect("settings can be written");
        let address: SocketAddr = (own_address(), 9093).into();
        let program = Self::launch(&dir, address);
        let mut started = Self {
            program,
            dir,
            address,
        };
        started.is_ready().await;
        started
    }

    fn launch(dir: &TempDir, address: SocketAddr) -> Program {
        let mut alertmanager = command("prometheus-alertmanager");
        alertmanager
            .current_dir(dir.path())
            .arg("--config.file=alertmanager.yml")
            .arg("--storage.path=data")
            .arg(format!("--web.listen-address={address}"))
            // It is alone: no gossip.
            .arg("--cluster.listen-address=");
        let log = dir.path().join("alertmanager.log");
        Program::start("alertmanager", alertmanager, &log)
    }

    async fn restart(&mut self) {
        self.program = Self::launch(&self.dir, self.address);
        self.is_ready().await;
    }

    async fn is_ready(&mut self) {
        let Self {
            program, address, ..
        } = self;
        eventually("alertmanager is ready", async || {
            assert!(
                program.is_running(),
                "alertmanager ended:\n{}",
                program.log()
            );
            read_plain(*address, "/-/ready").await.map(drop)
        })
        .await;
    }
}

/// How long a party that still has to tell something is waited for.
pub const TELLS_WITHIN: Duration = Duration::from_secs(30);
