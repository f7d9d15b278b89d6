//! Several alerts as lists: urgent ones first and every one of them named, then what else is open, then what ended.

use super::{
    Detail,
    clock::Clock,
    document::{Block, Document, Line},
    items::{Batch, Item, Urgency},
    title::{self, Place, headline},
    words,
};
use vigie_core::reason::message::{Language, sanitised};

/// How many alerts of a list are told with what was found; urgent ones beyond are named in a short line.
pub(super) const FOUND_MAX: usize = 200;

/// How many alerts that are not urgent a list names. Who reads further asks for `status`.
pub(super) const NAMED_MAX: usize = 200;

/// How many characters a short line has: what vigie finds itself is a sentence that may name twenty checks.
const SHORT_LEN_MAX: usize = 160;

pub(super) fn write(clock: Clock<'_>, batch: &Batch<'_>, detail: Detail, document: &mut Document) {
    let language = clock.language;
    let mut summary = title::counts(language, batch);
    let urgent = batch.count(Urgency::Urgent);
    if urgent > 0 {
        summary.push_str(", ");
        summary.push_str(&words::URGENT.count(language, urgent));
    }
    summary.push('.');
    document.push(Block::Strong(summary));

    let mut room = NAMED_MAX;
    let mut left_out = 0;
    for urgency in [Urgency::Urgent, Urgency::Open, Urgency::Ended] {
        let items = || batch.items.iter().filter(|item| item.urgency() == urgency);
        let count = items().count();
        if count == 0 {
            continue;
        }
        let named = match urgency {
            Urgency::Urgent => count,
            Urgency::Open | Urgency::Ended => count.min(room),
        };
        if urgency != Urgency::Urgent {
            room -= named;
        }
        left_out += count - named;
        if named == 0 {
            continue;
        }
        document.push(Block::Heading(heading(language, urgency).to_owned()));
        let lines = items().take(named.min(FOUND_MAX));
        document.push(Block::Alerts(
            lines.map(|item| line(clock, item, detail)).collect(),
        ));
        if named > FOUND_MAX {
            let beyond = items().take(named).skip(FOUND_MAX);
            document.push(Block::List(
                beyond.map(|item| short(clock, item, detail)).collect(),
            ));
        }
    }
    document
        .blocks
        .extend(others(language, left_out).map(Block::Paragraph));
}

/// `et 9 400 autres : vigie-collector status`.
pub(super) fn others(language: Language, count: usize) -> Option<String> {
    let others = words::OTHERS.count(language, count);
    (count > 0).then(|| match language {
        Language::French => format!("et {others} : vigie-collector status"),
        Language::English => format!("and {others}: vigie-collector status"),
    })
}

const fn heading(language: Language, urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Urgent => words::either(
            language,
            "Urgent, services critiques",
            "Urgent, critical services",
        ),
        Urgency::Open => words::either(language, "En cours", "Still on"),
        Urgency::Ended => words::either(language, "Terminées", "Ended"),
    }
}

/// One alert of a list with what was found.
pub(super) fn line(clock: Clock<'_>, item: &Item<'_>, detail: Detail) -> Line {
    let about = item.about();
    let says_finding =
        detail == Detail::Full && !about.speaks_for_itself() && item.urgency() != Urgency::Ended;
    Line {
        detail: if says_finding {
            about.finding(clock)
        } else {
            String::new()
        },
        ..short_line(clock, item, detail)
    }
}

fn short_line(clock: Clock<'_>, item: &Item<'_>, detail: Detail) -> Line {
    let about = item.about();
    // An exercise among real alerts is marked where it stands.
    let mark = if about.is_exercise() {
        title::exercise_mark(clock.language)
    } else {
        ""
    };
    Line {
        number: about.number,
        who: about.who(clock.language, detail),
        said: format!("{mark}{}", headline(clock, item, detail, Place::Said)),
        detail: String::new(),
    }
}

/// One alert of a long list, in one short line.
pub(super) fn short(clock: Clock<'_>, item: &Item<'_>, detail: Detail) -> String {
    let mut text = String::new();
    short_line(clock, item, detail).write(clock.language, &mut text);
    sanitised(&text, SHORT_LEN_MAX)
}
