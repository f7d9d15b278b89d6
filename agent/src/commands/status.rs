//! `status`: what the running agent writes on its socket, as a table or as it is.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::Read as _,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use vigie_platform::process::Exit;

use super::{complain, load, show};
use crate::admin::SOCKET;

/// An agent that does not write within this time stands still.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest state read, in bytes: a thousand checks of some hundred objects.
const STATE_LEN_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the whole state as JSON.
    #[arg(long)]
    json: bool,
    /// The agent's socket, for when the settings cannot be read.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) fn status(
    arguments: &Arguments,
    config: &Path,
    variables: Vec<(OsString, OsString)>,
) -> Exit {
    let socket = match &arguments.socket {
        Some(socket) => socket.clone(),
        None => match load(config, variables) {
            Ok(settings) => settings.state_dir.join(SOCKET),
            Err(exit) => return exit,
        },
    };
    let text = match read(&socket) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!(
                "no agent answers on {}: {error}",
                socket.display()
            ));
            return Exit::Unreachable;
        }
    };
    let state: Value = match serde_json::from_str(&text) {
        Ok(state) => state,
        Err(error) => {
            complain(&format!("the agent's answer cannot be read: {error}"));
            return Exit::Internal;
        }
    };
    if arguments.json {
        show(&text);
    } else {
        show(&table(&state));
    }
    let is_ok = state["checks"]
        .as_array()
        .is_some_and(|checks| checks.iter().all(|check| check["status"] == "ok"));
    if is_ok { Exit::Ok } else { Exit::Finding }
}

fn read(socket: &Path) -> std::io::Result<String> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut text = String::new();
    stream.take(STATE_LEN_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn table(state: &Value) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "node {}  collector {}  version {}  since {}",
        word(&state["node"]),
        word(&state["collector_id"]),
        word(&state["version"]),
        word(&state["started_at"]),
    );
    let ledger = &state["ledger"];
    let _ = writeln!(
        text,
        "line {}  confirmed {}  {} bytes unsent{}",
        ledger["head"]["seq"],
        ledger["confirmed"]["seq"],
        ledger["unsent_bytes"],
        if ledger["is_degraded"] == true {
            "  IN MEMORY ONLY"
        } else {
            ""
        },
    );
    let push = &state["push"];
    let _ = writeln!(
        text,
        "last request {}  {}  {}",
        word(&push["at"]),
        word(&push["collector"]),
        word(&push["result"]),
    );
    let _ = writeln!(
        text,
        "certificate until {}",
        word(&state["certificate"]["not_after"])
    );
    let _ = writeln!(
        text,
        "\n{:<8} {:<24} {:<12} {:<26} OBJECT, REASON, SINCE",
        "STATUS", "CHECK", "KIND", "LAST RUN"
    );
    for check in state["checks"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "{:<8} {:<24} {:<12} {:<26}",
            word(&check["status"]),
            word(&check["name"]),
            word(&check["kind"]),
            word(&check["last_run"]),
        );
        for object in check["objects"].as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "  {:<8} {}  {}  {}",
                word(&object["status"]),
                word(&object["object"]),
                word(&object["reason"]),
                word(&object["since"]),
            );
        }
    }
    text
}

/// A member as a table shows it: without quotes, and `-` where there is none.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
