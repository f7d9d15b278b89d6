//! A digest: what waited for a receiver's opening.

use super::{
    Detail,
    about::About,
    clock::Clock,
    document::{Block, Document, Line},
    several::{self, NAMED_MAX},
    words,
};
use vigie_core::{
    id::NodeName,
    reason::message::{Language, TEXT_LEN_MAX, sanitised},
    time::Wall,
};
use vigie_decide::held::{DigestLine, DigestNotice, MuteLine};

/// How many nodes or mutes one section names.
const NAMES_MAX: usize = 50;

/// `point du matin du 23 novembre : 3 en cours, 5 terminées`.
pub(super) fn title(clock: Clock<'_>, digest: &DigestNotice) -> String {
    let language = clock.language;
    format!(
        "{}{}{}{}",
        name(clock, digest.due),
        words::colon(language),
        counts(language, digest),
        late(clock, digest)
    )
}

fn name(clock: Clock<'_>, due: Wall) -> String {
    let date = clock.date(due);
    match (clock.language, clock.is_morning(due)) {
        (Language::French, true) => format!("point du matin du {date}"),
        (Language::French, false) => format!("point du {date}"),
        (Language::English, true) => format!("morning report of {date}"),
        (Language::English, false) => format!("report of {date}"),
    }
}

fn late(clock: Clock<'_>, digest: &DigestNotice) -> String {
    if !digest.is_late {
        return String::new();
    }
    let due = clock.at(digest.due);
    match clock.language {
        Language::French => format!(" (en retard : était dû {due})"),
        Language::English => format!(" (late: was due {due})"),
    }
}

/// What it counts, without what there is nothing of; the body says the rest.
fn counts(language: Language, digest: &DigestNotice) -> String {
    if digest.is_empty() {
        return words::either(language, "rien à signaler", "nothing to report").to_owned();
    }
    let counted = [
        (digest.still_on.len(), words::STILL_ON),
        (digest.ended.len(), words::OVER),
        (digest.attention.len(), words::TO_WATCH),
        (digest.silent.len(), words::SILENT_NODES),
        (digest.missing.len(), words::MISSING_NODES),
    ];
    let counts: Vec<String> = counted
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| noun.count(language, count))
        .collect();
    if counts.is_empty() {
        return words::either(language, "rien en cours", "nothing is on").to_owned();
    }
    counts.join(", ")
}

pub(super) fn write(
    clock: Clock<'_>,
    digest: &DigestNotice,
    detail: Detail,
    document: &mut Document,
) {
    let language = clock.language;
    document.push(Block::Strong(format!(
        "{}.",
        capitalised(&title(clock, digest))
    )));
    if let Some(since) = digest.since {
        let at = clock.at(since);
        document.push(Block::Paragraph(match language {
            Language::French => format!("Le point d'avant est parti {at}."),
            Language::English => format!("The report before it went out {at}."),
        }));
    }
    let sections = [
        (&digest.still_on, "Encore en cours", "Still on"),
        (
            &digest.ended,
            "Terminées d'elles-mêmes",
            "Ended by themselves",
        ),
        (
            &digest.attention,
            "Sauvegardes et certificats",
            "Backups and certificates",
        ),
    ];
    for (index, (lines, french, english)) in sections.into_iter().enumerate() {
        alerts(
            clock,
            words::either(language, french, english),
            lines,
            detail,
            document,
        );
        if index == 0 && detail == Detail::Full {
            let all = sections.iter().flat_map(|(lines, ..)| *lines);
            pages(clock, all, document);
        }
    }
    mutes(clock, &digest.mutes, detail, document);
    nodes(
        language,
        words::either(language, "Nœuds muets", "Silent nodes"),
        &digest.silent,
        detail,
        document,
    );
    nodes(
        language,
        words::either(language, "Nœuds jamais vus", "Nodes never seen"),
        &digest.missing,
        detail,
        document,
    );
    let left_out = usize::try_from(digest.left_out).unwrap_or(usize::MAX);
    document
        .blocks
        .extend(several::others(language, left_out).map(Block::Paragraph));
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(rest).collect()
    })
}

fn heading(language: Language, title: &str, count: usize) -> Block {
    Block::Heading(format!("{title} ({})", words::number(language, count)))
}

/// Names what is urgent, and of the rest as many as fit.
fn alerts(
    clock: Clock<'_>,
    title: &str,
    lines: &[DigestLine],
    detail: Detail,
    document: &mut Document,
) {
    if lines.is_empty() {
        return;
    }
    document.push(heading(clock.language, title, lines.len()));
    let mut room = NAMED_MAX;
    let mut named = Vec::new();
    for line in lines {
        let is_urgent = About::from(line).is_urgent() && line.held.ended.is_none();
        if is_urgent || room > 0 {
            room = room.saturating_sub(1);
            named.push(told(clock, line, detail));
        }
    }
    let left_out = lines.len() - named.len();
    document.push(Block::Alerts(named));
    document
        .blocks
        .extend(several::others(clock.language, left_out).map(Block::Paragraph));
}

fn told(clock: Clock<'_>, line: &DigestLine, detail: Detail) -> Line {
    let about = About::from(line);
    Line {
        number: about.number,
        who: about.who(clock.language, detail),
        said: said(clock, line, detail),
        detail: details(clock, line, detail),
    }
}

