//! Runs what was built until SIGTERM, SIGINT or the loss of a part, and takes it down in a bounded, named sequence.
//!
//! Three parts end in order, so that nothing is cut that somebody waits for: the door, then the delivery, then the engine
//! with its last commit. The others are cut when these have ended.

use std::{ffi::OsString, fs::File, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{error, info, warn};
use vigie_decide::fleet::{DeliveryEvent, Event};
use vigie_deliver::Report;
use vigie_platform::{
    clock::{Clock, wait_until},
    file_watch::FileWatch,
    process::{Drain, Exit, Signal, Signals, Systemd},
    supervise::Supervisor,
};

use super::{build::App, chain, reload::Reload};
use crate::{
    engine::Handle,
    identity::{Pki, Renewal},
    ingest::{self, Ingest},
    latest::Origin,
    outside_watch::Trouble,
};

/// How long the whole of stopping may take; systemd kills after 90 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// How often the collector's own certificate is looked at.
const CERTIFICATE_EVERY_MS: u64 = 3_600_000;

/// How often the samples of those who left the fleet are dropped. They are shown to nobody meanwhile.
const DEPARTED_EVERY_MS: u64 = 60_000;

/// The tasks of a collector at work.
struct Tasks {
    engine: Ending,
    door: Ending,
    delivery: Ending,
    others: Supervisor,
}

/// A task that ends in order when it is asked to.
struct Ending {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Ending {
    fn start<F>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(stopped));
        Self { task, stop }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        // Whoever looked at a finished task may not look again.
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}

impl App {
    pub(super) async fn run(
        self,
        config: &Path,
        variables: &[(OsString, OsString)],
        systemd: &Systemd,
    ) -> Exit {
        let Ok(mut signals) = Signals::listen() else {
            error!("cannot listen for signals");
            return Exit::Internal;
        };
        let agents_address = self.door.local_address();
        let metrics_address = self.scrape.local_address();
        let (clock, health) = (Arc::clone(&self.clock), Arc::clone(&self.health));
        let (mut tasks, reload, _lock) = self.start();
        let mut files = FileWatch::start(config).await;
        let mut watchdog = systemd.watchdog_interval().map(tokio::time::interval);
        info!(%agents_address, %metrics_address, "ready");
        systemd.ready();
        let exit = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break Exit::Ok,
                    Signal::Reload => {
                        systemd.reloading();
                        reload.perform(config, variables).await;
                        systemd.ready();
                    }
                },
                () = files.changed() => reload.perform(config, variables).await,
                () = tasks.lost() => break Exit::Internal,
                () = tick(&mut watchdog) => {
                    if health.trouble(clock.elapsed()) != Some(Trouble::NotStepping) {
                        systemd.alive();
                    }
                }
            }
            if tasks.is_any_finished() {
                error!("the engine, the door or the delivery ended");
                break Exit::Internal;
            }
        };
        systemd.stopping();
        info!("stopping");
        tasks.drain().await;
        exit
    }

    /// Starts every task, and gives what a change of the settings touches and the lock on the data.
    fn start(self) -> (Tasks, Reload, File) {
        let (ingest, clock, pki) = (self.ingest, self.clock, self.pki);
        let routes = ingest::router(Arc::clone(&ingest));
        let engine = Ending::start(|stopped| self.engine.run(stopped));
        let door = Ending::start(|stopped| self.door.serve(routes, stopped));
        let delivery = Ending::start(|stopped| self.delivery.run(stopped));
        let mut others = Supervisor::new();
        others.spawn("delivery reports", pass_on(self.reports, self.handle));
        others.spawn("operators", self.operators.serve());
        if let Some(port) = self.acknowledge {
            info!(address = %port.local_address(), "links in messages are answered");
            others.spawn("acknowledgements", port.serve());
        }
        others.spawn("metrics", self.scrape.serve());
        others.spawn("probes", self.probes.run());
        others.spawn("certificate", keep_certificate(pki, Arc::clone(&clock)));
        others.spawn("departed", forget_departed(ingest, clock));
        if let Some(watch) = self.watch {
            others.spawn("outside watch", watch.run());
        }
        let tasks = Tasks {
            engine,
            door,
            delivery,
            others,
        };
        (tasks, self.reload, self.lock)
    }
}

impl Tasks {
    /// Waits until a part ends that should not, and says which.
    async fn lost(&mut self) {
        tokio::select! {
            lost = self.others.lost() => error!(%lost, "a part of the collector ended"),
            _ = &mut self.engine.task => error!("the engine ended"),
        }
    }

    fn is_any_finished(&self) -> bool {
        let all = [&self.engine, &self.door, &self.delivery];
        all.iter().any(|ending| ending.task.is_finished())
    }

    /// Ends all that must not be cut, in order.
    async fn drain(self) {
        let drained = Drain::new()
            .step("requests under way", self.door.end())
            .step("messages under way", self.delivery.end())
            .step("last commit", self.engine.end())
            .run(DRAIN_LIMIT)
            .await;
        if !drained.is_complete() {
            warn!(unfinished = ?drained.unfinished, "stopped before everything was done");
        }
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

async fn keep_certificate(pki: Arc<Pki>, clock: Arc<dyn Clock>) {
    loop {
        wait_until(&*clock, clock.elapsed().plus_ms(CERTIFICATE_EVERY_MS)).await;
        let now = clock.wall();
        let pki = Arc::clone(&pki);
        match tokio::task::spawn_blocking(move || pki.renew_if_due(now)).await {
            Ok(Ok(Renewal::Renewed)) => info!("the collector's certificate was renewed"),
            Ok(Ok(Renewal::NotDue)) => {}
            Ok(Err(cause)) => error!(
                "cannot renew the collector's certificate: {}",
                chain(&cause)
            ),
            Err(cause) => error!(%cause, "cannot renew the collector's certificate"),
        }
    }
}

/// Drops the samples of nodes and senders that are no longer in the fleet, and what is remembered of senders' alerts.
async fn forget_departed(ingest: Arc<Ingest>, clock: Arc<dyn Clock>) {
    loop {
        wait_until(&*clock, clock.elapsed().plus_ms(DEPARTED_EVERY_MS)).await;
        ingest
            .alerts
            .keep(|sender| ingest.directory.find_sender(sender.as_str()).is_some());
        for origin in ingest.latest.origins() {
            let is_here = match &origin {
                Origin::Node(node) => ingest.directory.find(node).is_some(),
                Origin::Sender(sender) => ingest.directory.find_sender(sender).is_some(),
            };
            if !is_here {
                ingest.latest.forget(&origin);
            }
        }
    }
}

/// Takes what the delivery reports to the engine.
async fn pass_on(mut reports: mpsc::Receiver<Report>, engine: Handle) {
    while let Some(report) = reports.recv().await {
        match report {
            Report::Event(event) => engine.note(event).await,
            Report::Refill { to, after_order } => engine.refill(to, after_order).await,
            Report::Undeliverable { key, .. } => {
                engine
                    .note(Event::Delivery(DeliveryEvent::Undeliverable { key }))
                    .await
            }
            Report::ToldUnlogged { key, .. } => engine.accepted(key).await,
        }
    }
    std::future::pending().await
}
