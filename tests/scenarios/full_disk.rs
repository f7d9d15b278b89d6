//! Does a page go out when it cannot be written down?

use std::{
    fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path,
    process::Command, sync::Arc, time::Duration,
};

use vigie_core::{entry::Line, status::Status};
use vigie_tests::harness::{
    Answer, Collector, DrivenClock, Filling, HandAgent, SmallDisk, Webhook, eventually,
};

use crate::fleet::{fleet, hand_agent};

/// Room for the database, its log, the reserve and some filling.
const DISK_SIZE: &str = "48m";

/// What was done this long ago counts as done no more.
const LATELY: Duration = Duration::from_secs(40);

/// Lines of one request that is to find no room: far more than the slack of a file.
const LINES_A_TIME: usize = 200;

/// Something that keeps the collector from writing for as long as it lives.
trait Obstacle {
    /// Takes whatever room there is again.
    fn insist(&mut self);
}

impl Obstacle for Filling {
    fn insist(&mut self) {
        Self::insist(self);
    }
}

/// Where nothing can be mounted: another process that holds the database, as a careless backup does.
struct Holding(std::process::Child);

impl Holding {
    fn of(data_dir: &Path) -> Self {
        let script = "import sqlite3, sys, time\n\
                      db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      db.execute('PRAGMA busy_timeout = 60000')\n\
                      db.execute('BEGIN IMMEDIATE')\n\
                      print('held', flush=True)\n\
                      time.sleep(3600)";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(data_dir.join("vigie.db"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut said = String::new();
        let stdout = child.stdout.as_mut().expect("its output is a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut said)
            .expect("it says when it holds it");
        Self(child)
    }
}

impl Obstacle for Holding {
    fn insist(&mut self) {}
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn obstacle(disk: Option<&SmallDisk>, collector: &Collector) -> Box<dyn Obstacle + Send> {
    match disk {
        Some(disk) => Box::new(Filling::of(disk.path())),
        None => {
            println!("this user may not mount: the database is held by another process instead");
            Box::new(Holding::of(&collector.data_dir()))
        }
    }
}

/// Uses up what the reserve and SQLite's own files still have room for, with lines that wake nobody. Returns those that
/// were not written.
async fn until_nothing_is_written(agent: &mut HandAgent, obstacle: &mut dyn Obstacle) -> Vec<Line> {
    eventually("the collector cannot write", async || {
        obstacle.insist();
        let chatter = [Status::Warning, Status::Ok].into_iter().cycle();
        let lines: Vec<Line> = chatter
            .take(LINES_A_TIME)
            .map(|status| agent.finds("base", None, status))
            .collect();
        match agent.hand_in(&lines).await {
            Answer { status: 503, .. } => Ok(lines),
            Answer { status: 200, .. } => Err("it was still written".to_owned()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_alert_goes_out_although_the_disk_is_full_and_is_not_told_again_when_there_is_room()
 {
    let disk = SmallDisk::mount(DISK_SIZE);
    let webhook = Webhook::start().await;
    let mut settings = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver());
    if let Some(disk) = &disk {
        settings = settings.data_on(disk.path());
    }
    let mut collector = settings.start().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail", "base"]).await;
    collector.is_fine("app-01").await;

    let mut obstacle = obstacle(disk.as_ref(), &collector);
    let mut kept = until_nothing_is_written(&mut agent, &mut *obstacle).await;
    obstacle.insist();
    kept.push(agent.finds("portail", None, Status::Critical));
    assert_eq!(agent.hand_in(&kept).await.status, 503);
    let page = webhook.hears_line("open app-01 portail critical").await;
    webhook.hears_reason("@collector", "commit.failed").await;

    drop(obstacle);
    agent.hands_in(&kept).await;
    let up = [agent.finds("portail", None, Status::Ok)];
    agent.hands_in(&up).await;
    webhook.hears_line("close app-01 portail").await;
    let pages = webhook
        .told()
        .into_iter()
        .filter(|told| told.line().starts_with("open app-01 portail"))
        .count();
    assert_eq!(
        pages, 1,
        "told when it could not be written, and not again: {page:?}"
    );
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outside_watch_hears_nothing_while_nothing_can_be_written() {
    let disk = SmallDisk::mount(DISK_SIZE);
    let clock = Arc::new(DrivenClock::new());
    let outside = Webhook::start().await;
    let secrets = tempfile::tempdir().expect("a temporary folder");
    let url_file = secrets.path().join("outside-watch-url");
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&url_file)
        .expect("a secret can be written");
    file.write_all(outside.url().as_bytes())
        .expect("a secret can be written");
    let watch = format!("[outside_watch]\nurl_file = {url_file:?}\nevery = \"10s\"\n");
    let mut settings = Collector::with(fleet(&["app-01"]) + &watch).clock(&clock);
    if let Some(disk) = &disk {
        settings = settings.data_on(disk.path());
    }
    let collector = settings.start().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail", "base"]).await;
    let _flight = clock.keep_flying();
    let pinged_beyond = async |count: usize| {
        let what = format!("the outside watch is pinged more than {count} times");
        eventually(&what, async || match outside.told().len() {
            pings if pings > count => Ok(()),
            pings => Err(pings.to_string()),
        })
        .await;
    };
    pinged_beyond(3).await;

    let mut obstacle = obstacle(disk.as_ref(), &collector);
    let mut kept = until_nothing_is_written(&mut agent, &mut *obstacle).await;
    kept.push(agent.finds("portail", None, Status::Critical));
    // What was done lately still counts for half a minute.
    clock.fly(LATELY).await;
    obstacle.insist();
    assert_eq!(agent.hand_in(&kept).await.status, 503);
    let pings = outside.told().len();
    clock.fly(10 * LATELY).await;
    assert_eq!(outside.told().len(), pings, "it would call somebody now");

    drop(obstacle);
    agent.hands_in(&kept).await;
    pinged_beyond(pings).await;
}
