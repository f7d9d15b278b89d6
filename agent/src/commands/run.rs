//! `run`: the agent itself.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use tracing::error;
use vigie_platform::{
    clock::SystemClock,
    disk::RealDisk,
    file_watch::FileWatch,
    process::{Exit, Signals, Systemd, SystemdEnvironment},
    telemetry::{self, LOG_VARIABLE, Level},
};

use super::{complain, complain_of, load, runtime};
use crate::{
    app::{self, BuildError, Surroundings},
    settings::Settings,
};

pub(super) fn run(config: PathBuf, variables: Vec<(OsString, OsString)>) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Internal;
        }
    };
    let exit = match runtime.block_on(Box::pin(serve(config, variables))) {
        Ok(()) => Exit::Ok,
        Err(exit) => exit,
    };
    // A blocked system call (a dead network mount) must not keep the process.
    runtime.shutdown_background();
    exit
}

async fn serve(config: PathBuf, variables: Vec<(OsString, OsString)>) -> Result<(), Exit> {
    // Before anything slow, so that no signal kills a half-started agent.
    let signals = Signals::listen().map_err(|error| {
        complain(&format!("cannot listen for signals: {error}"));
        Exit::Internal
    })?;
    let watch = FileWatch::start(&config).await;
    let settings = load(&config, variables.clone())?;
    let telemetry = telemetry::start(&level(&settings, &variables)?).map_err(|error| {
        complain_of(&error);
        Exit::Internal
    })?;
    let environment = SystemdEnvironment::from_variables(variables.clone());
    let systemd = Systemd::connect(&environment, std::process::id()).map_err(|error| {
        complain_of(&error);
        Exit::Usage
    })?;
    let surroundings = Surroundings {
        config,
        watch,
        variables,
        clock: Arc::new(SystemClock),
        disk: Arc::new(RealDisk),
        systemd,
        telemetry: Some(telemetry),
    };
    let app = app::build(settings, surroundings).await.map_err(|error| {
        complain_of(&error);
        match error {
            BuildError::Metrics { .. } | BuildError::Thread { .. } => Exit::Internal,
            _ => Exit::Usage,
        }
    })?;
    app.run(signals).await.map_err(|lost| {
        error!(%lost, "the agent ends");
        Exit::Internal
    })
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
