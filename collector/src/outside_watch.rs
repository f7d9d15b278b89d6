//! Who watches the lookout: a service elsewhere is pinged while the collector does its work, and calls somebody when the
//! pings stop.
//!
//! [`Health`] is where engine and dispatcher write when they last did theirs; [`OutsideWatch::run`] reads it, and pings
//! only while all three are recent. So a hung engine, a full disk and a receiver that takes nothing all end the pings,
//! as does the end of the process. A ping carries nothing but itself. Its address is a secret (whoever knows it can
//! keep the outside quiet) and is never printed.
//!
//! Cancelled at any moment, nothing is left behind.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tracing::{info, warn};
use vigie_core::time::Elapsed;
use vigie_deliver::http::{client, parse_url, trust};
use vigie_platform::{
    clock::{Clock, wait_until, whole_ms},
    pulse::Pulse,
    settings_file::{ReadSecretError, SecretFile},
    tls::TlsError,
};

/// What was last done longer ago than this counts as not done. Far above a slow commit (5 s) and a busy turn, far below
/// what an outside watch waits before it calls.
pub const RECENT_MS: u64 = 30_000;

/// How long one ping may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// When the collector last did its work. Begins as never.
#[derive(Debug, Default)]
pub struct Health {
    stepped: Pulse,
    committed: Pulse,
    delivering: Arc<Pulse>,
}

/// What has not been done lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The engine does not decide.
    NotStepping,
    /// The log cannot be written.
    NotCommitting,
    /// Somebody cannot be told, or nobody tries.
    NotDelivering,
}

impl Health {
    /// The engine has decided, or had nothing to decide.
    pub fn stepped(&self, at: Elapsed) {
        self.stepped.beat(at);
    }

    /// The engine has committed, or had nothing to commit and no failed commit behind it.
    pub fn committed(&self, at: Elapsed) {
        self.committed.beat(at);
    }

    /// What beats while the deliverer is at work and no receiver fails. The deliverer knows nothing of the rest.
    #[must_use]
    pub fn delivering(&self) -> Arc<Pulse> {
        Arc::clone(&self.delivering)
    }

    /// The first of the three that was not done within [`RECENT_MS`].
    #[must_use]
    pub fn trouble(&self, now: Elapsed) -> Option<Trouble> {
        if !self.stepped.is_recent(now, RECENT_MS) {
            Some(Trouble::NotStepping)
        } else if !self.committed.is_recent(now, RECENT_MS) {
            Some(Trouble::NotCommitting)
        } else if !self.delivering.is_recent(now, RECENT_MS) {
            Some(Trouble::NotDelivering)
        } else {
            None
        }
    }
}

/// What became of pings, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answered 2xx.
    pub sent: AtomicU64,
    /// Answered otherwise or not at all.
    pub failed: AtomicU64,
    /// Not sent, because the collector does not do its work.
    pub withheld: AtomicU64,
}

/// `[outside_watch]`: a service elsewhere that calls somebody when the collector's pings stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Holds the address, which is itself the secret.
    pub url_file: SecretFile,
    /// From one ping to the next.
    pub every: Duration,
}

/// The outside watch as it is set.
pub struct OutsideWatch {
    url: reqwest::Url,
    client: reqwest::Client,
    every: Duration,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// Why the outside cannot be pinged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file with the address cannot be read.
    #[error("cannot set up the outside watch")]
    Secret {
        /// Why. Names the file.
        #[source]
        source: ReadSecretError,
    },
    /// What it holds is no address.
    #[error(
        "cannot set up the outside watch: {path} does not hold a URL that starts with https:// or http://"
    )]
    Url {
        /// The file.
        path: PathBuf,
    },
    /// Nobody is trusted.
    #[error("cannot set up the outside watch")]
    Trust {
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client for the outside watch")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// How the last round went; only changes are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Sent,
    /// With the status code, 0 without an answer.
    Failed(u16),
    Withheld(Trouble),
}

impl OutsideWatch {
    /// Reads the address; nothing is sent yet. Blocks on files.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        config: &Config,
        health: Arc<Health>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Self, OpenError> {
        let secret = config
            .url_file
            .read()
            .map_err(|source| OpenError::Secret { source })?;
        let url = secret
            .expose_str()
            .and_then(parse_url)
            .ok_or_else(|| OpenError::Url {
                path: config.url_file.path().to_owned(),
            })?;
        let tls = trust(url.scheme(), None).map_err(|source| OpenError::Trust { source })?;
        let client = client(tls)
            .timeout(PING_TIMEOUT)
            .build()
            .map_err(|source| OpenError::Client { source })?;
        Ok(Self {
            url,
            client,
            every: config.every,
            health,
            clock,
            counters,
        })
    }

    /// Pings for ever. The first time after one interval, so that the collector has begun its work.
    pub async fn run(self) {
        let every_ms = whole_ms(self.every);
        let mut last = None;
        let mut next = self.clock.elapsed().plus_ms(every_ms);
        loop {
            wait_until(&*self.clock, next).await;
            let round = match self.health.trouble(self.clock.elapsed()) {
                Some(trouble) => Round::Withheld(trouble),
                None => self.ping().await,
            };
            if last != Some(round) {
                round.log();
                last = Some(round);
            }
            round.count(&self.counters);
            // What a suspend or a slow ping made us miss is not made up for.
            next = next.plus_ms(every_ms).max(self.clock.elapsed());
        }
    }

    async fn ping(&self) -> Round {
        match self.client.get(self.url.clone()).send().await {
            Ok(response) if response.status().is_success() => Round::Sent,
            Ok(response) => Round::Failed(response.status().as_u16()),
            Err(_) => Round::Failed(0),
        }
    }
}

impl Round {
    fn count(self, pings: &Counters) {
        let counter = match self {
            Self::Sent => &pings.sent,
            Self::Failed(_) => &pings.failed,
            Self::Withheld(_) => &pings.withheld,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn log(self) {
        match self {
            Self::Sent => info!("the outside watch is pinged"),
            Self::Failed(http_status) => {
                warn!(http_status, "the outside watch does not take pings");
            }
            Self::Withheld(trouble) => {
                warn!(?trouble, "the outside watch is not pinged any more");
            }
        }
    }
}

#[cfg(test)]
mod tests;
