//! What a link is about: the open alerts that its transmission said are on, and who is on them.

use vigie_core::status::Status;
use vigie_decide::{
    alert::Actor,
    view::{alert::Alert, fleet::Fleet},
};

use super::link::{About, Linked, Mark};

/// What a transmission to a destination said is on, and is on still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldAlert {
    /// Its number.
    pub number: u64,
    /// Services concerned.
    pub services: Vec<String>,
    /// How it stands.
    pub status: Status,
    /// Nothing is really wrong.
    pub is_exercise: bool,
    /// Who is on it.
    pub acknowledged_by: Option<Actor>,
}

/// Why nothing can be said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTold {
    /// The settings send nothing there any more.
    Retired,
    /// It went out while the log could not be written, and is not in it yet.
    Unwritten,
}

/// The open alerts that a link is about, and that an acknowledgement by it is for. Loudest first; none: all of them are
/// over.
///
/// # Errors
/// See [`NotTold`].
pub fn told_by(fleet: &Fleet, linked: &Linked) -> Result<Vec<ToldAlert>, NotTold> {
    let Linked { to, last, about } = linked;
    if !fleet.destinations.contains(to) {
        return Err(NotTold::Retired);
    }
    if *last == 0 || *last > fleet.last_message {
        return Err(NotTold::Unwritten);
    }
    let is_told = |alert: &&Alert| {
        let Some(span) = alert.to.get(to) else {
            return false;
        };
        match about {
            // Orders decide nothing here: those of messages that could not be written down at once are others by now.
            About::Alerts(marks) => marks.contains(&Mark::of(&alert.key, alert.opening)),
            About::Since(first) => !alert.exercise && span.first <= *last && span.last >= *first,
        }
    };
    let told = fleet.alerts.iter().filter(is_told);
    let told = told.map(|alert| ToldAlert {
        number: alert.number,
        services: alert.services.iter().map(ToString::to_string).collect(),
        status: alert.status,
        is_exercise: alert.exercise,
        acknowledged_by: alert.acknowledged.as_ref().map(|by| by.by.clone()),
    });
    Ok(told.collect())
}

#[cfg(test)]
mod tests;
