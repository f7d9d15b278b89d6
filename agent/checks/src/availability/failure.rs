//! Why a probe got no answer: from what the system, the resolver or TLS said to a reason of the closed list.

use std::io;

use rustix::io::Errno;
use vigie_core::{
    observation::Observation, reason::availability as reason, status::Status, time::Wall,
};
use vigie_machine::{
    net::ResolveError,
    tls::{certificate_word, handshake_word},
};

use super::phase::Phase;

/// Why there is no answer to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The name has no address.
    NoAddress,
    /// The resolver did not answer.
    Resolver {
        /// How long it was given.
        after_ms: u64,
    },
    /// The peer refused the connection.
    Refused,
    /// No way to the peer.
    Unreachable,
    /// The peer broke the connection off.
    Reset {
        /// What the probe was waiting for.
        phase: Phase,
    },
    /// Time ran out.
    Timeout {
        /// What the probe was waiting for.
        phase: Phase,
        /// How long the probe had run.
        after_ms: u64,
    },
    /// This node could not ask.
    Local {
        /// What the system said; 0 if it has no number.
        errno: i32,
    },
    /// TLS could not be agreed on.
    Handshake {
        /// A word of [`handshake_word`], or `closed`.
        why: &'static str,
    },
    /// The certificate was not accepted.
    Certificate {
        /// A word of [`certificate_word`].
        why: &'static str,
        /// The end of its validity, where it could be read.
        not_after: Option<Wall>,
    },
    /// This node trusts no certificate authority.
    NoRoots,
    /// The peer's bytes are not HTTP, or end too early. A check that takes any bytes never sees this.
    Protocol {
        /// What the probe was waiting for.
        phase: Phase,
    },
}

