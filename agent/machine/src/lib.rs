//! vigie-machine: bounded ways to look at this machine. It knows nothing of what is looked for.
//!
//! Whoever looks holds a [`Context`]: [`files`] are read and walked, names looked up and connections made by [`net`], a
//! peer's certificate judged and noted by [`tls`], programs run by [`commands`], systemd asked over the [`bus`],
//! [`processes`] listed once for all who ask. What must be remembered from one life of the agent to the next is a
//! [`state`] of a few bytes; what may not leave the node in clear becomes a name of [`pseudonym`].
//!
//! Three things hold for every call: it has a bound in bytes, numbers and time, it never blocks the runtime, and dropping
//! its future is safe. What the system does not give back (a thread in a dead mount, a lookup) stays counted until it
//! does. Nothing in here reads settings, keeps evidence or sends anything.

use std::{future::Future, pin::Pin};

pub mod bus;
pub mod commands;
pub mod context;
pub mod files;
pub mod net;
pub mod processes;
pub mod pseudonym;
pub mod state;
pub mod tls;

pub use self::context::Context;

/// The future of one call; dropping it is safe.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
