//! Commands that need no running collector: `init`, `check-config`.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::Args;
use vigie_core::time::Wall;
use vigie_platform::{
    clock::{Clock as _, SystemClock},
    error_chain::chain,
    process::Exit,
};

use super::coverage;
use crate::{
    identity::{Pki, authority::ServerNames},
    settings,
};

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where collector.toml and the data folder are made
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Names and addresses by which agents reach this collector
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    host: Vec<String>,
    /// Address to listen on for agents
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9443")]
    listen: std::net::SocketAddr,
    /// Address of the collector's own metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9477")]
    metrics_listen: std::net::SocketAddr,
}

pub(super) fn check_config(config: &Path, variables: Vec<(OsString, OsString)>) -> Exit {
    match settings::load(config, variables) {
        Ok(settings) => {
            println!("{}: no mistakes\n{}", config.display(), settings.summary());
            for warning in coverage::warnings(&settings, SystemClock.wall()) {
                println!("warning    {warning}");
            }
            if settings.rules.routes.is_empty() {
                println!(
                    "No [[route]] and no [receiver.N]: alerts are kept and shown by `status`, nobody is told."
                );
            }
            Exit::Ok
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            Exit::Usage
        }
    }
}

pub(super) fn init(init: &Init) -> Exit {
    match try_init(init, SystemClock.wall()) {
        Ok(config) => {
            println!(
                "Made {} and {}.",
                config.display(),
                init.dir.join("data").display()
            );
            println!("Next: vigie-collector --config {} run", config.display());
            Exit::Ok
        }
        Err(why) => {
            eprintln!("{why}");
            Exit::Usage
        }
    }
}

fn try_init(init: &Init, now: Wall) -> Result<PathBuf, String> {
    let names = ServerNames::parse(init.host.iter().map(String::as_str))
        .map_err(|cause| format!("cannot use --host: {cause}"))?;
    let data_dir = init.dir.join("data");
    fs::create_dir_all(&init.dir)
        .map_err(|cause| format!("cannot make {}: {cause}", init.dir.display()))?;
    let data_dir = match fs::DirBuilder::new().mode(0o700).create(&data_dir) {
        Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(format!("cannot make {}: {cause}", data_dir.display()));
        }
        _ => data_dir
            .canonicalize()
            .map_err(|cause| format!("cannot use {}: {cause}", data_dir.display()))?,
    };
    let config = init.dir.join("collector.toml");
    if config.exists() {
        return Err(format!(
            "{} exists already; remove it, or choose another --dir",
            config.display()
        ));
    }
    let domain = settings::domain_of(&init.host);
    Pki::create(&data_dir, names, &domain, now).map_err(|cause| chain(&cause))?;
    let text = first_settings(init, &data_dir, &domain);
    let write = |path: &Path| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write(&config).map_err(|cause| format!("cannot write {}: {cause}", config.display()))?;
    Ok(config)
}

fn first_settings(init: &Init, data_dir: &Path, domain: &str) -> String {
    let hosts: Vec<String> = init.host.iter().map(|host| format!("{host:?}")).collect();
    format!(
        r#"# Settings of vigie-collector. `vigie-collector check-config` reports every mistake.
data_dir = {data_dir:?}
listen = "{}"
metrics_listen = "{}"
host = [{}]
domain = {domain:?}
language = "fr"

# What users care about, which nodes may speak for it, and who is told:
#
# [service.dossier-patient]
# criticality = "critical"
# needs = {{ D = 4, I = 4, C = 4, T = 3 }}
#
# [group.app]
# nodes = ["app-01"]
# services = ["dossier-patient"]
#
# [receiver.astreinte]
# webhook = {{ url = "http://127.0.0.1:8080/" }}
#
# [[route]]
# notify = ["astreinte"]
"#,
        init.listen,
        init.metrics_listen,
        hosts.join(", "),
    )
}
