//! The stage: what a scenario may start, break and ask.

mod address;
mod agent;
mod clock;
mod collector;
mod hand_agent;
mod nginx;
mod patience;
mod program;
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
    program::{Memory, Program, run},
    replay::{entries_of, replays},
    webhook::{Manner, Told, Webhook},
};
