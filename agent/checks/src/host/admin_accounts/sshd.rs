//! Who may log in with a key: the lines of every file that sshd_config(5) takes keys from.
//!
//! Every `AuthorizedKeysFile` counts, in files that are included and in `Match` blocks too: more files may be read than
//! sshd would, and none is left out. Where none is written, the two that sshd looks at by itself.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Account, FILE_LEN_MAX, Found, KEYS_LEN_MAX, MEMBERS_MAX, Place, Unreadable};

const CONFIG: &str = "/etc/ssh/sshd_config";

/// Where sshd looks by itself.
const DEFAULT: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

/// Files of settings that include each other.
const FILES_MAX: usize = 256;

/// Files of keys read in one run: the accounts of a large machine, two files each.
const KEY_FILES_MAX: usize = 20_000;

/// Folders that a service's sandbox hides (systemd.exec(5), `ProtectHome=`).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

pub(super) async fn found(place: &Place<'_>, accounts: &[Account]) -> Found {
    let mut found = Found::default();
    let patterns = match patterns(place).await {
        Ok(patterns) => patterns,
        Err(Unreadable) => {
            // Where else keys may come from is not known; the usual places are looked at all the same.
            found.unreadable += 1;
            DEFAULT.map(str::to_owned).to_vec()
        }
    };
    let hidden = hidden(place).await;
    let mut files = BTreeSet::new();
    let mut hidden_homes = BTreeSet::new();
    for account in accounts {
        for pattern in &patterns {
            match path(pattern, account) {
                Some(path) if hidden.iter().any(|hidden| path.starts_with(hidden)) => {
                    hidden_homes.insert(account.home.clone());
                }
                // Several accounts may share a home; its keys open each of them.
                Some(path) => drop(files.insert((path, account.name.clone()))),
                None => found.unreadable += 1,
            }
        }
    }
    found.unreadable += hidden_homes.len() as u64;
    if files.len() > KEY_FILES_MAX {
        found.unreadable += 1;
    }
    let mut denied = BTreeSet::new();
    for (path, account) in files.into_iter().take(KEY_FILES_MAX) {
        match place.text(&path, KEYS_LEN_MAX).await {
            Ok(Some(text)) => {
                let keys = text.lines().filter_map(key);
                found
                    .members
                    .extend(keys.map(|key| format!("{account} {key}").into_bytes()));
            }
            Ok(None) => {}
            // One home counts once, however many of its files are denied.
            Err(Unreadable) => drop(denied.insert((path.parent().map(Path::to_owned), account))),
        }
        if found.members.len() > MEMBERS_MAX {
            break;
        }
    }
    found.unreadable += denied.len() as u64;
    found.count = found.members.len() as u64;
    found
}

/// The values of every `AuthorizedKeysFile`.
async fn patterns(place: &Place<'_>) -> Result<Vec<String>, Unreadable> {
    let mut patterns = Vec::new();
    let mut waiting = vec![PathBuf::from(CONFIG)];
    let mut read = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !read.insert(path.clone()) {
            continue;
        }
        if read.len() > FILES_MAX {
            return Err(Unreadable);
        }
        let Some(text) = place.text(&path, FILE_LEN_MAX).await? else {
            continue;
        };
        for line in text.lines() {
            let line = line.trim().replacen('=', " ", 1);
            let mut words = line.split_whitespace().map(|word| word.trim_matches('"'));
            let keyword = words.next().unwrap_or_default();
            if keyword.eq_ignore_ascii_case("AuthorizedKeysFile") {
                let values = words.take_while(|word| !word.starts_with('#'));
                patterns.extend(values.map(str::to_owned));
            } else if keyword.eq_ignore_ascii_case("Include") {
                for word in words.take_while(|word| !word.starts_with('#')) {
                    waiting.extend(included(place, word).await?);
                }
            }
        }
    }
    patterns.sort();
    patterns.dedup();
    if patterns.is_empty() {
        patterns = DEFAULT.map(str::to_owned).to_vec();
    }
    // `none` turns keys off, unless another place turns them on.
    patterns.retain(|pattern| !pattern.eq_ignore_ascii_case("none"));
    Ok(patterns)
}

