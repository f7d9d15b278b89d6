//! `check-config`: all mistakes of the settings, or what they plan.

use std::{ffi::OsString, path::Path};

use vigie_platform::process::Exit;

use super::{load, show};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print what the settings plan as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn check_config(
    arguments: &Arguments,
    config: &Path,
    variables: Vec<(OsString, OsString)>,
) -> Exit {
    let settings = match load(config, variables) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let summary = settings.summary();
    if arguments.json {
        match serde_json::to_string(&summary) {
            Ok(json) => show(&json),
            Err(error) => {
                super::complain_of(&error);
                return Exit::Internal;
            }
        }
    } else {
        show(&summary.to_string());
    }
    Exit::Ok
}
