//! What operators may ask of a collector and what comes back: one JSON line each. Pure; judges a question alone, without the
//! fleet it is about.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use vigie_core::id::{NodeName, ReceiverName, SenderName};
use vigie_decide::{
    mute::{MAINTENANCE_MAX_MS, Nodes, REASON_LEN_MAX, SILENCE_MAX_MS, SilenceMatch},
    view::mute::Kind as MuteKind,
};

/// How long a client waits for its answer, and may take to read it: a commit may take 5 s, and a queue stands before it.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the socket is.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

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
        place: Nodes,
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
    pub(super) error: String,
    pub(super) mend: &'static str,
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
                if *place == Nodes::default() {
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

/// What comes back. What a question that is done is answered with depends on it: see [`super::reply`].
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
