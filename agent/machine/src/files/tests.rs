//! Files that are long, hang or are compressed, and mounts that do not answer.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    ops::ControlFlow,
    sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use vigie_platform::clock::SystemClock;

use super::*;

fn files() -> LocalFiles {
    LocalFiles::new(Arc::new(SystemClock))
}

#[tokio::test]
async fn a_file_is_read_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stat");
    fs::write(&path, b"12345678").unwrap();
    let files = files();
    assert_eq!(files.read(&path, 8).await.unwrap(), b"12345678");
    let too_long = files.read(&path, 7).await.unwrap_err();
    assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
    let missing = files.read(&dir.path().join("none"), 8).await.unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(
        !files
            .read(Path::new("/proc/stat"), 1 << 20)
            .await
            .unwrap()
            .is_empty()
    );
}

/// The lines that a walk gives.
async fn walked(path: &Path, walk: Walk) -> (Vec<String>, io::Result<()>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let each = Box::new(move |line: &[u8]| {
        let line = String::from_utf8(line.to_vec()).unwrap();
        let is_last = line == "stop";
        kept.lock().unwrap().push(line);
        if is_last {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let result = files().walk_lines(path, walk, each).await;
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (lines, result)
}

const WALK: Walk = Walk {
    encoding: Encoding::Plain,
    len_max: 1 << 20,
    line_len_max: 8,
};

#[tokio::test]
async fn lines_are_walked_to_the_end_or_the_break_and_long_ones_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list");
    let table: [(&str, &[&str]); 7] = [
        ("", &[]),
        ("\n", &[""]),
        ("one\n\ntwo\n", &["one", "", "two"]),
        ("one\ntwo", &["one", "two"]),
        ("123456789\nnext", &["12345678", "next"]),
        ("12345678\nnext", &["12345678", "next"]),
        ("one\nstop\nnever\n", &["one", "stop"]),
    ];
    for (content, expected) in table {
        fs::write(&path, content).unwrap();
        let (lines, result) = walked(&path, WALK).await;
        result.unwrap();
        assert_eq!(lines, expected, "{content:?}");
    }
    // A line across many buffers.
    let long = format!("{}\nend\n", "x".repeat(100_000));
    fs::write(&path, long).unwrap();
    assert_eq!(walked(&path, WALK).await.0, ["xxxxxxxx", "end"]);
}

#[tokio::test]
async fn a_walk_is_bounded_also_where_the_file_is_compressed() {
    use std::io::Write as _;

    let dir = tempfile::tempdir().unwrap();
    let content = "0123456\n".repeat(1_000);
    let plain = dir.path().join("list");
    fs::write(&plain, &content).unwrap();
    let gzip = dir.path().join("list.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(&gzip).unwrap(), flate2::Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let lz4 = dir.path().join("list.lz4");
    let mut encoder = lz4_flex::frame::FrameEncoder::new(File::create(&lz4).unwrap());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap();

    for (path, encoding) in [
        (&plain, Encoding::Plain),
        (&gzip, Encoding::Gzip),
        (&lz4, Encoding::Lz4),
    ] {
        let whole = Walk {
            encoding,
            len_max: 8_000,
            ..WALK
        };
        let (lines, result) = walked(path, whole).await;
        result.unwrap();
        assert_eq!(lines.len(), 1_000, "{encoding:?}");
        let short = Walk {
            len_max: 7_999,
            ..whole
        };
        let (lines, result) = walked(path, short).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(lines.len(), 999, "{encoding:?}");
    }
    for encoding in [Encoding::Gzip, Encoding::Lz4] {
        let walk = Walk { encoding, ..WALK };
        walked(&plain, walk)
            .await
            .1
            .expect_err("it is not compressed");
    }
}

#[tokio::test]
async fn directories_are_listed_within_their_bound_and_files_stamped() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"1234").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    let files = files();
    let mut listed = files.list(dir.path(), 3).await.unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let told: Vec<_> = listed
        .iter()
        .map(|entry| {
            (
                entry.name.to_str().unwrap(),
                entry.stamp.is_file,
                entry.stamp.is_dir,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("file", true, false),
            ("folder", false, true),
            ("link", false, false)
        ]
    );
    let error = files.list(dir.path(), 2).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);

    let path = dir.path().join("file");
    let then = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(then)
        .unwrap();
    let stamp = files.stamp(&path).await.unwrap();
    assert_eq!(
        (stamp.len_bytes, stamp.modified),
        (4, Wall(1_700_000_000_123))
    );
    assert!(stamp.changed > stamp.modified);
    assert_eq!(files.read_start(&path, 2).await.unwrap(), b"12");
    assert_eq!(files.read_start(&path, 9).await.unwrap(), b"1234");
}

#[tokio::test]
async fn files_that_hang_hold_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    let files = files();
    for _ in 0..2 * READS_MAX {
        let mut hung = files.read(&fifo, 8);
        for _ in 0..10 {
            // Once one hangs the others are refused.
            if hung.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let version = files.read(Path::new("/proc/version"), 4_096);
    let mut version = std::pin::pin!(version);
    let mut answer = None;
    for _ in 0..1_000_000 {
        answer = version.as_mut().now_or_never();
        if answer.is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    // Lets go of all that hang.
    let writer = File::options().read(true).write(true).open(&fifo).unwrap();
    io::Write::write_all(&mut &writer, &[b'x'; 1_000]).unwrap();
    while !lock(&files.hanging).is_empty() {
        tokio::task::yield_now().await;
    }
    drop(writer);
    assert!(!answer.expect("another file answers").unwrap().is_empty());
}

#[tokio::test]
async fn a_file_system_tells_its_fill() {
    let files = files();
    let Statvfs::Measured(root) = files.statvfs(Path::new("/")).await else {
        panic!("the root file system did not answer");
    };
    assert!(root.total_bytes > 0 && root.available_bytes <= root.free_bytes);
    assert!(matches!(
        files.statvfs(Path::new("/no/such/mount")).await,
        Statvfs::Failed(error) if error.kind() == io::ErrorKind::NotFound
    ));
}

static HUNG_CALLS: AtomicUsize = AtomicUsize::new(0);
static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn hangs_until_released(_: &Path) -> io::Result<Usage> {
    HUNG_CALLS.fetch_add(1, Ordering::SeqCst);
    let (released, signal) = &RELEASED;
    drop(signal.wait_while(released.lock().unwrap(), |released| !*released));
    Err(io::ErrorKind::StaleNetworkFileHandle.into())
}

#[tokio::test(start_paused = true)]
async fn a_hung_mount_holds_one_thread_and_is_not_asked_again_until_it_answered() {
    let files = LocalFiles {
        statvfs: hangs_until_released,
        ..files()
    };
    let mount = Path::new("/mnt/dead");
    let Statvfs::Stuck { since } = files.statvfs(mount).await else {
        panic!("the mount hangs");
    };
    for _ in 0..3 {
        let again = files.statvfs(mount).await;
        assert!(matches!(again, Statvfs::Stuck { since: s } if s == since));
    }
    // The runtime's time runs ahead of the thread.
    while HUNG_CALLS.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(HUNG_CALLS.load(Ordering::SeqCst), 1);

    *RELEASED.0.lock().unwrap() = true;
    RELEASED.1.notify_all();
    while !lock(&files.calls).is_empty() {
        tokio::task::yield_now().await;
    }
    let (_, answer) = files
        .start(mount)
        .expect("once it returned it is asked again");
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
    assert_eq!(HUNG_CALLS.load(Ordering::SeqCst), 2);
}
