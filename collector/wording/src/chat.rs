//! A batch as a chat message: the title, then what fits of the rest. What must be followed (runbook, link) is never cut.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    CHAT_LEN_MAX, Chat, Detail, Voice,
    clock::Clock,
    items::{Batch, Item, Urgency},
    mail, several, single, title, words,
};
use vigie_core::{
    id::ReceiverName,
    reason::message::{Language, TEXT_LEN_MAX, sanitised},
};
use vigie_decide::alert::Message;

/// How many runs of numbers one summed-up service names.
const RUNS_MAX: usize = 5;

/// What is kept free for saying how many were left out.
const OTHERS_LEN: usize = 80;

pub(super) fn compose(voice: Voice<'_>, messages: &[Message], detail: Detail) -> Chat {
    let batch = Batch::of(messages);
    let clock = voice.clock(batch.today);
    let end = end(voice, clock, &batch, detail);
    let room = CHAT_LEN_MAX.saturating_sub(end.len());
    let mut text = match (batch.items.as_slice(), batch.digests.as_slice()) {
        ([item], []) => one(clock, item, detail),
        (_, []) => list(clock, &batch, detail, room),
        _ => {
            let unlinked = Voice {
                link: None,
                zone: None,
                ..voice
            };
            mail::body(unlinked, clock, &batch, detail).unsigned_text()
        }
    };
    cut(&mut text, room);
    text.push_str(&end);
    Chat {
        title: title::of_batch(clock, &batch, detail),
        text: text.trim_end().to_owned(),
    }
}

/// What stands at the end and is never cut.
fn end(voice: Voice<'_>, clock: Clock<'_>, batch: &Batch<'_>, detail: Detail) -> String {
    let language = voice.language;
    let colon = words::colon(language);
    let mut lines = Vec::new();
    if let ([item], Detail::Full) = (batch.items.as_slice(), detail)
        && let Some(runbook) = &item.telling.runbook
    {
        let label = words::either(language, "Que faire", "What to do");
        lines.push(format!(
            "{label}{colon}{}",
            sanitised(runbook, TEXT_LEN_MAX)
        ));
    }
    if let Some(link) = mail::followed(voice, batch) {
        let label = words::either(language, "S'en charger", "Take it on");
        lines.push(format!("{label}{colon}{link}"));
    }
    lines.extend(clock.zone_line());
    lines.join("\n")
}

/// One alert in a few lines.
fn one(clock: Clock<'_>, item: &Item<'_>, detail: Detail) -> String {
    let language = clock.language;
    let about = item.about();
    let telling = item.telling;
    let mut lines = Vec::new();
    if about.is_exercise() {
        lines.push(mail::exercise(language).to_owned());
    }
    if detail == Detail::Minimal {
        lines.push(several::short(clock, item, detail));
        return lines.join("\n") + "\n";
    }
    lines.push(single::finding(clock, item));
    let mut place = about.place();
    if !about.speaks_for_itself() {
        place.push_str(", ");
        place.push_str(&about.what());
    }
    let (need, level) = telling.need;
    lines.push(place);
    lines.push(format!(
        "{}, {}{}{} {level}",
        words::criticality(language, telling.criticality),
        words::environment(language, telling.environment),
        words::either(language, " ; besoin : ", "; need: "),
        words::need(language, need),
    ));
    let colon = words::colon(language);
    if !telling.others_told.is_empty() {
        let told: Vec<&str> = telling
            .others_told
            .iter()
            .map(ReceiverName::as_str)
            .collect();
        let label = words::either(language, "Aussi prévenus", "Told as well");
        lines.push(format!("{label}{colon}{}", told.join(", ")));
    }
    if let Some(by) = &telling.acknowledged_by {
        let label = words::either(language, "Pris en charge par", "On it");
        lines.push(format!("{label}{colon}{}", words::actor(language, by)));
    }
    if let Ok(explains @ 1..) = usize::try_from(telling.explains) {
        let label = words::either(language, "Explique", "Explains");
        let others = words::OTHER_ALERTS.count(language, explains);
        lines.push(format!("{label}{colon}{others}"));
    }
    lines.join("\n") + "\n"
}

/// Several alerts: a line each while there is room. When what is urgent does not fit, the rest of it is summed up, so that
/// every service concerned is named.
fn list(clock: Clock<'_>, batch: &Batch<'_>, detail: Detail, room: usize) -> String {
    let language = clock.language;
    let mut text = String::new();
    if batch.is_exercise() {
        text.push_str(mail::exercise(language));
        text.push('\n');
    }
    let urgent = batch.count(Urgency::Urgent);
    let room = room.saturating_sub(OTHERS_LEN);
    // Half of the room for lines, if it turns out that they are not enough.
    let mut lines_end = text.len();
    let mut lines_urgent = 0;
    let mut named = 0;
    for item in &batch.items {
        let line = format!("- {}\n", several::short(clock, item, detail));
        if text.len() + line.len() > room {
            break;
        }
        text.push_str(&line);
        named += 1;
        if text.len() <= room / 2 {
            lines_end = text.len();
            lines_urgent = named;
        }
    }
    if named < urgent {
        text.truncate(lines_end);
        let rest = batch.items.get(lines_urgent..urgent).unwrap_or_default();
        named = lines_urgent + summed_up(language, rest, detail, room, &mut text);
    }
    let left_out = batch.items.len() - named;
    text.extend(several::others(language, left_out).map(|others| format!("{others}\n")));
    text
}

/// `- dossier-patient en panne : 35 (#12-#30, #45)`, those with most alerts first. How many alerts that stands for.
fn summed_up(
    language: Language,
    items: &[Item<'_>],
    detail: Detail,
    room: usize,
    text: &mut String,
) -> usize {
    let mut by_state: BTreeMap<(String, &str), Vec<u64>> = BTreeMap::new();
    for item in items {
        let about = item.about();
        by_state
            .entry((about.who(language, detail), about.standing(language)))
            .or_default()
            .push(about.number);
    }
    let mut by_state: Vec<_> = by_state.into_iter().collect();
    by_state.sort_by_key(|(_, numbers)| Reverse(numbers.len()));
    let mut named = 0;
    for ((who, standing), mut numbers) in by_state {
        numbers.sort_unstable();
        let count = words::number(language, numbers.len());
        let runs = runs(&numbers);
        let colon = words::colon(language);
        let line = format!("- {who} {standing}{colon}{count} ({runs})\n");
        if text.len() + line.len() > room {
            break;
        }
        text.push_str(&line);
        named += numbers.len();
    }
    named
}

/// `#12-#30, #45, …`.
fn runs(sorted: &[u64]) -> String {
    let runs: Vec<&[u64]> = sorted
        .chunk_by(|earlier, later| earlier.checked_add(1) == Some(*later))
        .take(RUNS_MAX + 1)
        .collect();
    let mut named: Vec<String> = runs
        .iter()
        .take(RUNS_MAX)
        .map(|run| match run {
            [first, .., last] => format!("#{first}-#{last}"),
            run => run.iter().map(|number| format!("#{number}")).collect(),
        })
        .collect();
    if runs.len() > RUNS_MAX {
        named.push("…".to_owned());
    }
    named.join(", ")
}

/// At most so many bytes, the last of them `…` when some were cut.
fn cut(text: &mut String, len_max: usize) {
    const MARK: &str = "…\n";
    if text.len() <= len_max {
        return;
    }
    let mut end = len_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
}
