//! Builds every part of the collector from its own settings, from the bottom up; nothing runs yet.
//!
//! Each part is built by itself and gives a handle to those above it. The first one that cannot be built ends the start, and
//! its own error says why. What was opened by then is closed by being dropped.

use std::{
    fs::{File, OpenOptions},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use rustix::fs::FlockOperation;
use tokio::sync::mpsc;
use tracing::info;
use vigie_deliver::{Delivery, Dispatcher, Report, Target, TargetError, target::Links as MakeLink};
use vigie_platform::{clock::Clock, http_listener::BindError, random};

use super::{reload::Reload, tzdata};
use crate::{
    acknowledge::{
        self, Acknowledge,
        link::{LinkKeyError, Links},
    },
    directory::Directory,
    engine::{Engine, Handle, Parts},
    identity::{Pki, PkiError},
    ingest::{
        self, Ingest,
        accept::{self, Door},
        authenticate::{self, RootError},
        entries,
        metrics::Intake,
    },
    latest::Latest,
    metrics::Sources,
    operator::{self, Operators},
    outside_watch::{self, Health, OutsideWatch},
    probes::{self, Probes},
    scrape::{self, Pages},
    settings::Settings,
    store::{LoadError, SqliteStore, Store as _, sqlite::OpenError},
};

/// Why the collector cannot start. Each part says itself what it wanted and of whom.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(transparent)]
    Identity(#[from] PkiError),
    #[error("cannot open {path}")]
    OpenLock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another collector runs on {data_dir}")]
    Locked { data_dir: PathBuf },
    #[error(transparent)]
    OpenStore(#[from] OpenError),
    #[error(transparent)]
    LoadStore(#[from] LoadError),
    #[error(transparent)]
    Links(#[from] LinkKeyError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    OutsideWatch(#[from] outside_watch::OpenError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Listen(#[from] BindError),
    #[error(transparent)]
    Operators(#[from] operator::ListenError),
    #[error(transparent)]
    Acknowledge(#[from] acknowledge::BindError),
}

/// A collector that is bound to its ports and has read its log.
pub(super) struct App {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pki: Arc<Pki>,
    pub(super) health: Arc<Health>,
    pub(super) engine: Engine<SqliteStore>,
    pub(super) handle: Handle,
    pub(super) delivery: Delivery,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) watch: Option<OutsideWatch>,
    pub(super) probes: Probes,
    pub(super) door: Door,
    pub(super) ingest: Arc<Ingest>,
    pub(super) scrape: scrape::Port,
    pub(super) operators: Operators,
    pub(super) acknowledge: Option<Acknowledge>,
    /// What a change of the settings touches.
    pub(super) reload: Reload,
    /// Held as long as this collector lives.
    pub(super) lock: File,
}

impl App {
    pub(super) async fn build(
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let pki = Arc::new(Pki::open(&settings.data_dir, clock.wall())?);
        let lock = lock(&settings.data_dir)?;
        let store = SqliteStore::open(&settings.data_dir).await?;
        let state = store.load().await?;
        info!(
            lines = state.meta.frontier.size(),
            nodes = state.nodes.len(),
            "the log is read"
        );
        let health = Arc::new(Health::default());
        let links = links(&settings)?;
        let (dispatcher, delivery, reports) =
            dispatcher(&settings, links.as_ref(), &clock, &health)?;
        let (watch, pings) = outside_watch(&settings, &clock, &health)?;
        let (probes, places, answers) = probes::build(settings.probes.clone(), Arc::clone(&clock));
        let directory = Arc::new(Directory::default());
        let collector_id = collector_id(&pki);
        let (engine, handle, engine_counters) = Engine::new(Parts {
            store,
            state,
            policy: settings.policy(),
            tzdata: tzdata(),
            collector: collector_id.clone(),
            clock: Arc::clone(&clock),
            notifier: Arc::new(dispatcher.clone()),
            directory: Arc::clone(&directory),
            health: Arc::clone(&health),
            probes: answers,
        });
        let door = door(&settings, &pki).await?;
        let ingest = Arc::new(Ingest {
            engine: handle.clone(),
            directory,
            pki: Arc::clone(&pki),
            collector_id,
            clock: Arc::clone(&clock),
            counters: Arc::new(entries::Counters::default()),
            peer_limits: entries::PeerLimits::default(),
            latest: Arc::new(Latest::new(settings.ingest.latest)),
            samples: Arc::new(ingest::metrics::Counters::default()),
            intake: Arc::new(Intake::new(settings.ingest.intake)),
            alerts: Arc::new(ingest::alerts::AlertsBySender::new(clock.now().wall)),
        });
        let reloads_failed = Arc::new(AtomicU64::new(0));
        let sources = Arc::new(Sources {
            engine: handle.clone(),
            engine_counters,
            requests: Arc::clone(&ingest.counters),
            door: door.counters(),
            reloads_failed: Arc::clone(&reloads_failed),
            deliveries: dispatcher.counters(),
            alerts: Arc::clone(&ingest.alerts),
            outside_watch: pings,
        });
        let (scrape, scrape_guard) = scrape(&settings, sources, &ingest).await?;
        let operators = operators(&settings, &handle, &pki, &door)?;
        let acknowledge = acknowledge(&settings, links.as_ref(), &handle, &clock).await?;
        let reload = Reload {
            handle: handle.clone(),
            dispatcher,
            links,
            ingest: Arc::clone(&ingest),
            places,
            scrape_guard,
            failed: reloads_failed,
        };
        Ok(Self {
            clock,
            pki,
            health,
            engine,
            handle,
            delivery,
            reports,
            watch,
            probes,
            door,
            ingest,
            scrape,
            operators,
            acknowledge,
            reload,
            lock,
        })
    }
}

/// Where the receivers and people of the settings are told.
pub(super) fn targets(
    settings: &Settings,
    links: Option<&Arc<Links>>,
) -> Result<Vec<Target>, TargetError> {
    let links = links.map(|links| {
        let links = Arc::clone(links);
        let link: MakeLink = Arc::new(move |to, messages, now| links.link(to, messages, now));
        link
    });
    settings
        .destinations()
        .map(|config| Target::open(&config, links.clone()))
        .collect()
}

/// Makes sure that no other collector runs on this folder: opening the store would put the other one out of action.
fn lock(data_dir: &Path) -> Result<File, BuildError> {
    let path = data_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| BuildError::OpenLock { path, source })?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let data_dir = data_dir.to_owned();
        BuildError::Locked { data_dir }
    })?;
    Ok(file)
}

fn links(settings: &Settings) -> Result<Option<Arc<Links>>, LinkKeyError> {
    let Some(config) = &settings.acknowledge else {
        return Ok(None);
    };
    let links = Links::open(&settings.data_dir, &config.url, config.lasts)?;
    Ok(Some(Arc::new(links)))
}

fn dispatcher(
    settings: &Settings,
    links: Option<&Arc<Links>>,
    clock: &Arc<dyn Clock>,
    health: &Health,
) -> Result<(Dispatcher, Delivery, mpsc::Receiver<Report>), TargetError> {
    Ok(vigie_deliver::build(vigie_deliver::Parts {
        targets: targets(settings, links)?,
        clock: Arc::clone(clock),
        pulse: health.delivering(),
        jitter: random::drawn,
    }))
}

fn outside_watch(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    health: &Arc<Health>,
) -> Result<(Option<OutsideWatch>, Arc<outside_watch::Counters>), outside_watch::OpenError> {
    let counters = Arc::new(outside_watch::Counters::default());
    let open = |config| {
        let (health, clock) = (Arc::clone(health), Arc::clone(clock));
        OutsideWatch::open(config, health, clock, Arc::clone(&counters))
    };
    let watch = settings.outside_watch.as_ref().map(open).transpose()?;
    Ok((watch, counters))
}

/// 128 bits of the agent CA's digest: it lives as long as the fleet does, and fits the grammar of names.
fn collector_id(pki: &Pki) -> String {
    pki.agent_ca().sha256().to_string()[..32].to_owned()
}

async fn door(settings: &Settings, pki: &Pki) -> Result<Door, BuildError> {
    let verifier = authenticate::AgentVerifier::new(pki.agent_ca().trusted(), pki.domain())?;
    let tls = Arc::new(authenticate::server_config(pki.own(), verifier)?);
    let limits = accept::Limits::default();
    Ok(Door::bind(settings.listen, tls, pki.domain(), limits).await?)
}

async fn scrape(
    settings: &Settings,
    sources: Arc<Sources>,
    ingest: &Ingest,
) -> Result<(scrape::Port, scrape::Guard), BindError> {
    scrape::Port::bind(
        settings.metrics_listen,
        settings.scrape.clone(),
        |address| {
            Pages::new(
                sources,
                Arc::clone(&ingest.latest),
                Arc::clone(&ingest.samples),
                Arc::clone(&ingest.clock),
                address,
            )
        },
    )
    .await
}

fn operators(
    settings: &Settings,
    handle: &Handle,
    pki: &Arc<Pki>,
    door: &Door,
) -> Result<Operators, operator::ListenError> {
    let port = door.local_address().port();
    let url = settings.host.first().map(|host| match host.parse() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        _ => format!("https://{host}:{port}"),
    });
    Operators::listen(&settings.data_dir, handle.clone(), Arc::clone(pki), url)
}

async fn acknowledge(
    settings: &Settings,
    links: Option<&Arc<Links>>,
    handle: &Handle,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Acknowledge>, acknowledge::BindError> {
    let Some((config, links)) = settings.acknowledge.as_ref().zip(links) else {
        return Ok(None);
    };
    let (links, clock) = (Arc::clone(links), Arc::clone(clock));
    let port = Acknowledge::bind(config, links, handle.clone(), clock).await?;
    Ok(Some(port))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{super::chain, *};

    #[test]
    fn a_second_collector_on_the_same_folder_is_refused_and_an_absent_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display();
        let first = lock(dir.path()).unwrap();
        let refused = chain(&lock(dir.path()).unwrap_err());
        assert_eq!(refused, format!("another collector runs on {shown}"));
        drop(first);
        drop(lock(dir.path()).unwrap());
        let absent = chain(&lock(&dir.path().join("absent")).unwrap_err());
        let expected =
            format!("cannot open {shown}/absent/lock: No such file or directory (os error 2)");
        assert_eq!(absent, expected);
    }

    #[tokio::test]
    async fn what_a_part_says_of_its_failure_is_what_is_printed() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let source = tokio::net::TcpListener::bind(address).await.unwrap_err();
        let expected = format!("cannot listen on {address}: {source}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("collector.toml");
        std::fs::write(&file, "").unwrap();
        let settings = crate::settings::load(&file, Vec::<(String, String)>::new()).unwrap();
        let bound = scrape::Port::bind(address, settings.scrape, |_| unreachable!()).await;
        let cause = BuildError::from(bound.err().unwrap());
        assert_eq!(chain(&cause), expected);
    }
}
