//! Who may use sudo: members of its groups, and the lines of sudoers(5) with what they include.
//!
//! Lines are compared as they stand, without what does not matter (comments, runs of spaces): what an alias means is not
//! worked out, but a changed alias is a changed line.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Account, FILE_LEN_MAX, Found, GROUPS, Place, Unreadable};

/// Where it begins.
const SUDOERS: &str = "/etc/sudoers";

/// Files that include each other; sudo's own bound on depth is 128.
const FILES_MAX: usize = 256;

/// One line, by what it does.
enum Line {
    /// Gives rights.
    Rule(String),
    /// Says what rules mean.
    Meaning(String),
    /// Another file, or a folder of them.
    Include(PathBuf),
    IncludeDir(PathBuf),
    /// An include whose path cannot be told.
    Unclear,
}

pub(super) async fn found(
    place: &Place<'_>,
    accounts: &[Account],
    group: Result<Option<String>, Unreadable>,
) -> Found {
    let mut found = Found::default();
    match group {
        Ok(text) => found.members = members(accounts, &text.unwrap_or_default()),
        Err(Unreadable) => found.unreadable += 1,
    }
    found.count = found.members.len() as u64;

    let mut waiting = vec![PathBuf::from(SUDOERS)];
    let mut read = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !read.insert(path.clone()) {
            continue;
        }
        if read.len() > FILES_MAX {
            found.unreadable += 1;
            break;
        }
        let text = match place.text(&path, FILE_LEN_MAX).await {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(Unreadable) => {
                found.unreadable += 1;
                continue;
            }
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        for line in lines(&text) {
            match line {
                Line::Rule(text) => {
                    let is_new = found.members.insert(format!("rule {text}").into_bytes());
                    found.count += u64::from(is_new);
                }
                Line::Meaning(text) => {
                    found.members.insert(format!("meaning {text}").into_bytes());
                }
                Line::Include(path) => waiting.push(folder.join(path)),
                Line::IncludeDir(path) => {
                    let dir = folder.join(path);
                    match place.names(&dir, FILES_MAX).await {
                        // sudo leaves out names with a dot and those that end with a tilde.
                        Ok(names) => waiting.extend(
                            names
                                .iter()
                                .filter(|name| !name.contains('.') && !name.ends_with('~'))
                                .map(|name| dir.join(name)),
                        ),
                        Err(Unreadable) => found.unreadable += 1,
                    }
                }
                Line::Unclear => found.unreadable += 1,
            }
        }
    }
    found
}

/// Who is in one of the groups, by being named there or by it being their own.
fn members(accounts: &[Account], group: &str) -> BTreeSet<Vec<u8>> {
    let mut members = BTreeSet::new();
    for line in group.lines() {
        let columns: Vec<&str> = line.split(':').collect();
        let [name, _, gid, named, ..] = *columns.as_slice() else {
            continue;
        };
        if !GROUPS.contains(&name) {
            continue;
        }
        let own = accounts
            .iter()
            .filter(|account| gid.parse() == Ok(account.gid))
            .map(|account| account.name.as_str());
        let named = named
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        members.extend(
            named
                .chain(own)
                .map(|member| format!("member {name} {member}").into_bytes()),
        );
    }
    members
}

fn lines(text: &str) -> Vec<Line> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    joined.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let text = text.trim();
    let include = |keyword: &str| {
        let rest = text.strip_prefix(['@', '#'])?.strip_prefix(keyword)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim())
    };
    let path = |rest: &str| -> Option<PathBuf> {
        let rest = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?.to_owned(),
            None => rest.replace("\\ ", " "),
        };
        // %h is the host's short name: which file that is, is not known here.
        (!rest.contains('%') && !rest.is_empty()).then(|| rest.into())
    };
    if let Some(rest) = include("includedir") {
        return Some(path(rest).map_or(Line::Unclear, Line::IncludeDir));
    }
    if let Some(rest) = include("include") {
        return Some(path(rest).map_or(Line::Unclear, Line::Include));
    }
    let text = without_comment(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let first = words.first()?;
    let is_meaning = first.starts_with("Defaults")
        || [
            "User_Alias",
            "Runas_Alias",
            "Host_Alias",
            "Cmnd_Alias",
            "Cmd_Alias",
        ]
        .contains(first);
    let text = words.join(" ");
    Some(if is_meaning {
        Line::Meaning(text)
    } else {
        Line::Rule(text)
    })
}

/// A `#` begins a comment unless a digit follows: `#0` is a user number.
fn without_comment(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for (position, byte) in bytes.iter().enumerate() {
        let is_escaped = position > 0 && bytes[position - 1] == b'\\';
        match byte {
            b'"' if !is_escaped => quoted = !quoted,
            b'#' if !quoted && !is_escaped => {
                let is_number = bytes.get(position + 1).is_some_and(u8::is_ascii_digit);
                let begins_word = position == 0
                    || bytes[position - 1].is_ascii_whitespace()
                    || b"%,=(!:".contains(&bytes[position - 1]);
                if !(is_number && begins_word) {
                    return &text[..position];
                }
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        lines(text)
            .into_iter()
            .map(|line| match line {
                Line::Rule(text) => format!("rule {text}"),
                Line::Meaning(text) => format!("meaning {text}"),
                Line::Include(path) => format!("file {}", path.display()),
                Line::IncludeDir(path) => format!("folder {}", path.display()),
                Line::Unclear => "unclear".to_owned(),
            })
            .collect()
    }

    #[test]
    fn lines_are_told_apart_and_comments_left_out() {
        let text = "# comment\n\nDefaults\tenv_reset # why\nroot  ALL=(ALL:ALL)   ALL\n\
            %sudo ALL=(ALL) \\\n  NOPASSWD: ALL # all\n#0 ALL=ALL\n%#27 ALL=(#0) /bin/ls\n#27x\n\
            User_Alias ADMINS = alice, bob\n@includedir /etc/sudoers.d\n#include sudoers.local\n\
            #includedir \"/etc/my rules\"\n@include /etc/sudoers.%h\n#included is a comment\n";
        assert_eq!(
            told(text),
            [
                "meaning Defaults env_reset",
                "rule root ALL=(ALL:ALL) ALL",
                "rule %sudo ALL=(ALL) NOPASSWD: ALL",
                "rule #0 ALL=ALL",
                "rule %#27 ALL=(#0) /bin/ls",
                "rule #27x",
                "meaning User_Alias ADMINS = alice, bob",
                "folder /etc/sudoers.d",
                "file sudoers.local",
                "folder /etc/my rules",
                "unclear",
            ]
        );
    }

    #[test]
    fn members_are_those_named_and_those_whose_own_group_it_is() {
        let account = |name: &str, gid| Account {
            name: name.to_owned(),
            uid: 1000,
            gid,
            home: "/home".into(),
        };
        let accounts = [account("alice", 27), account("bob", 100)];
        let found = members(
            &accounts,
            "root:x:0:\nsudo:x:27:bob, carol\nwheel:x:10:\nbroken\n",
        );
        let told: Vec<_> = found
            .iter()
            .map(|m| String::from_utf8_lossy(m).into_owned())
            .collect();
        assert_eq!(
            told,
            ["member sudo alice", "member sudo bob", "member sudo carol"]
        );
    }
}
