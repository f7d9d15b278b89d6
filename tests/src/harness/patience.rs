//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// The one knob: how long anything may take before a scenario gives up. Says nothing about how long it should take; it
/// is long because a loaded machine with two cores runs many scenarios at once.
const PATIENCE: Duration = Duration::from_secs(150);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Patience for one thing. Most scenarios want [`eventually`].
#[derive(Debug)]
pub struct Patience {
    what: String,
    began: Instant,
}

impl Patience {
    /// Begins to wait until `what`.
    #[must_use]
    pub fn until(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            began: Instant::now(),
        }
    }

    /// A moment before the next look. `seen` is what there was instead, and is shown if patience ends.
    ///
    /// # Panics
    /// When patience ends.
    pub async fn wait(&self, seen: &str) {
        assert!(
            self.began.elapsed() < PATIENCE,
            "waited in vain until {}; last seen: {seen}",
            self.what
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks until `look` gives a value. An `Err` says what was seen instead, and is shown if patience ends.
///
/// # Panics
/// When patience ends.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let patience = Patience::until(what);
    loop {
        // A look that hangs must not outlive the patience either.
        let seen = match tokio::time::timeout(PATIENCE, look()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => seen,
            Err(_) => "looking took too long".to_owned(),
        };
        patience.wait(&seen).await;
    }
}
