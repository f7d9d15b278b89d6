//! `admin.sock`: how operators talk to a running collector.
//!
//! A Unix socket in `data_dir`, mode 0660: whoever may open it may operate. One JSON line asks, one JSON line answers.
//! Every change goes through the engine, with the caller's uid (SO_PEERCRED, unix(7)) in the log. Nothing here is
//! reachable from the network.

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OnceCell, Semaphore},
    time::timeout,
};
use tracing::{info, warn};
use vigie_core::{
    id::{GroupName, NodeName, ReceiverName, SenderName, ServiceName, SiteName},
    token::Holder,
};
use vigie_decide::{
    alert::Actor,
    fleet::{Answered, ClockEvent, Event, MembershipEvent, MuteEvent, OperatorEvent},
    mute::{MAINTENANCE_MAX_MS, MUTES_MAX, Place, REASON_LEN_MAX, SILENCE_MAX_MS, SilenceMatch},
    view::{
        Version,
        fleet::Fleet,
        mute::{self, Kind as MuteKind},
        story,
    },
};
use vigie_platform::settings_file::nearest;

use self::reply::{
    AboutAlert, Acknowledged, Before, Begun, Done, Ended, Exercise, IssuedToken, Preview, Reply,
    Story,
};
use crate::{
    engine::{Handle, Refusal},
    identity::Pki,
    store::{LOG_LINES_MAX, LogReader},
};

pub mod reply;

/// The longest question, in bytes.
const QUESTION_LEN_MAX: u64 = 64 * 1024;

/// The longest answer a client reads, in bytes: 3,000 nodes and 10,000 alerts.
const ANSWER_LEN_MAX: u64 = 32 * 1024 * 1024;

/// How many operators are served at a time.
const OPERATORS_MAX: usize = 16;

