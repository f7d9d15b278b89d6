//! A connection to a mail server: found, encrypted and greeted, with us logged in.
//!
//! The conversation is the mail library's; how it is encrypted is ours ([`vigie_platform::tls`]), and so are the lines
//! before that (RFC 3207). They are read strictly: whatever a server says after its last plain line would be taken for
//! the first answer in the encrypted part, and all that follow would be one off, up to taking the answer to `DATA` for
//! that to the message. Who is in between must not be able to make us believe that a page was accepted.
//!
//! Dropped, the connection is closed; a server forgets a message that it has not answered.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use lettre::transport::smtp::{
    self,
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, AsyncTokioStream},
    extension::ClientId,
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, lookup_host},
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use vigie_platform::settings_file::{ReadSecretError, SecretFile};

use crate::config::{Login, Smtp, SmtpTls};

/// How long one address of the server may take to answer a connection; then the next is tried, within the whole time of
/// the try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How many addresses of one server are tried.
const ADDRESSES_MAX: usize = 8;

/// How much a server may say in one connection, in bytes: a thousand times what it needs. The library reads a line to its
/// end, however long.
const SAID_LEN_MAX: usize = 256 * 1024;

/// How much a server may say before the connection is encrypted, in bytes.
const PLAIN_LEN_MAX: usize = 16 * 1024;

/// What the library is given instead of the greeting that was read before the connection was encrypted.
const GREETING: &[u8] = b"220 encrypted\r\n";

/// In this order; both send the password, which only an encrypted connection or this machine's own sees.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The name is not known or nothing answers.
    #[error("cannot connect to {host}:{port}")]
    Connect {
        /// The server.
        host: String,
        /// Its port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server's certificate or its TLS will not do.
    #[error("cannot encrypt the connection to {host}")]
    Encrypt {
        /// The server.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server does not offer to encrypt.
    #[error("{host} does not offer STARTTLS")]
    NoStarttls {
        /// The server.
        host: String,
    },
    /// Something came in plain text that belongs behind encryption.
    #[error("{host} said more than its answer to STARTTLS before the connection was encrypted")]
    Injected {
        /// The server.
        host: String,
    },
    /// The connection broke.
    #[error("the connection to {host} broke")]
    Broken {
        /// The server.
        host: String,
        /// How.
        #[source]
        source: io::Error,
    },
    /// What it says is no SMTP.
    #[error("{host} does not speak SMTP")]
    Malformed {
        /// The server.
        host: String,
    },
    /// The server says no before it was asked for anything.
    #[error("{host} answered {code}")]
    Answered {
        /// The server.
        host: String,
        /// Its reply code.
        code: u16,
    },
    /// The password cannot be read.
    #[error("cannot log in to {host}")]
    Password {
        /// The server.
        host: String,
        /// Why. Names the file.
        #[source]
        source: ReadSecretError,
    },
    /// The password is no text.
    #[error("the password for {host} is not UTF-8")]
    PasswordText {
        /// The server.
        host: String,
    },
    /// The library's conversation failed.
    #[error("the conversation with {host} failed")]
    Said {
        /// The server.
        host: String,
        /// How.
        #[source]
        source: smtp::Error,
    },
}

impl SmtpError {
    /// The reply code with which the server said no, if it did.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Answered { code, .. } => Some(*code),
            Self::Said { source, .. } => source.status().map(u16::from),
            Self::Connect { .. }
            | Self::Encrypt { .. }
            | Self::NoStarttls { .. }
            | Self::Injected { .. }
            | Self::Broken { .. }
            | Self::Malformed { .. }
            | Self::Password { .. }
            | Self::PasswordText { .. } => None,
        }
    }
}

/// How the connection is encrypted.
#[derive(Clone)]
pub(super) struct Encryption {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// Connects, encrypts and logs in. `encryption` is there unless the settings say `tls = "none"`.
pub(super) async fn connect(
    settings: &Smtp,
    encryption: Option<&Encryption>,
) -> Result<AsyncSmtpConnection, SmtpError> {
    let host = || settings.host.clone();
    let stream = reach(settings).await?;
    let own = stream.local_addr().map_err(|source| SmtpError::Broken {
        host: host(),
        source,
    })?;
    // An address is a good name too (RFC 5321 §4.1.3), and the only one that we know to be true.
    let hello = match own {
        SocketAddr::V4(own) => ClientId::Ipv4(*own.ip()),
        SocketAddr::V6(own) => ClientId::Ipv6(*own.ip()),
    };
    let peer = stream.peer_addr().map_err(|source| SmtpError::Broken {
        host: host(),
        source,
    })?;
    let (stream, before): (Box<dyn Stream>, &'static [u8]) = match (encryption, settings.tls) {
        (None, _) => (Box::new(stream), b""),
        (Some(encryption), SmtpTls::Starttls) => {
            let stream = ask_to_encrypt(stream, &hello, &settings.host).await?;
            (encrypt(encryption, stream, &settings.host).await?, GREETING)
        }
        (Some(encryption), SmtpTls::Tls | SmtpTls::None) => {
            (encrypt(encryption, stream, &settings.host).await?, b"")
        }
    };
    let said = |source| SmtpError::Said {
        host: host(),
        source,
    };
    let bounded = Box::new(Bounded {
        stream,
        peer,
        before,
        left: SAID_LEN_MAX,
    });
    let mut connection = AsyncSmtpConnection::connect_with_transport(bounded, &hello)
        .await
        .map_err(said)?;
    if let Some(login) = &settings.login {
        let credentials = credentials(login, &settings.host).await?;
        connection
            .auth(&MECHANISMS, &credentials)
            .await
            .map_err(said)?;
    }
    Ok(connection)
}

async fn reach(settings: &Smtp) -> Result<TcpStream, SmtpError> {
    let failed = |source| SmtpError::Connect {
        host: settings.host.clone(),
        port: settings.port,
        source,
    };
    let addresses = lookup_host((settings.host.as_str(), settings.port))
        .await
        .map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses.take(ADDRESSES_MAX) {
        last = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(cause)) => cause,
            Err(elapsed) => elapsed.into(),
        };
    }
    Err(failed(last))
}

