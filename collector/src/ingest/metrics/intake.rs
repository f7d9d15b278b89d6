//! How much may come in at once: who has to wait for a turn, and what a request may hold while it is under way.
//!
//! | what | bound |
//! |---|---|
//! | requests under way of one node, of one sender | [`Limits::node_requests_max`], [`Limits::sender_requests_max`] |
//! | bodies of all, in bytes as they were sent | [`Limits::in_flight_len_max`] |
//! | bodies of one origin | a quarter of that, so that nobody alone can starve the others |
//! | waiting for the above, before any byte of the body is read | [`ADMIT_WAIT_MAX`], then it is "too many" |
//! | large bodies being unpacked at a time | [`LARGE_MAX`] |
//! | what is kept between requests | [`KEPT_LEN_MAX`] for each of at most [`LARGE_MAX`] workspaces |
//!
//! Nothing here can deadlock: a request takes everything it needs before it reads its first byte, waits for it only so
//! long, and gives it back when it is dropped, however it ends. A body that trickles in holds its own share, until the
//! door cuts it ([`BodyTimeout`](vigie_platform::http_listener::BodyTimeout)), and nobody else's.
//!
//! New limits ([`Intake::set_limits`]) hold for the requests that come after; those under way keep to the old ones, so for
//! the length of one request both may be in use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use vigie_core::remote_write::{self, Batch, Decoder};

use crate::latest::Origin;

/// How long a request may wait to be let in. Long enough for a burst of a healthy sender to pass, short enough that it
/// has its answer well before it gives up (Prometheus: 30 s).
pub const ADMIT_WAIT_MAX: Duration = Duration::from_secs(1);

/// A body of more than this, unpacked, is read on a thread for work that blocks: it would keep a worker of the runtime,
/// and every connection that is its, for more than a millisecond.
pub const INLINE_LEN_MAX: usize = 256 * 1024;

/// Most large bodies unpacked at a time, however many cores there are: memory is this times [`Limits::decoded_len_max`].
pub const LARGE_MAX: usize = 8;

/// Buffers that grew beyond this are given back rather than kept for the next request: one odd request must not stay
/// for ever. What the usual senders send stays under it.
pub const KEPT_LEN_MAX: usize = 1024 * 1024;

/// Series and samples of a request after which a decoder's tables are larger than a body of [`KEPT_LEN_MAX`].
const KEPT_ITEMS_MAX: u64 = 32_000;

/// One origin holds at most this part of the bytes of all.
const SHARE: usize = 4;

/// Bytes are counted in units of this, since semaphores count to 2³² on small machines.
const UNIT_LEN: usize = 1024;

/// What requests may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body as sent, in bytes.
    pub body_len_max: usize,
    /// Longest body unpacked, in bytes.
    pub decoded_len_max: usize,
    /// Bodies of all requests under way, in bytes as sent. At least four times [`Limits::body_len_max`].
    pub in_flight_len_max: usize,
    /// Requests of one node under way.
    pub node_requests_max: usize,
    /// Requests of one sender under way.
    pub sender_requests_max: usize,
    /// What one request may say.
    pub request: remote_write::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An agent's batch has tens of kilobytes; Prometheus' 2,000 samples and vmagent's blocks stay under one MiB.
            body_len_max: 4 * 1024 * 1024,
            // Prometheus' own receiver takes as much.
            decoded_len_max: 32 * 1024 * 1024,
            in_flight_len_max: 128 * 1024 * 1024,
            // Fresh samples and the backlog.
            node_requests_max: 2,
            // Enough for two million samples a second at 2 ms each.
            sender_requests_max: 8,
            request: remote_write::Limits::default(),
        }
    }
}

/// Lets requests in, and lends them what they work with.
pub struct Intake {
    gates: ArcSwap<Gates>,
    large: Arc<Semaphore>,
    workspaces: Mutex<Vec<Workspace>>,
    workspaces_max: usize,
}

/// One set of limits and who is inside it.
struct Gates {
    limits: Limits,
    /// In units of [`UNIT_LEN`].
    bodies: Arc<Semaphore>,
    /// Those who are inside, and others who were lately.
    origins: Mutex<Origins>,
}

#[derive(Default)]
struct Origins {
    quotas: HashMap<Origin, Arc<Quota>>,
    /// With one more, those who have nothing under way are forgotten: names come and go with the machines they are of.
    prune_at: usize,
}

/// Below this many origins it is not worth looking for those who left.
const PRUNED_MIN: usize = 1024;

/// What one origin may hold.
struct Quota {
    requests: Arc<Semaphore>,
    /// In units of [`UNIT_LEN`].
    bodies: Arc<Semaphore>,
}

/// A request that was let in, for as long as it lives.
pub(super) struct Pass {
    /// The limits it was let in under.
    pub(super) limits: Limits,
    _request: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
    _body: OwnedSemaphorePermit,
}

/// Buffers of one request, used again by the next.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// The unpacked body stands at its beginning; as long as the longest one so far.
    pub(super) decoded: Vec<u8>,
    /// What reads it.
    pub(super) decoder: Decoder,
}