/// How long an operator's program may take to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client waits for its answer, and may take to read it: a commit may take 5 s, and a queue stands before it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a join token is good: long enough to roll out a node, too short to be found later in somebody's history.
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
    /// Somebody is on these alerts.
    Acknowledge {
        /// Their numbers.
        numbers: Vec<u64>,
        /// How long that counts, in milliseconds; `None`: until they end.
        for_ms: Option<u64>,
    },
    /// Nobody is on this alert after all.
    Unacknowledge {
        /// Its number.
        number: u64,
    },
    /// End an alert that nothing else would end.
    EndAlert {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Which open alerts a silence would be for.
    PreviewSilence {
        /// What it would be for.
        matches: SilenceMatch,
    },
    /// Silence alerts.
    Silence {
        /// Which.
        matches: SilenceMatch,
        /// Why.
        reason: String,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Begin maintenance.
    Maintain {
        /// Of which nodes.
        place: Place,
        /// Why.
        reason: String,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// End a silence or maintenance before its time.
    EndMute {
        /// Its number.
        mute: u64,
        /// Which of the two it must be, so that a slip of the finger does not end the other.
        kind: MuteKind,
    },
    /// Begin an exercise.
    Exercise {
        /// Who is to be told.
        receiver: ReceiverName,
    },
    /// What the log says of one alert, and of what became of messages.
    Story {
        /// The alert's number.
        number: u64,
        /// From this line on.
        from: u64,
    },
}

/// What is wrong with a question, and what to ask instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}; {mend}")]
pub struct BadQuestion {
    error: String,
    mend: &'static str,
}

impl BadQuestion {
    fn new(error: impl Into<String>, mend: &'static str) -> Self {
        let error = error.into();
        Self { error, mend }
    }
}

impl Question {
    /// Refuses what no collector would do. Asked before a question is sent and again before it is answered: the answer is
    /// what counts.
    ///
    /// # Errors
    /// What is wrong, and what to ask instead.
    pub fn judge(&self) -> Result<(), BadQuestion> {
        match self {
            Self::Acknowledge { numbers, for_ms } => {
                if numbers.is_empty() {
                    return Err(BadQuestion::new(
                        "no alert is named",
                        "write the numbers of alerts, such as `ack 1841 1843`",
                    ));
                }
                judge_length(
                    for_ms.unwrap_or(1),
                    MAINTENANCE_MAX_MS,
                    "an acknowledgement",
                    ACK_MEND,
                )
            }
            Self::EndAlert { reason, .. } => judge_reason(reason),
            Self::PreviewSilence { matches } => judge_matches(matches),
            Self::Silence {
                matches,
                reason,
                for_ms,
            } => {
                judge_matches(matches)?;
                judge_reason(reason)?;
                judge_length(*for_ms, SILENCE_MAX_MS, "a silence", SILENCE_MEND)
            }
            Self::Maintain {
                place,
                reason,
                for_ms,
            } => {
                if *place == Place::default() {
                    return Err(BadQuestion::new(
                        "no node and no group is named",
                        "write --node NAME or --group NAME; maintenance of everything would hide everything",
                    ));
                }
                judge_reason(reason)?;
                judge_length(*for_ms, MAINTENANCE_MAX_MS, "maintenance", MAINTENANCE_MEND)
            }
            _ => Ok(()),
        }
    }
}

const ACK_MEND: &str =
    "write for example --for 2h, or nothing: then it counts until the alert ends";

const SILENCE_MEND: &str =
    "write --for with at most 8h; for longer, `maintenance start` or a change of settings";

const MAINTENANCE_MEND: &str = "write --for with at most 7d; for longer, write a window `[maintenance.NAME]` into the settings";

fn judge_matches(matches: &SilenceMatch) -> Result<(), BadQuestion> {
    if matches.is_for_all() {
        return Err(BadQuestion::new(
            "a silence without a condition would hide everything",
            "write what it is for: --number, --node, --check, --service, …",
        ));
    }
    Ok(())
}

fn judge_reason(reason: &str) -> Result<(), BadQuestion> {
    let mend =
        "write --reason with a few words that the next shift understands, at most 200 characters";
    let problem = if reason.trim().is_empty() {
        "no reason is given"
    } else if reason.chars().count() > REASON_LEN_MAX {
        "the reason is too long"
    } else if reason.chars().any(char::is_control) {
        "the reason has control characters"
    } else {
        return Ok(());
    };
    Err(BadQuestion::new(problem, mend))
}

fn judge_length(
    for_ms: u64,
    max_ms: u64,
    what: &str,
    mend: &'static str,
) -> Result<(), BadQuestion> {
    if for_ms == 0 {
        return Err(BadQuestion::new(format!("{what} of no length"), mend));
    }
    if for_ms > max_ms {
        return Err(BadQuestion::new(
            format!("{what} of that length is too long"),
            mend,
        ));
    }
    Ok(())
}

/// What comes back. What a question that is done is answered with depends on it: see [`reply`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// Done.
    Done(T),
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
    data_dir: PathBuf,
    /// Opened when somebody first asks what the log says.
    log: OnceCell<LogReader>,
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
            data_dir: data_dir.to_owned(),
            log: OnceCell::new(),
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
        // A large fleet takes tens of milliseconds to write, which are not the runtime's.
        let written = tokio::task::spawn_blocking(move || serde_json::to_string(&answer));
        let mut text = written.await?.unwrap_or_default();
        text.push('\n');
        // Who does not read keeps a place that others need.
        timeout(ANSWER_TIMEOUT, write.write_all(text.as_bytes())).await?
    }

    async fn answer(&self, question: Question, uid: u32) -> Answer<Reply> {
        if let Err(BadQuestion { error, mend }) = question.judge() {
            return refused(error, mend);
        }
        match question {
            Question::Status => match self.engine.view().await {
                Some(fleet) => Answer::Done(Reply::Fleet(Box::new(fleet))),
                None => unavailable(),
            },
            Question::Token { node, replace } => self.token(Holder::Node(node), replace, uid).await,
            Question::SenderToken { sender, replace } => {
                self.token(Holder::Sender(sender), replace, uid).await
            }
            Question::Retire { node } => {
                let holder = Holder::Node(node.clone());
                self.about(
                    &holder,
                    Event::Membership(MembershipEvent::NodeRetired { node, uid }),
                )
                .await
            }
            Question::Deny { node, denied } => {
                let holder = Holder::Node(node.clone());
                self.about(
                    &holder,
                    Event::Membership(MembershipEvent::NodeDenied { node, denied, uid }),
                )
                .await
            }
            Question::RetireSender { sender } => {
                let holder = Holder::Sender(sender.clone());
                self.about(
                    &holder,
                    Event::Membership(MembershipEvent::SenderRetired { sender, uid }),
                )
                .await
            }
            Question::DenySender { sender, denied } => {
                let holder = Holder::Sender(sender.clone());
                let event = Event::Membership(MembershipEvent::SenderDenied {
                    sender,
                    denied,
                    uid,
                });
                self.about(&holder, event).await
            }
            Question::Confirm { node } => {
                let holder = Holder::Node(node.clone());
                self.about(
                    &holder,
                    Event::Membership(MembershipEvent::Confirmed { node, uid }),
                )
                .await
            }
            Question::ClockConfirm => done(
                self.engine
                    .perform(Event::Clock(ClockEvent::ClockTrusted { uid: Some(uid) }))
                    .await,
            ),
            Question::Acknowledge { numbers, for_ms } => {
                self.acknowledge(numbers, for_ms, uid).await
            }
            Question::Unacknowledge { number } => {
                let event = Event::Operator(OperatorEvent::Unacknowledged { number, uid });
                self.about_alert(number, event).await
            }
            Question::EndAlert { number, reason } => {
                let event = Event::Operator(OperatorEvent::AlertEnded {
                    number,
                    reason,
                    uid,
                });
                self.about_alert(number, event).await
            }
            Question::PreviewSilence { matches } => match self.engine.view().await {
                Some(fleet) => match unknown_in(&fleet, &matches) {
                    Some(refused) => refused,
                    None => Answer::Done(Reply::Preview(Preview {
                        v: Version,
                        hits: fleet.hits(&matches).cloned().collect(),
                    })),
                },
                None => unavailable(),
            },
            Question::Silence {
                matches,
                reason,
                for_ms,
            } => {
                let Some(fleet) = self.engine.view().await else {
                    return unavailable();
                };
                if let Some(refused) = unknown_in(&fleet, &matches) {
                    return refused;
                }
                let event = Event::Mute(MuteEvent::SilenceStarted {
                    matches,
                    reason,
                    for_ms,
                    uid,
                });
                self.begin_mute(event).await
            }
            Question::Maintain {
                place,
                reason,
                for_ms,
            } => self.maintain(place, reason, for_ms, uid).await,
            Question::EndMute { mute, kind } => self.end_mute(mute, kind, uid).await,
            Question::Exercise { receiver } => self.exercise(receiver, uid).await,
            Question::Story { number, from } => self.story(number, from).await,
        }
    }

    async fn acknowledge(&self, numbers: Vec<u64>, for_ms: Option<u64>, uid: u32) -> Answer<Reply> {
        let event = Event::Operator(OperatorEvent::Acknowledged {
            numbers: numbers.clone(),
            by: Actor::Uid(uid),
            for_ms,
        });
        let (now, before) = match self.engine.perform(event).await {
            Ok(Some(Answered::Acknowledged { numbers, before })) => (numbers, before),
            Ok(Some(Answered::NothingThere)) => (Vec::new(), Vec::new()),
            Ok(_) | Err(_) => return unavailable(),
        };
        let is_known =
            |number: &u64| now.contains(number) || before.iter().any(|(known, _)| known == number);
        let missing = numbers.iter().filter(|number| !is_known(number));
        let missing = missing.copied().collect();
        let before = before.into_iter();
        let before = before.map(|(number, by)| Before { number, by }).collect();
        Answer::Done(Reply::Acknowledged(Acknowledged {
            v: Version,
            acknowledged: now,
            before,
            missing,
        }))
    }

    async fn about_alert(&self, number: u64, event: Event) -> Answer<Reply> {
        let is_end = matches!(event, Event::Operator(OperatorEvent::AlertEnded { .. }));
        match self.engine.perform(event).await {
            Ok(Some(Answered::Done)) => {
                Answer::Done(Reply::About(AboutAlert { v: Version, number }))
            }
            Ok(Some(Answered::NotYours)) => refused(
                format!("#{number} ends only by what its node measures"),
                "mend the cause, see `plan confirm`, or silence it for a while",
            ),
            Ok(Some(Answered::NothingThere)) if is_end => refused(
                format!("no open alert has the number {number}"),
                "see `vigie-collector status`",
            ),
            Ok(Some(Answered::NothingThere)) => refused(
                format!("no open alert {number} is acknowledged"),
                "see `vigie-collector status`",
            ),
            Ok(_) | Err(_) => unavailable(),
        }
    }

    async fn begin_mute(&self, event: Event) -> Answer<Reply> {
        let (mute, numbers) = match self.engine.perform(event).await {
            Ok(Some(Answered::Muted { mute, hits })) => (mute, hits),
            Ok(Some(Answered::TooMany)) => {
                return refused(
                    format!("{MUTES_MAX} silences and maintenances run already"),
                    "end some: see `silence list` and `maintenance list`",
                );
            }
            Ok(_) | Err(_) => return unavailable(),
        };
        // It runs, whether or not it can be said what it hit.
        let (until, hits) = match self.engine.view().await {
            Some(fleet) => {
                let begun = fleet.mutes.iter().find(|row| row.mute == mute);
                let muted: BTreeSet<u64> = numbers.iter().copied().collect();
                let hits = fleet.alerts.iter();
                let hits = hits.filter(|alert| muted.contains(&alert.number));
                (begun.map(|row| row.until), hits.cloned().collect())
            }
            None => (None, Vec::new()),
        };
        Answer::Done(Reply::Begun(Begun {
            v: Version,
            mute,
            until,
            numbers,
            hits,
        }))
    }

    async fn maintain(&self, place: Place, reason: String, for_ms: u64, uid: u32) -> Answer<Reply> {
        let Some(fleet) = self.engine.view().await else {
            return unavailable();
        };
        let groups = place.groups.iter().map(|group| group.as_str());
        let nodes = place.nodes.iter().map(|node| node.as_str());
        if let Some(refused) =
            unknown(&fleet, Kind::Group, groups).or_else(|| unknown(&fleet, Kind::Node, nodes))
        {
            return refused;
        }
        let event = Event::Mute(MuteEvent::MaintenanceStarted {
            place,
            reason,
            for_ms,
            uid,
        });
        self.begin_mute(event).await
    }

    async fn end_mute(&self, mute: u64, kind: MuteKind, uid: u32) -> Answer<Reply> {
        let Some(mutes) = self.engine.read(mute::all).await else {
            return unavailable();
        };
        let word = kind.as_str();
        let mend = match kind {
            MuteKind::Silence => "see `vigie-collector silence list`",
            MuteKind::Maintenance => {
                "see `vigie-collector maintenance list`; a window of the settings ends by changing them"
            }
        };
        let is_it = |row: &mute::Mute| row.mute == mute && row.what.kind() == kind;
        if !mutes.iter().any(is_it) {
            return refused(format!("no {word} {mute} runs"), mend);
        }
        match self
            .engine
            .perform(Event::Mute(MuteEvent::MuteEnded { mute, uid }))
            .await
        {
            Ok(Some(Answered::Done)) => Answer::Done(Reply::Ended(Ended { v: Version, mute })),
            Ok(Some(Answered::NothingThere)) => refused(format!("no {word} {mute} runs"), mend),
            Ok(_) | Err(_) => unavailable(),
        }
    }

    async fn exercise(&self, receiver: ReceiverName, uid: u32) -> Answer<Reply> {
        let Some(fleet) = self.engine.view().await else {
            return unavailable();
        };
        let from = fleet.log.size;
        let event = Event::Operator(OperatorEvent::ExerciseStarted {
            receiver: receiver.clone(),
            uid,
        });
        match self.engine.perform(event).await {
            Ok(Some(Answered::Exercise { number })) => Answer::Done(Reply::Exercise(Exercise {
                v: Version,
                number,
                from,
            })),
            Ok(Some(Answered::NoSuchReceiver)) => {
                let name = std::iter::once(receiver.as_str());
                unknown(&fleet, Kind::Receiver, name).unwrap_or_else(unavailable)
            }
            Ok(_) | Err(_) => unavailable(),
        }
    }

    /// Lines of the log about one alert, and about messages that were accepted or refused: whose those are, the lines
    /// before them say.
    async fn story(&self, number: u64, from: u64) -> Answer<Reply> {
        let log = self.log.get_or_try_init(|| LogReader::open(&self.data_dir));
        let lines = match log.await {
            Ok(log) => log.lines(from, LOG_LINES_MAX).await,
            Err(cause) => {
                warn!(
                    cause = &cause as &dyn std::error::Error,
                    "cannot open the log for an operator"
                );
                return unreadable();
            }
        };
        let lines = match lines {
            Ok(lines) => lines,
            Err(cause) => {
                warn!(
                    cause = &cause as &dyn std::error::Error,
                    "cannot read the log for an operator"
                );
                return unreadable();
            }
        };
        let next = lines.last().map_or(from, |(n, _)| n + 1);
        let read = lines.len();
        let told = lines
            .into_iter()
            .filter(|(_, line)| is_of_story(line, number))
            .filter_map(|(_, line)| RawValue::from_string(line).ok())
            .collect();
        Answer::Done(Reply::Story(Story {
            v: Version,
            lines: told,
            next,
            read,
        }))
    }

    async fn token(&self, holder: Holder, replace: bool, uid: u32) -> Answer<Reply> {
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
        let event = Event::Membership(MembershipEvent::TokenIssued {
            id: token.id().to_owned(),
            secret_sha256: token.secret_sha256(),
            holder,
            replace,
            valid_ms: TOKEN_VALID_MS,
            uid,
        });
        match self.engine.perform(event).await {
            Ok(_) => Answer::Done(Reply::Token(IssuedToken {
                v: Version,
                token: token.reveal(),
                valid_seconds: TOKEN_VALID_MS / 1000,
            })),
            Err(_) => unavailable(),
        }
    }

    /// Does something about a node or sender that must exist.
    async fn about(&self, holder: &Holder, event: Event) -> Answer<Reply> {
        let role = holder.role().as_str();
        let asked = holder.clone();
        let exists = self.engine.read(move |basis| match &asked {
            Holder::Node(node) => basis.state.nodes.contains_key(node),
            Holder::Sender(sender) => basis.state.senders.contains_key(sender),
        });
        let Some(exists) = exists.await else {
            return unavailable();
        };
        if !exists {
            return Answer::Refused {
                error: format!("no {role} named {} has joined", holder.name()),
                mend: format!("see `vigie-collector {role} list`"),
            };
        }
        done(self.engine.perform(event).await)
    }
}

