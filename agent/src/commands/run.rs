//! `run`: the agent itself.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use tracing::error;
use vigie_platform::{
    clock::SystemClock,
    disk::RealDisk,
    process::{Exit, Signals, Systemd, SystemdEnvironment},
    telemetry::{self, LOG_VARIABLE, Level},
};

use super::{complain, complain_of, load, runtime};
use crate::{
    app::{self, BuildError, Surroundings},
    settings::Settings,
};

pub(super) fn run(config: PathBuf, variables: Vec<(OsString, OsString)>) -> Exit {
    let settings = match load(&config, variables.clone()) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let level = match level(&settings, &variables) {
        Ok(level) => level,
        Err(exit) => return exit,
    };
    let telemetry = match telemetry::start(&level) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            complain_of(&error);
            return Exit::Internal;
        }
    };
    let environment = SystemdEnvironment::from_variables(variables.clone());
    let systemd = match Systemd::connect(&environment, std::process::id()) {
        Ok(systemd) => systemd,
        Err(error) => {
            complain_of(&error);
            return Exit::Usage;
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Internal;
        }
    };
    let surroundings = Surroundings {
        config,
        variables,
        clock: Arc::new(SystemClock),
        disk: Arc::new(RealDisk),
        systemd,
        telemetry: Some(telemetry),
    };
    let exit = runtime.block_on(Box::pin(serve(settings, surroundings)));
    // A blocked system call (a dead network mount) must not keep the process.
    runtime.shutdown_background();
    exit
}

async fn serve(settings: Settings, surroundings: Surroundings) -> Exit {
    // Before anything slow, so that no signal kills a half-started agent.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("cannot listen for signals: {error}"));
            return Exit::Internal;
        }
    };
    let app = match app::build(settings, surroundings).await {
        Ok(app) => app,
        Err(error) => {
            complain_of(&error);
            return match error {
                BuildError::Metrics { .. } | BuildError::Thread { .. } => Exit::Internal,
                _ => Exit::Usage,
            };
        }
    };
    match app.run(signals).await {
        Ok(()) => Exit::Ok,
        Err(lost) => {
            error!(%lost, "the agent ends");
            Exit::Internal
        }
    }
}

fn level(settings: &Settings, variables: &[(OsString, OsString)]) -> Result<Level, Exit> {
    let variable = variables
        .iter()
        .find(|(name, _)| name == LOG_VARIABLE)
        .and_then(|(_, value)| value.to_str());
    let setting = settings.log_level.as_ref().map(Level::to_string);
    Level::chosen(variable, setting.as_deref()).map_err(|error| {
        complain_of(&error);
        Exit::Usage
    })
}
