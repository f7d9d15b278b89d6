//! `remote_write` and `[metrics_spool]`: where samples go besides the collector, and how much of them may wait.

use std::{collections::BTreeSet, time::Duration};

use vigie_core::id::is_configured_name;
use vigie_platform::{
    clock::whole_ms,
    error_chain::chain,
    settings_file::{Complaint, LoadedSettings, SecretFile, Section},
    tls::load_certificates,
};

use super::readable;
use crate::metrics_lane::{COLLECTOR, Credential, Limits, RemoteWrite};

/// Receivers besides the collector. Each keeps a spool of its own, and every cycle costs a write to each.
const DESTINATIONS_MAX: usize = 4;

/// Two segments: the one written, and one that can go.
const BYTES_MIN: u64 = 2 * 1024 * 1024;

/// More would be a database.
const BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Younger samples than this are wanted after any restart of a receiver.
const AGE_MIN: Duration = Duration::from_secs(60);

/// Receivers take no samples that are older.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

pub(super) fn read_limits(section: Section<'_>) -> Limits {
    let default = Limits::default();
    let bytes = section.str("bytes").try_map(|text| read_bytes(&text));
    let age = section.duration("age").within(AGE_MIN..=AGE_MAX);
    let limits = Limits {
        bytes: bytes.or(default.bytes),
        age_ms: age.optional().map_or(default.age_ms, whole_ms),
    };
    section.finish();
    limits
}

fn read_bytes(text: &str) -> Result<u64, Complaint> {
    const MEND: &str = "write a size from \"2MiB\" to \"16GiB\"";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: Option<u64> = match text.get(digits.len()..) {
        Some("KiB") => Some(1024),
        Some("MiB") => Some(1024 * 1024),
        Some("GiB") => Some(1024 * 1024 * 1024),
        _ => None,
    };
    let bytes = digits
        .trim_end()
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit))
        .ok_or_else(|| Complaint::new(format!("{text:?} is not a size"), MEND))?;
    if (BYTES_MIN..=BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(Complaint::new(format!("{text} is out of bounds"), MEND))
    }
}

pub(super) fn read_remote_write(
    loaded: &LoadedSettings,
    root: &Section<'_>,
) -> Option<Vec<RemoteWrite>> {
    let sections = root.array_of_tables("remote_write");
    if let Some(one_too_many) = sections.get(DESTINATIONS_MAX) {
        loaded.mistake(
            one_too_many.place(),
            format!("{} receivers of samples are too many", sections.len()),
            format!("keep at most {DESTINATIONS_MAX}"),
        );
    }
    let mut seen = BTreeSet::new();
    let read: Vec<_> = sections
        .into_iter()
        .map(|section| {
            let read = read_destination(&section, &mut seen);
            section.finish();
            read
        })
        .collect();
    read.into_iter().collect()
}

fn read_destination(section: &Section<'_>, seen: &mut BTreeSet<String>) -> Option<RemoteWrite> {
    let name = section
        .str("name")
        .try_map(|name| {
            if !is_configured_name(&name) {
                return Err(Complaint::new(
                    format!("{name:?} is not a name"),
                    "write a name such as \"mimir\": lower-case letters, digits, `.`, `_`, `-`",
                ));
            }
            if name == COLLECTOR {
                return Err(Complaint::new(
                    "this is what the collector is called",
                    "write another name; the collector is sent all samples anyway",
                ));
            }
            if !seen.insert(name.clone()) {
                return Err(Complaint::new(
                    format!("{name:?} is named twice"),
                    "write a name of its own for each",
                ));
            }
            Ok(name)
        })
        .required();
    let url = section
        .url("url", &["https", "http"])
        .try_map(|url| {
            if url.scheme() == "http" && !is_this_machine(url.host()) {
                return Err(Complaint::new(
                    "samples would travel without encryption",
                    "write an address with https://; http:// is for this machine only",
                ));
            }
            Ok(url)
        })
        .required();
    let ca_file = section
        .path("ca_file")
        .try_map(|path| match load_certificates(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(Complaint::new(
                chain(&error),
                "write the path of a PEM file of certificate authorities",
            )),
        })
        .optional();
    if ca_file.is_some() && url.as_ref().is_some_and(|url| url.scheme() == "http") {
        let what = "`ca_file`: this receiver never speaks TLS";
        section.mistake("ca_file", what, "remove it, or write a `url` with https://");
    }
    let header = section.secret_file("header_file").try_map(readable);
    let header = header.try_map(a_header).optional();
    let bearer = section.secret_file("bearer_file").try_map(readable);
    let bearer = bearer.try_map(a_token).optional();
    if section.has("header_file") && section.has("bearer_file") {
        let what = "`header_file` and `bearer_file` are both written";
        section.mistake("bearer_file", what, "keep one of the two");
    }
    Some(RemoteWrite {
        name: name?.into(),
        url: url?,
        ca_file,
        credential: header
            .map(Credential::Header)
            .or(bearer.map(Credential::Bearer)),
    })
}

