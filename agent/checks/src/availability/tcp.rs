//! `tcp`: does something take connections, and say what it should?
//!
//! One run opens a connection to every address, sends `send` if there is one, and reads until `expect` has come. What is
//! read stays in memory, is bounded by [`ANSWER_LEN_MAX`] and never gets into an observation. Cancelling drops the
//! sockets and nothing else.

use std::{io, net::SocketAddr, str::FromStr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vigie_core::{
    observation::{MetricId, Observation},
    reason::availability::{TCP_CLOSED, TCP_EXPECT, TCP_OK},
    status::{Family, Status},
    time::Elapsed,
};
use vigie_machine::Context;
use vigie_platform::settings_file::{Complaint, Section};

use super::{
    contains,
    failure::Failure,
    phase::{Phase, Progress},
    target::{Addresses, Host, Target},
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

/// How much is read before the expected bytes are given up on. Greetings take a line.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// The longest bytes to send or expect.
const BYTES_LEN_MAX: usize = 4096;

const PHASE_DURATION: MetricId = MetricId("vigie_tcp_phase_duration_seconds");

/// The `tcp` kind.
pub static KIND: Kind = Kind {
    name: "tcp",
    family: Family::Availability,
    metrics: &[MetricSpec {
        id: PHASE_DURATION,
        metric_type: MetricType::Gauge,
        help: "How long each phase of the last probe took; phases it did not reach are absent.",
        label: "phase",
    }],
    target_key: "target",
    example: r#"[check.messagerie-smtp]
kind = "tcp"
service = "messagerie"
target = "smtp.example:25"           # an IPv6 address in brackets
addresses = "all"                    # or "first"
send = 'EHLO vigie\r\n'              # \r \n \t \0 \\ and \xHH
expect = '250 '
"#,
    build: |section: &mut Section<'_>| {
        let check = TcpCheck::read(section)?;
        Some(Box::new(check))
    },
};

struct TcpCheck {
    target: Target,
    dialogue: Dialogue,
}

/// What is said. No `Debug`: it may hold a secret of the protocol.
struct Dialogue {
    send: Vec<u8>,
    expect: Vec<u8>,
}

impl TcpCheck {
    fn read(section: &Section<'_>) -> Option<Self> {
        let target = section
            .parsed::<HostPort>(
                "target",
                "write host and port, such as \"smtp.example:25\" or \"[2001:db8::1]:25\"",
            )
            .required();
        let addresses = section
            .one_of(
                "addresses",
                &[("all", Addresses::All), ("first", Addresses::First)],
            )
            .or(Addresses::All);
        let bytes = |text: String| {
            unescaped(&text).ok_or_else(|| {
                Complaint::new(
                    "this is empty, longer than 4096 bytes or has an unknown escape",
                    "write text with \\r \\n \\t \\0 \\\\ or \\xHH, best in single quotes",
                )
            })
        };
        let send = section.str("send").try_map(bytes).or(Vec::new());
        let expect = section.str("expect").try_map(bytes).or(Vec::new());
        let HostPort { host, port } = target?;
        Some(Self {
            target: Target::new(host, port, addresses),
            dialogue: Dialogue { send, expect },
        })
    }
}

impl Check for TcpCheck {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        let Self { target, dialogue } = self;
        let deadline = context.own_deadline();
        Box::pin(async move {
            let probe = |address, progress| dialogue.probe(context, deadline, address, progress);
            target.observe(context, deadline, probe).await
        })
    }
}

/// How a dialogue went that no error cut short.
enum Ending {
    /// All that was expected came.
    Heard,
    /// The peer closed first.
    Closed,
    /// The peer said much, but not that.
    TooLong,
}

impl Dialogue {
    async fn probe(
        &self,
        context: &Context,
        deadline: Elapsed,
        address: SocketAddr,
        mut progress: Progress,
    ) -> Observation {
        let mut heard = Vec::new();
        let talk = self.talk(context, address, &mut progress, &mut heard);
        let ending = context.within(deadline, talk).await;
        let total_ms = progress.total_ms();
        let read_bytes = heard.len() as u64;
        let critical = |reason| Observation::new(Status::Critical, reason);
        let observation = match ending {
            Some(Ok(Ending::Heard)) => {
                Observation::new(Status::Ok, TCP_OK).fact("total_ms", total_ms)
            }
            Some(Ok(Ending::Closed)) => critical(TCP_CLOSED).fact("read_bytes", read_bytes),
            Some(Ok(Ending::TooLong)) => critical(TCP_EXPECT).fact("read_bytes", read_bytes),
            Some(Err(error)) => Failure::of_io(&error, progress.phase(), total_ms).observation(),
            // It spoke, so it is there, but did not say what it should.
            None if read_bytes > 0 => critical(TCP_EXPECT).fact("read_bytes", read_bytes),
            None => Failure::of_deadline(progress.phase(), total_ms).observation(),
        };
        progress.measured(PHASE_DURATION, observation)
    }

    async fn talk(
        &self,
        context: &Context,
        address: SocketAddr,
        progress: &mut Progress,
        heard: &mut Vec<u8>,
    ) -> io::Result<Ending> {
        let mut stream = context.net.connect(address).await?;
        if self.send.is_empty() && self.expect.is_empty() {
            return Ok(Ending::Heard);
        }
        progress.enter(Phase::FirstByte);
        stream.write_all(&self.send).await?;
        while !contains(heard, &self.expect) {
            if heard.len() >= ANSWER_LEN_MAX {
                return Ok(Ending::TooLong);
            }
            // Room for a greeting, not for the bound: most of it is never needed.
            heard.reserve(1024);
            if stream.read_buf(heard).await? == 0 {
                return Ok(Ending::Closed);
            }
            if progress.phase() == Phase::FirstByte {
                progress.enter(Phase::Body);
            }
        }
        Ok(Ending::Heard)
    }
}

struct HostPort {
    host: Host,
    port: u16,
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("the port is not a number from 1 to 65535")?;
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err("an IPv6 address stands in brackets");
        }
        let host = Host::parse(bare.unwrap_or(host)).ok_or("the host is no DNS name or address")?;
        Ok(Self { host, port })
    }
}

/// The bytes that a text with escapes stands for; `None` if it is empty, too long or has an unknown escape.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
                }
                _ => return None,
            },
            other => other,
        });
    }
    (!bytes.is_empty() && bytes.len() <= BYTES_LEN_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests;
