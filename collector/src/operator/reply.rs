//! What a running collector answers to each question that it does: the forms that `--json` prints, too.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vigie_core::time::Wall;
use vigie_decide::{
    alert::Actor,
    view::{Version, alert::Alert, fleet::Fleet},
};

/// Any of them, as it is written. Whoever asks knows which it is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `Status`.
    Fleet(Box<Fleet>),
    /// To `Token` and `SenderToken`.
    Token(IssuedToken),
    /// To `Acknowledge`.
    Acknowledged(Acknowledged),
    /// To `Unacknowledge` and `EndAlert`.
    About(AboutAlert),
    /// To `PreviewSilence`.
    Preview(Preview),
    /// To `Silence` and `Maintain`.
    Begun(Begun),
    /// To `EndMute`.
    Ended(Ended),
    /// To `Exercise`.
    Exercise(Exercise),
    /// To `Story`.
    Story(Story<Box<RawValue>>),
    /// To all else.
    Done(Done),
}

/// It is done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Done {
    /// The form's version.
    pub v: Version,
}

/// A join token.
#[derive(Clone, Serialize, Deserialize)]
pub struct IssuedToken {
    /// The form's version.
    pub v: Version,
    /// It, both halves.
    pub token: String,
    /// How long it is good, in seconds.
    pub valid_seconds: u64,
}

/// It holds a secret.
impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("valid_seconds", &self.valid_seconds)
            .finish_non_exhaustive()
    }
}

/// What came of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The form's version.
    pub v: Version,
    /// Alerts that are acknowledged by it.
    pub acknowledged: Vec<u64>,
    /// Alerts that somebody was on already.
    pub before: Vec<Before>,
    /// Numbers that no open alert has.
    pub missing: Vec<u64>,
}

/// An alert that somebody was on already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Its number.
    pub number: u64,
    /// Who.
    pub by: Actor,
}

/// Something was done about one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutAlert {
    /// The form's version.
    pub v: Version,
    /// Its number.
    pub number: u64,
}

/// The open alerts that a silence would be for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The form's version.
    pub v: Version,
    /// They, loudest first.
    pub hits: Vec<Alert>,
}

/// A silence or maintenance that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The form's version.
    pub v: Version,
    /// Its number.
    pub mute: u64,
    /// Until when; `None`: it is over already.
    pub until: Option<Wall>,
    /// Numbers of the open alerts that it keeps quiet.
    pub numbers: Vec<u64>,
    /// These alerts, loudest first.
    pub hits: Vec<Alert>,
}

/// A silence or maintenance that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The form's version.
    pub v: Version,
    /// Its number.
    pub mute: u64,
}

/// An exercise that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exercise {
    /// The form's version.
    pub v: Version,
    /// The number of its alert.
    pub number: u64,
    /// From which line of the log on it can be followed.
    pub from: u64,
}

/// What a part of the log says of one alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Story<L> {
    /// The form's version.
    pub v: Version,
    /// Lines about it and about what became of messages, as they are written.
    pub lines: Vec<L>,
    /// The line to go on with.
    pub next: u64,
    /// How many lines were read; as many as are read at a time: there may be more.
    pub read: usize,
}
