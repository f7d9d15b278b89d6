//! What of the settings can change while the agent runs, and who hears of it.

use tokio::sync::watch;
use vigie_core::plan::Plan;
use vigie_platform::settings_file::Url;

use crate::{fallback::Webhook, metrics_lane, settings::Settings, uplink::Targets};

/// What of the settings can change while running.
pub(super) struct InForce {
    pub(super) targets: watch::Sender<Targets>,
    pub(super) samples: watch::Sender<metrics_lane::Plan>,
    pub(super) webhook: watch::Sender<Option<Webhook>>,
    pub(super) plan: Plan,
}

pub(super) fn targets_of(settings: &Settings) -> Targets {
    Targets {
        collectors: settings
            .collectors
            .iter()
            .map(|url| url.as_str().trim_end_matches('/').to_owned())
            .collect(),
        proxy: settings.proxy.as_ref().map(Url::to_string),
    }
}

pub(super) fn samples_plan_of(settings: &Settings) -> metrics_lane::Plan {
    metrics_lane::Plan {
        others: settings.remote_write.clone(),
        limits: settings.metrics_spool,
    }
}
