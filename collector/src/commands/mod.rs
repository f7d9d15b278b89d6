//! The command line. Each command is a function that returns its exit code; what they print is for people unless
//! `--json` is given.

mod ack;
mod coverage;
mod exercise;
mod explain;
mod inventory;
mod maintenance;
mod operate;
mod prepare;
mod report;
mod silence;
mod test_routes;
mod why;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgGroup, Args, Parser, Subcommand};
use vigie_core::{
    id::{NodeName, SenderName},
    token::Holder,
};
use vigie_platform::process::Exit;

use crate::settings::DEFAULT_FILE;

/// Receives what agents push, decides, tells people and keeps proof.
#[derive(Debug, Parser)]
#[command(
    name = "vigie-collector",
    version,
    after_help = "Example: vigie-collector init --dir /etc/vigie --host vigie.gradest.example
         vigie-collector run"
)]
pub struct Arguments {
    /// Settings file; `conf.d/*.toml` beside it is read too
    #[arg(long, global = true, default_value = DEFAULT_FILE, value_name = "FILE")]
    pub config: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM
    Run,
    /// Read all settings and report every mistake
    #[command(
        after_help = "Example: vigie-collector --config /etc/vigie/collector.toml check-config"
    )]
    CheckConfig,
    /// Make the data folder, two certificate authorities and first settings
    #[command(
        after_help = "Example: vigie-collector init --dir /etc/vigie --host vigie.gradest.example"
    )]
    Init(prepare::Init),
    /// Print a join token: one use, one hour, one node or one sender of metrics
    #[command(
        after_help = "Example: vigie-collector token --node app-01 > token; scp token app-01:
         vigie-collector token --sender prometheus-01 > token"
    )]
    Token(Token),
    /// The nodes of the fleet
    #[command(subcommand)]
    Node(Node),
    /// Other programs that send metrics: Prometheus, vmagent, Alloy
    #[command(subcommand)]
    Sender(Sender),
    /// Changes to what a node checks
    #[command(subcommand)]
    Plan(Plan),
    /// The collector's own clock
    #[command(subcommand)]
    Clock(ClockCommand),
    /// The fleet as it is, worst first; exit code 1 when something is not ok
    #[command(after_help = "Example: vigie-collector status --json")]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that you are on an alert: its steps stop
    #[command(after_help = "Example: vigie-collector ack 1841 1843 --for 2h
         vigie-collector ack --undo 1841")]
    Ack(ack::Ack),
    /// End an alert that nothing else ends: what a sender opened, an exercise
    #[command(after_help = "Example: vigie-collector end 1841 --reason \"Prometheus was rebuilt\"")]
    End(ack::End),
    /// Keep alerts quiet for at most 8 hours; they are still recorded, and told when it ends
    #[command(
        after_help = "Example: vigie-collector silence --node app-01 --family tls --preview
         vigie-collector silence --node app-01 --family tls --for 2h --reason \"certificat en cours\"
         vigie-collector silence end 12"
    )]
    Silence(Box<silence::Silence>),
    /// Work on machines
    #[command(subcommand)]
    Maintenance(maintenance::Maintenance),
    /// Tell a receiver an exercise and follow it; exit code 1 when it is not accepted in time
    #[command(
        after_help = "Example: vigie-collector test-receiver astreinte --until-acknowledged --wait 15m"
    )]
    TestReceiver(exercise::TestReceiver),
    /// What would happen to an alert at a moment: which route, who is told, what each step does, what is held until when
    #[command(
        after_help = "Example: vigie-collector explain --at \"2026-12-25 03:00\" --service dossier-patient --status critical
         vigie-collector explain --at \"2026-12-25 03:00\" --if portail=critical --node app-01 --json"
    )]
    Explain(explain::Explain),
    /// Every instant to come at which nobody would be told of a critical service; exit code 1 if there is any
    #[command(after_help = "Example: vigie-collector prove-coverage --days 400")]
    ProveCoverage(coverage::ProveCoverage),
    /// Check files of expectations: at a time, if something happens, who hears of it; exit code 1 if one is not met
    #[command(
        after_help = "Example: vigie-collector --config collector.toml test-routes routes.toml"
    )]
    TestRoutes(test_routes::TestRoutes),
    /// What happened to an alert and why, from the log; exit code 1 when the log is decided otherwise now
    #[command(after_help = "Example: vigie-collector why 1841")]
    Why {
        /// The alert's number
        number: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What the log says of a longer time
    #[command(subcommand)]
    Report(Report),
    /// Every field that can reach the collector and leave it
    DataInventory {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `token …`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("holder").required(true).args(["node", "sender"])))]
pub struct Token {
    /// The node it is for
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// The sender of metrics it is for, such as a Prometheus; a node may have the same name
    #[arg(long, value_name = "NAME")]
    sender: Option<SenderName>,
    /// It may take over a name that is in use
    #[arg(long)]
    replace: bool,
}

