//! The command line: what each command does is in a file of its own, with its help.
//!
//! Results go to standard output, what is wrong to standard error; exit codes are those of [`Exit`]. Secrets are never
//! taken from the command line. Only `run` keeps running; every other command ends by itself.

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::runtime::Runtime;
use vigie_platform::process::Exit;

use crate::settings::{self, DEFAULT_FILE, Settings};

mod accept;
mod check_config;
mod inventory;
mod join;
mod probe;
mod reveal;
mod run;
mod sender;
mod status;

/// The stack of a blocking thread: a name lookup of the C library needs the most, and far less than this.
const BLOCKING_STACK_BYTES: usize = 512 * 1024;

/// Blocking threads at once: name lookups and small files. A hung one holds its place until the system lets go.
const BLOCKING_THREADS_MAX: usize = 16;

/// An idle blocking thread gives its memory back soon.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Runs checks on this machine, keeps their results and hands them to the collector.
#[derive(Debug, Parser)]
#[command(name = "vigie-agent", version, arg_required_else_help = true)]
#[command(after_help = "Example:\n  vigie-agent probe http https://portail.gradest.example/health")]
struct Cli {
    /// The settings file; `conf.d/*.toml` beside it is read too.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until SIGTERM; SIGHUP or a changed settings file makes it read its settings again.
    #[command(after_help = "Example:\n  vigie-agent run --config /etc/vigie/agent.toml")]
    Run,
    /// Read the settings and say what is wrong with them, or what they plan.
    #[command(after_help = "Example:\n  vigie-agent check-config --config ./agent.toml")]
    CheckConfig(check_config::Arguments),
    /// Join the collector that made a token.
    #[command(
        after_help = "Example:\n  vigie-collector token --node app-01 > token   # on the collector\n  vigie-agent join --token-file token --node app-01"
    )]
    Join(join::Arguments),
    /// The identity of another program on this machine that sends metrics to the collector, such as Prometheus.
    #[command(subcommand)]
    #[command(
        after_help = "Example:\n  vigie-collector token --sender prometheus-01 > token   # on the collector\n  vigie-agent sender join --token-file token --name prometheus-01 --dir /etc/prometheus/vigie"
    )]
    Sender(sender::Command),
    /// Run one check once and show what it finds. Needs no settings and no collector.
    #[command(
        after_help = "Examples:\n  vigie-agent probe tcp db-01:5432\n  vigie-agent probe filesystem --json"
    )]
    Probe(probe::Arguments),
    /// Show what the running agent knows.
    #[command(after_help = "Example:\n  vigie-agent status --json")]
    Status(status::Arguments),
    /// Say which path a pseudonym stands for. Works on the node that made it and nowhere else.
    #[command(
        after_help = "Example:\n  vigie-agent reveal ~0f1e2d3c4b5a69788796a5b4c3d2e1f0/00112233445566778899aabbccddeeff"
    )]
    Reveal(reveal::Arguments),
    /// Accept what a check saw last: later changes are measured against it.
    #[command(
        after_help = "Example:\n  sudo vigie-agent accept comptes   # the accounts that `comptes` told of are right"
    )]
    Accept(accept::Arguments),
    /// Print every field that can leave this node, from the schema itself.
    #[command(after_help = "Example:\n  vigie-agent data-inventory --json")]
    DataInventory(inventory::Arguments),
}

/// The whole program. `arguments` and `variables` are the process's own, read once.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Exit {
    let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no error; a closed terminal is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
        }
    };
    match cli.command {
        Command::Run => run::run(cli.config, variables),
        Command::CheckConfig(arguments) => {
            check_config::check_config(&arguments, &cli.config, variables)
        }
        Command::Join(arguments) => join::join(&arguments, &cli.config, variables),
        Command::Sender(command) => sender::sender(&command),
        Command::Probe(arguments) => probe::probe(&arguments),
        Command::Status(arguments) => status::status(&arguments, &cli.config, variables),
        Command::Reveal(arguments) => reveal::reveal(&arguments, &cli.config, variables),
        Command::Accept(arguments) => accept::accept(&arguments, &cli.config, variables),
        Command::DataInventory(arguments) => inventory::inventory(&arguments),
    }
}

/// The command line itself, for completions and man pages.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// The runtime of every command: one thread, and a few small ones for calls that block.
///
/// # Errors
/// When the system gives no runtime.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .build()
}

/// The settings, or their mistakes on standard error.
fn load(config: &Path, variables: Vec<(OsString, OsString)>) -> Result<Settings, Exit> {
    settings::load(config, variables).map_err(|mistakes| {
        complain(&mistakes.to_string());
        Exit::Usage
    })
}

/// Says on standard error what is wrong, causes included.
fn complain_of(error: &dyn Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str("\n  because ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    complain(&text);
}

fn complain(text: &str) {
    // A closed standard error leaves the exit code to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a result. A reader that went away (`| head`) is no error.
fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

#[cfg(test)]
mod tests;