async fn encrypt(
    encryption: &Encryption,
    stream: TcpStream,
    host: &str,
) -> Result<Box<dyn Stream>, SmtpError> {
    let connector = TlsConnector::from(Arc::clone(&encryption.config));
    match connector.connect(encryption.name.clone(), stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(source) => Err(SmtpError::Encrypt {
            host: host.to_owned(),
            source,
        }),
    }
}

async fn credentials(login: &Login, host: &str) -> Result<Credentials, SmtpError> {
    // Read now, so that a changed password counts from the next mail on.
    let file: SecretFile = login.password_file.clone();
    let read = spawn_blocking(move || file.read()).await;
    let secret = match read {
        Ok(Ok(secret)) => secret,
        Ok(Err(source)) => {
            return Err(SmtpError::Password {
                host: host.to_owned(),
                source,
            });
        }
        Err(join) => {
            return Err(SmtpError::Broken {
                host: host.to_owned(),
                source: join.into(),
            });
        }
    };
    let password = secret.expose_str().ok_or_else(|| SmtpError::PasswordText {
        host: host.to_owned(),
    })?;
    Ok(Credentials::new(login.user.clone(), password.to_owned()))
}

/// The plain part of STARTTLS, up to the server's word that TLS may begin.
async fn ask_to_encrypt(
    stream: TcpStream,
    hello: &ClientId,
    host: &str,
) -> Result<TcpStream, SmtpError> {
    let mut plain = Plain {
        stream,
        host,
        pending: Vec::new(),
        said_len: 0,
    };
    plain.expect(&[220]).await?;
    plain.say(&format!("EHLO {hello}\r\n")).await?;
    let offers = plain.expect(&[250]).await?;
    // The first line is the server's name.
    let is_offered = offers
        .iter()
        .skip(1)
        .any(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS"));
    if !is_offered {
        return Err(SmtpError::NoStarttls {
            host: host.to_owned(),
        });
    }
    plain.say("STARTTLS\r\n").await?;
    plain.expect(&[220]).await?;
    if !plain.pending.is_empty() {
        return Err(SmtpError::Injected {
            host: host.to_owned(),
        });
    }
    Ok(plain.stream)
}

/// A connection that is not encrypted yet.
struct Plain<'h> {
    stream: TcpStream,
    host: &'h str,
    /// Read and not yet looked at.
    pending: Vec<u8>,
    said_len: usize,
}

impl Plain<'_> {
    async fn say(&mut self, line: &str) -> Result<(), SmtpError> {
        let written = self.stream.write_all(line.as_bytes()).await;
        written.map_err(|source| self.broken(source))
    }

    /// The lines of one reply, if its code is one of these.
    async fn expect(&mut self, codes: &[u16]) -> Result<Vec<String>, SmtpError> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            // `250-text` goes on, `250 text` or `250` ends (RFC 5321 §4.2.1).
            let (code, rest) = line.split_at_checked(3).ok_or_else(|| self.malformed())?;
            let code: u16 = match code.parse() {
                Ok(code) if code >= 200 => code,
                _ => return Err(self.malformed()),
            };
            if !codes.contains(&code) {
                return Err(SmtpError::Answered {
                    host: self.host.to_owned(),
                    code,
                });
            }
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok(lines);
            }
        }
    }

    async fn line(&mut self) -> Result<String, SmtpError> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let line = String::from_utf8(line).map_err(|_| self.malformed())?;
                return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
            }
            let mut chunk = [0; 1024];
            let read = self.stream.read(&mut chunk).await;
            let len = match read {
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(len) => len,
                Err(source) => return Err(self.broken(source)),
            };
            self.said_len += len;
            if self.said_len > PLAIN_LEN_MAX {
                return Err(self.malformed());
            }
            self.pending.extend_from_slice(&chunk[..len]);
        }
    }

    fn malformed(&self) -> SmtpError {
        SmtpError::Malformed {
            host: self.host.to_owned(),
        }
    }

    fn broken(&self, source: io::Error) -> SmtpError {
        SmtpError::Broken {
            host: self.host.to_owned(),
            source,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection on which the other side may say only so much. `before` is read first, as if it had said that.
struct Bounded {
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    before: &'static [u8],
    left: usize,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let len = self.before.len().min(buffer.remaining());
            let (now, later) = self.before.split_at(len);
            buffer.put_slice(now);
            self.before = later;
            return Poll::Ready(Ok(()));
        }
        let had = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let len = buffer.filled().len() - had;
        match self.left.checked_sub(len) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server says too much"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
