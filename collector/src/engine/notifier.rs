//! Who tells people, as the engine sees them: they take messages and never make it wait.
//!
//! Nothing comes back this way. What became of a message is an event, like everything that happens.

use vigie_decide::{alert::Message, destination::Destination};
use vigie_deliver::Dispatcher;

/// Who tells people. Implemented by the deliverer, and by a recorder in tests.
pub trait Notifier: Send + Sync {
    /// Takes messages that are in the outbox; each comes back as [`vigie_decide::fleet::DeliveryEvent::Delivered`].
    fn take(&self, messages: Vec<Message>);

    /// Takes messages that could not be written down.
    fn take_unlogged(&self, messages: Vec<Message>);

    /// Takes what the outbox holds for a destination, as it asked for more.
    fn refill(&self, to: &Destination, messages: Vec<Message>);
}

impl Notifier for Dispatcher {
    fn take(&self, messages: Vec<Message>) {
        Self::take(self, messages);
    }

    fn take_unlogged(&self, messages: Vec<Message>) {
        Self::take_unlogged(self, messages);
    }

    fn refill(&self, to: &Destination, messages: Vec<Message>) {
        Self::refill(self, to, messages);
    }
}
