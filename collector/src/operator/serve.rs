//! Answers operators: each change goes through the engine, and what a question names must exist.
//!
//! Whoever does not read its answer is given up. Dropping the future closes the socket; the file is replaced at the next
//! start.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{net::UnixListener, sync::OnceCell, time::timeout};
use tracing::{info, warn};
use vigie_core::{
    id::{GroupName, NodeName, ReceiverName, ServiceName, SiteName},
    token::Holder,
};
use vigie_decide::{
    alert::Actor,
    fleet::{Answered, ClockEvent, Event, MembershipEvent, MuteEvent, OperatorEvent},
    mute::{MUTES_MAX, Nodes, SilenceMatch},
    view::{
        Version,
        fleet::Fleet,
        mute::{self, Kind as MuteKind},
        story,
    },
};
use vigie_platform::{
    admin_socket::{self, Bounds, Caller},
    settings_file::nearest,
};

use super::{
    protocol::{ANSWER_TIMEOUT, Answer, BadQuestion, Question, socket_path},
    reply::{
        AboutAlert, Acknowledged, Before, Begun, Done, Ended, Exercise, IssuedToken, Preview,
        Reply, Story,
    },
};
use crate::{
    engine::{Handle, Refusal},
    identity::Pki,
    store::{LOG_LINES_MAX, LogReader},
};

/// The longest question, in bytes.
const QUESTION_LEN_MAX: u64 = 64 * 1024;

/// Whoever may open it may operate: the collector's account and its group.
const MODE: u32 = 0o660;

const BOUNDS: Bounds = Bounds {
    // Operators, and scripts that wait for an answer each.
    callers_max: 16,
    accept_pause: Duration::from_millis(100),
    not_accepted: |cause| warn!(%cause, "cannot accept on admin.sock"),
};

/// How long an operator's program may take to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a join token is good: long enough to roll out a node, too short to be found later in somebody's history.
const TOKEN_VALID_MS: u64 = 3_600_000;

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}")]
pub struct ListenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The listening end.
pub struct Operators {
    listener: UnixListener,
    office: Office,
}

/// What questions are answered from.
struct Office {
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
        let listener = admin_socket::listen(&path, MODE).map_err(|cause| error(cause.source))?;
        let office = Office {
            engine,
            pki,
            url,
            data_dir: data_dir.to_owned(),
            log: OnceCell::new(),
        };
        Ok(Self { listener, office })
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        let Self { listener, office } = self;
        let office = Arc::new(office);
        admin_socket::serve(listener, BOUNDS, |caller| {
            let office = Arc::clone(&office);
            async move {
                if let Err(cause) = office.converse(caller).await {
                    info!(%cause, "an operator's program went away");
                }
            }
        })
        .await;
    }
}

impl Office {
    async fn converse(&self, mut caller: Caller) -> io::Result<()> {
        let uid = caller.uid()?;
        let line = timeout(ASK_TIMEOUT, caller.read_line(QUESTION_LEN_MAX)).await??;
        let answer = match serde_json::from_str::<Question>(&line) {
            Ok(question) => self.answer(question, uid).await,
            Err(cause) => Answer::Refused {
                error: format!("the question cannot be read: {cause}"),
                mend: "use the vigie-collector of the same version as the one running".to_owned(),
            },
        };
        // A large fleet takes tens of milliseconds to write, which are not the runtime's.
        let written = tokio::task::spawn_blocking(move || serde_json::to_string(&answer));
        let text = written.await?.unwrap_or_default();
        // Who does not read keeps a place that others need.
        timeout(ANSWER_TIMEOUT, caller.write_line(text)).await?
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

    async fn maintain(&self, place: Nodes, reason: String, for_ms: u64, uid: u32) -> Answer<Reply> {
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
