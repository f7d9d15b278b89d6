//! The one line that says it all.

use super::{
    Detail, TITLE_LEN_MAX,
    about::TITLE_SERVICES_MAX,
    clock::Clock,
    items::{Batch, Item, Urgency},
    morning, words,
};
use vigie_core::reason::message::{Language, sanitised};
use vigie_decide::{alert::Notice, held::DigestNotice};

/// What stands before everything that is only an exercise.
pub(super) const fn exercise_mark(language: Language) -> &'static str {
    words::either(language, "[EXERCICE] ", "[EXERCISE] ")
}

/// The title of a batch.
pub(super) fn of_batch(clock: Clock<'_>, batch: &Batch<'_>, detail: Detail) -> String {
    let language = clock.language;
    let mark = if batch.is_exercise() {
        exercise_mark(language)
    } else {
        ""
    };
    let digest = batch.digests.last();
    let title = match (batch.items.as_slice(), digest) {
        ([], None) => "[vigie]".to_owned(),
        ([], Some(digest)) => format!("[vigie] {}", morning::title(clock, digest)),
        ([item], None) => of_item(clock, item, detail, mark, ""),
        ([item], Some(digest)) => of_item(clock, item, detail, mark, &besides(clock, digest)),
        (_, None) => of_several(clock, batch, detail, mark, ""),
        (_, Some(digest)) => of_several(clock, batch, detail, mark, &besides(clock, digest)),
    };
    sanitised(&title, TITLE_LEN_MAX)
}

/// A digest that travels with alerts.
fn besides(clock: Clock<'_>, digest: &DigestNotice) -> String {
    let semicolon = words::semicolon(clock.language);
    format!("{semicolon}{}", morning::title(clock, digest))
}

/// `[vigie #1841] dossier-patient : portail en panne depuis 20:04`.
fn of_item(clock: Clock<'_>, item: &Item<'_>, detail: Detail, mark: &str, tail: &str) -> String {
    let head = format!("{mark}[vigie #{}] ", item.about().number);
    around(&head, tail, |room| named(clock, item, detail, room))
}

/// `[vigie] 3 alertes : dossier-patient : portail en panne depuis 20:04, +2`.
fn of_several(
    clock: Clock<'_>,
    batch: &Batch<'_>,
    detail: Detail,
    mark: &str,
    tail: &str,
) -> String {
    let head = format!(
        "{mark}[vigie] {}{}",
        counts(clock.language, batch),
        words::colon(clock.language)
    );
    let more = batch.items.len().saturating_sub(1);
    let tail = if more > 0 {
        format!(", +{}{tail}", words::number(clock.language, more))
    } else {
        tail.to_owned()
    };
    around(&head, &tail, |room| {
        let most_urgent = batch.items.first();
        most_urgent.map_or_else(String::new, |item| named(clock, item, detail, room))
    })
}

/// A title whose ends stay, and whose middle gives way.
fn around(head: &str, tail: &str, middle: impl FnOnce(usize) -> String) -> String {
    let taken = head.chars().count() + tail.chars().count();
    let room = TITLE_LEN_MAX.saturating_sub(taken).max(1);
    format!("{head}{}{tail}", sanitised(&middle(room), room))
}

/// `5 alertes, 2 terminées`.
pub(super) fn counts(language: Language, batch: &Batch<'_>) -> String {
    let all = batch.items.len();
    let noun = if batch.is_exercise() {
        words::EXERCISES
    } else {
        words::ALERTS
    };
    let mut counts = noun.count(language, all);
    let ended = batch.count(Urgency::Ended);
    if ended == all {
        counts.push(' ');
        counts.push_str(words::OVER.word(language, ended));
    } else if ended > 0 {
        counts.push_str(", ");
        counts.push_str(&words::OVER.count(language, ended));
    }
    counts
}

/// Whom it concerns and what happened; where that is too long, with the first service only.
fn named(clock: Clock<'_>, item: &Item<'_>, detail: Detail, room: usize) -> String {
    let headline = headline(clock, item, detail, Place::Unsaid);
    let of_services = |services_max| {
        let who = item.about().who_of(clock.language, detail, services_max);
        format!("{who}{}{headline}", words::colon(clock.language))
    };
    let named = of_services(TITLE_SERVICES_MAX);
    if named.chars().count() <= room {
        named
    } else {
        of_services(1)
    }
}

/// Whether a headline says where something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a list, where nothing else does.
    Said,
    /// Where the body does.
    Unsaid,
}

/// What happened to an alert: `rappel : portail en panne depuis 20:04`.
pub(super) fn headline(clock: Clock<'_>, item: &Item<'_>, detail: Detail, place: Place) -> String {
    let language = clock.language;
    let about = item.about();
    let state = state(clock, item);
    let mark = words::mark(language, item.notice);
    if about.is_exercise() {
        return exercise(clock, item, detail);
    }
    if detail == Detail::Minimal {
        return format!("{mark}{state}");
    }
    if !about.speaks_for_itself() {
        let mut what = about.what();
        if place == Place::Said && !about.services.is_empty() {
            what.push_str(&format!(" ({})", about.place()));
        }
        return format!("{mark}{what} {state}");
    }
    // A reason is a sentence of its own and says the times that count.
    let colon = words::colon(language);
    let mut finding = about.finding(clock);
    if !about.alert.is_of_collector() && !about.services.is_empty() {
        finding = format!("{}{colon}{finding}", about.place());
    }
    match item.notice {
        Notice::Open | Notice::Worse | Notice::Again | Notice::HandOver => {
            format!("{mark}{finding}")
        }
        Notice::Still => format!(
            "{}{colon}{finding}",
            words::either(language, "toujours en cours", "still on")
        ),
        Notice::Close => format!("{}{colon}{finding}", how_it_ended(clock, item)),
    }
}

/// An exercise says so in every word, at any detail.
fn exercise(clock: Clock<'_>, item: &Item<'_>, detail: Detail) -> String {
    let language = clock.language;
    if item.notice == Notice::Close {
        return how_it_ended(clock, item);
    }
    let what = match detail {
        Detail::Full => item.about().finding(clock),
        Detail::Minimal => words::either(
            language,
            "exercice, rien n'est en panne",
            "exercise, nothing has failed",
        )
        .to_owned(),
    };
    format!("{}{what}", words::mark(language, item.notice))
}

/// `en panne depuis 20:04`, `rétabli à 20:18`, `en panne de 20:04 à 20:05, rétabli`.
fn state(clock: Clock<'_>, item: &Item<'_>) -> String {
    let about = item.about();
    let telling = item.telling;
    let standing = about.standing(clock.language);
    match item.notice {
        Notice::Open | Notice::Worse | Notice::Again | Notice::HandOver => {
            format!("{standing} {}", clock.since(telling.since))
        }
        Notice::Still => format!(
            "{} {}",
            words::still_standing(clock.language, about.family, about.status),
            clock.since(telling.since)
        ),
        Notice::Close if item.is_news => format!(
            "{standing} {}, {}",
            clock.span(telling.since, item.at),
            words::ended(clock.language, telling.ended)
        ),
        Notice::Close => how_it_ended(clock, item),
    }
}

/// `rétabli à 20:18`; `rétabli (de 20:04 à 20:18)` for who never heard of it before.
fn how_it_ended(clock: Clock<'_>, item: &Item<'_>) -> String {
    let ended = words::ended(clock.language, item.telling.ended);
    if item.is_news {
        format!("{ended} ({})", clock.span(item.telling.since, item.at))
    } else {
        format!("{ended} {}", clock.at(item.at))
    }
}
