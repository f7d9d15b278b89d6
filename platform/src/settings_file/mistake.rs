//! What is wrong in the settings, where, and what to write instead.
//!
//! Every mistake of every file is collected; none is returned early. Texts never quote a value that may hold a secret.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
///
/// Orders by source (the main file, `conf.d` files by name, then variables by name), line, column.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    source: Source,
    /// 1-based; 0 when the mistake concerns the file as a whole.
    line: u32,
    column: u32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Source {
    /// `rank` is the order of reading; comparing paths would put some `conf.d` files before the main one.
    File {
        rank: u32,
        path: Arc<Path>,
    },
    Variable(Arc<str>),
}

impl Place {
    pub(super) fn file(rank: u32, path: Arc<Path>) -> Self {
        Self {
            source: Source::File { rank, path },
            line: 0,
            column: 0,
        }
    }

    pub(super) fn variable(name: &str) -> Self {
        Self {
            source: Source::Variable(name.into()),
            line: 0,
            column: 0,
        }
    }

    pub(super) fn at(&self, line: u32, column: u32) -> Self {
        Self {
            source: self.source.clone(),
            line,
            column,
        }
    }

    /// Whether the value comes from an environment variable, where everything is text.
    pub fn is_variable(&self) -> bool {
        matches!(self.source, Source::Variable(_))
    }

    /// The file, unless the value comes from a variable.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path, .. } => Some(path),
            Source::Variable(_) => None,
        }
    }

    /// The line, from 1; 0 for a variable or a file as a whole.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in characters, from 1; 0 for a variable or a file as a whole.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File { path, .. } => path.display().fmt(f)?,
            Source::Variable(name) => f.write_str(name)?,
        }
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One thing to correct, printed as `file:line:column: what is wrong; what to write instead`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where to go.
    pub place: Place,
    /// What is wrong there, without a full stop.
    pub what: String,
    /// What to write instead, as an order to the reader.
    pub mend: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.mend)
    }
}

/// All mistakes of one run, at least one, ordered by file, line and column. Prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn sorted(mut mistakes: Vec<Mistake>) -> Option<Self> {
        mistakes.sort();
        // A key that the program reads twice is still one mistake of the administrator.
        mistakes.dedup();
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// The mistakes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Where readers put what they find; shared by all sections of one run.
#[derive(Default)]
pub(super) struct Notebook(RefCell<Vec<Mistake>>);

impl Notebook {
    pub(super) fn note(&self, place: Place, what: impl Into<String>, mend: impl Into<String>) {
        self.0.borrow_mut().push(Mistake {
            place,
            what: what.into(),
            mend: mend.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn into_mistakes(self) -> Option<Mistakes> {
        Mistakes::sorted(self.0.into_inner())
    }
}
