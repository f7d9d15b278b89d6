//! `admin.sock`: how operators talk to a running collector.
//!
//! A Unix socket in `data_dir`, mode 0660: whoever may open it may operate. One JSON line asks, one JSON line answers.
//! Every change goes through the engine, with the caller's uid (SO_PEERCRED, unix(7)) in the log. Nothing here is
//! reachable from the network.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::{info, warn};
use vigie_core::{
    fleet::Event,
    id::{NodeName, SenderName},
    token::Holder,
};

use crate::{engine::Handle, engine::Refusal, identity::Pki};

/// The longest question, in bytes.
const QUESTION_LEN_MAX: u64 = 64 * 1024;

/// The longest answer a client reads, in bytes: 3,000 nodes and 10,000 alerts.
const ANSWER_LEN_MAX: u64 = 32 * 1024 * 1024;

/// How many operators are served at a time.
const OPERATORS_MAX: usize = 16;

/// How long an operator's program may take to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client waits for its answer: a commit may take 5 s, and a queue stands before it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a join token is good (DESIGN §2 Identity).
const TOKEN_VALID_MS: u64 = 3_600_000;

/// What an operator asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Question {
    /// The fleet as it is.
    Status,
    /// A join token for a node.
    Token {
        /// For this node.
        node: NodeName,
        /// Which may take over a name in use.
        replace: bool,
    },
    /// A join token for a sender of metrics.
    SenderToken {
        /// For this sender.
        sender: SenderName,
        /// Which may take over a name in use.
        replace: bool,
    },
    /// Remove a node for good.
    Retire {
        /// The node.
        node: NodeName,
    },
    /// Shut a node out, or let it in again.
    Deny {
        /// The node.
        node: NodeName,
        /// Out or in.
        denied: bool,
    },
    /// Remove a sender for good.
    RetireSender {
        /// The sender.
        sender: SenderName,
    },
    /// Shut a sender out, or let it in again.
    DenySender {
        /// The sender.
        sender: SenderName,
        /// Out or in.
        denied: bool,
    },
    /// Confirm what only a person can settle about a node.
    Confirm {
        /// The node.
        node: NodeName,
    },
    /// The collector's clock is right.
    ClockConfirm,
}

/// What comes back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; the value depends on the question.
    Done(Value),
    /// Not done.
    Refused {
        /// Why.
        error: String,
        /// What to do about it.
        mend: String,
    },
}

/// Why a running collector could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "cannot reach a running collector at {path}; is it running, and may this user open the socket?"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It went away in the middle.
    #[error("the collector at {path} gave no answer")]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It speaks another version.
    #[error("the collector at {path} answered something else than this program understands")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}")]
pub struct ListenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Where the socket is.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// The listening end.
pub struct Operators {
    listener: UnixListener,
    engine: Handle,
    pki: Arc<Pki>,
    /// Where agents reach this collector, for tokens.
    url: Option<String>,
}

