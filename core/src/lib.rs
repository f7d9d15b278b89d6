//! vigie-core: what vigie knows and decides.
//!
//! Everything here is pure: no clock, file, socket, randomness or environment. `now`, jitter and zones come in as
//! values, decisions go out as values with a named reason, and the same inputs always give the same output. The
//! crate's `clippy.toml` bans what would break that.
//!
//! The story, in the order a failure travels: a check's [`observation`] settles ([`settle`]) into a [`status`] change,
//! which becomes a chained line of evidence ([`entry`]); the node's signed [`contact`] says what is wrong now; the
//! collector writes both into its [`log`], decides ([`fleet`], [`alert`]) under its [`rules`], and says so in words
//! ([`reason`]).

pub mod alert;
pub mod backoff;
pub mod calendar;
pub mod canonical;
mod civil;
pub mod contact;
pub mod coverage;
pub mod destination;
pub mod digest;
pub mod due;
pub mod entry;
pub mod explain;
pub mod fleet;
pub mod frame;
pub mod hand_in;
pub mod held;
pub mod id;
pub mod log;
pub mod mute;
pub mod observation;
pub mod plan;
pub mod presence;
pub mod reason;
pub mod remote_write;
pub mod rota;
pub mod routing;
pub mod rules;
pub mod sender_alert;
pub mod settle;
pub mod status;
pub mod time;
pub mod token;
pub mod wire;
pub mod wording;
pub mod zones;
