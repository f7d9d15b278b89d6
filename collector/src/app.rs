//! Builds the collector from its settings, runs it, and takes it down in a bounded, named sequence.
//!
//! Nothing is bound while settings are read; everything that can fail at the start fails before the first task runs.
//! SIGHUP or a changed file reloads: new rules, receivers and limits go in force together, and settings with mistakes
//! change nothing but a counter and a log line. `listen`, `data_dir` and `host` need a restart.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tracing::{error, info, warn};
use vigie_decide::fleet::Event;
use vigie_platform::{
    clock::{Clock, wait_until},
    error_chain::chain,
    file_watch::FileWatch,
    process::{Drain, Exit, Signal, Signals, Systemd, SystemdEnvironment},
    scrape_guard::{GuardedListener, ScrapeGuard},
    supervise::Supervisor,
    telemetry::{self, LOG_VARIABLE, Level},
};

use crate::{
    acknowledge::{self, Acknowledge},
    deliver::{
        self, Address, Deliverer, Delivery, Format, Report, Target, TargetError, TargetSettings,
        WaySettings, WebhookSettings, target::REQUEST_TIMEOUT,
    },
    directory::Directory,
    engine::{Engine, Handle, Parts},
    identity::{Pki, Renewal},
    ingest::{self, Ingest, accept, authenticate, entries, metrics::Intake},
    latest::{Latest, Origin},
    metrics::Sources,
    operator::Operators,
    outside_watch::{self, Health, OutsideWatch, Trouble},
    probes,
    scrape::{self, Pages},
    settings::{self, By, ProbeTarget, Settings, WebhookAddress, WebhookFormat},
    store::{SqliteStore, Store as _},
};

/// How long the whole of stopping may take; systemd kills after 90 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// How often the collector's own certificate is looked at.
const CERTIFICATE_EVERY_MS: u64 = 3_600_000;

/// How often the samples of those who left the fleet are dropped. They are shown to nobody meanwhile.
const DEPARTED_EVERY_MS: u64 = 60_000;

