//! The way to the collector that both lanes share: one HTTPS connection with this node's certificate, to one address at
//! a time.
//!
//! Owns the client, the address in use and who goes first. The client is made anew after every failure, every five
//! minutes and after a renewal: a connection kept alive pins an address that DNS may have moved, and the certificate it
//! began with. It follows no redirect and reads no proxy from the environment.
//!
//! **Lines of evidence never wait for samples.** A request of the entries lane goes at once, over a second connection if
//! need be. Samples wait while one is under way ([`Uplink::quiet`]), so that usually one connection serves both. Only the
//! entries lane changes the address: what it finds out about one counts for both, and a receiver of samples that fails
//! alone takes no evidence to another address.
//!
//! Holds nothing that a dropped future could leave behind: a turn ends when its [`Turn`] is dropped.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};
use vigie_core::time::Elapsed;
use vigie_platform::{clock::Clock, error_chain::chain};

use crate::join::identity::Identity;

/// Longest time to connect, TLS included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client serves before names are looked up anew.
pub(crate) const CLIENT_LIFE_MS: u64 = 5 * 60 * 1_000;

/// Changes of what is under way that samples wait for: the beginnings and ends of a few requests of 512 lines.
const TURNS_MAX: usize = 16;

/// Look-ups of the collector's names at a time: one for each lane, and one that hangs.
const WAY_LOOKUPS_MAX: usize = 3;

/// Where the collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Addresses of one collector (`https://host[:port]`), never empty.
    pub collectors: Vec<String>,
    /// The proxy that is asked to CONNECT.
    pub proxy: Option<String>,
}

/// The connection, or the next one. Clones share it.
#[derive(Clone)]
pub struct Uplink {
    state: Arc<Mutex<State>>,
    /// Requests of the entries lane that are under way: one, or none.
    entries_under_way: watch::Sender<usize>,
}

struct State {
    targets: watch::Receiver<Targets>,
    identity: watch::Receiver<Arc<Identity>>,
    clock: Arc<dyn Clock>,
    current: Targets,
    index: usize,
    client: Option<(reqwest::Client, Elapsed)>,
    lookups: Lookups,
    /// Counts the clients, so that who failed with an old one does not take the new one away.
    life: u64,
}

/// What one request goes over.
pub struct Stretch {
    /// The client; its pool holds the connection.
    pub client: reqwest::Client,
    /// The address, without a slash at its end.
    pub address: String,
    life: u64,
}