fn done(result: Result<Option<Answered>, Refusal>) -> Answer<Reply> {
    match result {
        Ok(_) => Answer::Done(Reply::Done(Done::default())),
        Err(_) => unavailable(),
    }
}

fn refused(error: impl Into<String>, mend: &str) -> Answer<Reply> {
    Answer::Refused {
        error: error.into(),
        mend: mend.to_owned(),
    }
}

/// What an operator names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Group,
    Service,
    Site,
    Receiver,
}

impl Kind {
    /// All names of this kind that mean something.
    fn names(self, fleet: &Fleet) -> BTreeSet<&str> {
        match self {
            Self::Node => {
                // One that a group names and that has not joined yet is being installed.
                let named = fleet.groups.values().flatten();
                let joined = fleet.nodes.iter().map(|row| &row.node);
                named.chain(joined).map(NodeName::as_str).collect()
            }
            Self::Group => fleet.groups.keys().map(GroupName::as_str).collect(),
            Self::Service => fleet.services.iter().map(ServiceName::as_str).collect(),
            Self::Site => fleet.sites.iter().map(SiteName::as_str).collect(),
            Self::Receiver => fleet.receivers.iter().map(ReceiverName::as_str).collect(),
        }
    }

    const fn unknown(self) -> (&'static str, &'static str) {
        match self {
            Self::Node => (
                "has joined as a node or is named by a group",
                "see `vigie-collector node list`",
            ),
            Self::Group => ("is a group", "see `[group.…]` in the settings"),
            Self::Service => ("is a service", "see `[service.…]` in the settings"),
            Self::Site => (
                "is the site of a group",
                "see `site` of `[group.…]` in the settings",
            ),
            Self::Receiver => (
                "is a receiver",
                "see `[receiver.…]` in the settings, and `check-config`",
            ),
        }
    }
}

