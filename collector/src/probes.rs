//! The collector's own probes: does it reach anything, or is it cut off itself?
//!
//! TCP connections to the places of `probes` in the settings, a round every 30 s. The answer colours the alarm when a
//! whole site falls silent ("site cut" or "I may be blind"); it never suppresses one.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::watch, time::timeout};
use vigie_platform::clock::{Clock, wait_until};

use crate::identity::authority::ServerNames;

/// How often a round is made.
const EVERY_MS: u64 = 30_000;

/// How long one place may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One `host:port` that the collector itself tries to reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeTarget {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// From 1 on.
    pub port: u16,
}

/// The text is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a probe is a DNS name or an IP address, `:` and a port")]
pub struct NotAProbeTarget;

impl FromStr for ProbeTarget {
    type Err = NotAProbeTarget;

    fn from_str(text: &str) -> Result<Self, NotAProbeTarget> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAProbeTarget)?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port > 0 && is_number);
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_valid = match bare {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            // Without brackets nobody knows where an IPv6 address ends.
            None => !host.contains(':') && ServerNames::parse([host]).is_ok(),
        };
        match port {
            Some(port) if is_valid => Ok(Self {
                host: bare.unwrap_or(host).to_owned(),
                port,
            }),
            _ => Err(NotAProbeTarget),
        }
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Who probes.
pub struct Probes {
    clock: Arc<dyn Clock>,
    targets: watch::Receiver<Vec<ProbeTarget>>,
    answer: watch::Sender<Option<bool>>,
}

/// Puts probing together: who probes, what may be replaced while they do, and their last answer, which is `None` while there
/// is nothing to probe. Nothing is probed before [`Probes::run`].
#[must_use]
pub fn build(
    targets: Vec<ProbeTarget>,
    clock: Arc<dyn Clock>,
) -> (
    Probes,
    watch::Sender<Vec<ProbeTarget>>,
    watch::Receiver<Option<bool>>,
) {
    let (replace, targets) = watch::channel(targets);
    let (answer, answers) = watch::channel(None);
    let probes = Probes {
        clock,
        targets,
        answer,
    };
    (probes, replace, answers)
}

impl Probes {
    /// Probes until dropped.
    pub async fn run(self) {
        loop {
            let round = self.targets.borrow().clone();
            self.answer.send_replace(if round.is_empty() {
                None
            } else {
                Some(reaches_any(round).await)
            });
            let next = self.clock.elapsed().plus_ms(EVERY_MS);
            wait_until(&*self.clock, next).await;
        }
    }
}

async fn reaches_any(targets: Vec<ProbeTarget>) -> bool {
    let mut tries = tokio::task::JoinSet::new();
    for target in targets {
        tries.spawn(async move {
            let connect = TcpStream::connect((target.host.as_str(), target.port));
            matches!(timeout(CONNECT_TIMEOUT, connect).await, Ok(Ok(_)))
        });
    }
    while let Some(reached) = tries.join_next().await {
        if matches!(reached, Ok(true)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn one_place_that_answers_is_enough() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open: ProbeTarget = listener.local_addr().unwrap().to_string().parse().unwrap();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed: ProbeTarget = gone.local_addr().unwrap().to_string().parse().unwrap();
        drop(gone);
        assert!(reaches_any(vec![closed.clone(), open]).await);
        assert!(!reaches_any(vec![closed]).await);
    }

    #[test]
    fn a_probe_target_is_a_host_and_a_port() {
        for text in ["gw.example:443", "192.0.2.1:53", "[2001:db8::1]:53"] {
            let target: ProbeTarget = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        for text in [
            "",
            "gw.example",
            "gw.example:",
            "gw.example:0",
            "gw.example:+1",
            "gw.example:70000",
            ":443",
            "2001:db8::1:53",
            "[gw.example]:1",
            "[::1]",
            "a b:1",
            "https://gw.example:1",
        ] {
            assert_eq!(text.parse::<ProbeTarget>(), Err(NotAProbeTarget), "{text}");
        }
    }
}
