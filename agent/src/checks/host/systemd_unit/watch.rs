//! Listens for what happens to units between two runs: one task, one rule of the bus for each unit.
//!
//! It keeps a flag and a number for each unit and never a message. It ends when the connection does; dropping the
//! [`Watch`] aborts it, which is safe at any point.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream::SelectAll};
use tokio::task::JoinHandle;
use zbus::{MatchRule, Message, MessageStream, OwnedVariant, message::Type};

use super::manager::{Manager, PROPERTIES, SYSTEMD, UNIT};

/// Signals of one unit that wait inside the library. The task takes them at once.
const QUEUED_MAX: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// The task that listens.
pub(super) struct Watch {
    task: JoinHandle<()>,
    units: Units,
}

type Units = Arc<Mutex<HashMap<String, Heard>>>;

/// What was heard of one unit.
#[derive(Debug, Default)]
struct Heard {
    news: News,
    is_failed: bool,
}

/// What happened to one unit since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Whether anything did.
    pub(super) is_changed: bool,
    /// How often it failed.
    pub(super) failures: u64,
}

/// The body of a PropertiesChanged: interface, what has a new value, what has one that is not told.
type Changed = (String, HashMap<String, OwnedVariant>, Vec<String>);

impl Watch {
    /// Listens for these units; `None` where the bus or systemd does not let us.
    pub(super) async fn start(manager: &Manager, names: &[&str]) -> Option<Self> {
        let units = Units::default();
        match listen(manager, names).await {
            Ok(signals) => {
                let heard = Arc::clone(&units);
                let by_path: HashMap<String, String> = names
                    .iter()
                    .map(|name| (unit_path(name), (*name).to_owned()))
                    .collect();
                let task = tokio::spawn(hear(signals, by_path, heard));
                Some(Self { task, units })
            }
            Err(error) => {
                tracing::debug!(%error, "no signals of systemd");
                None
            }
        }
    }

    /// Whether it still listens.
    pub(super) fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    /// What happened to the unit, told once.
    pub(super) fn take(&self, name: &str) -> News {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units
            .get_mut(name)
            .map_or(News::default(), |heard| std::mem::take(&mut heard.news))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    manager: &Manager,
    names: &[&str],
) -> Result<SelectAll<MessageStream>, zbus::Error> {
    let mut signals = SelectAll::new();
    for name in names {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .path(unit_path(name))
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .add_arg(UNIT)
            .build()?;
        let stream =
            MessageStream::for_match_rule(rule, manager.connection(), Some(QUEUED_MAX)).await?;
        signals.push(stream);
    }
    manager.subscribe().await?;
    Ok(signals)
}

async fn hear(
    mut signals: SelectAll<MessageStream>,
    by_path: HashMap<String, String>,
    units: Units,
) {
    while let Some(message) = signals.next().await {
        // The connection broke.
        let Ok(message) = message else {
            return;
        };
        let header = message.header();
        let Some(name) = header.path().and_then(|path| by_path.get(path.as_str())) else {
            continue;
        };
        let is_failed = is_failed(&message);
        let mut units = units.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = units.entry(name.clone()).or_default();
        heard.news.is_changed = true;
        if let Some(is_failed) = is_failed {
            if is_failed && !heard.is_failed {
                heard.news.failures = heard.news.failures.saturating_add(1);
            }
            heard.is_failed = is_failed;
        }
    }
}

/// Whether the unit failed, if the signal tells its state.
fn is_failed(message: &Message) -> Option<bool> {
    let body = message.body();
    let (_, mut changed, _): Changed = body.deserialize().ok()?;
    let state = String::try_from(changed.remove("ActiveState")?).ok()?;
    Some(state == "failed")
}

/// The path of a unit's object: its name, with every byte but letters and digits written `_xx` (sd_bus_path_encode(3)).
fn unit_path(name: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (position, byte) in name.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphabetic() || (position > 0 && byte.is_ascii_digit());
        if is_plain {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_path_is_written_as_systemd_writes_it() {
        let table = [
            ("a.service", "a_2eservice"),
            (
                "postgresql@15-main.service",
                "postgresql_4015_2dmain_2eservice",
            ),
            ("9.mount", "_39_2emount"),
        ];
        for (name, path) in table {
            assert_eq!(
                unit_path(name),
                format!("/org/freedesktop/systemd1/unit/{path}")
            );
        }
    }
}
