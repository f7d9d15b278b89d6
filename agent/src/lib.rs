//! vigie-agent: runs checks, keeps their results, pushes them. It knows nothing of alerts.

pub mod admin;
pub mod app;
pub mod checks;
pub mod commands;
pub mod fallback;

pub mod join;
pub mod ledger;
pub mod metrics;
pub mod pseudonym;
pub mod push;
pub mod renewal;
pub mod runner;
pub mod settings;
pub mod spool;