/// The files that one word of an `Include` names: a path, or one star in its last part.
async fn included(place: &Place<'_>, word: &str) -> Result<Vec<PathBuf>, Unreadable> {
    let path = Path::new("/etc/ssh").join(word);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let is_pattern = |text: &str| text.contains(['*', '?', '[']);
    if !is_pattern(word) {
        return Ok(vec![path]);
    }
    let Some((begin, end)) = name.split_once('*') else {
        return Err(Unreadable);
    };
    if is_pattern(begin) || is_pattern(end) || folder.to_str().is_none_or(is_pattern) {
        return Err(Unreadable);
    }
    let names = place.names(folder, FILES_MAX).await?;
    Ok(names
        .iter()
        .filter(|name| {
            name.len() >= begin.len() + end.len()
                && name.starts_with(begin)
                && name.ends_with(end)
                && (begin.starts_with('.') || !name.starts_with('.'))
        })
        .map(|name| folder.join(name))
        .collect())
}

/// Where the pattern is for this account (sshd_config(5), TOKENS); `None` if it has a token that is not known.
fn path(pattern: &str, account: &Account) -> Option<PathBuf> {
    let mut text = String::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match rest.next()? {
            '%' => text.push('%'),
            'h' => text.push_str(account.home.to_str()?),
            'u' => text.push_str(&account.name),
            'U' => text.push_str(&account.uid.to_string()),
            _ => return None,
        }
    }
    Some(account.home.join(text))
}

/// The folders of homes that this process does not see as they are, because an empty one lies over them.
async fn hidden(place: &Place<'_>) -> Vec<PathBuf> {
    let mounts = place.path(Path::new("/proc/self/mountinfo"));
    let read = place.context.files.read(&mounts, FILE_LEN_MAX).await;
    let text = read.unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| {
            let (fields, source) = line.split_once(" - ")?;
            let point = fields.split(' ').nth(4)?;
            (source.starts_with("tmpfs ") && HOMES.contains(&point)).then(|| point.into())
        })
        .collect()
}

/// One key with its options, without its comment, which says nothing of rights.
fn key(line: &str) -> Option<String> {
    const TYPES: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    // Options may hold quoted spaces.
    let mut words = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in line.chars() {
        if character.is_whitespace() && !is_quoted {
            if words.last().is_some_and(|word| !word.is_empty()) {
                words.push(String::new());
            }
            continue;
        }
        if character == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = character == '\\' && !is_escaped;
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    let is_type = |word: &String| TYPES.iter().any(|begin| word.starts_with(begin));
    match words.iter().position(is_type) {
        Some(position) => {
            words.truncate(position + 2);
            Some(words.join(" "))
        }
        // Whatever it is, a new one is a change.
        None => Some(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_options_its_type_and_itself() {
        let table = [
            ("", None),
            ("  # comment", None),
            ("ssh-ed25519 AAAA marie@poste", Some("ssh-ed25519 AAAA")),
            ("ssh-ed25519   AAAA", Some("ssh-ed25519 AAAA")),
            (
                "command=\"a b \\\" c\",no-pty ecdsa-sha2-nistp256 BBBB x y",
                Some("command=\"a b \\\" c\",no-pty ecdsa-sha2-nistp256 BBBB"),
            ),
            (
                "sk-ssh-ed25519@openssh.com CCCC",
                Some("sk-ssh-ed25519@openssh.com CCCC"),
            ),
            ("1024 35 1234 old", Some("1024 35 1234 old")),
        ];
        for (line, expected) in table {
            assert_eq!(key(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_pattern_says_where_the_keys_of_an_account_are() {
        let account = Account {
            name: "bob".to_owned(),
            uid: 1000,
            gid: 1000,
            home: "/home/bob".into(),
        };
        let table = [
            (
                ".ssh/authorized_keys",
                Some("/home/bob/.ssh/authorized_keys"),
            ),
            ("%h/.keys", Some("/home/bob/.keys")),
            ("/etc/ssh/keys/%u-%U%%", Some("/etc/ssh/keys/bob-1000%")),
            ("/etc/%k", None),
            ("/etc/%", None),
        ];
        for (pattern, expected) in table {
            assert_eq!(
                path(pattern, &account),
                expected.map(PathBuf::from),
                "{pattern}"
            );
        }
    }
}
