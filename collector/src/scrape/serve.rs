//! Opens and serves the metrics port, to whoever shows what the guard in force demands.
//!
//! Dropping the future closes the port, and dropping the guard's sender its connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::watch;
use tower_service::Service as _;
use vigie_platform::{
    http_listener::{BindError, Bounds, Listener},
    scrape_guard::{self, ScrapeGuard},
};

use super::{Pages, router};

/// A Prometheus pair keeps one connection for each page it reads often; the rest queue in the kernel.
const SPEAKING_MAX: usize = 512;

/// How long a connection may live: a scraper comes back, one that hangs is gone.
const CONNECTION_MAX: Duration = Duration::from_secs(3_600);

const BOUNDS: Bounds = Bounds {
    // Between two scrapes it keeps its connections.
    idle_timeout: Duration::from_secs(75),
    // A page is read and written in pieces of this size.
    buffer_len_max: 16 * 1024,
    ..scrape_guard::bounds(SPEAKING_MAX, CONNECTION_MAX)
};

/// The port, bound and not yet served.
pub struct Port {
    listener: Listener,
    guard: watch::Receiver<Arc<ScrapeGuard>>,
    routes: Router,
}

/// What those must show who read the port, replaced while it is served.
pub struct Guard(watch::Sender<Arc<ScrapeGuard>>);

impl Guard {
    /// Puts another guard in force. The same one again changes nothing, and ends no connection.
    pub fn replace(&self, guard: &ScrapeGuard) {
        self.0.send_if_modified(|in_force| {
            let is_other = **in_force != *guard;
            if is_other {
                *in_force = Arc::new(guard.clone());
            }
            is_other
        });
    }
}

impl Port {
    /// Opens the port. `pages` makes what it serves from where it is.
    ///
    /// # Errors
    /// When the system refuses the address.
    pub async fn bind(
        address: SocketAddr,
        guard: ScrapeGuard,
        pages: impl FnOnce(SocketAddr) -> Pages,
    ) -> Result<(Self, Guard), BindError> {
        let listener = Listener::bind("metrics", address, BOUNDS).await?;
        let (guard, in_force) = watch::channel(Arc::new(guard));
        let port = Self {
            routes: router(Arc::new(pages(listener.local_address()))),
            listener,
            guard: in_force,
        };
        Ok((port, Guard(guard)))
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// Serves until dropped.
    pub async fn serve(self) {
        let service = move |request| {
            let mut routes = self.routes.clone();
            async move {
                let Ok(response) = routes.call(request).await;
                response
            }
        };
        scrape_guard::serve(self.listener, self.guard, service).await;
    }
}
