//! Is anything lost, or told twice, when a program is killed at the worst moment?

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::task::JoinSet;
use vigie_core::{entry::Head, status::Status};
use vigie_tests::harness::{
    Agent, Collector, Manner, Nginx, Webhook, entries_of, eventually, random, replays,
};

use crate::fleet::{fleet, hand_agent, watches};

const NODES: [&str; 8] = ["n-0", "n-1", "n-2", "n-3", "n-4", "n-5", "n-6", "n-7"];

/// What every node watches: 8 nodes make 200 alerts.
const CHECKS_PER_NODE: usize = 25;

const ALERTS: usize = NODES.len() * CHECKS_PER_NODE;

/// How often the collector is killed while the alerts come in.
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_alerts_accepted_between_kills_with_the_receiver_away_are_each_delivered_once()
{
    let mut webhook = Webhook::away();
    let settings = fleet(&NODES) + &webhook.as_only_receiver();
    let mut collector = Collector::with(settings).start().await;
    let checks: Vec<String> = (0..CHECKS_PER_NODE)
        .map(|n| format!("check-{n:02}"))
        .collect();
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();

    let accepted = Arc::new(AtomicUsize::new(0));
    let mut agents = Vec::new();
    for node in NODES {
        agents.push(hand_agent(&collector, node, &checks).await);
    }
    let mut work = JoinSet::new();
    for mut agent in agents {
        let accepted = Arc::clone(&accepted);
        let checks: Vec<String> = checks.iter().map(|check| (*check).to_owned()).collect();
        work.spawn(async move {
            for check in checks {
                let line = agent.finds(&check, None, Status::Critical);
                agent.hands_in(&[line]).await;
                accepted.fetch_add(1, SeqCst);
            }
        });
    }
    let mut moments: Vec<usize> = (0..KILLS).map(|_| random(ALERTS)).collect();
    moments.sort_unstable();
    println!("killed after {moments:?} of {ALERTS} were accepted");
    for moment in moments {
        eventually("so many alerts were accepted", async || {
            match accepted.load(SeqCst) {
                count if count >= moment => Ok(()),
                count => Err(count.to_string()),
            }
        })
        .await;
        collector.kill();
        collector.restart().await;
    }
    work.join_all().await;
    collector.kill();

    // The receiver comes back, and its first answers get lost on the way.
    webhook.behave(Manner::LosesAnswer);
    webhook.come_back().await;
    collector.restart().await;
    eventually("some answers were lost", async || {
        match webhook.told().len() {
            3.. => Ok(()),
            few => Err(few.to_string()),
        }
    })
    .await;
    webhook.behave(Manner::Accepts);
    eventually("all alerts are delivered", async || {
        match webhook.lines().len() {
            count if count >= ALERTS => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    eventually("nothing waits any more", async || {
        match collector.try_status().await?["messages_waiting"].as_u64() {
            Some(0) => Ok(()),
            waiting => Err(format!("{waiting:?}")),
        }
    })
    .await;
    webhook.expect_each_once();
    let mut lines = webhook.lines();
    lines.sort();
    let mut expected: Vec<String> = NODES
        .iter()
        .flat_map(|node| {
            checks
                .iter()
                .map(move |check| format!("open {node} {check} critical"))
        })
        .collect();
    expected.sort();
    assert_eq!(lines, expected);

    collector.stop().await;
    assert!(replays(&collector.data_dir()).await > ALERTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_any_moment_loses_no_line_and_hands_none_in_twice() {
    let mut nginx = Nginx::start().await;
    let webhook = Webhook::start().await;
    let settings = fleet(&["app-01"]) + &webhook.as_only_receiver();
    let mut collector = Collector::with(settings).start().await;
    let mut agent = Agent::with(watches(&nginx.url()))
        .start(&collector, "app-01")
        .await;
    collector.is_fine("app-01").await;

    // With the collector there, and then with lines that wait for it.
    for round in 0..4 {
        if round == 2 {
            collector.kill();
        }
        nginx.stop().await;
        agent.settles("portail", "critical").await;
        agent.kill();
        nginx.restart().await;
        agent.restart().await;
        agent.settles("portail", "ok").await;
        agent.kill();
        agent.restart().await;
    }
    collector.restart().await;
    let confirmed = eventually("everything was handed in", async || {
        let status = agent.status()?;
        let ledger = &status["ledger"];
        if ledger["head"] == ledger["confirmed"] {
            Ok(ledger.clone())
        } else {
            Err(ledger.to_string())
        }
    })
    .await;
    assert_eq!(confirmed["lines_lost"], 0);
    collector.is_fine("app-01").await;
    agent.stop().await;
    collector.stop().await;

    let entries = entries_of(&collector.data_dir(), "app-01").await;
    let mut head = Head::EMPTY;
    for entry in &entries {
        assert!(entry.follows(head), "{entry:?} does not follow {head:?}");
        head = entry.head();
    }
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(count("agent.start"), 9, "one for each start");
    assert_eq!((count("agent.amnesia"), count("entries.lost")), (0, 0));
    let fell = entries
        .iter()
        .filter(|entry| entry.status == Some(Status::Critical))
        .count();
    assert!(fell >= 4, "each failure is a line: {fell}");
    replays(&collector.data_dir()).await;
}