/// A request of the entries lane is under way until this is dropped.
pub struct Turn(watch::Sender<usize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Uplink {
    /// The way to the first of `targets`.
    #[must_use]
    pub fn new(
        targets: watch::Receiver<Targets>,
        identity: watch::Receiver<Arc<Identity>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let current = targets.borrow().clone();
        Self {
            state: Arc::new(Mutex::new(State {
                targets,
                identity,
                clock,
                current,
                index: 0,
                client: None,
                lookups: Lookups::at_most(WAY_LOOKUPS_MAX),
                life: 0,
            })),
            entries_under_way: watch::Sender::new(0),
        }
    }

    /// The address in use.
    #[must_use]
    pub fn address(&self) -> String {
        self.state().address().to_owned()
    }

    /// The next request goes to the next address, over a new connection.
    pub fn try_another(&self) {
        let mut state = self.state();
        state.client = None;
        state.index = (state.index + 1) % state.current.collectors.len().max(1);
    }

    /// The next request goes over a new connection, to the same address, unless somebody has seen to that already.
    pub fn renew(&self, failed: &Stretch) {
        let mut state = self.state();
        if state.life == failed.life {
            state.client = None;
        }
    }

    /// Says that a request of the entries lane is under way.
    #[must_use]
    pub fn turn(&self) -> Turn {
        self.entries_under_way.send_modify(|count| *count += 1);
        Turn(self.entries_under_way.clone())
    }

    /// Returns once no request of the entries lane is under way. Each ends within its own time limit, and so does this:
    /// a long backlog of evidence takes the connection, but does not silence the samples.
    pub async fn quiet(&self) {
        let mut under_way = self.entries_under_way.subscribe();
        for _ in 0..TURNS_MAX {
            if *under_way.borrow_and_update() == 0 {
                return;
            }
            // The sender lives as long as `self`.
            if under_way.changed().await.is_err() {
                return;
            }
            // Whoever ended a request has yet to give its connection back to the pool.
            tokio::task::yield_now().await;
        }
    }

    /// What the next request goes over.
    ///
    /// # Errors
    /// When no client can be made of the identity and the settings, in words.
    pub fn stretch(&self) -> Result<Stretch, String> {
        let mut state = self.state();
        let client = state.client()?;
        Ok(Stretch {
            client,
            address: state.address().trim_end_matches('/').to_owned(),
            life: state.life,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn address(&self) -> &str {
        // The settings name at least one.
        self.current
            .collectors
            .get(self.index)
            .map_or("", String::as_str)
    }

    fn client(&mut self) -> Result<reqwest::Client, String> {
        let now = self.clock.elapsed();
        if self.targets.has_changed().unwrap_or(false) {
            self.current = self.targets.borrow_and_update().clone();
            self.index = 0;
            self.client = None;
        }
        if self.identity.has_changed().unwrap_or(false) {
            self.identity.mark_unchanged();
            self.client = None;
        }
        if let Some((client, made)) = &self.client
            && now.since_ms(*made) < CLIENT_LIFE_MS
        {
            return Ok(client.clone());
        }
        let identity = self.identity.borrow().clone();
        let tls = identity.client_config().map_err(|error| chain(&error))?;
        let mut builder = client_builder(tls, &self.lookups).https_only(true);
        if let Some(proxy) = &self.current.proxy {
            let proxy = reqwest::Proxy::https(proxy).map_err(|error| chain(&error))?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        self.client = Some((client.clone(), now));
        self.life += 1;
        Ok(client)
    }
}

/// A client of one idle connection that follows no redirect. Each request brings its own time limit.
pub(crate) fn client_builder(
    tls: rustls::ClientConfig,
    lookups: &Lookups,
) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(lookups.clone()))
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("vigie-agent/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1)
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy()
}

/// Looks names up as the system does, in the threads that block, but never in more than a few of them at once.
///
/// Whoever asks may give up; the system's call then goes on, for a minute or more if no name server answers. Were such calls
/// not counted, the tries of a few receivers would take every such thread, and the entries lane could look up nothing.
#[derive(Clone)]
pub(crate) struct Lookups {
    permits: Arc<Semaphore>,
    look_up: LookUp,
}

/// The system's call; it blocks.
type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

impl Lookups {
    /// At most `count` at once.
    pub(crate) fn at_most(count: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(count)),
            // The port is replaced by that of the address.
            look_up: |name| Ok((name, 0).to_socket_addrs()?.collect()),
        }
    }
}

impl Resolve for Lookups {
    fn resolve(&self, name: Name) -> Resolving {
        let (permits, look_up) = (Arc::clone(&self.permits), self.look_up);
        Box::pin(async move {
            let permit = permits.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                let found = look_up(name.as_str());
                drop(permit);
                found
            });
            Ok(Box::new(found.await??.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn lookups_that_hang_take_no_more_threads_than_allowed_however_often_they_are_given_up() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        static NAME_SERVERS_ANSWER: OnceLock<()> = OnceLock::new();
        let lookups = Lookups {
            look_up: |_| {
                BEGUN.fetch_add(1, Ordering::SeqCst);
                NAME_SERVERS_ANSWER.wait();
                Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))])
            },
            ..Lookups::at_most(2)
        };
        for _ in 0..20 {
            let found = tokio::select! {
                biased;
                found = lookups.resolve("vigie.example".parse().unwrap()) => Some(found),
                () = std::future::ready(()) => None,
            };
            assert!(found.is_none());
        }
        NAME_SERVERS_ANSWER.set(()).unwrap();
        let found = lookups.resolve("vigie.example".parse().unwrap()).await;
        let first = found.unwrap().next().unwrap();
        assert_eq!(first.ip().to_string(), "192.0.2.1");
        assert!(BEGUN.load(Ordering::SeqCst) <= 3);
    }
}
