//! `accept`: an administrator of this machine says that what a check saw last is as it should be.
//!
//! Writes into the state folder and talks to nobody: the running agent takes it over at the check's next run, and without
//! one it waits there. Run by root or by the agent's account; whoever may do that may change the state anyway.

use std::{ffi::OsString, io, path::Path};

use vigie_checks::host::admin_accounts;
use vigie_core::id::CheckName;
use vigie_machine::state;
use vigie_platform::process::Exit;

use super::{complain, load, show};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The check, as it is called in the settings.
    check: CheckName,
}

pub(super) fn accept(
    arguments: &Arguments,
    config: &Path,
    variables: Vec<(OsString, OsString)>,
) -> Exit {
    let settings = match load(config, variables) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let check = &arguments.check;
    let Some(planned) = settings
        .checks
        .iter()
        .find(|planned| planned.name == *check)
    else {
        complain(&format!("no check is called {check}"));
        return Exit::Usage;
    };
    // Others keep a state too, which says nothing that a person could accept.
    let kind = admin_accounts::KIND.name;
    if planned.kind.name != kind {
        complain(&format!(
            "{check} is of the kind {}: only what {kind} found can be accepted",
            planned.kind.name
        ));
        return Exit::Usage;
    }
    match state::accept(&settings.state_dir, check) {
        Ok(Some(_)) => {
            show(&format!(
                "what {check} saw last is accepted; it says so at its next run"
            ));
            Exit::Ok
        }
        Ok(None) => {
            complain(&format!(
                "{check} has kept nothing that could be accepted: it has not run yet"
            ));
            Exit::Finding
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            complain(&format!(
                "cannot write into {}: run it as root or as the agent's account",
                settings.state_dir.display()
            ));
            Exit::Usage
        }
        Err(error) => {
            complain(&format!("cannot accept: {error}"));
            Exit::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_check_must_be_known_and_have_seen_something() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        let text = format!(
            "state_dir = {:?}\ncollectors = [\"https://vigie.example:9443\"]\n[check.comptes]\nkind = \"admin_accounts\"\n[check.correctifs]\nkind = \"updates\"\n",
            dir.path()
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let run = |check: &str| {
            let check = check.parse().unwrap();
            accept(&Arguments { check }, &file, Vec::new())
        };
        assert_eq!(run("autre"), Exit::Usage);
        // It keeps something too, and nothing that a person could accept.
        fs::create_dir_all(dir.path().join("checks")).unwrap();
        fs::write(dir.path().join("checks/correctifs.json"), b"x").unwrap();
        assert_eq!(run("correctifs"), Exit::Usage);
        assert!(!dir.path().join("checks/correctifs.accepted").exists());
        assert_eq!(run("comptes"), Exit::Finding);
        fs::write(dir.path().join("checks/comptes.json"), b"{}").unwrap();
        assert_eq!(run("comptes"), Exit::Ok);
        assert_eq!(
            fs::read(dir.path().join("checks/comptes.accepted")).unwrap(),
            b"{}"
        );
    }
}
