//! What a batch comes down to: one item for each alert, most urgent first, and the digests.

use std::{cmp::Reverse, collections::BTreeMap};

use super::about::About;
use vigie_core::time::Wall;
use vigie_decide::{
    alert::{Body, Message, Notice, Notification},
    held::DigestNotice,
};

/// A batch, ready to be told.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    /// One for each alert: urgent, then other open ones, then those that ended.
    pub(super) items: Vec<Item<'a>>,
    /// In the order in which they were decided.
    pub(super) digests: Vec<&'a DigestNotice>,
    /// The day of the newest message.
    pub(super) today: Wall,
}

/// Everything that a batch says about one alert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    /// The newest that is known.
    pub(super) telling: &'a Notification,
    /// What it comes down to for somebody who has read none of it.
    pub(super) notice: Notice,
    /// When the newest was decided.
    pub(super) at: Wall,
    /// The reader hears of it for the first time.
    pub(super) is_news: bool,
    order: u64,
}

/// In what order items are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A critical service is down or not measured: always named.
    Urgent,
    /// Open.
    Open,
    /// It ended.
    Ended,
}

impl<'a> Batch<'a> {
    /// Folds messages to items and puts these in order.
    pub(super) fn of(messages: &'a [Message]) -> Self {
        let mut by_alert: BTreeMap<(u64, u64), Item<'a>> = BTreeMap::new();
        let mut digests = Vec::new();
        for message in messages {
            match &message.body {
                Body::Digest(digest) => digests.push(&**digest),
                Body::Alert(telling) => {
                    let item = Item::of(message, telling);
                    by_alert
                        .entry((telling.number, telling.opening))
                        .and_modify(|earlier| *earlier = earlier.and(item))
                        .or_insert(item);
                }
            }
        }
        let mut items: Vec<Item<'a>> = by_alert.into_values().collect();
        items.sort_by_cached_key(Item::rank);
        Self {
            items,
            digests,
            today: messages
                .iter()
                .map(|message| message.at)
                .max()
                .unwrap_or_default(),
        }
    }

    /// Whether nothing in it is real. One real alert among exercises, and the whole is not marked as one.
    pub(super) fn is_exercise(&self) -> bool {
        !self.items.is_empty()
            && self.digests.is_empty()
            && self.items.iter().all(|item| item.about().is_exercise())
    }

    /// How many are so urgent.
    pub(super) fn count(&self, urgency: Urgency) -> usize {
        self.items
            .iter()
            .filter(|item| item.urgency() == urgency)
            .count()
    }

    /// Whether somebody could say that they are on it. What a digest lists was told to nobody: it is not acknowledged by
    /// the link in a message.
    pub(super) fn is_open(&self) -> bool {
        self.items.iter().any(|item| !item.is_over())
    }
}

impl<'a> Item<'a> {
    fn of(message: &Message, telling: &'a Notification) -> Self {
        Self {
            telling,
            notice: telling.notice,
            at: message.at,
            is_news: matches!(
                telling.notice,
                Notice::Open | Notice::Still | Notice::HandOver
            ),
            order: message.order,
        }
    }

    /// Two messages about one alert, in one.
    fn and(self, other: Self) -> Self {
        let (older, newer) = if self.order <= other.order {
            (self, other)
        } else {
            (other, self)
        };
        let notice = if weight(newer.notice) >= weight(older.notice) {
            newer.notice
        } else {
            older.notice
        };
        Self {
            notice,
            is_news: older.is_news || newer.is_news,
            ..newer
        }
    }

    /// What is said of it wherever it is said.
    pub(super) fn about(&self) -> About<'a> {
        About::from(self.telling)
    }

    /// Whether it ended.
    pub(super) fn is_over(&self) -> bool {
        self.notice == Notice::Close
    }

    /// In what order it is told.
    pub(super) fn urgency(&self) -> Urgency {
        if self.is_over() {
            Urgency::Ended
        } else if self.about().is_urgent() {
            Urgency::Urgent
        } else {
            Urgency::Open
        }
    }

    /// What is least is told first.
    fn rank(&self) -> (Urgency, bool, Reverse<u8>, Reverse<u8>, Wall, u64) {
        let about = self.about();
        let (status, criticality) = (about.status.rank(), about.criticality as u8);
        // What is urgent differs by how it stands, all else first by how much it matters.
        let (first, second) = match self.urgency() {
            Urgency::Urgent => (status, criticality),
            Urgency::Open | Urgency::Ended => (criticality, status),
        };
        (
            self.urgency(),
            about.is_exercise(),
            Reverse(first),
            Reverse(second),
            self.telling.since,
            about.number,
        )
    }
}

/// Which of two notices about one alert counts for somebody who has read neither: that it ended, then that it is theirs
/// now, then that it began.
const fn weight(notice: Notice) -> u8 {
    match notice {
        Notice::Again => 0,
        Notice::Worse => 1,
        Notice::Still => 2,
        Notice::Open => 3,
        Notice::HandOver => 4,
        Notice::Close => 5,
    }
}
