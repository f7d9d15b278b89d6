//! Tells somebody when the collector cannot: once when nothing was confirmed for five minutes, once when it is back, and
//! when its log is found shorter than it was.
//!
//! The last resort for a node whose collector is gone, by a way that does not lead through it: one webhook, which gets
//! `{"node","event","since"}` and nothing else. A message is repeated until it is taken, within bounds; an outage that
//! ends before its message could be delivered is told to nobody. Without a webhook nothing is sent. Messages that wait
//! when the process ends are lost: it keeps nothing on disk.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use vigie_core::{
    backoff::Backoff,
    id::NodeName,
    time::{Elapsed, Now, Wall},
};
use vigie_platform::{
    clock::{Clock, wait_until},
    settings_file::{SecretFile, Url},
    tls::native_client_config,
};

use crate::{ledger::Rollback, metrics::Metrics};

/// Nothing confirmed for this long is an outage: longer than a collector's restart, shorter than anybody's patience.
const OUTAGE_AFTER_MS: u64 = 5 * 60 * 1_000;

/// How often the clock is looked at. A gap much longer than this is a suspend, not an outage.
const LOOK_EVERY_MS: u64 = 10_000;

/// Time between two looks beyond which the machine stood still.
const STOOD_STILL_MS: u64 = 30_000;

/// Messages that wait: out, back and a few rollbacks. The oldest go first.
const WAITING_MAX: usize = 8;

/// Rollbacks that wait to be noticed.
const ROLLBACKS_MAX: usize = 4;

/// Delay between tries.
const BACKOFF: Backoff = Backoff {
    first_ms: 5_000,
    max_ms: 60_000,
};

/// Tries before a message is given up: about half an hour.
const TRIES_MAX: u32 = 60;

/// Longest time for one try.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Webhook {
    /// Written in the settings; holds no secret.
    Url(Url),
    /// The whole address is a secret and stands in this file.
    SecretUrl(SecretFile),
}

/// What the pusher tells about the collector.
#[derive(Debug, Clone)]
pub struct Alarm {
    confirmed: watch::Sender<Now>,
    rollbacks: mpsc::Sender<Rollback>,
}

impl Alarm {
    /// The collector confirmed something.
    pub fn durable(&self, now: Now) {
        self.confirmed.send_replace(now);
    }

    /// The collector's log is not what it was.
    pub fn rollback(&self, rollback: Rollback) {
        // Full means that several wait to be told already.
        let _ = self.rollbacks.try_send(rollback);
    }
}

/// What the webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Unreachable,
    Back,
    Rollback,
}

impl Event {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "collector.unreachable",
            Self::Back => "collector.back",
            Self::Rollback => "collector.rollback",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message {
    event: Event,
    since: Wall,
}

/// Decides what is told. Pure.
#[derive(Debug)]
struct Judge {
    confirmed: Now,
    looked: Elapsed,
    is_outage: bool,
    waiting: VecDeque<Message>,
}

impl Judge {
    const fn new(now: Now) -> Self {
        Self {
            confirmed: now,
            looked: now.elapsed,
            is_outage: false,
            waiting: VecDeque::new(),
        }
    }

    fn confirmed(&mut self, at: Now) {
        self.confirmed = at;
        // A confirmation is a look: between frequent ones no other takes place.
        self.looked = self.looked.max(at.elapsed);
        if !self.is_outage {
            return;
        }
        self.is_outage = false;
        let untold = self
            .waiting
            .iter()
            .position(|message| message.event == Event::Unreachable);
        match untold {
            Some(index) => drop(self.waiting.remove(index)),
            None => self.tell(Event::Back, at.wall),
        }
    }

    fn look(&mut self, now: Now) {
        let gap_ms = now.elapsed.since_ms(self.looked);
        self.looked = now.elapsed;
        if gap_ms >= STOOD_STILL_MS {
            // Nobody tried to reach the collector meanwhile.
            self.confirmed.elapsed = self.confirmed.elapsed.plus_ms(gap_ms);
        }
        let is_over = now.elapsed.since_ms(self.confirmed.elapsed) >= OUTAGE_AFTER_MS;
        if is_over && !self.is_outage {
            self.is_outage = true;
            self.tell(Event::Unreachable, self.confirmed.wall);
        }
    }

    fn tell(&mut self, event: Event, since: Wall) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Message { event, since });
    }
}

/// The task that tells.
pub struct Fallback {
    clock: Arc<dyn Clock>,
    node: NodeName,
    webhook: watch::Receiver<Option<Webhook>>,
    metrics: Arc<Metrics>,
    random: fn() -> u64,
    confirmed: watch::Receiver<Now>,
    rollbacks: mpsc::Receiver<Rollback>,
}

