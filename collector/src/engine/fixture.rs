//! What tests of the engine's neighbours need to have one: nobody to tell, and rules that tell nobody.

use std::sync::Arc;

use vigie_decide::{
    alert::Message,
    destination::Destination,
    fleet::{Answered, Event, OperatorEvent},
    routing::Policy,
    rules::Rules,
};

use super::{Handle, Notifier, Refusal};

/// Tells nobody.
pub(crate) struct Silent;

impl Notifier for Silent {
    fn take(&self, _: Vec<Message>) {}
    fn take_unlogged(&self, _: Vec<Message>) {}
    fn refill(&self, _: &Destination, _: Vec<Message>) {}
}

/// No services, no receivers, and the usual patience with nodes.
pub(crate) fn bare_ground() -> Policy {
    Policy {
        rules: Arc::new(Rules {
            silent_after_ms: 120_000,
            ..Rules::default()
        }),
        ..Policy::default()
    }
}

/// Waits for a turn of the engine, which changes nothing: no alert has the number 0.
pub(crate) async fn one_turn(engine: &Handle) -> Result<Option<Answered>, Refusal> {
    let nothing = Event::Operator(OperatorEvent::Unacknowledged { number: 0, uid: 0 });
    engine.perform(nothing).await
}
