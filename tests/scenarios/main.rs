//! What vigie promises, told as stories. One module for each question; `cargo test -p vigie-tests` runs them all.

mod away;
mod bad_input;
mod fleet;
mod full_disk;
mod identity;
mod killed;
mod outage;
mod quiet;
mod random_run;
mod receiver;
mod settings;
mod silence;
mod ways;
