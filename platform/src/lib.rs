//! vigie-platform

pub mod admin_socket;
pub mod append_log;
pub mod atomic_file;
pub mod clock;
pub mod disk;
pub mod error_chain;
pub mod file_watch;
pub mod http_listener;
pub mod process;
pub mod pulse;
pub mod random;
pub mod scrape_guard;
pub mod settings_file;
pub mod slot_file;
pub mod supervise;
pub mod telemetry;
pub mod tls;