/// Runs until SIGTERM or SIGINT.
pub async fn run(
    config: PathBuf,
    variables: Vec<(OsString, OsString)>,
    clock: Arc<dyn Clock>,
) -> Exit {
    let log_variable = variables
        .iter()
        .find(|(name, _)| name == LOG_VARIABLE)
        .and_then(|(_, value)| value.to_str().map(str::to_owned));
    let settings = match settings::load(&config, variables.clone()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let level = match log_variable {
        Some(text) => Level::chosen(Some(&text), None),
        None => settings
            .log_level
            .clone()
            .map_or_else(|| Level::chosen(None, None), Ok),
    };
    match level {
        // A second start in one process (tests) keeps the first one's.
        Ok(level) => drop(telemetry::start(&level)),
        Err(cause) => {
            eprintln!("{cause}");
            return Exit::Usage;
        }
    }
    let environment = SystemdEnvironment::from_variables(variables.iter().cloned());
    let systemd = match Systemd::connect(&environment, std::process::id()) {
        Ok(systemd) => systemd,
        Err(cause) => {
            warn!(%cause, "cannot notify systemd");
            Systemd::absent()
        }
    };
    let app = match App::build(settings, clock).await {
        Ok(app) => app,
        Err(cause) => {
            error!("cannot start: {}", chain(&*cause));
            return Exit::Usage;
        }
    };
    app.run(&config, variables, systemd).await
}

/// A collector that is bound to its ports and has read its log.
struct App {
    settings: Settings,
    clock: Arc<dyn Clock>,
    pki: Arc<Pki>,
    engine: Engine<SqliteStore>,
    handle: Handle,
    deliverer: Deliverer,
    delivery: Delivery,
    reports: mpsc::Receiver<Report>,
    watch: Option<OutsideWatch>,
    door: accept::Door,
    ingest: Arc<Ingest>,
    metrics_listener: TcpListener,
    /// Held as long as this collector lives.
    _lock: std::fs::File,
    sources: Arc<Sources>,
    operators: Operators,
    /// The port where somebody says that they are on it, and what its links are made with.
    acknowledge: Option<(Acknowledge, Arc<acknowledge::link::Links>)>,
    health: Arc<Health>,
    probe_answer: watch::Sender<Option<bool>>,
}

type BuildError = Box<dyn std::error::Error + Send + Sync>;

impl App {
    async fn build(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        let now = clock.now();
        let pki = Arc::new(Pki::open(&settings.data_dir, now.wall)?);
        let lock = lock(&settings.data_dir)?;
        let store = SqliteStore::open(&settings.data_dir).await?;
        let state = store.load().await?;
        info!(
            lines = state.meta.frontier.size(),
            nodes = state.nodes.len(),
            "the log is read"
        );
        let health = Arc::new(Health::default());
        let links = match &settings.acknowledge {
            Some(said) => {
                let links =
                    acknowledge::link::Links::open(&settings.data_dir, &said.url, said.lasts)?;
                Some(Arc::new(links))
            }
            None => None,
        };
        let (deliverer, delivery, reports) = deliver::build(deliver::Parts {
            targets: targets(&settings, links.as_ref())?,
            clock: Arc::clone(&clock),
            health: Arc::clone(&health),
            jitter: deliver::random,
        });
        let watch_counters = Arc::new(outside_watch::Counters::default());
        let watch = match &settings.outside_watch {
            Some(watch) => {
                let (health, clock) = (Arc::clone(&health), Arc::clone(&clock));
                let counters = Arc::clone(&watch_counters);
                Some(OutsideWatch::open(
                    &watch.url_file,
                    watch.every,
                    health,
                    clock,
                    counters,
                )?)
            }
            None => None,
        };
        let directory = Arc::new(Directory::default());
        // 128 bits of the agent CA's digest: it lives as long as the fleet does, and fits the grammar of names.
        let collector_id = pki.agent_ca().sha256().to_string()[..32].to_owned();
        let (probe_answer, probe_answers) = watch::channel(None);
        let (engine, handle, engine_counters) = Engine::new(Parts {
            store,
            state,
            ground: settings.ground(),
            tzdata: tzdata(),
            collector: collector_id.clone(),
            clock: Arc::clone(&clock),
            courier: Arc::new(deliverer.clone()),
            directory: Arc::clone(&directory),
            health: Arc::clone(&health),
            probes: probe_answers,
        });
        let roots = pki.agent_ca().trusted();
        let verifier = authenticate::AgentVerifier::new(roots, pki.domain())?;
        let tls = authenticate::server_config(pki.own(), verifier)?;
        let limits = accept::Limits::default();
        let door = accept::Door::bind(settings.listen, Arc::new(tls), pki.domain(), limits).await?;
        let metrics_listener = TcpListener::bind(settings.metrics_listen)
            .await
            .map_err(|cause| format!("cannot listen on {}: {cause}", settings.metrics_listen))?;
        let requests = Arc::new(entries::Counters::default());
        let latest = Arc::new(Latest::new(settings.ingest.latest));
        let intake = Arc::new(Intake::new(settings.ingest.intake));
        let samples = Arc::new(ingest::metrics::Counters::default());
        let alerts = Arc::new(ingest::alerts::Desks::new(clock.now().wall));
        let sources = Arc::new(Sources {
            engine: handle.clone(),
            engine_counters,
            requests: Arc::clone(&requests),
            door: door.counters(),
            reloads_failed: Arc::new(AtomicU64::new(0)),
            deliveries: deliverer.counters(),
            alerts: Arc::clone(&alerts),
            outside_watch: watch_counters,
        });
        let port = door.local_address().port();
        let url = settings.host.first().map(|host| match host.parse() {
            Ok(std::net::IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
            _ => format!("https://{host}:{port}"),
        });
        let operators =
            Operators::listen(&settings.data_dir, handle.clone(), Arc::clone(&pki), url)?;
        let acknowledge = match settings.acknowledge.as_ref().zip(links) {
            Some((said, links)) => {
                let (desk, clock) = (handle.clone(), Arc::clone(&clock));
                let port = Acknowledge::bind(said, Arc::clone(&links), desk, clock).await?;
                Some((port, links))
            }
            None => None,
        };
        let ingest = Arc::new(Ingest {
            engine: handle.clone(),
            directory,
            pki: Arc::clone(&pki),
            collector_id,
            clock: Arc::clone(&clock),
            counters: requests,
            manners: entries::Manners::default(),
            latest,
            samples,
            intake,
            alerts,
        });
        Ok(Self {
            settings,
            clock,
            pki,
            engine,
            handle,
            deliverer,
            delivery,
            reports,
            watch,
            door,
            ingest,
            metrics_listener,
            _lock: lock,
            sources,
            operators,
            acknowledge,
            health,
            probe_answer,
        })
    }

    async fn run(
        self,
        config: &Path,
        variables: Vec<(OsString, OsString)>,
        systemd: Systemd,
    ) -> Exit {
        let Ok(mut signals) = Signals::listen() else {
            error!("cannot listen for signals");
            return Exit::Internal;
        };
        let (stop_door, door_stopped) = watch::channel(false);
        let (stop_engine, engine_stopped) = watch::channel(false);
        let (stop_delivery, delivery_stopped) = watch::channel(false);
        let (probe_targets, probed) = watch::channel(self.settings.probes.clone());
        let mut supervisor = Supervisor::new();
        let agents_address = self.door.local_address();
        let metrics_address = self.metrics_listener.local_addr().ok();
        let mut engine = tokio::spawn(self.engine.run(engine_stopped));
        let ingest = self.ingest;
        let routes = ingest::router(Arc::clone(&ingest));
        let door = tokio::spawn(self.door.serve(routes, door_stopped));
        let delivery = tokio::spawn(self.delivery.run(delivery_stopped));
        supervisor.spawn(
            "delivery reports",
            pass_on(self.reports, self.handle.clone()),
        );
        supervisor.spawn("operators", self.operators.serve());
        let links = match self.acknowledge {
            Some((port, links)) => {
                info!(address = %port.local_address(), "links in messages are answered");
                supervisor.spawn("acknowledgements", port.serve());
                Some(links)
            }
            None => None,
        };
        let pages = scrape::router(Arc::new(Pages::new(
            Arc::clone(&self.sources),
            Arc::clone(&ingest.latest),
            Arc::clone(&ingest.samples),
            Arc::clone(&self.clock),
            metrics_address.unwrap_or(self.settings.metrics_listen),
        )));
        let (scrape_guard, guard_in_force) = watch::channel(Arc::new(self.settings.scrape.clone()));
        let metrics_listener = GuardedListener::new(self.metrics_listener, guard_in_force);
        supervisor.spawn("metrics", scrape::serve(metrics_listener, pages));
        supervisor.spawn(
            "probes",
            probes::run(Arc::clone(&self.clock), probed, self.probe_answer),
        );
        supervisor.spawn(
            "certificate",
            keep_certificate(Arc::clone(&self.pki), Arc::clone(&self.clock)),
        );
        supervisor.spawn(
            "departed",
            forget_departed(Arc::clone(&ingest), Arc::clone(&self.clock)),
        );
        if let Some(watch) = self.watch {
            supervisor.spawn("outside watch", watch.run());
        }
        let mut files = FileWatch::start(config).await;
        let mut watchdog = systemd.watchdog_interval().map(tokio::time::interval);
        info!(%agents_address, ?metrics_address, "ready");
        systemd.ready();
        let reload = Reload {
            config,
            variables: &variables,
            handle: &self.handle,
            deliverer: &self.deliverer,
            links: links.as_ref(),
            ingest: &ingest,
            probe_targets: &probe_targets,
            scrape_guard: &scrape_guard,
            failed: &self.sources.reloads_failed,
        };
        let exit = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break Exit::Ok,
                    Signal::Reload => {
                        systemd.reloading();
                        reload.perform().await;
                        systemd.ready();
                    }
                },
                () = files.changed() => reload.perform().await,
                lost = supervisor.lost() => {
                    error!(%lost, "a part of the collector ended");
                    break Exit::Internal;
                }
                _ = &mut engine => {
                    error!("the engine ended");
                    break Exit::Internal;
                }
                () = tick(&mut watchdog) => {
                    if self.health.trouble(self.clock.elapsed()) != Some(Trouble::NotStepping) {
                        systemd.alive();
                    }
                }
            }
            if engine.is_finished() || door.is_finished() || delivery.is_finished() {
                error!("the engine, the door or the delivery ended");
                break Exit::Internal;
            }
        };
        systemd.stopping();
        info!("stopping");
        let drained = Drain::new()
            .step("requests under way", async {
                stop_door.send_replace(true);
                let _ = door.await;
            })
            .step("messages under way", async {
                stop_delivery.send_replace(true);
                let _ = delivery.await;
            })
            .step("last commit", async {
                stop_engine.send_replace(true);
                if !engine.is_finished() {
                    let _ = engine.await;
                }
            })
            .run(DRAIN_LIMIT)
            .await;
        if !drained.is_complete() {
            warn!(unfinished = ?drained.unfinished, "stopped before everything was done");
        }
        exit
    }
}

