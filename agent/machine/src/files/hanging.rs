//! Calls off the runtime, and what becomes of those that hang.
//!
//! A read holds one of [`READS_MAX`] permits while somebody waits for it. One that nobody waits for any more, because it hung
//! until the deadline, gives its permit back, and until it returns nothing else below the same folder of the root is read:
//! a dead network mount of homes holds some threads, and neither all of them nor the reads of anything else.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{LocalFiles, lock};
use crate::Answer;

/// Reads at a time. Files of /proc take microseconds; more threads would only cost memory.
pub(super) const READS_MAX: usize = 4;

/// Reads that hang and gave their permits back. More of them keep theirs: threads are bounded.
const HANGING_MAX: usize = 6;

/// How many reads hang below each place, see [`place_of`].
pub(super) type Hanging = HashMap<PathBuf, usize>;

impl LocalFiles {
    /// Makes `call` off the runtime, under one of the permits.
    pub(super) fn off_the_runtime<'a, T: Send + 'static>(
        &'a self,
        path: &Path,
        call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Answer<'a, io::Result<T>> {
        let path = path.to_owned();
        Box::pin(async move {
            let permit = Arc::clone(&self.reads)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let place = place_of(&path);
            if lock(&self.hanging).contains_key(&place) {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "an earlier read below the same folder hangs",
                ));
            }
            let going = Arc::new(Going {
                permit: Mutex::new(Some(permit)),
                hanging: Arc::clone(&self.hanging),
                place,
            });
            let returned = Returned(Arc::clone(&going));
            let _waiting = Waiting(going);
            tokio::task::spawn_blocking(move || {
                let _returned = returned;
                call(&path)
            })
            .await
            .map_err(io::Error::other)?
        })
    }
}

/// One read on its way.
struct Going {
    /// `None` once it returned, or hangs without one.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    hanging: Arc<Mutex<Hanging>>,
    place: PathBuf,
}

/// Held by the thread that reads; dropped when the system calls have returned.
struct Returned(Arc<Going>);

impl Drop for Returned {
    fn drop(&mut self) {
        let mut hanging = lock(&self.0.hanging);
        if lock(&self.0.permit).take().is_some() {
            return;
        }
        if let Some(count) = hanging.get_mut(&self.0.place) {
            *count -= 1;
            if *count == 0 {
                hanging.remove(&self.0.place);
            }
        }
    }
}

/// Held by whoever waits for the answer.
struct Waiting(Arc<Going>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut hanging = lock(&self.0.hanging);
        let mut permit = lock(&self.0.permit);
        if permit.is_some() && hanging.values().sum::<usize>() < HANGING_MAX {
            *permit = None;
            *hanging.entry(self.0.place.clone()).or_default() += 1;
        }
    }
}

/// What a read that hangs takes with it: the folder of the root that it is below. In the kernel's own file systems each
/// file is apart.
fn place_of(path: &Path) -> PathBuf {
    if path.starts_with("/proc") || path.starts_with("/sys") {
        return path.to_owned();
    }
    path.components().take(2).collect()
}
