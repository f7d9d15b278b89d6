//! The system bus, for checks that ask systemd: one connection for all of them, made when the first one asks.
//!
//! A machine without such a check never connects, and without a bus each call says so. A connection that ended is made
//! anew at the next call; one on which an answer did not come is given up by [`Bus::forget`], because what hangs once
//! tends to hang. Nothing is retried here: the checks' own grid is the pace.
//!
//! Cancel-safe: a caller that gives up while connecting leaves no connection behind.

use std::{num::NonZeroUsize, sync::Arc};

use tokio::sync::Mutex;
use zbus::{Connection, connection::Builder};

/// Messages that wait for a reader inside the library: answers are taken at once, signals by a task.
const QUEUED_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// Names where the bus is when no variable does (dbus-daemon(1)).
const ADDRESS: &str = "unix:path=/run/dbus/system_bus_socket";

/// The variable that names it.
const VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// The bus of this machine, or the place where there is none.
#[derive(Clone)]
pub struct Bus {
    address: Arc<str>,
    live: Arc<Mutex<Option<Connection>>>,
}

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the system bus")]
pub struct NoBus(#[source] zbus::Error);

impl Bus {
    /// The system bus, at the address that the environment names, else at the usual one.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let named = std::env::var(VARIABLE).ok();
        Self::at(named.as_deref().unwrap_or(ADDRESS))
    }

    /// The bus at a D-Bus address.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self {
            address: address.into(),
            live: Arc::default(),
        }
    }

    /// The connection, made if there is none that works.
    ///
    /// # Errors
    /// When the bus does not take one.
    pub async fn connection(&self) -> Result<Connection, NoBus> {
        let mut live = self.live.lock().await;
        if let Some(connection) = live.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *live = None;
        let connection = Builder::address(&*self.address)
            .max_queued(QUEUED_MAX)
            .build()
            .await
            .map_err(NoBus)?;
        *live = Some(connection.clone());
        Ok(connection)
    }

    /// Gives this connection up, if it is still the one in use; the next call makes another.
    pub async fn forget(&self, given_up: &Connection) {
        let mut live = self.live.lock().await;
        if live
            .as_ref()
            .is_some_and(|live| live.unique_name() == given_up.unique_name())
        {
            *live = None;
        }
    }
}
