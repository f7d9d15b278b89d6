//! Which addresses a probe asks, and which objects its answers belong to.
//!
//! With `addresses = "all"` every address is an object, and so is the name: whether it resolves is judged apart, so that
//! its failure has an object that can become well again. While the name does not resolve, the addresses it had last are
//! asked on: a dead resolver must not blind the check to a service that answers, or does not. With `"first"`, only the
//! address that a client would take is asked, and the name is the one object, because which address comes first changes
//! from one lookup to the next.

use std::{
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    task::Poll,
};

use vigie_core::{
    observation::{Object, Observation},
    reason::availability::{NET_RESOLVED, NET_TOO_MANY_ADDRESSES},
    status::Status,
    time::Elapsed,
};
use vigie_machine::Context;

use super::{
    failure::Failure,
    phase::{Phase, Progress},
};

/// Addresses asked at a time. More than this belongs to a content network, whose nodes are not the customer's to watch.
const ADDRESSES_MAX: usize = 32;

/// A DNS name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, asked as it is.
    Address(IpAddr),
    /// A name, in lower case.
    Name(Object),
}

/// Which of a name's addresses are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Each of them.
    All,
    /// The one that a client would take.
    First,
}

/// What one check asks, from run to run.
#[derive(Debug)]
pub struct Target {
    host: Host,
    port: u16,
    addresses: Addresses,
    /// What the name had when it last resolved.
    known: Vec<IpAddr>,
}

impl Host {
    /// An IP address (without brackets) or a DNS name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(address) => Some(Self::Address(address)),
            // The resolver reads what is all digits and dots as an address of its own kind (inet_aton(3)).
            Err(_) if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') => None,
            Err(_) if text.contains('*') => None,
            Err(_) => Object::host(text).ok().map(Self::Name),
        }
    }
}

impl Target {
    /// A target whose name has not been resolved yet.
    #[must_use]
    pub const fn new(host: Host, port: u16, addresses: Addresses) -> Self {
        Self {
            host,
            port,
            addresses,
            known: Vec::new(),
        }
    }

    /// Resolves, asks the addresses with `probe`, all at a time, and names the objects.
    ///
    /// `probe` gets the address and a progress that is in [`Phase::Connect`]; it ends by `deadline` by itself.
    pub async fn observe<F: Future<Output = Observation>>(
        &mut self,
        context: &Context,
        deadline: Elapsed,
        probe: impl Fn(SocketAddr, Progress) -> F,
    ) -> Vec<Observation> {
        let port = self.port;
        let probe = |address: IpAddr, progress| probe(SocketAddr::new(address, port), progress);
        let name = match &self.host {
            Host::Address(address) => {
                let observation = probe(*address, Progress::beginning_with(Phase::Connect)).await;
                return vec![observation.of(Object::address(*address))];
            }
            Host::Name(name) => name.clone(),
        };

        let mut progress = Progress::beginning_with(Phase::Resolve);
        let patience = if self.known.is_empty() {
            deadline
        } else {
            // The other half is for the addresses known.
            let now = context.clock.elapsed();
            now.plus_ms(deadline.since_ms(now) / 2)
        };
        let resolved = context
            .within(patience, context.net.resolve(name.as_str()))
            .await;
        let after_ms = progress.total_ms();
        progress.enter(Phase::Connect);
        let resolved = match resolved {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(error)) => Err(Failure::of_resolve(&error, after_ms)),
            None => Err(Failure::of_deadline(Phase::Resolve, after_ms)),
        };

        if self.addresses == Addresses::First {
            let observation = match resolved.map(|addresses| addresses.first().copied()) {
                Ok(Some(address)) => probe(address, progress).await,
                Ok(None) => Failure::NoAddress.observation(),
                Err(failure) => failure.observation(),
            };
            return vec![observation.of(name)];
        }

        let of_name = match resolved {
            Ok(addresses) => {
                let found = addresses.len();
                self.known = addresses;
                self.known.truncate(ADDRESSES_MAX);
                named(found)
            }
            Err(failure) => failure.observation(),
        };
        let asked = self.known.iter().map(|address| {
            let answer = probe(*address, progress.clone());
            let object = Object::address(*address);
            async move { answer.await.of(object) }
        });
        let mut observations = vec![of_name.of(name)];
        observations.extend(join_all(asked).await);
        observations
    }
}

fn named(found: usize) -> Observation {
    if found > ADDRESSES_MAX {
        Observation::new(Status::Warning, NET_TOO_MANY_ADDRESSES)
            .fact("found", found as u64)
            .fact("asked", ADDRESSES_MAX as u64)
    } else {
        Observation::new(Status::Ok, NET_RESOLVED).fact("addresses", found as u64)
    }
}

/// Polls all of a few futures whenever one of them is woken, until all are done.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut all_done = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => all_done = false,
                }
            }
        }
        if all_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    futures
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

#[cfg(test)]
mod tests;
