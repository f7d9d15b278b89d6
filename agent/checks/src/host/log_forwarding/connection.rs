//! Whether this machine has a TCP connection to the receiver of its log, from the kernel's table of sockets
//! (proc_net(5), `/proc/net/tcp`). The connection is the log daemon's own: none is made here.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::ControlFlow,
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use vigie_core::observation::Object;
use vigie_machine::{
    Context,
    files::{Encoding, Walk},
};

use crate::host::daemon::is_missing;

const TABLES: [&str; 2] = ["proc/net/tcp", "proc/net/tcp6"];

/// 150 bytes for each of 400,000 sockets.
const TABLE: Walk = Walk {
    encoding: Encoding::Plain,
    len_max: 64 * 1024 * 1024,
    line_len_max: 512,
};

/// TCP_ESTABLISHED.
const ESTABLISHED: &str = "01";

/// The receiver of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

/// The text is no name or address with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name or address with a port")]
pub(super) struct NotATarget;

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let (host, port) = text.rsplit_once(':').ok_or(NotATarget)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(NotATarget)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => {
                host.parse::<Ipv4Addr>().is_ok()
                    || (!host.contains('*') && Object::host(host).is_ok())
            }
        };
        let host = bracketed.unwrap_or(host).to_owned();
        is_host.then_some(Self { host, port }).ok_or(NotATarget)
    }
}

impl Target {
    /// Whether a connection to it is open. An error without a cause is the resolver's.
    pub(super) async fn is_connected(
        &self,
        context: &Context,
        root: &Path,
    ) -> Result<bool, Option<io::Error>> {
        let resolve = context.net.resolve(&self.host);
        let addresses: BTreeSet<IpAddr> = context
            .within(context.own_deadline(), resolve)
            .await
            .and_then(Result::ok)
            .ok_or(None)?
            .into_iter()
            .map(|address| address.to_canonical())
            .collect();
        let addresses = Arc::new(addresses);
        let mut was_read = false;
        for table in TABLES {
            let found = Arc::new(AtomicBool::new(false));
            let (seen, wanted, port) = (Arc::clone(&found), Arc::clone(&addresses), self.port);
            let each = Box::new(move |line: &[u8]| {
                let peer = std::str::from_utf8(line).ok().and_then(established_peer);
                if peer.is_some_and(|(address, p)| p == port && wanted.contains(&address)) {
                    seen.store(true, Ordering::Relaxed);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            let walked = context
                .files
                .walk_lines(&root.join(table), TABLE, each)
                .await;
            if found.load(Ordering::Relaxed) {
                return Ok(true);
            }
            // A kernel without IPv6 has one table only.
            if is_missing(&walked) {
                continue;
            }
            walked.map_err(Some)?;
            was_read = true;
        }
        if was_read { Ok(false) } else { Err(None) }
    }
}

/// The other end of an open connection: third and fourth column of a line.
fn established_peer(line: &str) -> Option<(IpAddr, u16)> {
    let mut columns = line.split_ascii_whitespace().skip(2);
    let (peer, state) = (columns.next()?, columns.next()?);
    (state == ESTABLISHED).then_some(())?;
    let (address, port) = peer.split_once(':')?;
    // Words of 32 bits in the machine's own order, each byte of them in the network's.
    let word = |digits: &str| Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    let address = match address.len() {
        8 => IpAddr::from(word(address)?),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(address.get(at * 8..at * 8 + 8)?)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some((address.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_or_addresses_with_a_port() {
        for good in [
            "logs.example:6514",
            "192.0.2.1:514",
            "[2001:db8::1]:6514",
            "log-01:1",
        ] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for bad in [
            "logs.example",
            "logs.example:0",
            "2001:db8::1:6514",
            ":514",
            "[x]:5",
            "*.x:5",
            "a b:5",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
