//! What becomes of a node one of whose file systems never answers?

use std::{fs, process::Command, sync::Arc, time::Duration};

use vigie_tests::harness::{
    Agent, Collector, DrivenClock, Manner, Recorder, Webhook, eventually, run, value_in,
};

use crate::fleet::fleet;

/// In mount namespaces of its own, where nobody else sees it, mounts a FUSE file system and becomes the agent. Who would
/// have to answer for the file system is then the agent itself, which holds the device as descriptor 3 and never reads
/// from it: so it hangs as long as the agent lives, and is gone with it, however that ends. Needs what the machines have
/// that run these scenarios: root, and /dev/fuse.
const HANG: &str = r#"
    point="$1"; shift
    exec 3<>/dev/fuse || exit 3
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung "$point" || exit 4
    exec "$@"
"#;

/// Cuts the file system off, as umount(8) does with one that hangs, and puts another in its place.
const MEND: &str = r#"
    umount -c -f "$1" || umount -c -l "$1"
    mount -t tmpfs -o size=1m mended "$1"
"#;

/// How long it hangs: dozens of runs.
const HUNG_FOR: Duration = Duration::from_secs(600);

/// How far apart the newest samples are at most, in seconds of the driven clock: two cycles, and the time to look.
const NEWEST_SAMPLES_WITHIN: f64 = 60.0;

/// How many threads the agent has.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task"))
        .expect("a running process has tasks")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_never_answers_is_told_and_holds_up_nothing_else() {
    let clock = Arc::new(DrivenClock::new());
    let service = Webhook::start().await;
    let webhook = Webhook::start().await;
    let recorder = Recorder::start().await;
    let collector = Collector::with(fleet(&["app-01"]) + &webhook.as_only_receiver())
        .clock(&clock)
        .start()
        .await;
    let place = tempfile::tempdir().expect("a temporary folder");
    let hung = place.path().to_str().expect("it has a plain name");
    let settings = format!(
        r#"
        remote_write = [{{ name = "recorder", url = "{}" }}]
        [defaults]
        every = "15s"
        timeout = "14s"
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{}"
        [check.disques]
        kind = "filesystem"
        mounts = ["/", "{hung}"]
        warning = {{ used = "99.9%", inodes = "99.9%" }}
        critical = {{ used = "100%", inodes = "100%" }}
        [check.memoire]
        kind = "memory"
        [check.charge]
        kind = "load"
        "#,
        recorder.write_url(),
        service.url()
    );
    let mut agent = Agent::with(settings)
        .clock(&clock)
        .inside(&[
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            HANG,
            "sh",
            hung,
        ])
        .start(&collector, "app-01")
        .await;

    let flight = clock.keep_flying();
    let alert = collector.shows("app-01", "filesystem.stuck").await;
    assert_eq!(alert["status"], "critical");
    assert_eq!(alert["object"], hung);
    for check in ["portail", "memoire", "charge"] {
        agent.settles(check, "ok").await;
    }
    drop(flight);
    let early = threads(agent.program().pid());
    clock.fly(HUNG_FOR).await;
    let late = threads(agent.program().pid());
    assert!(
        late <= early + 2,
        "not a thread for each run: {early}, then {late}"
    );

    // Both lanes go on: what happens is told, and what is measured arrives.
    let flight = clock.keep_flying();
    service.behave(Manner::Answers(503));
    webhook.hears_line("open app-01 portail").await;
    service.behave(Manner::Accepts);
    webhook.hears_line("close app-01 portail").await;
    drop(flight);
    let is_about = |check: &str| format!("check=\"{check}\"");
    let newest = eventually("the newest samples have arrived", async || {
        let requests = recorder.requests();
        let pushed = requests.last().ok_or("none came")?;
        let newest = pushed.first().ok_or("it is empty")?.timestamp_ms;
        match clock.now().wall.0 - newest {
            0..=20_000 => Ok(pushed.clone()),
            age_ms => Err(format!("{age_ms} ms old")),
        }
    })
    .await;
    let now = seconds(newest[0].timestamp_ms);
    for check in ["portail", "memoire", "charge", "disques"] {
        let run = newest
            .iter()
            .find(|pushed| {
                pushed
                    .series
                    .contains("\"vigie_check_last_run_timestamp_seconds\"")
                    && pushed.series.contains(&is_about(check))
            })
            .unwrap_or_else(|| panic!("{check} never ran"));
        let ran = f64::from_bits(run.value_bits);
        assert!(
            now - ran < NEWEST_SAMPLES_WITHIN,
            "{check} ran last at {ran}, and it is {now}"
        );
    }
    // The file system beside it is measured as before; of the one that hangs nothing is said that nobody knows.
    let page = agent.metrics().await.expect("the agent shows metrics");
    let size = |object: &str| {
        let series = format!(
            "vigie_host_filesystem_size_bytes{{check=\"disques\",kind=\"filesystem\",object=\"{object}\",node=\"app-01\"}}"
        );
        value_in(&page, &series)
    };
    assert!(size("/").is_some_and(|size| size > 0.0), "{page}");
    assert_eq!(size(hung), None, "{page}");
    let alerts = collector.alerts().await;
    assert_eq!(
        alerts,
        [format!("app-01 disques/{hung} critical filesystem.stuck")]
    );

    // Mended while the agent runs: it notices.
    let target = format!("--target={}", agent.program().pid());
    let mended =
        run(Command::new("nsenter").args(["--mount", &target, "sh", "-c", MEND, "sh", hung]));
    assert!(mended.status.success(), "{mended:?}");
    let _flight = clock.keep_flying();
    collector.is_fine("app-01").await;
    agent.stop().await;
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this century are exact"
)]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