impl Operators {
    /// Makes the socket, in place of one that a killed collector left.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen(
        data_dir: &Path,
        engine: Handle,
        pki: Arc<Pki>,
        url: Option<String>,
    ) -> Result<Self, ListenError> {
        let path = socket_path(data_dir);
        let error = |source| ListenError {
            path: path.clone(),
            source,
        };
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(error(source)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(error)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).map_err(error)?;
        Ok(Self {
            listener,
            engine,
            pki,
            url,
        })
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        let permits = Arc::new(Semaphore::new(OPERATORS_MAX));
        let this = Arc::new(self);
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match this.listener.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&this);
                    tokio::spawn(async move {
                        if let Err(cause) = this.converse(stream).await {
                            info!(%cause, "an operator's program went away");
                        }
                        drop(permit);
                    });
                }
                Err(cause) => {
                    warn!(%cause, "cannot accept on admin.sock");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        let (read, mut write) = stream.split();
        let mut line = String::new();
        let mut limited = BufReader::new(read.take(QUESTION_LEN_MAX));
        timeout(ASK_TIMEOUT, limited.read_line(&mut line)).await??;
        let answer = match serde_json::from_str::<Question>(&line) {
            Ok(question) => self.answer(question, uid).await,
            Err(cause) => Answer::Refused {
                error: format!("the question cannot be read: {cause}"),
                mend: "use the vigie-collector of the same version as the one running".to_owned(),
            },
        };
        let mut text = serde_json::to_string(&answer).unwrap_or_default();
        text.push('\n');
        write.write_all(text.as_bytes()).await
    }

    async fn answer(&self, question: Question, uid: u32) -> Answer {
        match question {
            Question::Status => match self.engine.status().await {
                Some(snapshot) => Answer::Done(snapshot),
                None => unavailable(),
            },
            Question::Token { node, replace } => self.token(Holder::Node(node), replace, uid).await,
            Question::SenderToken { sender, replace } => {
                self.token(Holder::Sender(sender), replace, uid).await
            }
            Question::Retire { node } => {
                let holder = Holder::Node(node.clone());
                self.about(&holder, Event::NodeRetired { node, uid }).await
            }
            Question::Deny { node, denied } => {
                let holder = Holder::Node(node.clone());
                self.about(&holder, Event::NodeDenied { node, denied, uid })
                    .await
            }
            Question::RetireSender { sender } => {
                let holder = Holder::Sender(sender.clone());
                self.about(&holder, Event::SenderRetired { sender, uid })
                    .await
            }
            Question::DenySender { sender, denied } => {
                let holder = Holder::Sender(sender.clone());
                let event = Event::SenderDenied {
                    sender,
                    denied,
                    uid,
                };
                self.about(&holder, event).await
            }
            Question::Confirm { node } => {
                let holder = Holder::Node(node.clone());
                self.about(&holder, Event::Confirmed { node, uid }).await
            }
            Question::ClockConfirm => done(
                self.engine
                    .perform(Event::ClockTrusted { uid: Some(uid) })
                    .await,
            ),
        }
    }

    async fn token(&self, holder: Holder, replace: bool, uid: u32) -> Answer {
        let Some(url) = &self.url else {
            return Answer::Refused {
                error: "the collector does not know by which name agents reach it".to_owned(),
                mend: "write host = [\"NAME\"] in collector.toml".to_owned(),
            };
        };
        let token = match self.pki.make_token(url) {
            Ok(token) => token,
            Err(cause) => {
                return Answer::Refused {
                    error: format!("cannot make a token: {cause}"),
                    mend: "correct host in collector.toml".to_owned(),
                };
            }
        };
        let event = Event::TokenIssued {
            id: token.id().to_owned(),
            secret_sha256: token.secret_sha256(),
            holder,
            replace,
            valid_ms: TOKEN_VALID_MS,
            uid,
        };
        match self.engine.perform(event).await {
            Ok(()) => Answer::Done(
                json!({"token": token.reveal(), "valid_seconds": TOKEN_VALID_MS / 1000}),
            ),
            Err(_) => unavailable(),
        }
    }

    /// Does something about a node or sender that must exist.
    async fn about(&self, holder: &Holder, event: Event) -> Answer {
        let role = holder.role().as_str();
        let Some(snapshot) = self.engine.status().await else {
            return unavailable();
        };
        let exists = snapshot[format!("{role}s")]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row[role] == holder.name()));
        if !exists {
            return Answer::Refused {
                error: format!("no {role} named {} has joined", holder.name()),
                mend: format!("see `vigie-collector {role} list`"),
            };
        }
        done(self.engine.perform(event).await)
    }
}

fn done(result: Result<(), Refusal>) -> Answer {
    match result {
        Ok(()) => Answer::Done(json!({})),
        Err(_) => unavailable(),
    }
}

fn unavailable() -> Answer {
    Answer::Refused {
        error: "the collector cannot write its log now".to_owned(),
        mend: "see its own log for why, and the free space under data_dir".to_owned(),
    }
}

/// Asks the collector that runs on `data_dir`.
///
/// # Errors
/// When none answers.
pub async fn ask(data_dir: &Path, question: &Question) -> Result<Answer, AskError> {
    let path = socket_path(data_dir);
    let connect_error = |source| AskError::Connect {
        path: path.clone(),
        source,
    };
    let no_answer = |source| AskError::NoAnswer {
        path: path.clone(),
        source,
    };
    let mut stream = UnixStream::connect(&path).await.map_err(connect_error)?;
    let text = serde_json::to_string(question).unwrap_or_default() + "\n";
    stream.write_all(text.as_bytes()).await.map_err(no_answer)?;
    let mut answer = String::new();
    timeout(
        ANSWER_TIMEOUT,
        stream.take(ANSWER_LEN_MAX).read_to_string(&mut answer),
    )
    .await
    .map_err(|_| no_answer(io::ErrorKind::TimedOut.into()))?
    .map_err(no_answer)?;
    serde_json::from_str(&answer).map_err(|source| AskError::Answer {
        path: path.clone(),
        source,
    })
}