/// `portail (app-01) en panne depuis 20:04`, `disques /var (app-01) à surveiller de 03:02 à 03:12, rétabli`.
fn said(clock: Clock<'_>, line: &DigestLine, detail: Detail) -> String {
    let about = About::from(line);
    let held = &line.held;
    let standing = about.standing(clock.language);
    let state = match held.ended {
        None => format!("{standing} {}", clock.since(held.since)),
        Some((at, ended)) => format!(
            "{standing} {}, {}",
            clock.span(held.since, at),
            words::ended(clock.language, Some(ended))
        ),
    };
    match detail {
        Detail::Minimal => state,
        Detail::Full if about.speaks_for_itself() => {
            let place = if about.services.is_empty() || about.alert.is_of_collector() {
                String::new()
            } else {
                format!("{}{}", about.place(), words::colon(clock.language))
            };
            format!("{place}{}, {state}", about.finding(clock))
        }
        Detail::Full if about.services.is_empty() => format!("{} {state}", about.what()),
        Detail::Full => format!("{} ({}) {state}", about.what(), about.place()),
    }
}

fn details(clock: Clock<'_>, line: &DigestLine, detail: Detail) -> String {
    let language = clock.language;
    let about = About::from(line);
    let held = &line.held;
    let mut details = Vec::new();
    if detail == Detail::Full && !about.speaks_for_itself() {
        details.push(about.finding(clock));
    }
    if held.times > 1 {
        let times = usize::try_from(held.times).unwrap_or(usize::MAX);
        details.push(format!(
            "{} {}",
            words::TIMES.count(language, times),
            clock.since(held.held_since)
        ));
    }
    if held.worst.rank() > held.status.rank() {
        details.push(format!(
            "{} {}",
            words::either(language, "au pire", "at worst"),
            words::standing(language, held.family, held.worst)
        ));
    }
    if detail == Detail::Full {
        details.extend(woken(clock, line));
    }
    if held.acknowledged {
        details.push(words::either(language, "prise en charge", "somebody is on it").to_owned());
    }
    details.join(words::semicolon(language))
}

/// `prévenus : astreinte à 02:04`.
fn woken(clock: Clock<'_>, line: &DigestLine) -> Option<String> {
    let woken: Vec<String> = line
        .held
        .paged
        .iter()
        .map(|(receiver, at)| format!("{receiver} {}", clock.at(*at)))
        .collect();
    (!woken.is_empty()).then(|| {
        let label = words::either(clock.language, "prévenus", "paged");
        format!(
            "{label}{}{}",
            words::colon(clock.language),
            woken.join(", ")
        )
    })
}

/// Who was woken, by what: what a team asks first.
fn pages<'a>(
    clock: Clock<'_>,
    lines: impl Iterator<Item = &'a DigestLine>,
    document: &mut Document,
) {
    let language = clock.language;
    let paged: Vec<&DigestLine> = lines.filter(|line| !line.held.paged.is_empty()).collect();
    if paged.is_empty() {
        return;
    }
    let title = words::either(language, "Appels passés entre-temps", "Pages since then");
    document.push(heading(language, title, paged.len()));
    let named = paged.iter().take(NAMED_MAX).filter_map(|line| {
        let about = About::from(*line);
        Some(format!(
            "#{} {}{}{}",
            about.number,
            about.who(language, Detail::Full),
            words::colon(language),
            woken(clock, line)?
        ))
    });
    document.push(Block::List(named.collect()));
    let left_out = paged.len().saturating_sub(NAMED_MAX);
    document
        .blocks
        .extend(several::others(language, left_out).map(Block::Paragraph));
}

fn mutes(clock: Clock<'_>, mutes: &[MuteLine], detail: Detail, document: &mut Document) {
    if mutes.is_empty() {
        return;
    }
    let language = clock.language;
    let title = words::either(
        language,
        "Silences et maintenances",
        "Silences and maintenance",
    );
    document.push(heading(language, title, mutes.len()));
    // Names and reasons are what an operator wrote, and may name a node.
    if detail == Detail::Minimal {
        return;
    }
    let mut lines: Vec<String> = mutes
        .iter()
        .take(NAMES_MAX)
        .map(|mute| self::mute(clock, mute))
        .collect();
    lines.extend(several::others(
        language,
        mutes.len().saturating_sub(NAMES_MAX),
    ));
    document.push(Block::List(lines));
}

/// `maintenance correctifs jusqu'à 02:00 : mises à jour`.
fn mute(clock: Clock<'_>, mute: &MuteLine) -> String {
    let language = clock.language;
    let kind = if mute.is_maintenance {
        "maintenance"
    } else {
        "silence"
    };
    let until = match mute.until {
        Some(until) => clock.until(until),
        None => words::either(language, "sans fin connue", "without a known end").to_owned(),
    };
    format!(
        "{kind} {} {until}{}{}",
        sanitised(&mute.name, TEXT_LEN_MAX),
        words::colon(language),
        sanitised(&mute.reason, TEXT_LEN_MAX)
    )
}

fn nodes(
    language: Language,
    title: &str,
    nodes: &[NodeName],
    detail: Detail,
    document: &mut Document,
) {
    if nodes.is_empty() {
        return;
    }
    document.push(heading(language, title, nodes.len()));
    if detail == Detail::Minimal {
        return;
    }
    let named: Vec<&str> = nodes.iter().take(NAMES_MAX).map(NodeName::as_str).collect();
    let mut lines = vec![named.join(", ")];
    lines.extend(several::others(
        language,
        nodes.len().saturating_sub(NAMES_MAX),
    ));
    document.push(Block::List(lines));
}