/// Refuses the first of these names that means nothing: with a slip of the finger nothing would be kept quiet, or nobody
/// told, and that be noticed at night.
fn unknown<'n>(
    fleet: &Fleet,
    kind: Kind,
    mut named: impl Iterator<Item = &'n str>,
) -> Option<Answer<Reply>> {
    let names = kind.names(fleet);
    let wrong = named.find(|name| !names.contains(name))?;
    let (is_none, mend) = kind.unknown();
    let mend = match nearest(wrong, names.iter().copied()) {
        Some(near) => format!("did you mean {near}? {mend}"),
        None => mend.to_owned(),
    };
    Some(refused(format!("nothing named {wrong} {is_none}"), &mend))
}

/// Refuses a silence of what does not exist.
fn unknown_in(fleet: &Fleet, silence: &SilenceMatch) -> Option<Answer<Reply>> {
    let matches = &silence.matches;
    let (nodes, groups) = (matches.node.iter(), matches.group.iter());
    let (services, sites) = (matches.service.iter(), matches.site.iter());
    let is_open = |number: &u64| fleet.alerts.iter().any(|row| row.number == *number);
    if let Some(number) = silence.number.filter(|number| !is_open(number)) {
        return Some(refused(
            format!("no open alert has the number {number}"),
            "see `vigie-collector status`",
        ));
    }
    unknown(fleet, Kind::Node, nodes.map(NodeName::as_str))
        .or_else(|| unknown(fleet, Kind::Group, groups.map(GroupName::as_str)))
        .or_else(|| unknown(fleet, Kind::Service, services.map(ServiceName::as_str)))
        .or_else(|| unknown(fleet, Kind::Site, sites.map(SiteName::as_str)))
}

fn unavailable() -> Answer<Reply> {
    refused(
        "the collector cannot write its log now",
        "see its own log for why, and the free space under data_dir",
    )
}

fn unreadable() -> Answer<Reply> {
    refused(
        "the collector cannot read its log now",
        "see its own log for why",
    )
}

/// Whether a line of the log is about this alert, or about a message.
fn is_of_story(line: &str, number: u64) -> bool {
    let line = serde_json::from_str::<story::Line>(line);
    line.is_ok_and(|line| line.event.is_about_message() || line.event.number() == Some(number))
}

/// Asks the collector that runs on `data_dir`.
///
/// # Errors
/// When none answers, or with another form than `T`.
pub async fn ask<T: DeserializeOwned>(
    data_dir: &Path,
    question: &Question,
) -> Result<Answer<T>, AskError> {
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

#[cfg(test)]
mod tests;
