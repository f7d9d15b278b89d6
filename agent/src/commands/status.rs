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
use vigie_core::time::Wall;
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
    for (name, destination) in state["samples"]["destinations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let _ = writeln!(
            text,
            "{}",
            destination_line(name, destination, &state["now"])
        );
    }
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

/// One destination of the metrics lane.
fn destination_line(name: &str, destination: &Value, now: &Value) -> String {
    let spool = &destination["spool"];
    let mut text = format!(
        "samples to {name}  {} waiting, {} bytes",
        spool["records"], spool["bytes"],
    );
    let instant = |value: &Value| Wall::parse(value.as_str()?).ok();
    if let (Some(oldest), Some(now)) = (instant(&spool["oldest_at"]), instant(now)) {
        // A clock that was set back makes nothing old.
        let age_s = now.0.saturating_sub(oldest.0).max(0) / 1_000;
        let _ = write!(text, ", oldest {age_s} s");
    }
    if !spool["degraded"].is_null() {
        text.push_str("  IN MEMORY ONLY");
    }
    for (reason, records) in destination["dropped"].as_object().into_iter().flatten() {
        let _ = write!(text, "  {records} dropped ({reason})");
    }
    let last = &destination["last"];
    let _ = write!(
        text,
        "  last request {}  {}",
        word(&last["at"]),
        word(&last["result"])
    );
    text
}

/// A member as a table shows it: without quotes, and `-` where there is none.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_destination_of_samples_is_one_line() {
        let now = json!("2026-11-22T19:05:31.000Z");
        let quiet = json!({
            "spool": { "records": 0, "bytes": 0, "oldest_at": null, "degraded": null },
            "dropped": {},
            "last": { "at": "2026-11-22T19:05:16.000Z", "result": "ok" },
        });
        assert_eq!(
            destination_line("collector", &quiet, &now),
            "samples to collector  0 waiting, 0 bytes  last request 2026-11-22T19:05:16.000Z  ok"
        );
        let troubled = json!({
            "spool": {
                "records": 41, "bytes": 90_000, "oldest_at": "2026-11-22T18:55:31.000Z", "degraded": "no space",
            },
            "dropped": { "age": 3 },
            "last": null,
        });
        assert_eq!(
            destination_line("mimir", &troubled, &now),
            "samples to mimir  41 waiting, 90000 bytes, oldest 600 s  IN MEMORY ONLY  3 dropped (age)  last request -  -"
        );
    }
}
