//! A whole agent in this process, from its settings file to a collector, stopped and reloaded by real signals.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rustix::process::{Signal as ProcessSignal, getpid, kill_process};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream, UnixStream},
    sync::mpsc::Receiver,
};
use vigie_core::{
    entry::Entry,
    time::{Elapsed, Now},
};
use vigie_platform::{clock::ManualClock, disk::RealDisk, process::Signals, supervise::TaskLost};

use super::{build::take_state_dir, *};
use crate::{
    admin, metrics_lane,
    push::fixture::{Collector, Seen, WriteAnswer},
    settings,
};

struct Agent {
    dir: TempDir,
    clock: Arc<ManualClock>,
    metrics_address: SocketAddr,
    running: tokio::task::JoinHandle<Result<(), TaskLost>>,
}

fn write_settings(dir: &TempDir, collector: SocketAddr, more: &str) -> PathBuf {
    let path = dir.path().join("agent.toml");
    let text = format!(
        "state_dir = {:?}\ncollectors = [\"https://{collector}\"]\nlisten = \"127.0.0.1:0\"\n{more}",
        dir.path(),
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn check(name: &str, target: SocketAddr) -> String {
    format!(
        "[check.{name}]\nkind = \"tcp\"\ntarget = \"{target}\"\nevery = \"10s\"\nfailures = 1\nrecoveries = 1\n"
    )
}

impl Agent {
    async fn start(dir: TempDir, settings_file: &Path) -> Self {
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(1_795_374_271_207),
            elapsed: Elapsed(1_000_000),
        }));
        let none: [(OsString, OsString); 0] = [];
        let watch = FileWatch::start(settings_file).await;
        let settings = settings::load(settings_file, none).unwrap();
        let app = build(
            settings,
            Surroundings {
                config: settings_file.to_owned(),
                watch,
                variables: Vec::new(),
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                disk: Arc::new(RealDisk),
                systemd: Systemd::absent(),
                telemetry: None,
            },
        )
        .await
        .unwrap();
        let metrics_address = app.metrics_address().unwrap();
        let signals = Signals::listen().unwrap();
        Self {
            dir,
            clock,
            metrics_address,
            running: tokio::spawn(app.run(signals)),
        }
    }
}

/// The next line whose kind is `kind`, whatever comes before it. Time passes meanwhile, in steps no scheduler minds.
async fn line(requests: &mut Receiver<Seen>, clock: &ManualClock, kind: &str) -> Entry {
    loop {
        let seen = tokio::select! {
            biased;
            seen = requests.recv() => seen.unwrap(),
            // Real time only paces how fast the clock is moved; nothing is asserted about it.
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                clock.advance(Duration::from_millis(500));
                continue;
            }
        };
        if let Some(line) = seen.lines.into_iter().find(|line| line.kind == kind) {
            return line;
        }
    }
}

fn signal(signal: ProcessSignal) {
    kill_process(getpid(), signal).unwrap();
}

/// One test: signals are the whole process's.
#[tokio::test]
async fn an_agent_starts_reports_refuses_bad_settings_takes_good_ones_and_stops_in_order() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target.local_addr().unwrap();
    let settings_file = write_settings(&dir, address, &check("base", target));
    let mut agent = Agent::start(dir, &settings_file).await;

    let start = line(&mut requests, &agent.clock, "agent.start").await;
    assert_eq!(start.seq, 1);
    assert_eq!(start.facts["version"], env!("CARGO_PKG_VERSION"));
    let status = line(&mut requests, &agent.clock, "check.status").await;
    assert_eq!(status.check.unwrap().as_str(), "base");

    let mut state = String::new();
    let socket = agent.dir.path().join(admin::SOCKET);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    UnixStream::connect(&socket)
        .await
        .unwrap()
        .read_to_string(&mut state)
        .await
        .unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["node"], "app-01");
    assert_eq!(state["checks"][0]["name"], "base");
    assert_eq!(state["push"]["result"], "ok");

    let text = scrape(agent.metrics_address).await;
    assert!(text.contains("vigie_check_status{check=\"base\""), "{text}");
    assert!(
        text.contains("vigie_pushes_total{lane=\"entries\",result=\"ok\""),
        "{text}"
    );

    write_settings(
        &agent.dir,
        address,
        "[check.base]\nkind = \"no such kind\"\n",
    );
    signal(ProcessSignal::HUP);
    let refused = line(&mut requests, &agent.clock, "agent.settings_refused").await;
    assert_eq!(refused.facts["mistakes"], 1);

    write_settings(&agent.dir, address, &check("autre", target));
    signal(ProcessSignal::HUP);
    let complete = line(&mut requests, &agent.clock, "plan.complete").await;
    assert_eq!(complete.facts["count"], 1);
    let status = line(&mut requests, &agent.clock, "check.status").await;
    assert_eq!(status.check.unwrap().as_str(), "autre");
    let text = scrape(agent.metrics_address).await;
    assert!(!text.contains("\"base\""), "{text}");

    // What must be shown at the same address changes with a reload too.
    let token = agent.dir.path().join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let scrape_section = format!("[scrape]\nbearer_file = {token:?}\n");
    let tiers = check("tiers", target);
    write_settings(&agent.dir, address, &format!("{scrape_section}{tiers}"));
    signal(ProcessSignal::HUP);
    line(&mut requests, &agent.clock, "plan.complete").await;
    let text = scrape(agent.metrics_address).await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");

    signal(ProcessSignal::TERM);
    let stop = line(&mut requests, &agent.clock, "agent.stop").await;
    assert_eq!(stop.facts["signal"], "term");
    assert!((&mut agent.running).await.unwrap().is_ok());
    let seqs: Vec<u64> = collector.lines().iter().map(|line| line.seq).collect();
    assert_eq!(
        seqs,
        (1..=stop.seq).collect::<Vec<_>>(),
        "each line once and in order"
    );
    assert!(!socket.exists());
}

async fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_second_agent_on_the_same_state_is_refused() {
    let (_collector, _requests, dir) = Collector::new();
    let _first = take_state_dir(&RealDisk, dir.path()).unwrap();
    assert!(matches!(
        take_state_dir(&RealDisk, dir.path()),
        Err(BuildError::InUse { .. })
    ));
}

/// One that is built but not run, without checks.
async fn built(settings_file: &Path) -> (App, Arc<ManualClock>) {
    let none: [(OsString, OsString); 0] = [];
    let clock = Arc::new(ManualClock::at(Now {
        wall: Wall(1_795_374_271_207),
        elapsed: Elapsed(1_000_000),
    }));
    let surroundings = Surroundings {
        config: settings_file.to_owned(),
        watch: FileWatch::start(settings_file).await,
        variables: Vec::new(),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        disk: Arc::new(RealDisk),
        systemd: Systemd::absent(),
        telemetry: None,
    };
    let settings = settings::load(settings_file, none).unwrap();
    (build(settings, surroundings).await.unwrap(), clock)
}

#[tokio::test]
async fn metrics_move_to_an_address_that_contains_the_one_before_and_stay_where_they_were_if_they_cannot()
 {
    let (_collector, _requests, dir) = Collector::new();
    let settings_file = write_settings(&dir, "127.0.0.1:9".parse().unwrap(), "");
    let (app, _) = built(&settings_file).await;
    let before = app.metrics_address().unwrap();
    let mut running = app.start().await;
    // As the settings would have it, with a port of its own.
    running.server.as_mut().unwrap().address = before;

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = taken.local_addr().unwrap();
    running
        .listen_on(Some(elsewhere), &ScrapeGuard::open())
        .await;
    assert!(scrape(before).await.starts_with("HTTP/1.1 200"));

    let wider = SocketAddr::from(([0, 0, 0, 0], before.port()));
    running.listen_on(Some(wider), &ScrapeGuard::open()).await;
    assert_eq!(running.server.as_ref().unwrap().address, wider);
    let also = SocketAddr::from(([127, 0, 0, 2], before.port()));
    assert!(scrape(also).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn at_a_stop_the_last_line_goes_before_the_last_samples() {
    let (collector, mut requests, dir) = Collector::new();
    let (address, _serving) = collector.serve().await;
    let settings_file = write_settings(&dir, address, "");
    // Samples wait until the stop.
    collector.judges_writes(|_| WriteAnswer::Status(503, Some(600)));
    let mut writes = collector.writes();
    let (app, clock) = built(&settings_file).await;
    let mut samples = app.samples.board();
    let running = app.start().await;
    loop {
        tokio::select! {
            biased;
            write = writes.recv() => break drop(write),
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                clock.advance(Duration::from_millis(500));
            }
        }
    }
    let is_refused = |board: &metrics_lane::Board| {
        let to_collector = board.destinations.get(metrics_lane::COLLECTOR);
        to_collector.is_some_and(|shown| shown.last.is_some())
    };
    samples.wait_for(is_refused).await.unwrap();
    while requests.try_recv().is_ok() {}

    let stopping = tokio::spawn(running.stop());
    loop {
        let seen = requests.recv().await.unwrap();
        if seen.lines.iter().any(|line| line.kind == "agent.stop") {
            break;
        }
    }
    assert!(writes.try_recv().is_err(), "samples came first");
    stopping.await.unwrap();
    assert!(writes.try_recv().is_ok(), "and were sent after all");
}
