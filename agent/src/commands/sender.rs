//! `sender`: wins and renews the identity of another program on this machine that sends metrics.

use std::path::{Path, PathBuf};

use vigie_core::{id::SenderName, remote_write::WRITE_PATH};
use vigie_platform::{
    clock::{Clock as _, SystemClock},
    process::Exit,
};

use super::{
    complain, complain_of,
    join::{exit_of, exit_of_request, own_name},
    runtime, show,
};
use crate::join::{
    self, Existing, RenewError,
    identity::Identity,
    sender::{CA_FILE, CERTIFICATE_FILE, KEY_FILE, Renewal, Sender},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Join the collector that made a token, and print what to write into prometheus.yml.
    ///
    /// Run it under the account that the program runs under: it alone can read the key.
    #[command(
        after_help = "Example:\n  install -d -m 0700 -o prometheus -g prometheus /etc/prometheus/vigie\n  sudo -u prometheus vigie-agent sender join --token-file token --name prometheus-01 --dir /etc/prometheus/vigie"
    )]
    Join(Join),
    /// Renew the certificate if it is time; otherwise say when it will be. `vigie-sender-renew@.timer` looks four times a day.
    #[command(
        after_help = "Example:\n  sudo -u prometheus vigie-agent sender renew --dir /etc/prometheus/vigie"
    )]
    Renew(Renew),
}

#[derive(Debug, clap::Args)]
pub(super) struct Join {
    /// The file that holds the token; never the token itself, which every account could read in the process list.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The sender's name, to which the token is bound. Without it: the first label of the host name.
    #[arg(long, value_name = "NAME")]
    name: Option<SenderName>,
    /// The folder for its identity. It belongs to the account that the program runs under.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Replace an identity that is there already, once the new one is complete.
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Renew {
    /// The folder of its identity.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn sender(command: &Command) -> Exit {
    match command {
        Command::Join(arguments) => join(arguments),
        Command::Renew(arguments) => renew(arguments),
    }
}

fn join(arguments: &Join) -> Exit {
    let Some(name) = arguments.name.clone().or_else(own_name) else {
        complain("this machine's host name is not a sender's name; write `--name NAME`");
        return Exit::Usage;
    };
    let token = match join::read_token(&arguments.token_file) {
        Ok(token) => token,
        Err(error) => {
            complain_of(&error);
            return Exit::Usage;
        }
    };
    // What is printed is read by a program with another working folder.
    let dir = match std::path::absolute(&arguments.dir) {
        Ok(dir) => dir,
        Err(error) => {
            complain(&format!("{}: {error}", arguments.dir.display()));
            return Exit::Usage;
        }
    };
    let joining = join::Join::<Sender> {
        token: &token,
        name: &name,
        dir: &dir,
        proxy: None,
        existing: if arguments.replace {
            Existing::Replace
        } else {
            Existing::Keep
        },
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Internal;
        }
    };
    match runtime.block_on(Box::pin(join::join(&joining))) {
        Ok(joined) => {
            show(&remote_write(&joined.identity, &dir));
            Exit::Ok
        }
        Err(error) => {
            complain_of(&error);
            exit_of(&error)
        }
    }
}

fn renew(arguments: &Renew) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Internal;
        }
    };
    let renewing = join::sender::renew(&arguments.dir, SystemClock.wall());
    match runtime.block_on(Box::pin(renewing)) {
        Ok(Renewal::NotDue(sender)) => {
            show(&format!(
                "not due: the certificate of {} is good until {} and will be renewed from {}",
                sender.name(),
                sender.not_after(),
                sender.renewal_due_at()
            ));
            Exit::Ok
        }
        Ok(Renewal::Renewed(sender)) => {
            show(&format!(
                "renewed: the certificate of {} is good until {}",
                sender.name(),
                sender.not_after()
            ));
            Exit::Ok
        }
        Err(error) => {
            complain_of(&error);
            exit_of_renewal(&error)
        }
    }
}

/// What to write into prometheus.yml, as YAML from the first to the last line.
fn remote_write(sender: &Identity<Sender>, dir: &Path) -> String {
    // JSON's strings are YAML's, whatever a folder is called.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let file = |name: &str| quoted(&dir.join(name).display().to_string());
    format!(
        "# {name} has joined {collector} until {until}. Let it be renewed:\n\
         #   systemctl enable --now 'vigie-sender-renew@{instance}.timer'\n\
         # In prometheus.yml:\n\
         remote_write:\n\
         \x20 - url: {url}\n\
         \x20   tls_config:\n\
         \x20     ca_file: {ca}\n\
         \x20     cert_file: {certificate}\n\
         \x20     key_file: {key}\n",
        name = sender.name(),
        collector = sender.collector_id(),
        until = sender.not_after(),
        instance = escaped(dir),
        url = quoted(&format!("{}{WRITE_PATH}", sender.url())),
        ca = file(CA_FILE),
        certificate = file(CERTIFICATE_FILE),
        key = file(KEY_FILE),
    )
}

/// A path as the instance name of a systemd unit: systemd.unit(5), "String escaping for inclusion in unit names".
fn escaped(dir: &Path) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};
    let parts: Vec<&[u8]> = dir
        .as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    let mut escaped = String::new();
    for (index, byte) in parts.join(&b'/').into_iter().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                escaped.push(char::from(byte));
            }
            other => {
                let _ = write!(escaped, "\\x{other:02x}");
            }
        }
    }
    if escaped.is_empty() {
        escaped.push('-');
    }
    escaped
}

fn exit_of_renewal(error: &RenewError) -> Exit {
    match error {
        RenewError::Request { source } => exit_of_request(source),
        RenewError::Answer { .. } => Exit::Finding,
        RenewError::NotJoined { .. }
        | RenewError::Folder { .. }
        | RenewError::Load { .. }
        | RenewError::Tls { .. }
        | RenewError::Keep { .. } => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_unit_as_systemd_escape_does() {
        for (dir, instance) in [
            ("/etc/prometheus/vigie", "etc-prometheus-vigie"),
            ("/etc//vigie sender/", "etc-vigie\\x20sender"),
            ("/var/lib/prom-1/é", "var-lib-prom\\x2d1-\\xc3\\xa9"),
            ("/.hidden/a.b", "\\x2ehidden-a.b"),
            ("/", "-"),
        ] {
            assert_eq!(escaped(Path::new(dir)), instance);
        }
    }
}
