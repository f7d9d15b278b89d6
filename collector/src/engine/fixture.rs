//! What tests of the engine's neighbours need to have one: nobody to tell, and rules that tell nobody.

use std::sync::Arc;

use vigie_decide::{alert::Message, destination::Destination, routing::Ground, rules::Rules};

use super::Courier;

/// Tells nobody.
pub(crate) struct Silent;

impl Courier for Silent {
    fn take(&self, _: Vec<Message>) {}
    fn take_unlogged(&self, _: Vec<Message>) {}
    fn refill(&self, _: &Destination, _: Vec<Message>) {}
}

/// No services, no receivers, and the usual patience with nodes.
pub(crate) fn bare_ground() -> Ground {
    Ground {
        rules: Arc::new(Rules {
            silent_after_ms: 120_000,
            ..Rules::default()
        }),
        ..Ground::default()
    }
}
