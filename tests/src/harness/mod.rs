//! The stage: what a scenario may start, break and ask.

mod address;
mod agent;
mod clock;
mod collector;
mod hand_agent;
mod nginx;
mod patience;
mod plain;
mod program;
mod random;
mod replay;
mod webhook;

pub use self::{
    address::own_address,
    agent::{Agent, AgentSettings},
    clock::{DrivenClock, Flight},
    collector::{Collector, CollectorSettings},
    hand_agent::{Answer, HandAgent},
    nginx::Nginx,
    patience::{Patience, eventually},
    program::{Memory, Program, run, shipped},
    random::random,
    replay::{entries_of, events_of, replays},
    webhook::{Manner, Told, Webhook},
};
