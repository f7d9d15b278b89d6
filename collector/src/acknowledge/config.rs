//! What whoever reads settings says of the links in messages. Plain data; the key of the port's certificate is a file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use vigie_platform::settings_file::SecretFile;

/// `[acknowledge]`: where links are answered, and what they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the links are answered.
    pub listen: SocketAddr,
    /// How the links begin, as people reach them: scheme, host and path, without a slash at the end.
    pub url: String,
    /// What the port speaks TLS with; `None`: it is on this machine, behind a server of the house.
    pub tls: Option<TlsFiles>,
    /// How long a link is good.
    pub lasts: Duration,
    /// How long an acknowledgement counts before the steps go on; `None`: until the alert ends.
    pub expires: Option<Duration>,
}

/// `tls = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, with the chain up to its CA, as PEM.
    pub certificate_file: PathBuf,
    /// The key that belongs to it, as PEM.
    pub key_file: SecretFile,
}
