//! Room kept free for the day the disk is full: a file that holds nothing and is deleted when a commit finds no room, so
//! that the collector can still write down that the disk is full, and whom it told.
//!
//! It comes back by itself once there is room for it several times over. Its absence is shown ([`Reserve::is_held`])
//! and is itself worth an alert.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};
use vigie_platform::disk::Disk;

/// Its size in bytes: two of the largest commits, or thousands of usual ones.
pub const RESERVE_LEN: u64 = 8 * 1024 * 1024;

/// The reserve is only taken again while this much is free, so that it does not itself fill the disk.
const FREE_WANTED: u64 = 4 * RESERVE_LEN;

/// How often it is tried to take it again: releasing and taking must not chase each other.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// The file, and whether it stands.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    held: AtomicBool,
    tried_at: Mutex<Option<Instant>>,
}

impl Reserve {
    /// A reserve at `path`; nothing is touched yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self {
            disk,
            path,
            held: AtomicBool::new(false),
            tried_at: Mutex::new(None),
        }
    }

    /// Whether the room is kept.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// Whether it is time to try again to take it.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let tried_at = *self.tried_at.lock().unwrap_or_else(PoisonError::into_inner);
        !self.is_held() && tried_at.is_none_or(|at| at.elapsed() >= RETRY_EVERY)
    }

    /// Takes the room. Blocks. A failure is logged and no more: the collector works without.
    pub fn take(&self) {
        *self.tried_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match self.try_take() {
            Ok(true) => {
                self.held.store(true, Relaxed);
                info!(path = %self.path.display(), "the disk reserve is in place");
            }
            Ok(false) => {}
            Err(error) => {
                warn!(path = %self.path.display(), %error, "cannot put the disk reserve in place");
            }
        }
    }

    fn try_take(&self) -> io::Result<bool> {
        let dir = self.path.parent().unwrap_or(&self.path);
        let file = match self.disk.open(&self.path) {
            Ok(file) if file.len()? >= RESERVE_LEN => return Ok(true),
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.disk.free_bytes(dir)? < FREE_WANTED {
                    return Ok(false);
                }
                self.disk.create(&self.path, 0o600)?
            }
            Err(error) => return Err(error),
        };
        if let Err(error) = file.preallocate(RESERVE_LEN).and_then(|()| file.sync()) {
            // Half a reserve helps nobody and its length would pass for a whole one where holes are allowed.
            let _absent_or_next_time = self.disk.unlink(&self.path);
            return Err(error);
        }
        self.disk.sync_dir(dir)?;
        Ok(true)
    }

    /// Gives the room away; `false` if there was none to give. Blocks.
    pub fn release(&self) -> bool {
        if !self.held.swap(false, Relaxed) {
            return false;
        }
        *self.tried_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match self.disk.unlink(&self.path) {
            Ok(()) => {
                warn!(path = %self.path.display(), "the disk is full: released the reserve");
                true
            }
            Err(error) => {
                warn!(path = %self.path.display(), %error, "the disk is full and the reserve cannot be released");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use vigie_platform::disk::RealDisk;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_taken_released_once_and_not_taken_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let reserve = Reserve::new(Arc::new(RealDisk), path.clone());
        assert!(reserve.is_due() && !reserve.release());
        reserve.take();
        assert!(reserve.is_held() && !reserve.is_due());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RESERVE_LEN);
        assert!(reserve.release() && !reserve.release());
        assert!(!path.exists() && !reserve.is_due());
        tokio::time::advance(RETRY_EVERY).await;
        assert!(reserve.is_due());
    }

    #[test]
    fn what_a_run_before_left_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        std::fs::write(&path, b"short").unwrap();
        let reserve = Reserve::new(Arc::new(RealDisk), path.clone());
        reserve.take();
        assert!(reserve.is_held());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RESERVE_LEN);
    }
}
