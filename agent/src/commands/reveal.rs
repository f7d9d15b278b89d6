//! `reveal`: which path a pseudonym stands for.

use std::{ffi::OsString, path::Path};

use vigie_machine::pseudonym;
use vigie_platform::process::Exit;

use super::{complain, load, show};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pseudonym, as an alert shows it.
    pseudonym: String,
}

pub(super) fn reveal(
    arguments: &Arguments,
    config: &Path,
    variables: Vec<(OsString, OsString)>,
) -> Exit {
    let settings = match load(config, variables) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    match pseudonym::reveal(&settings.state_dir, &arguments.pseudonym) {
        Ok(Some(path)) => {
            show(&path.display().to_string());
            Exit::Ok
        }
        Ok(None) => {
            complain("this node has not handed out that pseudonym, or too long ago");
            Exit::Finding
        }
        Err(error) => {
            complain(&format!("cannot read the pseudonyms: {error}"));
            Exit::Usage
        }
    }
}
