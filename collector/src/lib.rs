//! vigie-collector: receives what agents push, decides through core, tells people, keeps proof.
//!
//! A request comes in at the door ([`ingest`]), is recognised by its certificate ([`directory`]) and queued for the
//! [`engine`], the single writer. The engine asks core what it means, writes lines, state and messages in one
//! transaction ([`store`]), answers, and hands the messages to [`vigie_deliver`]. Operators speak to the engine through
//! [`operator`]; what they are shown is read beside it, from a [`mirror`]. Metrics are read from [`metrics`], and
//! [`outside_watch`] tells the world that all of this still works. What was decided can be decided once more from the log
//! ([`replay`]), which is how a decision is explained.

pub mod acknowledge;
pub mod app;
pub mod commands;
pub mod directory;
pub mod engine;
pub mod identity;
pub mod ingest;
pub mod latest;
pub mod metrics;
pub mod mirror;
pub mod operator;
pub mod outside_watch;
pub mod probes;
pub mod replay;
pub mod scrape;
pub mod settings;
pub mod status;
pub mod store;
pub mod zones;
