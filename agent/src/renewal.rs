//! Renews this node's certificate on a timer, and puts the new one into use without a restart.
//!
//! On a timer and not when a connection is made, so that a certificate never ends because nothing had to be sent. The
//! old identity works until the new one is first used, whatever happens in between; cancelling is safe at any moment.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};
use vigie_core::backoff::Backoff;
use vigie_platform::clock::{Clock, wait_until};

use crate::{
    join::{identity::Identity, node},
    metrics::Metrics,
    uplink::Targets,
};

/// How often to look at the wall clock, which may be stepped either way.
const LOOK_EVERY_MS: u64 = 60_000;

/// Delay between tries. There are twenty days for them.
const BACKOFF: Backoff = Backoff {
    first_ms: 60_000,
    max_ms: 3_600_000,
};

/// Least time between two renewals, whatever the wall clock says. With a clock more than a third of a certificate's
/// life ahead each new one is due at once; the collector is spared a renewal a minute by every such node.
const AFTER_SUCCESS_MS: u64 = 3_600_000;

/// Renews for ever.
pub async fn run(
    clock: Arc<dyn Clock>,
    identity: watch::Sender<Arc<Identity>>,
    targets: watch::Receiver<Targets>,
    metrics: Arc<Metrics>,
    random: fn() -> u64,
) {
    let mut tries: u32 = 0;
    let mut not_before = clock.elapsed();
    loop {
        let current = Arc::clone(&identity.borrow());
        metrics.show_certificate_expiry(current.not_after());
        let mut wait_ms = LOOK_EVERY_MS;
        if clock.wall() >= current.renewal_due_at() && clock.elapsed() >= not_before {
            let Targets { collectors, proxy } = targets.borrow().clone();
            // Each try asks another address.
            let index = usize::try_from(tries).unwrap_or(0) % collectors.len().max(1);
            let url = collectors.get(index).map_or("", String::as_str);
            match node::renew(&current, url, proxy.as_deref()).await {
                Ok(renewed) => {
                    tries = 0;
                    not_before = clock.elapsed().plus_ms(AFTER_SUCCESS_MS);
                    info!(not_after = %renewed.not_after(), "certificate renewed");
                    identity.send_replace(Arc::new(renewed));
                }
                Err(error) => {
                    tries = tries.saturating_add(1);
                    wait_ms = BACKOFF.delay_ms(tries, random(), Some(LOOK_EVERY_MS));
                    warn!(
                        error = &error as &dyn std::error::Error,
                        not_after = %current.not_after(),
                        tries,
                        "cannot renew the certificate"
                    );
                }
            }
        }
        wait_until(&*clock, clock.elapsed().plus_ms(wait_ms)).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use vigie_core::time::{Elapsed, Now, Wall};
    use vigie_platform::clock::ManualClock;

    use super::*;
    use crate::push::fixture::Collector;

    #[tokio::test]
    async fn a_certificate_is_renewed_when_due_by_the_address_that_answers_and_taken_into_use() {
        let (collector, _requests, dir) = Collector::new();
        let (address, _serving) = collector.serve().await;
        let (dead, serving) = collector.serve().await;
        serving.abort();
        let old = Arc::new(Identity::load(dir.path()).unwrap());
        let due = old.renewal_due_at();
        let clock = Arc::new(ManualClock::at(Now {
            wall: due.plus_ms(-30_000),
            elapsed: Elapsed(0),
        }));
        let identity = watch::Sender::new(Arc::clone(&old));
        let mut seen = identity.subscribe();
        let targets = watch::Sender::new(Targets {
            collectors: vec![format!("https://{dead}"), format!("https://{address}")],
            proxy: None,
        });
        let metrics = Arc::new(Metrics::new(None, &[]).unwrap());
        let renewing = tokio::spawn(run(
            Arc::clone(&clock) as Arc<dyn Clock>,
            identity,
            targets.subscribe(),
            metrics,
            || 0,
        ));
        tokio::task::yield_now().await;
        assert!(!seen.has_changed().unwrap(), "it is not due yet");
        // One look finds it due and a dead address; the next asks the other.
        loop {
            clock.advance(Duration::from_secs(60));
            if tokio::time::timeout(Duration::from_millis(50), seen.changed())
                .await
                .is_ok()
            {
                break;
            }
        }
        let new = Arc::clone(&seen.borrow());
        assert_ne!(new.key_sha256(), old.key_sha256());
        let on_disk = Identity::load(dir.path()).unwrap();
        assert_eq!(on_disk.key_sha256(), new.key_sha256());
        assert!(clock.wall() >= Wall(due.0));
        renewing.abort();
    }

    #[tokio::test]
    async fn a_clock_far_ahead_does_not_make_it_renew_again_and_again() {
        let (collector, _requests, dir) = Collector::new();
        let (address, _serving) = collector.serve().await;
        let old = Arc::new(Identity::load(dir.path()).unwrap());
        // So late that a new certificate is due at once as well, whatever its key adds to the date: up to 2^32 ms.
        let clock = Arc::new(ManualClock::at(Now {
            wall: old.renewal_due_at().plus_ms(1 << 32),
            elapsed: Elapsed(0),
        }));
        let identity = watch::Sender::new(Arc::clone(&old));
        let mut seen = identity.subscribe();
        let targets = watch::Sender::new(Targets {
            collectors: vec![format!("https://{address}")],
            proxy: None,
        });
        let metrics = Arc::new(Metrics::new(None, &[]).unwrap());
        let renewing = tokio::spawn(run(
            Arc::clone(&clock) as Arc<dyn Clock>,
            identity,
            targets.subscribe(),
            metrics,
            || 0,
        ));
        seen.changed().await.unwrap();
        let renewed_at = clock.elapsed();
        assert!(seen.borrow_and_update().renewal_due_at() <= clock.wall());
        loop {
            clock.advance(Duration::from_secs(600));
            if tokio::time::timeout(Duration::from_millis(50), seen.changed())
                .await
                .is_ok()
            {
                break;
            }
        }
        assert!(clock.elapsed() >= renewed_at.plus_ms(3_600_000));
        renewing.abort();
    }
}
