//! Puts changed settings in force while the collector runs, all of them or none.
//!
//! What cannot be read or used changes nothing but a counter and a log line.

use std::{
    ffi::OsString,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    sync::watch,
    task::{JoinError, spawn_blocking},
};
use tracing::{error, info};
use vigie_deliver::{Dispatcher, TargetError};
use vigie_platform::settings_file::Mistakes;

use super::{build::targets, chain, tzdata};
use crate::{
    acknowledge::link::Links, engine::Handle, ingest::Ingest, probes::ProbeTarget, scrape, settings,
};

/// The handles of all parts that a change of the settings touches.
pub(super) struct Reload {
    pub(super) handle: Handle,
    pub(super) dispatcher: Dispatcher,
    pub(super) links: Option<Arc<Links>>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) places: watch::Sender<Vec<ProbeTarget>>,
    pub(super) scrape_guard: scrape::Guard,
    /// Settings that could not be put in force.
    pub(super) failed: Arc<AtomicU64>,
}

/// Why the old settings stay in force.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("settings have mistakes; the old ones stay in force:\n{0}")]
    Mistakes(Mistakes),
    #[error("settings cannot be used; the old ones stay in force")]
    Target(#[source] TargetError),
    #[error("cannot load settings; the old ones stay in force")]
    Load(#[source] JoinError),
}

impl Reload {
    /// Reads the settings again, and puts them in force if they have no mistake.
    pub(super) async fn perform(&self, config: &Path, variables: &[(OsString, OsString)]) {
        match self.put_in_force(config, variables).await {
            Ok(()) => info!("settings loaded"),
            Err(cause) => {
                self.failed.fetch_add(1, Relaxed);
                error!("{}", chain(&cause));
            }
        }
    }

    async fn put_in_force(
        &self,
        config: &Path,
        variables: &[(OsString, OsString)],
    ) -> Result<(), ReloadError> {
        let (config, variables) = (config.to_owned(), variables.to_vec());
        let settings = spawn_blocking(move || settings::load(&config, variables))
            .await
            .map_err(ReloadError::Load)?
            .map_err(ReloadError::Mistakes)?;
        let targets = targets(&settings, self.links.as_ref()).map_err(ReloadError::Target)?;
        // Receivers first: rules may name new ones.
        self.dispatcher.replace_targets(targets);
        self.places.send_replace(settings.probes.clone());
        self.scrape_guard.replace(&settings.scrape);
        self.ingest.intake.set_limits(settings.ingest.intake);
        self.ingest.latest.set_limits(settings.ingest.latest);
        self.handle.load_ground(settings.policy(), tzdata()).await;
        Ok(())
    }
}
