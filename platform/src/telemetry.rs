//! The program's own log: lines for people on stderr, which systemd takes to the journal.
//!
//! Changes of state are logged, not turns of a loop; no line holds a secret, a person, or the contents of a file. Writing is
//! best effort: a closed stderr loses lines and nothing else. The level can change at a reload.

use std::io::IsTerminal;
use std::{fmt, io};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// The variable that overrides the level of the settings.
pub const LOG_VARIABLE: &str = "VIGIE_LOG";

/// What is logged when nobody says anything.
pub const DEFAULT_LEVEL: &str = "info";

/// Colours or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Shown,
    /// For the journal and files.
    Plain,
}

/// Which lines are written: a level (`info`) or `tracing` directives (`warn,vigie_agent=debug`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    /// The variable's text if there is one, else that of the settings, else [`DEFAULT_LEVEL`].
    ///
    /// # Errors
    ///
    /// If the one that counts is not understood.
    pub fn chosen(variable: Option<&str>, setting: Option<&str>) -> Result<Self, LevelError> {
        let variable = variable.filter(|text| !text.trim().is_empty());
        variable.or(setting).unwrap_or(DEFAULT_LEVEL).parse()
    }

    fn filter(&self) -> EnvFilter {
        // Parsed once before; should it ever fail here, saying less than wanted is better than saying nothing.
        EnvFilter::try_new(&self.0).unwrap_or_else(|_| EnvFilter::new(DEFAULT_LEVEL))
    }
}

impl std::str::FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let text = text.trim();
        // A bare word that is no level would be taken for the name of a module, and everything else fall silent.
        let is_understood = text.split(',').all(|directive| {
            directive.contains('=')
                || directive
                    .trim()
                    .parse::<tracing_subscriber::filter::LevelFilter>()
                    .is_ok()
        });
        match EnvFilter::try_new(text) {
            Ok(_) if is_understood && !text.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(LevelError {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A level that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a log level; write off, error, warn, info, debug, trace, or directives such as \"info,vigie_agent=debug\""
)]
pub struct LevelError {
    text: String,
}

/// The log once set up; changes its level at a reload.
#[derive(Clone, Debug)]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Telemetry {
    /// Changes the level from now on.
    pub fn change_level(&self, level: &Level) {
        // Fails only when the subscriber is gone, and then there is no log to speak of.
        let _ = self.filter.reload(level.filter());
    }
}

/// Sets up the log of this process on stderr, with colours if that is a terminal.
///
/// # Errors
///
/// If it was set up before.
pub fn start(level: &Level) -> Result<Telemetry, AlreadyStarted> {
    let colour = if io::stderr().is_terminal() {
        Colour::Shown
    } else {
        Colour::Plain
    };
    let (subscriber, telemetry) = subscriber(level, colour, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyStarted)?;
    Ok(telemetry)
}

/// The log was set up before in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up the log twice")]
pub struct AlreadyStarted;

fn subscriber<W>(
    level: &Level,
    colour: Colour,
    writer: W,
) -> (impl tracing::Subscriber + Send + Sync + use<W>, Telemetry)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(level.filter());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colour == Colour::Shown)
        // Control characters of a peer's text must not reach the operator's terminal.
        .with_ansi_sanitization(true)
        .log_internal_errors(false);
    (
        Registry::default().with(filter).with(lines),
        Telemetry { filter: handle },
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn written(level: &str, colour: Colour, act: impl FnOnce(&Telemetry)) -> String {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, telemetry) =
            subscriber(&level.parse().unwrap(), colour, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || act(&telemetry));
        page.text()
    }

    #[test]
    fn lines_have_level_message_and_fields_and_no_colour_outside_a_terminal() {
        let text = written("info", Colour::Plain, |_| {
            warn!(agent = "app-01", attempts = 3, "push failed");
            debug!("not this");
        });
        assert!(
            text.contains("WARN") && text.contains("push failed agent=\"app-01\" attempts=3"),
            "{text}"
        );
        assert!(
            !text.contains("not this") && !text.contains('\x1b'),
            "{text}"
        );
        assert!(written("info", Colour::Shown, |_| info!("x")).contains('\x1b'));
    }

    #[test]
    fn a_peers_control_characters_do_not_reach_the_terminal() {
        let text = written("info", Colour::Plain, |_| warn!("from a peer: \x1b[2J"));
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn the_level_changes_while_running() {
        let text = written("warn", Colour::Plain, |telemetry| {
            info!("before");
            telemetry.change_level(&"info".parse().unwrap());
            info!("after");
        });
        assert!(!text.contains("before") && text.contains("after"), "{text}");
    }

    #[test]
    fn the_variable_beats_the_setting_and_nonsense_is_refused() {
        assert_eq!(
            Level::chosen(Some("debug"), Some("warn"))
                .unwrap()
                .to_string(),
            "debug"
        );
        assert_eq!(
            Level::chosen(Some(" "), Some("warn")).unwrap().to_string(),
            "warn"
        );
        assert_eq!(
            Level::chosen(None, None).unwrap().to_string(),
            DEFAULT_LEVEL
        );
        assert!(Level::chosen(None, Some("info,vigie_agent=debug")).is_ok());
        for text in ["loud", "", "info,loud", "vigie=loud", "INFO,="] {
            assert!(text.parse::<Level>().is_err(), "{text}");
        }
    }
}
