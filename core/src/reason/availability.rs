//! Reasons of the availability family: `http` and `tcp`.

use super::reasons;

reasons! { Availability;
    /// The answer was as expected.
    HTTP_OK = "http.ok" { "got": Integer, "total_ms": Integer }
    /// The answer's status code is not one of those expected.
    HTTP_STATUS = "http.status" { "got": Integer, "expected": Integers }
    /// The body lacks the text it must have.
    HTTP_BODY_MISSING = "http.body_missing" { "got": Integer, "body_bytes": Integer }
    /// The body has the text it must not have.
    HTTP_BODY_FORBIDDEN = "http.body_forbidden" { "got": Integer, "body_bytes": Integer }
    /// The body is longer than the check reads, and what was read decides nothing.
    HTTP_BODY_TOO_LONG = "http.body_too_long" { "got": Integer, "read_bytes": Integer }
    /// More redirects than allowed, or a loop.
    HTTP_REDIRECTS = "http.redirects" { "followed": Integer }
    /// A redirect leads where the check may not follow.
    HTTP_REDIRECT_REFUSED = "http.redirect_refused" { "got": Integer }
    /// The peer's bytes are not HTTP, or it closed in the middle.
    HTTP_PROTOCOL = "http.protocol" { "phase": Word }
    /// The connection opened and the expected bytes came.
    TCP_OK = "tcp.ok" { "total_ms": Integer }
    /// The connection opened but the expected bytes did not come.
    TCP_EXPECT = "tcp.expect" { "read_bytes": Integer }
    /// The peer closed before it said what was expected.
    TCP_CLOSED = "tcp.closed" { "read_bytes": Integer }
    /// The name has addresses; each is an object of its own.
    NET_RESOLVED = "net.resolved" { "addresses": Integer }
    /// The name has more addresses than one check asks; the rest went unasked.
    NET_TOO_MANY_ADDRESSES = "net.too_many_addresses" { "found": Integer, "asked": Integer }
    /// The name has no address.
    NET_NO_ADDRESS = "net.no_address" {}
    /// The resolver did not answer: nothing can be said about the service.
    NET_RESOLVER = "net.resolver" { "after_ms": Integer }
    /// The peer refused the connection.
    NET_REFUSED = "net.refused" {}
    /// No route, network or host unreachable.
    NET_UNREACHABLE = "net.unreachable" {}
    /// The connection was reset.
    NET_RESET = "net.reset" { "phase": Word }
    /// The deadline passed.
    NET_TIMEOUT = "net.timeout" { "phase": Word, "after_ms": Integer }
    /// This node could not open a socket: nothing can be said about the service.
    NET_LOCAL = "net.local" { "errno": Integer }
    /// The TLS handshake failed.
    TLS_HANDSHAKE = "tls.handshake" { "why": Word }
    /// The certificate is not valid for this name or not trusted here.
    TLS_CERTIFICATE = "tls.certificate" { "why": Word, "not_after": Time }
    /// This node trusts no certificate authority: nothing can be said about the service.
    TLS_NO_ROOTS = "tls.no_roots" {}
}
