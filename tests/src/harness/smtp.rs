//! A real mail server (Debian's aiosmtpd) with STARTTLS and a login, that can fail in every way a mail server fails.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually, own_address,
    program::{Program, command},
};

/// The program; see there what it can be told.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/smtp_server.py");

const PASSWORD: &str = "s3cret of the scenario";

/// How the server behaves towards a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailManner {
    /// Takes it and says so.
    Accepts,
    /// Reads it and answers with this code.
    Answers(u16),
    /// Answers the recipient with this code.
    RefusesRecipients(u16),
    /// Reads it and never answers.
    Hangs,
    /// Takes it, and is killed before the answer is out.
    Dies,
}

/// One mail as the server saw it.
#[derive(Debug, Clone)]
pub struct SeenMail {
    /// Everything about it; see the server.
    pub seen: Value,
}

impl SeenMail {
    /// A header, unfolded and decoded; empty when there is none. Its name is written in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.seen["headers"][name].as_str().unwrap_or_default()
    }

    /// A member of [`SeenMail::seen`] that is text.
    #[must_use]
    pub fn word(&self, member: &str) -> &str {
        self.seen[member].as_str().unwrap_or_default()
    }

    /// Whether the server took it, also if nobody heard of that.
    #[must_use]
    pub fn was_taken(&self) -> bool {
        matches!(self.word("manner"), "accepts" | "dies")
    }
}

/// The mail server. Killed and removed when dropped.
#[derive(Debug)]
pub struct MailServer {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Option<Program>,
    dir: TempDir,
    address: SocketAddr,
}

impl MailServer {
    /// Starts one that accepts.
    ///
    /// # Panics
    /// When aiosmtpd is not installed (`make test` installs it) or does not start.
    pub async fn start() -> Self {
        let mut server = Self {
            program: None,
            dir: tempfile::tempdir().expect("a temporary folder"),
            address: (own_address(), 5587).into(),
        };
        server.write_certificates();
        server.set_password(PASSWORD);
        fs::write(server.path("password"), PASSWORD).expect("a password can be written");
        server.behave(MailManner::Accepts);
        server.restart().await;
        server
    }

    /// The tables that make it the channel `mail`, and `name` a receiver of it.
    #[must_use]
    pub fn as_receiver(&self, name: &str) -> String {
        self.as_channel()
            + &format!("[receiver.{name}]\nemail = {{ to = [\"{name}@chu.example\"] }}\n")
    }

    /// The table that makes it the channel `mail`.
    #[must_use]
    pub fn as_channel(&self) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        let (password, authority) = (self.path("login"), self.path("authority.pem"));
        let (password, authority) = (password.display(), authority.display());
        format!(
            "[channel.mail]\n\
             smtp = {{ host = \"{host}\", port = {port}, user = \"vigie\", password_file = \"{password}\", \
             from = \"vigie@chu.example\", ca_file = \"{authority}\" }}\n"
        )
    }

    /// Writes the password that the collector is told of; the server's own stays.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_password(&self, password: &str) {
        let path = self.path("login");
        fs::write(&path, password).expect("a password can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    }

    /// The password that the server knows.
    pub fn set_good_password(&self) {
        self.set_password(PASSWORD);
    }

    /// From the next message on it behaves like this.
    ///
    /// # Panics
    /// When its folder is gone.
    pub fn behave(&self, manner: MailManner) {
        let words = match manner {
            MailManner::Accepts => "accepts".to_owned(),
            MailManner::Answers(code) => format!("answers {code}"),
            MailManner::RefusesRecipients(code) => format!("refuses {code}"),
            MailManner::Hangs => "hangs".to_owned(),
            MailManner::Dies => "dies".to_owned(),
        };
        // Never half a word: the server reads it whenever a message comes.
        let (new, path) = (self.path("manner.new"), self.path("manner"));
        fs::write(&new, words).expect("a manner can be written");
        fs::rename(new, path).expect("a manner can be put in its place");
    }

    /// Every mail it saw whole, in order, also what it did not accept.
    ///
    /// # Panics
    /// When a line of its journal is no JSON.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenMail> {
        let journal = fs::read_to_string(self.path("mail")).unwrap_or_default();
        // A line that is being written has no end yet.
        journal
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| SeenMail {
                seen: serde_json::from_str(line).expect("the server writes JSON"),
            })
            .collect()
    }

    /// What it took, in order.
    #[must_use]
    pub fn taken(&self) -> Vec<SeenMail> {
        let mut seen = self.seen();
        seen.retain(SeenMail::was_taken);
        seen
    }

    /// Waits until it took a mail whose subject has `part`, and returns the first.
    pub async fn takes(&self, part: &str) -> SeenMail {
        eventually(&format!("a mail about {part:?} is taken"), async || {
            let taken = self.taken();
            let subjects: Vec<&str> = taken.iter().map(|mail| mail.header("subject")).collect();
            match taken
                .iter()
                .find(|mail| mail.header("subject").contains(part))
            {
                Some(mail) => Ok(mail.clone()),
                None => Err(format!("{subjects:?}")),
            }
        })
        .await
    }

    /// Waits until it took so many mails, and returns them.
    pub async fn takes_so_many(&self, count: usize) -> Vec<SeenMail> {
        eventually(&format!("{count} mails are taken"), async || {
            let taken = self.taken();
            if taken.len() >= count {
                Ok(taken)
            } else {
                Err(format!("{taken:?}"))
            }
        })
        .await
    }

    /// Waits until it saw a mail while it behaved so that it did not take it.
    pub async fn turns_away(&self) -> SeenMail {
        eventually("a mail is turned away", async || {
            let seen = self.seen();
            let turned_away = seen.iter().find(|mail| !mail.was_taken());
            turned_away.cloned().ok_or_else(|| format!("{seen:?}"))
        })
        .await
    }

    /// Waits until it has ended by itself ([`MailManner::Dies`]).
    ///
    /// # Panics
    /// When it does not run.
    pub async fn dies(&mut self) {
        let mut program = self.program.take().expect("the mail server runs");
        program.ended().await;
    }

    /// Starts it again and waits until it answers.
    pub async fn restart(&mut self) {
        let mut server = command("/usr/bin/python3");
        server
            .arg(SERVER)
            .arg(self.dir.path())
            .arg(self.address.ip().to_string())
            .arg(self.address.port().to_string());
        let log = self.path("log");
        self.program = Some(Program::start("mail server", server, &log));
        let address = self.address;
        eventually("the mail server answers", async || {
            if let Some(program) = &mut self.program {
                assert!(program.is_running(), "it ended:\n{}", program.log());
            }
            match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Ok(()),
                Err(cause) => Err(cause.to_string()),
            }
        })
        .await;
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_certificates(&self) {
        let key = || KeyPair::generate().expect("keys can be made");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority of the scenario");
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("a good authority");
        let own_key = key();
        let certificate = CertificateParams::new([self.address.ip().to_string()])
            .and_then(|params| params.signed_by(&own_key, &authority))
            .expect("an address can be certified");
        for (name, pem) in [
            ("authority.pem", authority.pem()),
            ("certificate.pem", certificate.pem()),
            ("key.pem", own_key.serialize_pem()),
        ] {
            fs::write(self.path(name), pem).expect("certificates can be written");
        }
    }
}
