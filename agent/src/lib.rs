//! vigie-agent: runs checks, keeps their results, pushes them. It knows nothing of alerts.
//!
//! The story of a failure: a check of [`vigie_checks`] looks at the machine and returns observations; the [`runner`]
//! shows their numbers in [`metrics`] and lets each object's status settle; a status that settled anew becomes a line of
//! evidence in the [`ledger`], which gives it its place in this node's chain and keeps it in the [`spool`]; [`push`]
//! hands it in under the identity that [`join`] won and [`renewal`] renews. If nobody takes it, [`fallback`] says so by
//! another way. [`app`] wires all of it from the [`settings`], [`admin`] shows its state, [`commands`] is the command
//! line. What a check may touch of the machine is [`vigie_machine`].
//!
//! Three things wait for nobody: the runner for the ledger, the ledger for the collector, the stop for any of them.

pub mod admin;
pub mod app;
pub mod commands;
pub mod fallback;
pub mod join;
pub mod ledger;
pub mod metrics;
pub mod metrics_lane;
pub mod push;
pub mod renewal;
pub mod runner;
pub mod settings;
pub mod spool;
pub mod uplink;
