//! Takes new settings into force, or refuses them and says so.
//!
//! They are read beside the running ones and take their place only if nothing is wrong with them.

use tracing::{error, info, warn};
use vigie_core::{entry::Draft, observation::Facts, reason::vigie};
use vigie_platform::{
    settings_file::Mistakes,
    telemetry::{LOG_VARIABLE, Level},
};

use super::{
    Running,
    in_force::{samples_plan_of, targets_of},
};
use crate::{
    metrics::Reload,
    settings::{self, Settings},
};

impl Running {
    pub(super) async fn reload(&mut self) {
        self.surroundings.systemd.reloading();
        let config = self.surroundings.config.clone();
        let variables = self.surroundings.variables.clone();
        let read = tokio::task::spawn_blocking(move || settings::load(&config, variables)).await;
        match read {
            Ok(Ok(settings)) => self.take(settings).await,
            Ok(Err(mistakes)) => self.refuse(&mistakes).await,
            Err(error) => error!(%error, "the settings could not be read again"),
        }
        self.surroundings.systemd.ready();
    }

    async fn refuse(&mut self, mistakes: &Mistakes) {
        for mistake in mistakes {
            error!(%mistake, "mistake in the settings");
        }
        let count = mistakes.iter().count();
        warn!(
            mistakes = count,
            "the settings are refused; those before stay in force"
        );
        self.metrics
            .show_reload(Reload::Refused, self.surroundings.clock.wall());
        let facts = Facts::from([("mistakes", (count as u64).into())]);
        let line = Draft::own(vigie::AGENT_SETTINGS_REFUSED, facts);
        if self.lane.write(line).await.is_err() {
            error!("the refusal cannot be written: the ledger is gone");
        }
    }

    async fn take(&mut self, settings: Settings) {
        if settings.state_dir != self.state_dir {
            warn!("another `state_dir` counts from the next start on");
        }
        if let Some(telemetry) = &self.surroundings.telemetry {
            let variable = self
                .surroundings
                .variables
                .iter()
                .find(|(name, _)| name == LOG_VARIABLE)
                .and_then(|(_, value)| value.to_str());
            let setting = settings.log_level.as_ref().map(Level::to_string);
            // Both were understood before: the variable at start, the setting just now.
            if let Ok(level) = Level::chosen(variable, setting.as_deref()) {
                telemetry.change_level(&level);
            }
        }
        self.listen_on(settings.listen, &settings.scrape).await;
        let targets = targets_of(&settings);
        self.settings_in_force.targets.send_if_modified(|current| {
            let is_other = *current != targets;
            *current = targets;
            is_other
        });
        let samples = samples_plan_of(&settings);
        if samples.limits.bytes != self.settings_in_force.samples.borrow().limits.bytes {
            warn!("another size of the metrics spools counts from the next start on");
        }
        self.settings_in_force.samples.send_if_modified(|current| {
            let is_other = *current != samples;
            *current = samples;
            is_other
        });
        let webhook = settings.fallback.as_ref().map(|f| f.webhook.clone());
        self.settings_in_force.webhook.send_replace(webhook);
        self.settings_in_force.plan = settings.plan();
        // The plan before the first line of a check that only it names.
        if self
            .lane
            .write_plan(self.settings_in_force.plan.clone())
            .await
            .is_err()
        {
            error!("the plan cannot be written: the ledger is gone");
        }
        self.runner_handle.replace(settings.checks).await;
        self.metrics
            .show_reload(Reload::Taken, self.surroundings.clock.wall());
        info!("settings taken into force");
    }
}
