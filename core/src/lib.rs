//! vigie-core: what agent and collector must agree on.
//!
//! Everything here is pure: no clock, file, socket, randomness or environment. `now` and jitter come in as values, and the
//! same inputs always give the same output. The crate's `clippy.toml` bans what would break that.
//!
//! The story, in the order a failure travels: a check's [`observation`] settles ([`settle`]) into a [`status`] change,
//! which becomes a chained line of evidence ([`entry`]); the node's signed [`contact`] says what is wrong now; both are
//! handed in ([`hand_in`]), the collector writes them into its [`log`], and [`reason`] has the sentence for each finding.
//! Samples travel beside them ([`remote_write`]). What the collector decides is `vigie_decide`'s, a crate of its own, so
//! that an agent is never compiled with it.

pub mod backoff;
pub mod canonical;
pub mod contact;
pub mod digest;
pub mod due;
pub mod entry;
pub mod frame;
pub mod hand_in;
pub mod id;
pub mod log;
pub mod observation;
pub mod plan;
pub mod reason;
pub mod remote_write;
pub mod settle;
pub mod status;
pub mod time;
pub mod token;
pub mod wire;
