//! Checks of the machine itself.
pub mod admin_accounts;
pub mod clock;
pub mod cpu;
mod daemon;
pub mod filesystem;
mod limits;
pub mod load;
pub mod log_forwarding;
pub mod memory;
pub mod network;
mod numbers;
pub mod process;
mod source;
pub mod systemd_unit;
pub mod updates;

#[cfg(test)]
mod fixture;
