//! A batch as one text message: what wakes somebody, in 160 septets. Minimal detail, whatever the channel may carry.

use std::collections::BTreeSet;

use super::{
    BRIEF_LEN_MAX, Detail, Voice,
    clock::Clock,
    gsm,
    items::{Batch, Item, Urgency},
    title::{self, Place, counts, exercise_mark, headline},
    words,
};
use vigie_decide::alert::Message;

/// How few septets are kept for several alerts besides the link. A link that leaves less is left out: what is broken
/// counts for more.
const ALERTS_LEN_MIN: usize = 70;

pub(super) fn compose(voice: Voice<'_>, messages: &[Message]) -> String {
    let batch = Batch::of(messages);
    let clock = voice.clock(batch.today);
    let link = voice.link.filter(|link| batch.is_open() && is_whole(link));
    match batch.items.as_slice() {
        [] => {
            let title = gsm::folded(&title::of_batch(clock, &batch, Detail::Minimal));
            first_that_fits([linked(&title, link), Some(title.clone())]).unwrap_or(title)
        }
        [item] => one(clock, item, link),
        _ => several(clock, &batch, link),
    }
}

/// `[vigie #1841] dossier-patient : en panne depuis 20:04 https://…`.
fn one(clock: Clock<'_>, item: &Item<'_>, link: Option<&str>) -> String {
    let language = clock.language;
    let about = item.about();
    let mark = if about.is_exercise() {
        exercise_mark(language)
    } else {
        ""
    };
    let head = format!("{mark}[vigie #{}] ", about.number);
    let state = format!(
        "{}{}",
        words::colon(language),
        headline(clock, item, Detail::Minimal, Place::Unsaid)
    );
    let of_services = |services_max| {
        let who = about.who_of(language, Detail::Minimal, services_max);
        gsm::folded(&format!("{head}{who}{state}"))
    };
    let [all, some] = [usize::MAX, 1].map(of_services);
    let candidates = [
        linked(&all, link),
        linked(&some, link),
        Some(all),
        Some(some),
    ];
    first_that_fits(candidates).unwrap_or_else(|| {
        // How it stands matters more than the end of a long name.
        let state = gsm::folded(&state);
        let taken = gsm::septets(&state).unwrap_or(BRIEF_LEN_MAX);
        let room = BRIEF_LEN_MAX.saturating_sub(taken);
        let who = about.who_of(language, Detail::Minimal, 1);
        let start = gsm::cut(&gsm::folded(&format!("{head}{who}")), room);
        gsm::cut(&format!("{start}{state}"), BRIEF_LEN_MAX)
    })
}

/// `[vigie] 3 alertes : #1841 dossier-patient en panne, #1842 imagerie sans mesure, +1 https://…`.
fn several(clock: Clock<'_>, batch: &Batch<'_>, link: Option<&str>) -> String {
    let language = clock.language;
    let mark = if batch.is_exercise() {
        exercise_mark(language)
    } else {
        ""
    };
    let head = format!(
        "{mark}[vigie] {}{}",
        counts(language, batch),
        words::colon(language)
    );
    let link = link
        .and_then(|link| Some((link, gsm::septets(link)? + 1)))
        .filter(|(_, taken)| taken + ALERTS_LEN_MIN <= BRIEF_LEN_MAX);
    let room = BRIEF_LEN_MAX - link.map_or(0, |(_, taken)| taken);
    let more = |count: usize| match count {
        0 => String::new(),
        count => format!(", +{}", words::number(language, count)),
    };
    let length = |text: &str| gsm::septets(text).unwrap_or(usize::MAX);

    let mut text = gsm::folded(&head);
    let mut left = batch.items.len();
    for item in telling_most(clock, &batch.items) {
        let is_first = left == batch.items.len();
        let tail = more(left - 1);
        // The first one gives up the end of its name, later ones are left out whole.
        let next = if is_first {
            let taken = length(&text) + length(&tail);
            entry(clock, item, room.saturating_sub(taken))
        } else {
            format!(", {}", entry(clock, item, usize::MAX))
        };
        if !is_first && length(&text) + length(&next) + length(&tail) > room {
            break;
        }
        text.push_str(&next);
        left -= 1;
    }
    text.push_str(&more(left));
    let text = gsm::cut(&text, room);
    match link {
        Some((link, _)) => format!("{text} {link}"),
        None => text,
    }
}

/// Items in the order in which they are named: of those that are equally urgent one for each service and state first, so
/// that one broken service does not hide another.
fn telling_most<'i, 'a>(clock: Clock<'_>, items: &'i [Item<'a>]) -> Vec<&'i Item<'a>> {
    let mut seen = BTreeSet::new();
    let mut ranked: Vec<(Urgency, bool, &Item<'a>)> = items
        .iter()
        .map(|item| {
            let about = item.about();
            let who = about.who_of(clock.language, Detail::Minimal, 1);
            let is_repeated = !seen.insert((item.urgency(), who, about.status));
            (item.urgency(), is_repeated, item)
        })
        .collect();
    ranked.sort_by_key(|(urgency, is_repeated, _)| (*urgency, *is_repeated));
    ranked.into_iter().map(|(_, _, item)| item).collect()
}

/// `#1841 dossier-patient en panne` in so many septets.
fn entry(clock: Clock<'_>, item: &Item<'_>, room: usize) -> String {
    let language = clock.language;
    let about = item.about();
    let state = if item.is_over() {
        words::ended(language, item.telling.ended)
    } else if about.is_exercise() {
        words::either(language, "exercice", "exercise")
    } else {
        about.standing(language)
    };
    let state = gsm::folded(&format!(" {state}"));
    let state_len = gsm::septets(&state).unwrap_or_default();
    let who = about.who_of(language, Detail::Minimal, 1);
    let name = gsm::folded(&format!("#{} {who}", about.number));
    let name = gsm::cut(&name, room.saturating_sub(state_len));
    format!("{name}{state}")
}

fn linked(text: &str, link: Option<&str>) -> Option<String> {
    link.map(|link| format!("{text} {link}"))
}

fn first_that_fits<const N: usize>(candidates: [Option<String>; N]) -> Option<String> {
    candidates
        .into_iter()
        .flatten()
        .find(|text| gsm::septets(text).is_some_and(|septets| septets <= BRIEF_LEN_MAX))
}

/// Whether a link survives as it is: written otherwise, it would lead elsewhere.
fn is_whole(link: &str) -> bool {
    !link.is_empty() && link.chars().all(|c| c.is_ascii_graphic()) && gsm::septets(link).is_some()
}
