//! Starts every task, and answers signals until one says stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::{oneshot, watch};
use tracing::{error, info};
use vigie_core::{
    entry::Draft,
    observation::{Facts, Object},
    reason::vigie,
};
use vigie_platform::{
    process::{Signal, Signals},
    supervise::{Supervisor, TaskLost},
};

use super::{App, Running, metrics_server::MetricsServer, random};
use crate::{
    admin,
    fallback::Fallback,
    metrics::server,
    push::{self, Push},
    renewal,
};

/// A scheduler that has not moved for this long is not alive as systemd understands it.
const ALIVE_WITHIN_MS: u64 = 10_000;

impl App {
    /// Where the metrics are shown, with the port that the system chose if the settings left it open.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        let (_, listener) = self.metrics_listener.as_ref()?;
        Some(listener.local_address())
    }

    /// Runs until a signal says stop.
    ///
    /// # Errors
    /// When a task ends that must not; then the process should end too, for systemd to start it again.
    pub async fn run(self, mut signals: Signals) -> Result<(), TaskLost> {
        let mut running = self.start().await;
        running.surroundings.systemd.ready();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            node = %running.identity.borrow().node(),
            "vigie-agent runs"
        );
        let watchdog = running.surroundings.systemd.watchdog_interval();
        // Without a watchdog this only costs a wake-up an hour.
        let mut alive = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => Box::pin(running.reload()).await,
                },
                lost = running.supervisor.lost() => return Err(lost),
                () = running.surroundings.watch.changed() => Box::pin(running.reload()).await,
                _ = alive.tick() => running.feed_watchdog(),
            }
        }
        running.stop().await;
        Ok(())
    }

    /// Writes the first lines and starts every task.
    pub(super) async fn start(self) -> Running {
        let clock = Arc::clone(&self.surroundings.clock);
        let mut facts = Facts::new();
        if let Ok(version) = Object::configured(env!("CARGO_PKG_VERSION")) {
            facts.insert("version", version.into());
        }
        // The thread has just been started; if it is gone, the pusher ends and the supervisor says so.
        let _ = self.lane.write(Draft::own(vigie::AGENT_START, facts)).await;
        let _ = self
            .lane
            .write_plan(self.settings_in_force.plan.clone())
            .await;

        let (fallback, alarm) = Fallback::new(
            Arc::clone(&clock),
            self.identity.borrow().node().clone(),
            self.settings_in_force.webhook.subscribe(),
            Arc::clone(&self.metrics),
            random,
        );
        let push = Push::new(push::Parts {
            clock: Arc::clone(&clock),
            lane: self.lane.clone(),
            runner: self.runner_handle.clone(),
            identity: self.identity.subscribe(),
            way: self.way,
            alarm,
            metrics: Arc::clone(&self.metrics),
            random,
        });
        let sources = admin::Sources {
            clock: Arc::clone(&clock),
            started: self.started,
            runner: self.runner_handle.clone(),
            ledger: self.lane.view(),
            push: push.last(),
            samples: self.samples.board(),
            identity: self.identity.subscribe(),
        };
        let stop = watch::Sender::new(false);
        let (stopped_sender, stopped) = oneshot::channel();
        let stopping = stop.subscribe();
        let (samples_stopped_sender, samples_stopped) = oneshot::channel();
        let samples = self.samples;
        let stop_samples = watch::Sender::new(false);
        let samples_stopping = stop_samples.subscribe();

        let mut supervisor = Supervisor::new();
        let runner = supervisor.spawn("runner", self.runner.run());
        supervisor.spawn("push", async move {
            match push.run(stopping, stopped_sender).await {
                // It has done its last; its end is waited for elsewhere.
                Ok(()) => std::future::pending().await,
                Err(error) => error!(%error, "nothing can be handed in any more"),
            }
        });
        supervisor.spawn("metrics lane", async move {
            match samples.run(samples_stopping, samples_stopped_sender).await {
                // As above.
                Ok(()) => std::future::pending().await,
                Err(error) => error!(%error, "no samples can be sent any more"),
            }
        });
        supervisor.spawn(
            "renewal",
            renewal::run(
                clock,
                self.identity.clone(),
                self.settings_in_force.targets.subscribe(),
                Arc::clone(&self.metrics),
                random,
            ),
        );
        supervisor.spawn("fallback", fallback.run());
        supervisor.spawn("admin socket", admin::serve(self.admin_listener, sources));
        let mut view = self.lane.view();
        let metrics = Arc::clone(&self.metrics);
        supervisor.spawn("ledger gauges", async move {
            loop {
                metrics.show_ledger(&view.borrow_and_update());
                if view.changed().await.is_err() {
                    return;
                }
            }
        });
        let server = self.metrics_listener.map(|(address, listener)| {
            let guard = watch::Sender::new(self.scrape);
            let serve = server::serve(listener, Arc::clone(&self.metrics), guard.subscribe());
            MetricsServer {
                address,
                guard,
                task: supervisor.spawn("metrics server", serve),
            }
        });
        Running {
            surroundings: self.surroundings,
            _lock: self._lock,
            state_dir: self.state_dir,
            settings_in_force: self.settings_in_force,
            lane: self.lane,
            runner,
            runner_handle: self.runner_handle,
            metrics: self.metrics,
            server,
            identity: self.identity,
            supervisor,
            stop,
            stop_samples,
            stopped,
            samples_stopped,
        }
    }
}

impl Running {
    fn feed_watchdog(&self) {
        let now = self.surroundings.clock.elapsed();
        if now.since_ms(self.runner_handle.heartbeat().last()) <= ALIVE_WITHIN_MS {
            self.surroundings.systemd.alive();
        }
    }
}
