//! The stage: what a scenario may start, break and ask.

mod address;
mod agent;
mod alertmanager;
mod clock;
mod collector;
mod databases;
mod gateway;
mod hand_agent;
mod nginx;
mod patience;
mod plain;
mod program;
mod random;
mod recorder;
mod replay;
mod server;
mod small_disk;
mod smtp;
mod webhook;

pub use self::{
    address::own_address,
    agent::{Agent, AgentSettings},
    alertmanager::{Alertmanager, alerts as alerts_in, amtool},
    clock::{DrivenClock, Flight},
    collector::{Collector, CollectorSettings},
    databases::{Prometheus, VictoriaMetrics},
    gateway::{Gateway, GatewayManner, Text},
    hand_agent::{Answer, HandAgent, Written},
    nginx::Nginx,
    patience::{Patience, eventually},
    plain::{Page, ask as ask_plain, fetch as fetch_plain, read as read_plain, value as value_in},
    program::{Memory, Program, command, run, shipped},
    random::random,
    recorder::{Pushed, Recorder},
    replay::{entries_of, events_of, replays},
    small_disk::{Filling, SmallDisk},
    smtp::{MailManner, MailServer, SeenMail},
    webhook::{Manner, Told, Webhook},
};
