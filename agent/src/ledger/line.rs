//! The ledger's own lines: how a planned check and a failing disk are said, and how a line moves to another place.

use vigie_core::{
    canonical,
    digest::Digest,
    entry::{Draft, Head, Kind, LINE_LEN_MAX, Line},
    id::{CheckName, NodeName},
    observation::{Fact, Facts, Object},
    plan::PlannedCheck,
    reason::vigie,
};

/// The line that says of one check that it is planned.
pub(super) fn planned(name: &CheckName, check: &PlannedCheck) -> Draft {
    let mut facts = Facts::from([
        ("family", check.family.as_str().into()),
        ("every_ms", check.every_ms.into()),
        ("timeout_ms", check.timeout_ms.into()),
        ("failures", check.failures.into()),
        ("recoveries", check.recoveries.into()),
        ("settings_sha256", Fact::Digest(check.settings_sha256)),
    ]);
    // Kinds are words of our own registry, all of them configured names.
    if let Ok(kind) = Object::configured(&check.kind) {
        facts.insert("check_kind", kind.into());
    }
    Draft {
        kind: Kind::Own(vigie::CHECK_PLANNED),
        check: Some(name.clone()),
        object: None,
        service: check.service.clone(),
        status: None,
        reason: vigie::CHECK_PLANNED,
        facts,
    }
}

/// The same line with another place in the chain; `None` if it cannot be one there.
pub(super) fn rewrite_after(line: &Line, head: Head, node: &NodeName) -> Option<Line> {
    let mut value = canonical::read(&line.bytes).ok()?;
    let seq = head.seq + 1;
    value["seq"] = seq.into();
    // The machine may have joined under another name since; a line of the old one would be an impostor's.
    value["node"] = node.as_str().into();
    value["prev"] = head.sha256.to_string().into();
    let bytes = canonical::write(&value).into_bytes();
    (bytes.len() <= LINE_LEN_MAX).then(|| Line {
        seq,
        sha256: Digest::of(&bytes),
        bytes,
    })
}

/// A word for why the spool is in memory.
pub(super) fn why(reason: &str) -> &'static str {
    const WORDS: [(&str, &str); 4] = [
        ("No space left", "no_space"),
        ("Disk quota exceeded", "no_space"),
        ("Read-only file system", "read_only"),
        ("its limit", "limit"),
    ];
    WORDS
        .iter()
        .find(|(text, _)| reason.contains(text))
        .map_or("failing", |(_, word)| *word)
}
