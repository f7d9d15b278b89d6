//! From paths and variables to one merged tree: which files are read, in what order, and which are refused.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::merge;
use super::mistake::{Notebook, Place};
use super::parse::{self, Lines};
use super::section::Run;
use super::tree::{Entry, Node, Table, Value};
use super::{LoadedSettings, SharedPath, SourceText, VARIABLE_PREFIX, conf_d};

/// The largest hand-written settings we know of hold some 3,000 nodes in under 300 kB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One file per team or service is the most we expect; more is a mistaken folder.
const FILES_MAX: usize = 512;

pub(super) fn load<K, V>(file: &Path, variables: impl IntoIterator<Item = (K, V)>) -> LoadedSettings
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let notebook = Notebook::default();
    let others = files_of(&conf_d(file), &notebook);
    load_files(file, others, variables, notebook)
}

pub(super) fn load_alone(file: &Path) -> LoadedSettings {
    let no_variables: [(OsString, OsString); 0] = [];
    load_files(file, Vec::new(), no_variables, Notebook::default())
}

fn load_files<K, V>(
    file: &Path,
    others: Vec<PathBuf>,
    variables: impl IntoIterator<Item = (K, V)>,
    notebook: Notebook,
) -> LoadedSettings
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let (mut trees, mut partial, mut sources) = (Vec::new(), Vec::new(), Vec::new());

    let main = Place::file(0, file.into());
    for (rank, path) in std::iter::once(file.to_owned()).chain(others).enumerate() {
        let path: SharedPath = path.into();
        let place = Place::file(u32::try_from(rank).unwrap_or(u32::MAX), path.clone());
        let Some(text) = text_of(&path, &place, &notebook) else {
            partial.push(place);
            continue;
        };
        let parsed = parse::document(&place, &text, &notebook);
        if parsed.is_partial {
            partial.push(place);
        }
        trees.push(parsed.table);
        sources.push(SourceText {
            name: path.display().to_string(),
            text,
        });
    }

    let (mut pairs, mut credentials) = (Vec::new(), None);
    for (name, text) in variables {
        let (name, text) = (name.into(), text.into());
        if name == "CREDENTIALS_DIRECTORY" {
            credentials = Some(PathBuf::from(&text));
        }
        pairs.push((name, text));
    }
    let variables = merge::variables(pairs, VARIABLE_PREFIX);
    let seconds = merge::set_aside_seconds(&mut trees, &notebook);
    let overrides = merge::overrides(&variables, VARIABLE_PREFIX, &trees, &notebook);
    trees.extend(overrides);
    let root = merge::merged(trees).unwrap_or_else(|error| {
        notebook.note(
            main.clone(),
            format!("the settings cannot be merged: {error}"),
            "report this as a defect of vigie",
        );
        Table::new()
    });
    sources.extend(variables.into_iter().filter_map(|variable| {
        Some(SourceText {
            name: variable.name,
            text: variable.text?,
        })
    }));
    LoadedSettings {
        run: Run {
            notebook,
            seconds,
            partial,
            credentials,
            gave_up: Cell::new(false),
        },
        root,
        main,
        sources,
    }
}

pub(super) fn from_words<'w>(
    origin: &str,
    words: impl IntoIterator<Item = (&'w str, &'w str)>,
) -> LoadedSettings {
    let place = Place::variable(origin);
    let entry = |(key, word): (&str, &str)| {
        let node = Node {
            value: Value::String(word.to_owned()),
            place: place.clone(),
        };
        let key_place = place.clone();
        (
            key.to_owned(),
            Entry {
                key: key_place,
                node,
            },
        )
    };
    LoadedSettings {
        root: words.into_iter().map(entry).collect(),
        run: Run {
            notebook: Notebook::default(),
            seconds: merge::Seconds::new(),
            partial: Vec::new(),
            credentials: None,
            gave_up: Cell::new(false),
        },
        main: place,
        sources: Vec::new(),
    }
}

/// `*.toml` of `folder` in order of name; none if there is no such folder. Names with a leading dot are an editor's.
fn files_of(folder: &Path, notebook: &Notebook) -> Vec<PathBuf> {
    let place = Place::file(1, folder.into());
    let listed = fs::read_dir(folder).and_then(|entries| {
        refuse_foreign_writers(&fs::metadata(folder)?, &place, notebook);
        entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>, io::Error>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            notebook.note(
                place,
                format!("cannot list this folder: {error}"),
                "make it readable",
            );
            return Vec::new();
        }
    };
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    paths.sort();
    if paths.len() > FILES_MAX {
        notebook.note(
            place,
            format!("{} files are too many", paths.len()),
            format!("keep at most {FILES_MAX}"),
        );
        paths.truncate(FILES_MAX);
    }
    paths
}

fn text_of(path: &Path, place: &Place, notebook: &Notebook) -> Option<String> {
    let (bytes, metadata) = match bytes_of(path, FILE_BYTES_MAX) {
        Ok(read) => read,
        Err(error) => {
            notebook.note(
                place.clone(),
                format!("cannot read this file: {error}"),
                "make it a readable file",
            );
            return None;
        }
    };
    refuse_foreign_writers(&metadata, place, notebook);
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..offset]).into_owned();
            notebook.note(
                Lines::of(place, &text).place(offset),
                "this is not UTF-8 text",
                "save the file in UTF-8",
            );
            None
        }
    }
}

/// Whoever writes the settings decides what is not watched.
fn refuse_foreign_writers(metadata: &Metadata, place: &Place, notebook: &Notebook) {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        notebook.note(
            place.clone(),
            format!("group or others can write here (mode {mode:04o})"),
            format!(
                "run `chmod go-w {}`",
                place.path().unwrap_or(Path::new("")).display()
            ),
        );
    }
}

/// The bytes and the metadata of one opened regular file, so that both speak of the same file.
///
/// Opened without waiting: a named pipe in place of a file is refused rather than hung on.
pub(super) fn bytes_of(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {bytes_max} bytes"),
        ));
    }
    Ok((bytes, metadata))
}
