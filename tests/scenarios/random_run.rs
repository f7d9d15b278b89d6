//! Does the log alone tell why everything was decided, also after a long day of good news, bad news and lies?

use vigie_collector::operator::Question;
use vigie_core::{
    digest::Digest,
    entry::Head,
    observation::{Fact, Facts},
    reason::vigie,
    status::Status,
};
use vigie_tests::harness::{Collector, HandAgent, Webhook, random, replays};

use crate::fleet::{fleet, hand_agent};

const NODES: [&str; 5] = ["n-0", "n-1", "n-2", "n-3", "n-4"];

const CHECKS: [&str; 4] = ["portail", "base", "disques", "annexe"];

/// Things that happen.
const ACTS: usize = 600;

/// One in so many acts is `kill -9`.
const KILL_ONE_IN: usize = 100;

fn any<T: Copy>(choices: &[T]) -> T {
    choices[random(choices.len())]
}

/// One thing that a node says, true or not. The answer does not matter: what was taken is in the log.
async fn act(agent: &mut HandAgent, stranger: &HandAgent) {
    let lines = match random(20) {
        0 => agent.plans(
            &CHECKS[..=random(CHECKS.len())],
            any(&[Some("dossier-patient"), Some("paie"), None]),
        ),
        1 => {
            for planned in agent.plan.values_mut() {
                planned.failures = random(10) as u64;
            }
            agent.says_plan()
        }
        2 => {
            agent.head.seq += 1;
            vec![agent.finds(any(&CHECKS), None, Status::Ok)]
        }
        3 => {
            agent.head = Head {
                seq: agent.head.seq.saturating_sub(random(3) as u64),
                sha256: Digest::of(b"another history"),
            };
            vec![agent.finds(any(&CHECKS), None, Status::Warning)]
        }
        4 => vec![agent.says(
            vigie::ENTRIES_LOST,
            Facts::from([("from", Fact::Integer(1)), ("to", Fact::Integer(2))]),
        )],
        5 => vec![agent.says(vigie::AGENT_AMNESIA, Facts::new())],
        6 => vec![agent.says(
            vigie::CLOCK_STEP,
            Facts::from([("by_ms", Fact::Integer(700_000))]),
        )],
        7 => {
            let mut body = agent.body(&[]);
            body.extend_from_slice(b"no line\n");
            let _ = agent.post(body).await;
            return;
        }
        8 => {
            let body = stranger.signed(&agent.contact()).into_bytes();
            let _ = agent.post(body).await;
            return;
        }
        9 => vec![],
        10 => {
            // A backlog, of which only the end still holds.
            (0..4)
                .map(|_| agent.finds(any(&CHECKS), None, any(Status::ALL)))
                .collect()
        }
        _ => vec![agent.finds(
            any(&CHECKS),
            any(&[None, Some("root"), Some("data")]),
            any(Status::ALL),
        )],
    };
    // An agent that was cut off comes again with the same lines.
    agent.hands_in(&lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_long_random_run_gives_the_same_decisions_a_second_time() {
    let webhook = Webhook::start().await;
    let mut collector = Collector::with(fleet(&NODES[1..]) + &webhook.as_only_receiver())
        .start()
        .await;
    let mut agents = Vec::new();
    for node in NODES {
        agents.push(hand_agent(&collector, node, &CHECKS).await);
    }
    let stranger = hand_agent(&collector, "stranger", &CHECKS).await;
    for _ in 0..ACTS {
        let chosen = random(agents.len());
        act(&mut agents[chosen], &stranger).await;
        match random(KILL_ONE_IN) {
            0 => {
                collector.kill();
                collector.restart().await;
            }
            1 => {
                let node = agents[chosen].node().clone();
                collector.ask(Question::Confirm { node }).await;
            }
            2 => {
                // Another rule set: one node more or less is grouped.
                collector
                    .write_settings(&(fleet(&NODES[random(2)..]) + &webhook.as_only_receiver()));
                collector.reload();
            }
            _ => {}
        }
    }
    collector.stop().await;
    let lines = replays(&collector.data_dir()).await;
    assert!(lines > ACTS, "{lines} lines");
}
