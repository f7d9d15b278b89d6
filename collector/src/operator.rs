//! `admin.sock`: how operators talk to a running collector.
//!
//! A Unix socket in `data_dir`, mode 0660: whoever may open it may operate. One JSON line asks, one JSON line answers.
//! Every change goes through the engine, with the caller's uid (SO_PEERCRED, unix(7)) in the log. Nothing here is
//! reachable from the network.

mod ask;
mod protocol;
pub mod reply;
mod serve;
#[cfg(test)]
mod tests;

pub use self::{
    ask::{AskError, ask},
    protocol::{Answer, BadQuestion, Question, socket_path},
    serve::{ListenError, Operators},
};
