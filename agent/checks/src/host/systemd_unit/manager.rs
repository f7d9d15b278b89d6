//! What is asked of systemd's manager object, and nothing that changes it.

use std::collections::HashMap;

use vigie_core::time::Wall;
use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant};

/// Who is asked.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";

/// The interface that every unit has.
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// The interface of properties, and of their signal.
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// systemd, over a connection.
pub(super) struct Manager {
    connection: Connection,
}

/// How a unit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Whether its file was found and understood.
    pub(super) load: String,
    /// The state that all types of units share.
    pub(super) active: String,
    /// The state of its own type.
    pub(super) sub: String,
    /// Its object on the bus.
    pub(super) path: OwnedObjectPath,
}

/// What else there is to tell of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// When it last came into its state.
    pub(super) since: Option<Wall>,
    /// When it last became active.
    pub(super) active_since: Option<Wall>,
    /// Automatic restarts; `None` of what is no service.
    pub(super) restarts: Option<u64>,
    /// How its last run ended, of a service.
    pub(super) result: String,
    /// The `Type=` of a service.
    pub(super) service_type: String,
}

/// One unit as ListUnitsByNames gives it: name, description, the three states, who it follows, its path, and its job.
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

impl State {
    /// Whether there is no such unit.
    pub(super) fn is_missing(&self) -> bool {
        self.load == "not-found"
    }
}

impl Manager {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How each of these stands, by name; those that are not loaded are loaded for it. One unit may have several names
    /// (`Alias=`): systemd answers in the order of the question, each time with the first of them.
    pub(super) async fn states(
        &self,
        names: &[&str],
    ) -> Result<HashMap<String, State>, zbus::Error> {
        let answer = self.call("ListUnitsByNames", &(names,)).await?;
        let listed: Vec<Listed> = answer.body().deserialize()?;
        let is_in_order = listed.len() == names.len();
        let state = |(position, listed): (usize, Listed)| {
            let (first_name, _, load, active, sub, _, path, ..) = listed;
            let asked = names.get(position).filter(|_| is_in_order);
            let name = asked.map_or(first_name, |asked| (*asked).to_owned());
            let state = State {
                load,
                active,
                sub,
                path,
            };
            (name, state)
        };
        Ok(listed.into_iter().enumerate().map(state).collect())
    }

    /// Asks systemd to send signals over this connection at all.
    pub(super) async fn subscribe(&self) -> Result<(), zbus::Error> {
        match self.call("Subscribe", &()).await {
            Ok(_) => Ok(()),
            // Another check did so before.
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AlreadySubscribed") => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What else there is to tell of the unit `name` at `path`.
    pub(super) async fn details(
        &self,
        path: &OwnedObjectPath,
        name: &str,
    ) -> Result<Details, zbus::Error> {
        let mut details = Details {
            since: wall(self.property(path, UNIT, "StateChangeTimestamp").await?),
            active_since: wall(self.property(path, UNIT, "ActiveEnterTimestamp").await?),
            ..Details::default()
        };
        if name.ends_with(".service") {
            // Since systemd 235; an older one has no loop to tell.
            let restarts = self.property::<u32>(path, SERVICE, "NRestarts").await;
            details.restarts = restarts.ok().map(u64::from);
            details.result = self.property(path, SERVICE, "Result").await?;
            details.service_type = self.property(path, SERVICE, "Type").await?;
        }
        Ok(details)
    }

    async fn property<T>(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<T, zbus::Error>
    where
        T: TryFrom<OwnedVariant, Error = zbus::Error>,
    {
        let answer = self
            .connection
            .call_method(
                Some(SYSTEMD),
                path,
                Some(PROPERTIES),
                "Get",
                &(interface, name),
            )
            .await?;
        T::try_from(answer.body().deserialize::<OwnedVariant>()?)
    }

    async fn call<B>(&self, method: &str, body: &B) -> Result<Message, zbus::Error>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.connection
            .call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, body)
            .await
    }
}

/// systemd counts microseconds, and writes 0 for never.
fn wall(microseconds: u64) -> Option<Wall> {
    let milliseconds = i64::try_from(microseconds / 1_000).ok()?;
    (milliseconds > 0).then_some(Wall(milliseconds))
}
