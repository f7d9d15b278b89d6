//! Checks of the machine itself.

pub mod admin_accounts;
pub(crate) mod clock;
pub(crate) mod cpu;
mod daemon;
pub(crate) mod filesystem;
mod limits;
pub(crate) mod load;
pub(crate) mod log_forwarding;
pub(crate) mod memory;
pub(crate) mod network;
mod numbers;
pub(crate) mod process;
mod source;
pub(crate) mod systemd_unit;
pub(crate) mod updates;

#[cfg(test)]
mod fixture;
