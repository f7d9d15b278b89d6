//! What vigie promises, told as stories. One module for each question; `cargo test -p vigie-tests` runs them all.

mod away;
mod bad_input;
mod bombs;
mod fleet;
mod full_disk;
mod guarded;
mod host_truth;
mod hung_mount;
mod identity;
mod killed;
mod mail;
mod metrics;
mod metrics_outage;
mod outage;
mod quiet;
mod random_run;
mod receiver;
mod senders;
mod settings;
mod silence;
mod ways;
