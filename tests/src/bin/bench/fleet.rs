//! What does a fleet that has nothing to say cost its collector?

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use vigie_tests::harness::{Collector, HandAgent};

use crate::{
    figures::{self, Megabytes},
    meter::Meter,
};

/// Nodes that make contact with one collector.
const NODES: usize = 500;

/// How often each does, as agents do.
const CONTACT_EVERY: Duration = Duration::from_secs(20);

/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(60);

/// The settings of a collector with these nodes in a group with a service.
pub fn group(nodes: &[String]) -> String {
    format!(
        "[service.dossier]\ncriticality = \"critical\"\nneeds = {{ D = 4, I = 4, C = 4, T = 3 }}\n\
         [group.app]\nnodes = {nodes:?}\nservices = [\"dossier\"]\n"
    )
}

pub async fn measure() {
    let (nodes, watched) = (figures::times(NODES), figures::time(WATCHED));
    println!("fleet: {nodes} nodes in contact every 20 s");
    let names: Vec<String> = (0..nodes).map(|n| format!("n-{n}")).collect();
    let collector = Collector::with(group(&names)).start().await;
    let mut agents = Vec::new();
    for name in &names {
        let mut agent = HandAgent::join(&collector, name).await;
        let lines = agent.plans(&["porte", "disques"], Some("dossier"));
        agent.hands_in(&lines).await;
        agents.push(agent);
    }
    let started = Instant::now();
    let meter = Meter::start(collector.program());
    let mut work = JoinSet::new();
    for (index, agent) in agents.into_iter().enumerate() {
        let share = CONTACT_EVERY.mul_f64(index as f64 / nodes as f64);
        work.spawn(async move {
            tokio::time::sleep(share).await;
            while started.elapsed() < watched {
                let answer = agent.hand_in(&[]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                tokio::time::sleep(CONTACT_EVERY).await;
            }
        });
    }
    tokio::time::sleep(watched).await;
    let share = meter.milliseconds() / (started.elapsed().as_secs_f64() * 1000.0) * 100.0;
    figures::show("collector's processor time", share, "% of a core", 5.0);
    let memory = Megabytes::of(collector.program());
    println!("  collector's RSS: {:.1} MB", memory.resident);
    work.abort_all();
}