impl Fallback {
    /// The task and the handle that feeds it. Time without confirmation counts from now.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        node: NodeName,
        webhook: watch::Receiver<Option<Webhook>>,
        metrics: Arc<Metrics>,
        random: fn() -> u64,
    ) -> (Self, Alarm) {
        let (confirmed_sender, confirmed) = watch::channel(clock.now());
        let (rollback_sender, rollbacks) = mpsc::channel(ROLLBACKS_MAX);
        let alarm = Alarm {
            confirmed: confirmed_sender,
            rollbacks: rollback_sender,
        };
        let task = Self {
            clock,
            node,
            webhook,
            metrics,
            random,
            confirmed,
            rollbacks,
        };
        (task, alarm)
    }

    /// Tells for ever.
    pub async fn run(mut self) {
        let clock = Arc::clone(&self.clock);
        let mut judge = Judge::new(*self.confirmed.borrow_and_update());
        let mut tries: u32 = 0;
        let mut not_before = Elapsed(0);
        loop {
            let now = clock.now();
            let mut wake = now.elapsed.plus_ms(LOOK_EVERY_MS);
            if !judge.waiting.is_empty() {
                wake = wake.min(not_before);
            }
            tokio::select! {
                biased;
                Ok(()) = self.confirmed.changed() => {
                    judge.confirmed(*self.confirmed.borrow_and_update());
                }
                Some(_) = self.rollbacks.recv() => judge.tell(Event::Rollback, clock.wall()),
                () = wait_until(&*clock, wake) => judge.look(clock.now()),
            }
            let now = clock.elapsed();
            let Some(message) = judge.waiting.front().copied() else {
                continue;
            };
            if now < not_before {
                continue;
            }
            let is_done = match self.tell(message).await {
                Ok(()) => true,
                Err(why) => {
                    tries += 1;
                    warn!(
                        event = message.event.as_str(),
                        why, tries, "the fallback webhook was not told"
                    );
                    self.metrics.count_fallback("failed");
                    tries >= TRIES_MAX
                }
            };
            if is_done {
                judge.waiting.pop_front();
                tries = 0;
                not_before = Elapsed(0);
            } else {
                not_before =
                    clock
                        .elapsed()
                        .plus_ms(BACKOFF.delay_ms(tries, (self.random)(), None));
            }
        }
    }

    async fn tell(&self, message: Message) -> Result<(), String> {
        let Some(webhook) = self.webhook.borrow().clone() else {
            return Ok(());
        };
        let url = match webhook {
            Webhook::Url(url) => url.as_str().to_owned(),
            Webhook::SecretUrl(file) => tokio::task::spawn_blocking(move || file.read())
                .await
                .map_err(|_| "the program is stopping".to_owned())?
                .map_err(|error| error.to_string())?
                .expose_str()
                .ok_or("the secret is not text")?
                .trim()
                .to_owned(),
        };
        let body = json!({
            "node": self.node,
            "event": message.event.as_str(),
            "since": message.since,
        });
        post(&url, body.to_string()).await?;
        self.metrics.count_fallback("ok");
        info!(
            event = message.event.as_str(),
            "the fallback webhook was told"
        );
        Ok(())
    }
}

/// Sends one message. The address may be a secret, so no error names it.
async fn post(url: &str, body: String) -> Result<(), String> {
    let tls = tokio::task::spawn_blocking(native_client_config)
        .await
        .map_err(|_| "the program is stopping".to_owned())?
        .map_err(|error| error.to_string())?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST_TIMEOUT)
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let response = client
        .post(url)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    let status = response.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("it says {}", status.as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Now {
        Now {
            wall: Wall(ms as i64),
            elapsed: Elapsed(ms),
        }
    }

    fn look_until(judge: &mut Judge, from_ms: u64, to_ms: u64) {
        for ms in (from_ms..=to_ms).step_by(10_000) {
            judge.look(at(ms));
        }
    }

    fn told(judge: &mut Judge) -> Vec<(&'static str, i64)> {
        let messages = judge.waiting.drain(..);
        messages
            .map(|message| (message.event.as_str(), message.since.0))
            .collect()
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let mut judge = Judge::new(at(0));
        look_until(&mut judge, 0, 290_000);
        assert!(told(&mut judge).is_empty());
        judge.confirmed(at(295_000));
        look_until(&mut judge, 300_000, 590_000);
        assert!(told(&mut judge).is_empty());
        look_until(&mut judge, 600_000, 900_000);
        assert_eq!(told(&mut judge), [("collector.unreachable", 295_000)]);
        judge.confirmed(at(901_000));
        judge.confirmed(at(902_000));
        assert_eq!(told(&mut judge), [("collector.back", 901_000)]);
    }

    #[test]
    fn an_outage_that_ended_before_it_could_be_told_is_told_to_nobody() {
        let mut judge = Judge::new(at(0));
        look_until(&mut judge, 0, 310_000);
        judge.confirmed(at(320_000));
        assert!(told(&mut judge).is_empty());
    }

    #[test]
    fn an_outage_after_a_busy_hour_is_told_as_soon_as_any_other() {
        let mut judge = Judge::new(at(0));
        // Confirmed so often that no look takes place in between.
        for at_ms in (0..3_600_000).step_by(5_000) {
            judge.confirmed(at(at_ms));
        }
        look_until(&mut judge, 3_610_000, 3_900_000);
        assert_eq!(told(&mut judge), [("collector.unreachable", 3_595_000)]);
    }

    #[test]
    fn a_suspend_is_no_outage() {
        let mut judge = Judge::new(at(0));
        look_until(&mut judge, 0, 100_000);
        judge.look(at(10_000_000));
        assert!(told(&mut judge).is_empty());
        look_until(&mut judge, 10_010_000, 10_200_000);
        assert_eq!(told(&mut judge), [("collector.unreachable", 0)]);
    }
}
