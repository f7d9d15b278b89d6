//! Listens for what happens to units between two runs: one task, one rule of the bus for each unit's object. Its path is what
//! systemd says that it is, for a unit may be known by several names and sends its signals under the first of them.
//!
//! It keeps a flag and a number for each unit and never a message. It ends when the connection does; dropping the
//! [`Watch`] aborts it, which is safe at any point.

use std::{
    collections::{BTreeSet, HashMap},
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
    /// The connection that it listens on, by the name that the bus gave it.
    connection: Option<String>,
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
    /// Listens for the units at these paths; `None` where the bus or systemd does not let us.
    pub(super) async fn start(manager: &Manager, paths: &BTreeSet<String>) -> Option<Self> {
        let units = Units::default();
        match listen(manager, paths).await {
            Ok(signals) => Some(Self {
                task: tokio::spawn(hear(signals, Arc::clone(&units))),
                units,
                connection: unique_name(manager),
            }),
            Err(error) => {
                tracing::debug!(%error, "no signals of systemd");
                None
            }
        }
    }

    /// Whether it still listens, on the connection that is in use.
    pub(super) fn is_alive(&self, manager: &Manager) -> bool {
        !self.task.is_finished() && self.connection == unique_name(manager)
    }

    /// What happened to the unit at `path`, told once.
    pub(super) fn take(&self, path: &str) -> News {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units
            .get_mut(path)
            .map_or(News::default(), |heard| std::mem::take(&mut heard.news))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unique_name(manager: &Manager) -> Option<String> {
    let name = manager.connection().unique_name()?;
    Some(name.as_str().to_owned())
}

async fn listen(
    manager: &Manager,
    paths: &BTreeSet<String>,
) -> Result<SelectAll<MessageStream>, zbus::Error> {
    let mut signals = SelectAll::new();
    for path in paths {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .path(path.as_str())
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

async fn hear(mut signals: SelectAll<MessageStream>, units: Units) {
    while let Some(message) = signals.next().await {
        // The connection broke.
        let Ok(message) = message else {
            return;
        };
        let header = message.header();
        let Some(path) = header.path() else {
            continue;
        };
        let is_failed = is_failed(&message);
        let mut units = units.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = units.entry(path.as_str().to_owned()).or_default();
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
