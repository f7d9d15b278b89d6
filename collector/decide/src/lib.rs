//! vigie-decide: what the collector makes of what it hears. Pure, like `vigie_core`: no clock, file, socket, randomness or
//! environment, held by the crate's `clippy.toml`. `now` and zones come in as values, decisions go out as values with a
//! named reason, and the same events under the same rules always give the same decisions.
//!
//! An event comes in ([`fleet`]): a line or a contact that a node handed in, an absence that [`presence`] noticed, an
//! alert that a sender posted ([`sender_alert`]), an operator's word, a deadline. It opens, changes or ends an [`alert`].
//! Whom that concerns follows from the [`rules`], by [`routing`]: which [`calendar`] is open, who is on call ([`rota`])
//! and comes after whom ([`escalation`]), what keeps it quiet ([`mute`]), what waits for a morning ([`held`]), and which
//! [`destination`] a message goes to. What would happen at another hour is [`explain`]'s, hours at which nobody could be told
//! are [`coverage`]'s.
//!
//! What is known, for whoever shows it, is a [`view`].
//!
//! It knows nothing of how people are told: neither words (`vigie_wording`) nor channels.

pub mod alert;
pub mod calendar;
mod civil;
pub mod coverage;
pub mod destination;
pub mod escalation;
pub mod explain;
pub mod fleet;
pub mod held;
pub mod mute;
pub mod presence;
pub mod rota;
pub mod routing;
pub mod rules;
pub mod sender_alert;
pub mod view;
pub mod zones;