/// What a reload touches.
struct Reload<'a> {
    config: &'a Path,
    variables: &'a [(OsString, OsString)],
    handle: &'a Handle,
    deliverer: &'a Deliverer,
    links: Option<&'a Arc<acknowledge::link::Links>>,
    ingest: &'a Ingest,
    probe_targets: &'a watch::Sender<Vec<ProbeTarget>>,
    scrape_guard: &'a watch::Sender<Arc<ScrapeGuard>>,
    failed: &'a AtomicU64,
}

impl Reload<'_> {
    async fn perform(&self) {
        let config = self.config.to_owned();
        let variables = self.variables.to_vec();
        match tokio::task::spawn_blocking(move || settings::load(&config, variables)).await {
            Ok(Ok(settings)) => {
                let targets = match targets(&settings, self.links) {
                    Ok(targets) => targets,
                    Err(cause) => {
                        self.failed.fetch_add(1, Relaxed);
                        error!(
                            "settings cannot be used; the old ones stay in force: {}",
                            chain(&cause)
                        );
                        return;
                    }
                };
                // Receivers first: rules may name new ones.
                self.deliverer.replace_targets(targets);
                self.probe_targets.send_replace(settings.probes.clone());
                self.scrape_guard.send_if_modified(|guard| {
                    let is_other = **guard != settings.scrape;
                    if is_other {
                        *guard = Arc::new(settings.scrape.clone());
                    }
                    is_other
                });
                self.ingest.intake.set_limits(settings.ingest.intake);
                self.ingest.latest.set_limits(settings.ingest.latest);
                self.handle.load_ground(settings.ground(), tzdata()).await;
                info!("settings loaded");
            }
            Ok(Err(mistakes)) => {
                self.failed.fetch_add(1, Relaxed);
                error!("settings have mistakes; the old ones stay in force:\n{mistakes}");
            }
            Err(cause) => {
                self.failed.fetch_add(1, Relaxed);
                error!(%cause, "cannot load settings; the old ones stay in force");
            }
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

/// Makes sure that no other collector runs on this folder: opening the store would put the other one out of action.
fn lock(data_dir: &Path) -> Result<std::fs::File, BuildError> {
    let path = data_dir.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|cause| format!("cannot open {}: {cause}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another collector runs on {}", data_dir.display()))?;
    Ok(file)
}

/// Where the receivers and people of the settings are told.
fn targets(
    settings: &Settings,
    links: Option<&Arc<acknowledge::link::Links>>,
) -> Result<Vec<Target>, TargetError> {
    let written = settings.destinations().map(|told| TargetSettings {
        way: match told.by {
            By::Webhook(webhook) => WaySettings::Webhook(WebhookSettings {
                address: match &webhook.address {
                    WebhookAddress::Url(url) => Address::Url(url.as_str().to_owned()),
                    WebhookAddress::SecretUrl(file) => Address::File(file.clone()),
                },
                format: match webhook.format {
                    WebhookFormat::Vigie => Format::Vigie,
                    WebhookFormat::Alertmanager => Format::Alertmanager,
                },
                header_file: webhook.header_file.clone(),
                ca_file: webhook.ca_file.clone(),
            }),
            By::Contact(contact) => WaySettings::Contact(contact.way.clone()),
        },
        detail: told.by.detail(),
        language: told.language,
        zone: told.zone.cloned(),
        links: links.map(|links| {
            let links = Arc::clone(links);
            let link: deliver::target::Links =
                Arc::new(move |to, messages, now| links.link(to, messages, now));
            link
        }),
        request_timeout: REQUEST_TIMEOUT,
        destination: told.destination,
    });
    written.map(|target| Target::open(&target)).collect()
}

/// Takes what the delivery reports to the engine.
async fn pass_on(mut reports: mpsc::Receiver<Report>, engine: Handle) {
    while let Some(report) = reports.recv().await {
        match report {
            Report::Event(event) => engine.note(event).await,
            Report::Refill { to, after_order } => engine.refill(to, after_order).await,
            Report::Undeliverable { key, .. } => engine.note(Event::Undeliverable { key }).await,
            Report::ToldUnlogged { key, .. } => engine.accepted(key).await,
        }
    }
    std::future::pending().await
}

/// The version of the time zone data that jiff uses.
#[must_use]
pub fn tzdata() -> String {
    // The system's own database is preferred; its version stands in this file on Debian and RHEL.
    std::fs::read_to_string("/usr/share/zoneinfo/tzdata.zi")
        .ok()
        .and_then(|text| {
            text.lines()
                .next()?
                .strip_prefix("# version ")
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "unknown".to_owned())
}
