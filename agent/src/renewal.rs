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
    join::{self, identity::Identity},
    metrics::Metrics,
    push::link::Targets,
};

/// How often to look at the wall clock, which may be stepped either way.
const LOOK_EVERY_MS: u64 = 60_000;

/// Delay between tries. There are twenty days for them.
const BACKOFF: Backoff = Backoff {
    first_ms: 60_000,
    max_ms: 3_600_000,
};

/// Renews for ever.
pub async fn run(
    clock: Arc<dyn Clock>,
    identity: watch::Sender<Arc<Identity>>,
    targets: watch::Receiver<Targets>,
    metrics: Arc<Metrics>,
    random: fn() -> u64,
) {
    let mut tries: u32 = 0;
    loop {
        let current = Arc::clone(&identity.borrow());
        metrics.show_certificate_expiry(current.not_after());
        let mut wait_ms = LOOK_EVERY_MS;
        if clock.wall() >= current.renewal_due_at() {
            let Targets { collectors, proxy } = targets.borrow().clone();
            // Each try asks another address.
            let index = usize::try_from(tries).unwrap_or(0) % collectors.len().max(1);
            let url = collectors.get(index).map_or("", String::as_str);
            match join::renew(&current, url, proxy.as_deref()).await {
                Ok(renewed) => {
                    tries = 0;
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