impl Failure {
    /// What an I/O error in `phase`, `after_ms` into the probe, says. Only errors that speak of the peer or the way to
    /// it are held against the service; all others are this node's own.
    #[must_use]
    pub fn of_io(error: &io::Error, phase: Phase, after_ms: u64) -> Self {
        use io::ErrorKind as Kind;
        let tls = error.get_ref().and_then(|cause| cause.downcast_ref());
        if let Some(error) = tls {
            return Self::of_tls(error, phase);
        }
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::NetworkDown => {
                Self::Unreachable
            }
            // The last is what a socket says that was broken off before we looked at it.
            Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected => Self::Reset { phase },
            Kind::TimedOut => Self::Timeout { phase, after_ms },
            Kind::UnexpectedEof if phase == Phase::Tls => Self::Handshake { why: "closed" },
            Kind::UnexpectedEof | Kind::InvalidData => Self::Protocol { phase },
            _ => match error.raw_os_error() {
                Some(errno) if errno == Errno::HOSTDOWN.raw_os_error() => Self::Unreachable,
                errno => Self::Local {
                    errno: errno.unwrap_or(0),
                },
            },
        }
    }

    fn of_tls(error: &rustls::Error, phase: Phase) -> Self {
        match (error, handshake_word(error)) {
            (rustls::Error::InvalidCertificate(error), _) => Self::Certificate {
                why: certificate_word(error),
                not_after: None,
            },
            // In TLS 1.3 a server that misses our certificate says so only after its side of the handshake.
            (rustls::Error::AlertReceived(_), Some(why)) => Self::Handshake { why },
            (_, Some(why)) if phase == Phase::Tls => Self::Handshake { why },
            _ => Self::Protocol { phase },
        }
    }

    /// What the resolver said after `after_ms`.
    #[must_use]
    pub fn of_resolve(error: &ResolveError, after_ms: u64) -> Self {
        match error {
            ResolveError::NoAddress => Self::NoAddress,
            ResolveError::Resolver(_) => Self::Resolver { after_ms },
            ResolveError::Local(error) => Self::Local {
                errno: error.raw_os_error().unwrap_or(0),
            },
        }
    }

    /// Time ran out in `phase`.
    #[must_use]
    pub const fn of_deadline(phase: Phase, after_ms: u64) -> Self {
        match phase {
            Phase::Resolve => Self::Resolver { after_ms },
            Phase::Connect | Phase::Tls | Phase::FirstByte | Phase::Body => {
                Self::Timeout { phase, after_ms }
            }
        }
    }

    /// The observation that says so, without object.
    #[must_use]
    pub fn observation(self) -> Observation {
        let critical = |reason| Observation::new(Status::Critical, reason);
        let unknown = |reason| Observation::new(Status::Unknown, reason);
        match self {
            Self::NoAddress => critical(reason::NET_NO_ADDRESS),
            Self::Resolver { after_ms } => unknown(reason::NET_RESOLVER).fact("after_ms", after_ms),
            Self::Refused => critical(reason::NET_REFUSED),
            Self::Unreachable => critical(reason::NET_UNREACHABLE),
            Self::Reset { phase } => critical(reason::NET_RESET).fact("phase", phase.as_str()),
            Self::Timeout { phase, after_ms } => critical(reason::NET_TIMEOUT)
                .fact("phase", phase.as_str())
                .fact("after_ms", after_ms),
            Self::Local { errno } => unknown(reason::NET_LOCAL).fact("errno", i64::from(errno)),
            Self::Handshake { why } => critical(reason::TLS_HANDSHAKE).fact("why", why),
            Self::Certificate { why, not_after } => {
                let observation = critical(reason::TLS_CERTIFICATE).fact("why", why);
                match not_after {
                    Some(not_after) => observation
                        .fact("not_after", vigie_core::observation::Fact::Time(not_after)),
                    None => observation,
                }
            }
            Self::NoRoots => unknown(reason::TLS_NO_ROOTS),
            Self::Protocol { phase } => {
                critical(reason::HTTP_PROTOCOL).fact("phase", phase.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_node_lacks_is_unknown_and_never_held_against_the_service() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::ACCESS,
            Errno::PERM,
            Errno::AFNOSUPPORT,
        ] {
            let failure = Failure::of_io(&errno.into(), Phase::Connect, 1);
            let number = errno.raw_os_error();
            assert_eq!(failure, Failure::Local { errno: number }, "{errno:?}");
            assert_eq!(failure.observation().status, Status::Unknown);
        }
    }

    #[test]
    fn what_the_peer_or_the_way_to_it_did_is_critical() {
        let phase = Phase::FirstByte;
        for (errno, expected) in [
            (Errno::CONNREFUSED, Failure::Refused),
            (Errno::NETUNREACH, Failure::Unreachable),
            (Errno::HOSTUNREACH, Failure::Unreachable),
            (Errno::HOSTDOWN, Failure::Unreachable),
            (Errno::CONNRESET, Failure::Reset { phase }),
            (Errno::PIPE, Failure::Reset { phase }),
            (Errno::TIMEDOUT, Failure::Timeout { phase, after_ms: 9 }),
        ] {
            let failure = Failure::of_io(&errno.into(), phase, 9);
            assert_eq!(failure, expected, "{errno:?}");
            assert_eq!(failure.observation().status, Status::Critical);
        }
    }

    #[test]
    fn a_silent_resolver_is_unknown_and_an_absent_name_is_critical() {
        let silent = Failure::of_deadline(Phase::Resolve, 2_500);
        assert_eq!(silent, Failure::Resolver { after_ms: 2_500 });
        assert_eq!(silent.observation().status, Status::Unknown);
        let absent = Failure::of_resolve(&ResolveError::NoAddress, 3);
        assert_eq!(absent.observation().status, Status::Critical);
        let local = ResolveError::Local(Errno::MFILE.into());
        assert_eq!(Failure::of_resolve(&local, 3), Failure::Local { errno: 24 });
    }

    #[test]
    fn an_alert_is_told_in_whatever_phase_it_comes() {
        let alert = |alert| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                rustls::Error::AlertReceived(alert),
            )
        };
        let required = alert(rustls::AlertDescription::CertificateRequired);
        assert_eq!(
            Failure::of_io(&required, Phase::FirstByte, 0),
            Failure::Handshake {
                why: "alert_certificate_required"
            }
        );
        let garbled = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(
            Failure::of_io(&garbled, Phase::Body, 0),
            Failure::Protocol { phase: Phase::Body }
        );
    }
}