/// `sender …`
#[derive(Debug, Subcommand)]
pub enum Sender {
    /// List them
    #[command(after_help = "Example: vigie-collector sender list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a sender for good
    #[command(after_help = "Example: vigie-collector sender retire prometheus-01")]
    Retire {
        /// The sender
        sender: SenderName,
    },
    /// Shut a sender out, from its next request on
    #[command(after_help = "Example: vigie-collector sender deny prometheus-01")]
    Deny {
        /// The sender
        sender: SenderName,
    },
    /// Let a denied sender in again
    #[command(after_help = "Example: vigie-collector sender allow prometheus-01")]
    Allow {
        /// The sender
        sender: SenderName,
    },
}

/// `node …`
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a node for good; its alerts end
    Retire {
        /// The node
        node: NodeName,
    },
    /// Print a token with which another machine takes over a node's name
    Replace {
        /// The node
        node: NodeName,
    },
    /// Shut a node out, from its next request on
    Deny {
        /// The node
        node: NodeName,
    },
    /// Let a denied node in again
    Allow {
        /// The node
        node: NodeName,
    },
}

/// `plan …`
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Confirm plan changes, chain faults and other alerts that only a person can end
    #[command(after_help = "Example: vigie-collector plan confirm app-01")]
    Confirm {
        /// The node
        node: NodeName,
    },
}

/// `report …`
#[derive(Debug, Subcommand)]
pub enum Report {
    /// What silences and maintenance kept quiet, and who would have been told
    #[command(
        after_help = "Example: vigie-collector report would-have-told --since \"2026-11-22 18:00\" --until 2026-11-29"
    )]
    WouldHaveTold {
        /// Only what was kept quiet from then on
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only what was kept quiet before
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `clock …`
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// The wall clock is right, although it stepped
    Confirm,
}

/// Carries a command out; `run` is carried out by `main`, which owns the runtime.
pub async fn carry_out(arguments: Arguments, variables: Vec<(OsString, OsString)>) -> Exit {
    let config = arguments.config;
    match arguments.command {
        Command::Run => Exit::Internal,
        Command::CheckConfig => prepare::check_config(&config, variables),
        Command::Init(init) => prepare::init(&init),
        Command::DataInventory { json } => inventory::print(json),
        Command::Token(Token {
            node,
            sender,
            replace,
        }) => match node.map(Holder::Node).or(sender.map(Holder::Sender)) {
            Some(holder) => operate::token(&config, variables, holder, replace).await,
            // The command line demands one of them.
            None => Exit::Usage,
        },
        Command::Node(Node::Replace { node }) => {
            operate::token(&config, variables, Holder::Node(node), true).await
        }
        Command::Status { json } => operate::status(&config, variables, json).await,
        Command::Ack(ack) => ack::ack(asked(&config, variables), ack).await,
        Command::End(end) => ack::end(asked(&config, variables), end).await,
        Command::Silence(silence) => silence::silence(asked(&config, variables), *silence).await,
        Command::Maintenance(maintenance) => {
            maintenance::maintenance(asked(&config, variables), maintenance).await
        }
        Command::TestReceiver(test) => {
            exercise::test_receiver(asked(&config, variables), test).await
        }
        Command::Node(Node::List { json }) => operate::node_list(&config, variables, json).await,
        Command::Node(Node::Retire { node }) => operate::retire(&config, variables, node).await,
        Command::Node(Node::Deny { node }) => operate::deny(&config, variables, node, true).await,
        Command::Node(Node::Allow { node }) => operate::deny(&config, variables, node, false).await,
        Command::Sender(Sender::List { json }) => {
            operate::sender_list(&config, variables, json).await
        }
        Command::Sender(Sender::Retire { sender }) => {
            operate::retire_sender(&config, variables, sender).await
        }
        Command::Sender(Sender::Deny { sender }) => {
            operate::deny_sender(&config, variables, sender, true).await
        }
        Command::Sender(Sender::Allow { sender }) => {
            operate::deny_sender(&config, variables, sender, false).await
        }
        Command::Plan(Plan::Confirm { node }) => operate::confirm(&config, variables, node).await,
        Command::Explain(explain) => explain::run(&config, variables, explain).await,
        Command::ProveCoverage(prove) => coverage::run(&config, variables, &prove),
        Command::TestRoutes(test) => test_routes::run(&config, variables, &test),
        Command::Why { number, json } => why::why(&config, variables, number, json).await,
        Command::Report(Report::WouldHaveTold { since, until, json }) => {
            report::would_have_told(&config, variables, since.as_deref(), until.as_deref(), json)
                .await
        }
        Command::Clock(ClockCommand::Confirm) => operate::clock_confirm(&config, variables).await,
    }
}

fn asked(config: &std::path::Path, variables: Vec<(OsString, OsString)>) -> operate::Asked<'_> {
    operate::Asked { config, variables }
}

#[cfg(test)]
mod tests;
