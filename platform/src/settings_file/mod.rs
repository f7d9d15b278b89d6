//! The settings of a program: one TOML file, `conf.d/*.toml` beside it in order of name, then environment variables.
//!
//! Owns reading, strict parsing, merging, and the telling of **all** mistakes of all files in one run, each as
//! `file:line:column: what is wrong; what to write instead`. Knows no key: agent and collector read their typed values
//! through [`Section`] and [`Field`], which note mistakes instead of returning them.
//!
//! What has a name (`[check.N]`), what has order (`[[route]]`) and every single key live in one file; a second sight names
//! both places. A variable such as `VIGIE__DEFAULTS__EVERY=1m` replaces one leaf. In a file with a syntax error the rest is
//! still read, but absent keys are not complained about.
//!
//! It must never keep or print a secret: those are in files of their own (see [`SecretFile`]), keys that look like one are
//! refused, and settings files that group or others can write are refused. Reading is synchronous and bounded; it is done at
//! start, and on reload from a blocking task. It writes nothing, so neither cancellation nor a full disk can hurt it.
//!
//! ```
//! # use std::time::Duration;
//! # use vigie_platform::settings_file::{LoadedSettings, Mistakes};
//! struct Defaults { every: Duration, failures: u32 }
//!
//! fn defaults(loaded: LoadedSettings) -> Result<Defaults, Mistakes> {
//!     let root = loaded.root();
//!     let section = root.sub_or_empty("defaults");
//!     let defaults = Defaults {
//!         every: section.duration("every").within(Duration::from_secs(1)..=Duration::from_secs(3600)).or(Duration::from_secs(30)),
//!         failures: section.integer("failures", 1..=100).or(2),
//!     };
//!     // Dropping a section tells which of its keys nobody asked for.
//!     drop((section, root));
//!     loaded.finish(Some(defaults))
//! }
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod load;
mod merge;
mod mistake;
mod parse;
mod secret;
mod section;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod values;

pub use mistake::{Mistake, Mistakes, Place};
pub use secret::{ReadSecretError, Secret, SecretFile};
pub use section::{Complaint, Field, Section};
pub use suggest::nearest;
pub use values::{Percent, Url, parse_duration};

use mistake::Notebook;
use section::Run;
use tree::Table;

/// The prefix of variables that override settings, for both programs.
pub const VARIABLE_PREFIX: &str = "VIGIE__";

/// Reads `file`, the `conf.d/*.toml` beside it, and those of `variables` that start with [`VARIABLE_PREFIX`].
///
/// `variables` is the environment as `main` read it once (`std::env::vars_os()`), or a test's map. Nothing is returned
/// early: what cannot be read is a mistake among the others, and [`LoadedSettings::finish`] tells them all.
pub fn load<K, V>(file: &Path, variables: impl IntoIterator<Item = (K, V)>) -> LoadedSettings
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    load::load(file, variables)
}

/// Reads `file` and nothing else: for files that are written like settings and are none.
pub fn load_alone(file: &Path) -> LoadedSettings {
    load::load_alone(file)
}

/// Settings that were given as words, such as the arguments of a command: every value is text, numbers included, and every
/// mistake is told at `origin`.
pub fn from_words<'w>(
    origin: &str,
    words: impl IntoIterator<Item = (&'w str, &'w str)>,
) -> LoadedSettings {
    load::from_words(origin, words)
}

/// Settings read and merged, with the mistakes noted so far.
pub struct LoadedSettings {
    run: Run,
    root: Table,
    main: Place,
    sources: Vec<SourceText>,
}

/// The text of one source, as it was read: what a record of "these rules were in force" keeps.
pub struct SourceText {
    /// The file's path or the variable's name.
    pub name: String,
    /// The whole text of the file or variable.
    pub text: String,
}

impl LoadedSettings {
    /// The top level of the merged settings.
    pub fn root(&self) -> Section<'_> {
        Section::root(&self.run, &self.root, &self.main)
    }

    /// Notes a mistake at a place that was kept while reading, for checks across sections (a name that nobody declares).
    pub fn mistake(&self, place: &Place, what: impl Into<String>, mend: impl Into<String>) {
        self.run.notebook.note(place.clone(), what, mend);
    }

    /// Some of the text could not be read, so what is absent proves nothing: checks across sections should be left out.
    pub fn is_partial(&self) -> bool {
        !self.run.partial.is_empty()
    }

    /// Every source that was read, in order of reading.
    pub fn sources(&self) -> &[SourceText] {
        &self.sources
    }

    /// `value` if nothing is wrong in any file, else all mistakes.
    ///
    /// `None` means that a required value could not be read, which was noted when it was asked for.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        let notebook: Notebook = self.run.notebook;
        if value.is_none() && notebook.is_empty() {
            notebook.note(
                self.main,
                "the program could not read these settings and did not say why",
                "report this as a defect of vigie",
            );
        }
        match (notebook.into_mistakes(), value) {
            (None, Some(value)) => Ok(value),
            (Some(mistakes), _) => Err(mistakes),
            (None, None) => unreachable!("an absent value was noted just above"),
        }
    }
}

/// The folder of additional files beside `file`.
pub fn conf_d(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("conf.d")
}

/// A path shared by every place in its file.
type SharedPath = Arc<Path>;
