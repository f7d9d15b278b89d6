//! Names to addresses, addresses to connections.
//!
//! The system's resolver (getaddrinfo, so /etc/hosts and nsswitch.conf count) runs off the runtime; it cannot be
//! cancelled, so a lookup keeps one of [`LOOKUPS_MAX`] permits until it returns, also when nobody waits for it any more.
//! Whether a name has no address or nobody could say is told apart, because the first is the service's fault and the
//! second says nothing about it. Waiting is bounded by the caller's deadline.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    sync::Arc,
};

use tokio::{net::TcpStream, sync::Semaphore};

use crate::Answer;

/// Lookups at a time. A dead resolver holds each for 10 s or more; further checks would learn the same.
const LOOKUPS_MAX: usize = 8;

/// The network as checks see it.
#[derive(Clone)]
pub struct Net {
    resolver: Arc<dyn Resolver>,
}

/// Turns a name into addresses.
pub trait Resolver: Send + Sync {
    /// All addresses of `host`, in order, each once, at least one.
    ///
    /// # Errors
    /// See [`ResolveError`].
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// Why there are no addresses. The name stays out of the text: the caller knows it.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver says that the name has none.
    #[error("the name has no address")]
    NoAddress,
    /// The resolver did not answer, or not with an answer.
    #[error("the resolver gave no answer")]
    Resolver(#[source] io::Error),
    /// This machine could not ask.
    #[error("cannot ask the resolver")]
    Local(#[source] io::Error),
}

impl Net {
    /// The machine's own network.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::with_resolver(Arc::new(SystemResolver {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }))
    }

    /// The machine's own network with another resolver.
    #[must_use]
    pub fn with_resolver(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver }
    }

    /// All addresses of `host`, in order, each once, at least one; an IP address is its own answer.
    ///
    /// IPv6 addresses are left out where this node has no route to the first of them and the name has IPv4 addresses
    /// too, as with getaddrinfo's AI_ADDRCONFIG: a service is not down because its monitor speaks IPv4 only.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.resolve(host).await,
        }
    }

    /// Opens a connection. Small writes are sent at once.
    ///
    /// # Errors
    /// What connect(2) said.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// getaddrinfo(3).
struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a, Result<Vec<IpAddr>, ResolveError>> {
        let host = host.to_owned();
        Box::pin(async move {
            let permit = Arc::clone(&self.lookups)
                .acquire_owned()
                .await
                .map_err(|closed| ResolveError::Local(io::Error::other(closed)))?;
            tokio::task::spawn_blocking(move || {
                let answer = look_up(&host);
                drop(permit);
                answer
            })
            .await
            .map_err(|panicked| ResolveError::Local(io::Error::other(panicked)))?
        })
    }
}

fn look_up(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    // In the resolver's order, which is the order of preference (RFC 6724), each once.
    let mut seen = BTreeSet::new();
    let found = (host, 0)
        .to_socket_addrs()
        .map_err(resolve_error)?
        .map(|address| address.ip())
        .filter(|address| seen.insert(*address))
        .collect();
    let addresses = usable(found, has_route);
    if addresses.is_empty() {
        return Err(ResolveError::NoAddress);
    }
    Ok(addresses)
}

/// What std makes of getaddrinfo's result: EAI_SYSTEM keeps its errno, every other code only its text. The texts of
/// glibc and musl for "no such name" and "no address" are known here (neither is translated without setlocale(3), which
/// this program never calls); whatever else is said, the resolver did not answer the question.
fn resolve_error(error: io::Error) -> ResolveError {
    const NO_ADDRESS: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    if error.raw_os_error().is_some() {
        return ResolveError::Local(error);
    }
    let text = error.to_string();
    if NO_ADDRESS.iter().any(|meaning| text.ends_with(meaning)) {
        return ResolveError::NoAddress;
    }
    ResolveError::Resolver(error)
}

fn usable(mut found: Vec<IpAddr>, has_route: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    let first_v6 = found.iter().copied().find(IpAddr::is_ipv6);
    let has_v4 = found.iter().any(IpAddr::is_ipv4);
    if has_v4 && first_v6.is_some_and(|address| !has_route(address)) {
        found.retain(IpAddr::is_ipv4);
    }
    found
}

/// Whether the kernel knows a way; connecting a datagram socket sends nothing. In doubt there is one.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let tried = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, 53)));
    !tried.is_err_and(|error| {
        use rustix::io::Errno;
        [Errno::NETUNREACH, Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let net = Net::of_this_machine();
        assert_eq!(net.resolve("::1").await.unwrap(), addresses(&["::1"]));
        let local = net.resolve("localhost").await.unwrap();
        assert!(local.iter().all(IpAddr::is_loopback) && !local.is_empty());
    }

    #[test]
    fn only_the_known_answers_mean_that_there_is_no_address() {
        let said = |text: &str| {
            resolve_error(io::Error::other(format!(
                "failed to lookup address information: {text}"
            )))
        };
        for text in ["Name or service not known", "Name does not resolve"] {
            assert!(matches!(said(text), ResolveError::NoAddress), "{text}");
        }
        for text in [
            "Temporary failure in name resolution",
            "Non-recoverable failure in name resolution",
            "Try again",
            "Name or service not known, perhaps",
        ] {
            assert!(matches!(said(text), ResolveError::Resolver(_)), "{text}");
        }
        let no_descriptor = io::Error::from(rustix::io::Errno::MFILE);
        assert!(matches!(
            resolve_error(no_descriptor),
            ResolveError::Local(_)
        ));
    }

    #[test]
    fn a_name_that_cannot_exist_is_never_a_local_trouble() {
        // RFC 6761 §6.4 reserves .invalid; without any resolver the answer is that nobody answered.
        assert!(matches!(
            look_up("vigie.invalid"),
            Err(ResolveError::NoAddress | ResolveError::Resolver(_))
        ));
    }

    #[test]
    fn ipv6_is_left_out_only_where_ipv4_remains_and_no_route_exists() {
        let both = addresses(&["2001:db8::1", "192.0.2.1"]);
        let v6 = addresses(&["2001:db8::1"]);
        let no_v6 = |address: IpAddr| address.is_ipv4();
        assert_eq!(usable(both.clone(), no_v6), addresses(&["192.0.2.1"]));
        assert_eq!(usable(both.clone(), |_| true), both);
        assert_eq!(usable(v6, no_v6), addresses(&["2001:db8::1"]));
        assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    }
}