fn a_header(file: SecretFile) -> Result<SecretFile, Complaint> {
    match Credential::Header(file.clone()).read() {
        Ok(_) => Ok(file),
        Err(why) => Err(Complaint::new(why, "put one line `Name: value` into it")),
    }
}

fn a_token(file: SecretFile) -> Result<SecretFile, Complaint> {
    match Credential::Bearer(file.clone()).read() {
        Ok(_) => Ok(file),
        Err(why) => Err(Complaint::new(why, "put the token alone into it")),
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::settings::{Settings, load};

    /// Settings with `more` in them, beside a secret of each kind.
    fn read(more: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let text = more.replace("{dir}", &place);
        for (name, text, mode) in [
            (
                "agent.toml",
                format!("collectors = [\"https://c.example\"]\n{text}\n"),
                0o600,
            ),
            ("header", "X-Scope-OrgID: dossier\n".to_owned(), 0o600),
            ("token", "s3cret\n".to_owned(), 0o600),
            ("open", "s3cret\n".to_owned(), 0o644),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode))
                .unwrap();
        }
        let none: [(String, String); 0] = [];
        load(&folder.path().join("agent.toml"), none)
            .map_err(|mistakes| mistakes.to_string().replace(&place, ""))
    }

    #[test]
    fn receivers_are_read_with_their_secrets_and_the_spool_with_its_bounds() {
        let settings = read(
            "remote_write = [\n\
             { name = \"mimir\", url = \"https://mimir.example/api/v1/push\", header_file = \"{dir}/header\" },\n\
             { name = \"local\", url = \"http://127.0.0.1:8428/api/v1/write\", bearer_file = \"{dir}/token\" }]\n\
             [metrics_spool]\nbytes = \"8MiB\"\nage = \"6h\"",
        )
        .unwrap();
        let names: Vec<&str> = settings.remote_write.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["mimir", "local"]);
        assert!(matches!(
            settings.remote_write[0].credential,
            Some(Credential::Header(_))
        ));
        assert_eq!(settings.metrics_spool.bytes, 8 * 1024 * 1024);
        assert_eq!(settings.metrics_spool.age_ms, 6 * 3_600_000);
        let debug = format!("{:?}", settings.remote_write);
        assert!(!debug.contains("s3cret"), "{debug}");
        let nothing = read("").unwrap();
        assert!(nothing.remote_write.is_empty());
        assert_eq!(nothing.metrics_spool, Limits::default());
    }

    #[test]
    fn each_mistake_says_what_to_write_instead() {
        for (text, told) in [
            (
                "remote_write = [{ name = \"a\", url = \"http://mimir.example/\" }]",
                "samples would travel without encryption; write an address with https://",
            ),
            (
                "remote_write = [{ name = \"a\", url = \"https://me:pw@mimir.example/\" }]",
                "the address holds a user or a password",
            ),
            (
                "remote_write = [{ name = \"A b\", url = \"https://m.example/\" }]",
                "\"A b\" is not a name",
            ),
            (
                "remote_write = [{ name = \"collector\", url = \"https://m.example/\" }]",
                "this is what the collector is called",
            ),
            (
                "remote_write = [{ name = \"a\", url = \"https://m.example/\" }, { name = \"a\", url = \"https://n.example/\" }]",
                "\"a\" is named twice",
            ),
            (
                "remote_write = [{ name = \"a\", url = \"https://m.example/\", bearer_file = \"{dir}/open\" }]",
                "lets others in",
            ),
            (
                "remote_write = [{ name = \"a\", url = \"https://m.example/\", header_file = \"{dir}/token\" }]",
                "holds no header; put one line `Name: value` into it",
            ),
            (
                "remote_write = [{ name = \"a\", url = \"https://m.example/\", header_file = \"{dir}/header\", bearer_file = \"{dir}/token\" }]",
                "are both written; keep one of the two",
            ),
            (
                "remote_write = [{ url = \"https://m.example/\", token = \"s3cret\" }]",
                "`name` is missing",
            ),
            (
                "[metrics_spool]\nbytes = \"1MiB\"",
                "1MiB is out of bounds; write a size from \"2MiB\" to \"16GiB\"",
            ),
            (
                "[metrics_spool]\nbytes = \"lots\"",
                "\"lots\" is not a size",
            ),
            ("[metrics_spool]\nage = \"5s\"", "5s is out of bounds"),
        ] {
            let Err(mistakes) = read(text) else {
                panic!("{text} is accepted");
            };
            assert!(mistakes.contains(told), "{text}: {mistakes}");
            assert!(!mistakes.contains("s3cret"), "{mistakes}");
        }
    }
}
