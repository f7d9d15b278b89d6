//! Builds the collector from its settings (`build`), runs it, and takes it down in a bounded, named sequence (`run`).
//!
//! Nothing is bound while settings are read; everything that can fail at the start fails before the first task runs.
//! SIGHUP or a changed file reloads (`reload`): new rules, receivers and limits go in force together, and settings with
//! mistakes change nothing but a counter and a log line. `listen`, `data_dir` and `host` need a restart.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use tracing::{error, warn};
use vigie_platform::{
    clock::Clock,
    error_chain::chain,
    process::{Exit, Systemd, SystemdEnvironment},
    telemetry::{self, LOG_VARIABLE, Level},
};

use self::build::App;
use crate::settings;

mod build;
mod reload;
mod run;

/// Runs until SIGTERM or SIGINT.
pub async fn run(
    config: PathBuf,
    variables: Vec<(OsString, OsString)>,
    clock: Arc<dyn Clock>,
) -> Exit {
    let log_variable = variables
        .iter()
        .find(|(name, _)| name == LOG_VARIABLE)
        .and_then(|(_, value)| value.to_str().map(str::to_owned));
    let settings = match settings::load(&config, variables.clone()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Exit::Usage;
        }
    };
    let level = match log_variable {
        Some(text) => Level::chosen(Some(&text), None),
        None => settings
            .log_level
            .clone()
            .map_or_else(|| Level::chosen(None, None), Ok),
    };
    match level {
        // A second start in one process (tests) keeps the first one's.
        Ok(level) => drop(telemetry::start(&level)),
        Err(cause) => {
            eprintln!("{cause}");
            return Exit::Usage;
        }
    }
    let environment = SystemdEnvironment::from_variables(variables.iter().cloned());
    let systemd = match Systemd::connect(&environment, std::process::id()) {
        Ok(systemd) => systemd,
        Err(cause) => {
            warn!(%cause, "cannot notify systemd");
            Systemd::absent()
        }
    };
    let app = match App::build(settings, clock).await {
        Ok(app) => app,
        Err(cause) => {
            error!("cannot start: {}", chain(&cause));
            return Exit::Usage;
        }
    };
    app.run(&config, &variables, &systemd).await
}

/// The version of the time zone data that jiff uses.
#[must_use]
pub fn tzdata() -> String {
    // The system's own database is preferred; its version stands in this file on Debian and RHEL.
    std::fs::read_to_string("/usr/share/zoneinfo/tzdata.zi")
        .ok()
        .and_then(|text| {
            text.lines()
                .next()?
                .strip_prefix("# version ")
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "unknown".to_owned())
}