impl Intake {
    /// Nobody is inside yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Half of them waits for memory while the other half works.
        let large = (2 * cores).min(LARGE_MAX);
        Self {
            gates: ArcSwap::from_pointee(Gates::new(limits)),
            large: Arc::new(Semaphore::new(large)),
            workspaces: Mutex::default(),
            workspaces_max: large,
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.gates.load().limits
    }

    /// Puts other limits in force, for requests to come.
    pub fn set_limits(&self, limits: Limits) {
        if self.limits() != limits {
            self.gates.store(Arc::new(Gates::new(limits)));
        }
    }

    /// Lets a request of `origin` in whose body has `body_len` bytes; `None` when it is not said, which counts as the
    /// longest. Answers `None` when there is still no room for it after [`ADMIT_WAIT_MAX`].
    ///
    /// The caller has compared `body_len` with [`Limits::body_len_max`].
    pub(super) async fn admit(&self, origin: &Origin, body_len: Option<usize>) -> Option<Pass> {
        let gates = self.gates.load_full();
        // A request is something, even with an empty body.
        let len = body_len.unwrap_or(usize::MAX).max(1);
        let units = units(len.min(gates.limits.body_len_max));
        // Polled once before the timer is set, so that one that need not wait costs no timer.
        timeout(ADMIT_WAIT_MAX, gates.admit(origin, units))
            .await
            .ok()?
            // Nobody closes these semaphores.
            .ok()
    }

    /// Waits for a turn to unpack a large body. Whoever has one works without waiting for anything else, so it comes.
    pub(super) async fn large_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.large).acquire_owned().await.ok()
    }

    /// Lends buffers.
    pub(super) fn workspace(&self) -> Workspace {
        self.lock().pop().unwrap_or_default()
    }

    /// Takes buffers back: those that one odd request made large, and more than can be used at a time, are freed.
    pub(super) fn give_back(&self, workspace: Workspace, is_worth_keeping: bool) {
        let mut workspaces = self.lock();
        let fits = workspaces.len() < self.workspaces_max;
        if is_worth_keeping && fits && workspace.decoded.capacity() <= KEPT_LEN_MAX {
            workspaces.push(workspace);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        self.workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn free_len(&self) -> usize {
        self.gates.load().bodies.available_permits() * UNIT_LEN
    }

    #[cfg(test)]
    pub(super) fn origins_len(&self) -> usize {
        let gates = self.gates.load();
        let origins = gates.origins.lock();
        origins.unwrap_or_else(PoisonError::into_inner).quotas.len()
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> Vec<usize> {
        self.lock()
            .iter()
            .map(|workspace| workspace.decoded.capacity())
            .collect()
    }
}

/// Whether the tables of the decoder that read `batch` are small enough to be kept.
pub(super) fn is_usual(batch: &Batch<'_>) -> bool {
    let series = batch.series().len() as u64;
    series <= KEPT_ITEMS_MAX && batch.sample_count() <= KEPT_ITEMS_MAX
}

impl Gates {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            bodies: Arc::new(Semaphore::new(units(limits.in_flight_len_max) as usize)),
            origins: Mutex::default(),
        }
    }

    fn quota(&self, origin: &Origin) -> Arc<Quota> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = origins.quotas.get(origin) {
            return Arc::clone(quota);
        }
        if origins.quotas.len() >= origins.prune_at.max(PRUNED_MIN) {
            origins.quotas.retain(|_, quota| quota.is_in_use());
            origins.prune_at = origins.quotas.len() * 2;
        }
        let requests = match origin {
            Origin::Node(_) => self.limits.node_requests_max,
            Origin::Sender(_) => self.limits.sender_requests_max,
        };
        let share = (self.limits.in_flight_len_max / SHARE).max(self.limits.body_len_max);
        let quota = Arc::new(Quota {
            requests: Arc::new(Semaphore::new(requests)),
            bodies: Arc::new(Semaphore::new(units(share) as usize)),
        });
        origins.quotas.insert(origin.clone(), Arc::clone(&quota));
        quota
    }

    /// Its own turn first, then its own share, then the room that all share: who has to wait for himself waits for
    /// nobody else, and keeps nobody waiting.
    async fn admit(&self, origin: &Origin, units: u32) -> Result<Pass, AcquireError> {
        let quota = self.quota(origin);
        Ok(Pass {
            limits: self.limits,
            _request: Arc::clone(&quota.requests).acquire_owned().await?,
            _share: Arc::clone(&quota.bodies).acquire_many_owned(units).await?,
            _body: Arc::clone(&self.bodies).acquire_many_owned(units).await?,
        })
    }
}

impl Quota {
    /// Whether somebody is inside by it, or about to be. Nobody can come to be while the map is locked.
    fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.requests) > 1
    }
}

/// Bytes in units of [`UNIT_LEN`], rounded up.
fn units(len: usize) -> u32 {
    u32::try_from(len.div_ceil(UNIT_LEN)).unwrap_or(u32::MAX)
}
