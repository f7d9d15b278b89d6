//! Where the metrics are shown, and what becomes of that at a reload: an address that cannot be had changes nothing.

use std::{net::SocketAddr, sync::Arc};

use tokio::{sync::watch, task::AbortHandle};
use tracing::{error, warn};
use vigie_platform::{http_listener::Listener, scrape_guard::ScrapeGuard};

use super::Running;
use crate::metrics::server;

/// Where the metrics are shown, and to whom. Each address has a guard of its own, so that what one demands never counts at
/// another, not even while a reload goes from one to the other.
pub(super) struct MetricsServer {
    pub(super) address: SocketAddr,
    pub(super) guard: watch::Sender<Arc<ScrapeGuard>>,
    pub(super) task: AbortHandle,
}

impl Running {
    pub(super) async fn listen_on(&mut self, address: Option<SocketAddr>, guard: &ScrapeGuard) {
        if let Some(server) = &self.server
            && Some(server.address) == address
        {
            server.guard.send_if_modified(|current| {
                let is_other = **current != *guard;
                if is_other {
                    *current = Arc::new(guard.clone());
                }
                is_other
            });
            return;
        }
        let Some(address) = address else {
            self.close_server().await;
            return;
        };
        let mut listener = server::listen(address).await;
        // All addresses of this machine and one of them cannot be had at once on one port.
        let before = self.server.as_ref().map(|server| server.address);
        let before = before.filter(|before| listener.is_err() && before.port() == address.port());
        let mut old_guard = None;
        if before.is_some() {
            old_guard = self.close_server().await;
            listener = server::listen(address).await;
        }
        match listener {
            Ok(listener) => {
                self.close_server().await;
                self.server = Some(self.serve_metrics(address, listener, Arc::new(guard.clone())));
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "metrics stay where they were"
                );
                if let (Some(before), Some(guard)) = (before, old_guard) {
                    match server::listen(before).await {
                        Ok(listener) => {
                            self.server = Some(self.serve_metrics(before, listener, guard));
                        }
                        Err(error) => error!(
                            error = &error as &dyn std::error::Error,
                            "metrics are shown nowhere until the next reload"
                        ),
                    }
                }
            }
        }
    }

    fn serve_metrics(
        &mut self,
        address: SocketAddr,
        listener: Listener,
        guard: Arc<ScrapeGuard>,
    ) -> MetricsServer {
        let guard = watch::Sender::new(guard);
        let serve = server::serve(listener, Arc::clone(&self.metrics), guard.subscribe());
        MetricsServer {
            address,
            guard,
            task: self.supervisor.spawn("metrics server", serve),
        }
    }

    /// Ends the listener for metrics, and its connections, whose guard goes with it; gives that back. Returns once its
    /// address is free.
    async fn close_server(&mut self) -> Option<Arc<ScrapeGuard>> {
        let old = self.server.take()?;
        old.task.abort();
        while !old.task.is_finished() {
            // It only has to be dropped, at its next turn.
            tokio::task::yield_now().await;
        }
        let guard = Arc::clone(&old.guard.borrow());
        Some(guard)
    }
}
