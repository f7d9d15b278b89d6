//! `join`: wins this machine's identity with a token.

use std::{
    ffi::OsString,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use vigie_core::id::NodeName;
use vigie_platform::process::Exit;

use super::{complain, complain_of, load, runtime, show};
use crate::join::{self, Existing, Join, JoinError, node::Node, request::RequestError};

/// Where the kernel keeps this machine's name.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file that holds the token; never the token itself, which every account could read in the process list.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// This machine's name, to which the token is bound. Without it: the first label of the host name.
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// Replace an identity that is there already, once the new one is complete.
    #[arg(long)]
    replace: bool,
}

pub(super) fn join(
    arguments: &Arguments,
    config: &Path,
    variables: Vec<(OsString, OsString)>,
) -> Exit {
    let settings = match load(config, variables) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let Some(node) = arguments.node.clone().or_else(own_name) else {
        complain("this machine's host name is not a node name; write `--node NAME`");
        return Exit::Usage;
    };
    let token = match join::read_token(&arguments.token_file) {
        Ok(token) => token,
        Err(error) => {
            complain_of(&error);
            return Exit::Usage;
        }
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.state_dir);
    if let Err(error) = made {
        complain(&format!(
            "cannot make the state folder {}: {error}",
            settings.state_dir.display()
        ));
        return Exit::Usage;
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Internal;
        }
    };
    let joining = Join::<Node> {
        token: &token,
        name: &node,
        dir: &settings.state_dir,
        proxy: settings.proxy.as_ref().map(|url| url.as_str()),
        existing: if arguments.replace {
            Existing::Replace
        } else {
            Existing::Keep
        },
    };
    match runtime.block_on(Box::pin(join::join(&joining))) {
        Ok(joined) => {
            let identity = &joined.identity;
            show(&format!(
                "{} has joined {} until {}; the certificate renews itself",
                identity.node(),
                identity.collector_id(),
                identity.not_after()
            ));
            Exit::Ok
        }
        Err(error) => {
            complain_of(&error);
            exit_of(&error)
        }
    }
}

pub(super) fn exit_of(error: &JoinError) -> Exit {
    match error {
        JoinError::Request { source } => exit_of_request(source),
        JoinError::Answer { .. } => Exit::Finding,
        JoinError::AlreadyJoined { .. }
        | JoinError::Folder { .. }
        | JoinError::Keep { .. }
        | JoinError::Load { .. } => Exit::Usage,
    }
}

pub(super) fn exit_of_request(error: &RequestError) -> Exit {
    match error {
        RequestError::NoAnswer { .. } | RequestError::Untrusted { .. } => Exit::Unreachable,
        _ => Exit::Finding,
    }
}

/// The first label of this machine's host name, if it is a name.
pub(super) fn own_name<Name: FromStr>() -> Option<Name> {
    let name = std::fs::read_to_string(HOST_NAME_FILE).ok()?;
    let label = name.trim().split('.').next()?;
    label.to_ascii_lowercase().parse().ok()
}
