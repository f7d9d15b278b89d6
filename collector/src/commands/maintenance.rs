//! `maintenance`: work on machines that would otherwise wake somebody.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use vigie_core::id::{GroupName, NodeName};
use vigie_decide::{
    mute::Nodes,
    view::{fleet::Fleet, mute::Kind},
};
use vigie_platform::{clock::whole_ms, process::Exit};

use super::{
    ack::duration,
    operate::{Asked, ask_running, ask_running_with_settings},
    silence::{begun, end, list},
};
use crate::{
    operator::{Question, reply::Begun},
    status::window_table,
};

/// `maintenance …`
#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// Begin: host, availability and silence of these nodes wake nobody, backups and files still do
    #[command(
        after_help = "Example: vigie-collector maintenance start --node app-01 --for 2h --reason \"noyau 6.12\""
    )]
    Start(Start),
    /// End maintenance before its time; what still fails is told at once
    #[command(after_help = "Example: vigie-collector maintenance end 13")]
    End {
        /// Its number
        id: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What runs, and the windows of the settings
    #[command(after_help = "Example: vigie-collector maintenance list")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `maintenance start …`
#[derive(Debug, Args)]
pub struct Start {
    /// A node
    #[arg(long, value_name = "NODE")]
    node: Vec<NodeName>,
    /// A group, whatever nodes it has
    #[arg(long, value_name = "GROUP")]
    group: Vec<GroupName>,
    /// For how long, at most 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Duration,
    /// Why, for the next shift
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn maintenance(asked: Asked<'_>, maintenance: Maintenance) -> Exit {
    match maintenance {
        Maintenance::Start(start) => begin(asked, start).await,
        Maintenance::End { id, json } => end(asked, id, Kind::Maintenance, json).await,
        Maintenance::List { json } => {
            let fleet: Fleet = match ask_running(asked, Question::Status).await {
                Ok(fleet) => fleet,
                Err(exit) => return exit,
            };
            let windows = window_table(&fleet.windows);
            let exit = list(Ok(fleet), json, Kind::Maintenance);
            if !json && !windows.is_empty() {
                print!("\n{windows}");
            }
            exit
        }
    }
}

async fn begin(asked: Asked<'_>, start: Start) -> Exit {
    let question = Question::Maintain {
        place: Nodes {
            nodes: start.node.into_iter().collect(),
            groups: start.group.into_iter().collect(),
        },
        reason: start.reason,
        for_ms: whole_ms(start.lasts),
    };
    match ask_running_with_settings::<Begun>(asked, question).await {
        Ok((answer, settings)) => {
            if start.json {
                println!("{:#}", json!(answer));
            } else {
                print!("{}", begun(&answer, settings.language));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}
