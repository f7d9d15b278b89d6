//! How a program reads its typed values out of a table while mistakes are noted rather than returned.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use vigie_core::digest::Digest;

use super::merge::Seconds;
use super::mistake::{Notebook, Place};
use super::secret::SecretFile;
use super::suggest::nearest;
use super::tree::{Node, Table, Value, joined};
use super::values::{self, Percent, Url, parse_duration};

/// What all sections of one run share.
pub(super) struct Run {
    pub(super) notebook: Notebook,
    pub(super) seconds: Seconds,
    /// Files of which some text could not be read.
    pub(super) partial: Vec<Place>,
    /// systemd's `CREDENTIALS_DIRECTORY`.
    pub(super) credentials: Option<PathBuf>,
    /// A required value could not be had, so that the program may have left sections unread.
    pub(super) gave_up: Cell<bool>,
}

/// What is wrong with a value and what to write instead; the place is added by whoever knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    what: String,
    mend: String,
}

impl Complaint {
    /// `what` is wrong, without a full stop; `mend` is an order to the reader ("write …").
    pub fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            mend: mend.into(),
        }
    }
}

/// One table of the settings. Dropping it notes every key that was never asked for.
///
/// Read every key first and use `?` after, so that one missing value hides no other mistake. A section that is dropped
/// after a required value of it could not be had says nothing of its other keys; [`Section::finish`] always does.
pub struct Section<'s> {
    run: &'s Run,
    /// Absent when the program reads the defaults of a section that nobody wrote.
    table: Option<&'s Table>,
    name: &'s str,
    path: String,
    place: Place,
    asked: RefCell<BTreeSet<String>>,
    is_complete: Cell<bool>,
    is_silent: Cell<bool>,
}

impl<'s> Section<'s> {
    pub(super) fn root(run: &'s Run, table: &'s Table, place: &Place) -> Self {
        Self::new(run, Some(table), "", String::new(), place.clone())
    }

    fn new(
        run: &'s Run,
        table: Option<&'s Table>,
        name: &'s str,
        path: String,
        place: Place,
    ) -> Self {
        Self {
            run,
            table,
            name,
            path,
            place,
            asked: RefCell::default(),
            is_complete: Cell::new(true),
            is_silent: Cell::new(false),
        }
    }

    /// Whether somebody wrote this section.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether nothing at all is written in this section.
    pub fn is_empty(&self) -> bool {
        self.table.is_none_or(Table::is_empty)
    }

    /// The table's own name: `disques` in `[check.disques]`; the list's name for an element of a list.
    pub fn own_name(&self) -> &str {
        self.name
    }

    /// The table's own name as a `T`; a name that is not one is noted at the header.
    pub fn parsed_own_name<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.name.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let what = format!("the name {:?} is not valid: {error}", self.name);
                self.run.notebook.note(self.place.clone(), what, NAME_MEND);
                None
            }
        }
    }

    /// Where the section's header stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the value of `key` stands; the section's own place if it is absent.
    pub fn place_of(&self, key: &str) -> Place {
        self.node(key)
            .map_or_else(|| self.place.clone(), |node| node.place.clone())
    }

    /// Where an element of the list `key` stands; the value's own place if there is no such element.
    pub fn place_of_item(&self, key: &str, index: usize) -> Place {
        match self.node(key).map(|node| &node.value) {
            Some(Value::Array(items)) => items.get(index).map(|item| item.place.clone()),
            _ => None,
        }
        .unwrap_or_else(|| self.place_of(key))
    }

    /// Notes a mistake at the value of `key`, for rules that concern several keys of one section.
    pub fn mistake(&self, key: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.run.notebook.note(self.place_of(key), what, mend);
    }

    /// Whether `key` is written here; counts as asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.ask(key).is_some()
    }

    /// Text.
    pub fn str<'f>(&'f self, key: &'f str) -> Field<'f, String> {
        self.field(key, "\"…\"", |node| {
            text(node).map(str::to_owned).map_err(Wrong::One)
        })
    }

    /// True or false.
    pub fn boolean<'f>(&'f self, key: &'f str) -> Field<'f, bool> {
        self.field(key, "true", |node| {
            match (&node.value, node.place.is_variable()) {
                (Value::Boolean(boolean), _) => Ok(*boolean),
                (Value::String(text), true) if text == "true" => Ok(true),
                (Value::String(text), true) if text == "false" => Ok(false),
                _ => Err(not_a(
                    node,
                    "true or false",
                    "write true or false, without quotes",
                )),
            }
        })
    }

    /// A whole number within `range`.
    pub fn integer<'f, T>(&'f self, key: &'f str, range: RangeInclusive<T>) -> Field<'f, T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.field(key, "1", |node| integer(node, &range))
    }

    /// One whole number within `range` or a list of them.
    pub fn some_integers<'f, T>(
        &'f self,
        key: &'f str,
        range: RangeInclusive<T>,
    ) -> Field<'f, Vec<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.field(key, "1", |node| {
            list(node, Scalar::Accepted, |item| integer(item, &range))
        })
    }

    /// A list of whole numbers, each within `range`.
    pub fn integer_list<'f, T>(
        &'f self,
        key: &'f str,
        range: RangeInclusive<T>,
    ) -> Field<'f, Vec<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.field(key, "[1]", |node| {
            list(node, Scalar::Refused, |item| integer(item, &range))
        })
    }

    /// A duration such as `"30s"`.
    pub fn duration<'f>(&'f self, key: &'f str) -> Field<'f, Duration> {
        self.text_field(key, "\"30s\"", parse_duration)
    }

    /// A share such as `"85%"`.
    pub fn percent<'f>(&'f self, key: &'f str) -> Field<'f, Percent> {
        self.text_field(key, "\"85%\"", Percent::parse)
    }

    /// Text that `T` reads; `mend` is the order given to the reader when it cannot.
    pub fn parsed<'f, T: FromStr<Err: Display>>(
        &'f self,
        key: &'f str,
        mend: &str,
    ) -> Field<'f, T> {
        self.text_field(key, "\"…\"", |text| parse(text, mend))
    }

    /// A list of texts that `T` reads; every wrong one is noted at its own place.
    pub fn parsed_list<'f, T: FromStr<Err: Display>>(
        &'f self,
        key: &'f str,
        mend: &str,
    ) -> Field<'f, Vec<T>> {
        self.field(key, "[\"…\"]", |node| {
            list(node, Scalar::Refused, |item| {
                text(item)
                    .and_then(|text| parse(text, mend))
                    .map_err(Wrong::One)
            })
        })
    }

    /// A configured name, by the grammar of `T`.
    pub fn name<'f, T: FromStr<Err: Display>>(&'f self, key: &'f str) -> Field<'f, T> {
        self.parsed(key, NAME_MEND)
    }

    /// A list of configured names.
    pub fn names<'f, T: FromStr<Err: Display>>(&'f self, key: &'f str) -> Field<'f, Vec<T>> {
        self.parsed_list(key, NAME_MEND)
    }

    /// A list of texts.
    pub fn string_list<'f>(&'f self, key: &'f str) -> Field<'f, Vec<String>> {
        self.field(key, "[\"…\"]", |node| {
            list(node, Scalar::Refused, |item| {
                text(item).map(str::to_owned).map_err(Wrong::One)
            })
        })
    }

    /// A list of texts, each read by a rule of the caller's; every wrong one is noted at its own place.
    pub fn judged_list<'f, T>(
        &'f self,
        key: &'f str,
        read: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Field<'f, Vec<T>> {
        self.field(key, "[\"…\"]", |node| {
            list(node, Scalar::Refused, |item| {
                text(item).and_then(&read).map_err(Wrong::One)
            })
        })
    }

    /// One of the listed words.
    pub fn one_of<'f, T: Clone>(&'f self, key: &'f str, choices: &[(&str, T)]) -> Field<'f, T> {
        self.text_field(key, "\"…\"", |text| choose(text, choices))
    }

    /// One of the listed words or a list of them.
    pub fn some_of<'f, T: Clone>(
        &'f self,
        key: &'f str,
        choices: &[(&str, T)],
    ) -> Field<'f, Vec<T>> {
        self.field(key, "[\"…\"]", |node| {
            list(node, Scalar::Accepted, |item| {
                text(item)
                    .and_then(|text| choose(text, choices))
                    .map_err(Wrong::One)
            })
        })
    }

    /// One configured name or a list of them.
    pub fn some_names<'f, T: FromStr<Err: Display>>(&'f self, key: &'f str) -> Field<'f, Vec<T>> {
        self.field(key, "\"…\"", |node| {
            list(node, Scalar::Accepted, |item| {
                text(item)
                    .and_then(|text| parse(text, NAME_MEND))
                    .map_err(Wrong::One)
            })
        })
    }

    /// One name of something declared elsewhere in the settings, or a list of such names. One that is not among
    /// `declared` is noted at its own place as "no `noun` is called …", unless text that could declare it is unreadable.
    pub fn references<'f, T>(
        &'f self,
        key: &'f str,
        noun: &str,
        declared: &BTreeSet<T>,
    ) -> Field<'f, Vec<T>>
    where
        T: FromStr<Err: Display> + Ord + Display,
    {
        self.field(key, "[\"…\"]", |node| {
            list(node, Scalar::Accepted, |item| {
                self.declared(item, noun, declared).map_err(Wrong::One)
            })
        })
    }

    /// One name of something declared elsewhere in the settings; else as [`Section::references`].
    pub fn reference<'f, T>(
        &'f self,
        key: &'f str,
        noun: &str,
        declared: &BTreeSet<T>,
    ) -> Field<'f, T>
    where
        T: FromStr<Err: Display> + Ord + Display,
    {
        self.field(key, "\"…\"", |node| {
            self.declared(node, noun, declared).map_err(Wrong::One)
        })
    }

    fn declared<T>(&self, item: &Node, noun: &str, declared: &BTreeSet<T>) -> Result<T, Complaint>
    where
        T: FromStr<Err: Display> + Ord + Display,
    {
        let name = parse::<T>(text(item)?, NAME_MEND)?;
        if declared.contains(&name) || !self.run.partial.is_empty() {
            Ok(name)
        } else {
            Err(undeclared(&name, noun, declared))
        }
    }

    /// An address with one of `schemes`, without user, password or token.
    pub fn url<'f>(&'f self, key: &'f str, schemes: &[&str]) -> Field<'f, Url> {
        self.text_field(key, "\"https://…\"", |text| Url::parse(text, schemes))
    }

    /// A list of such addresses.
    pub fn url_list<'f>(&'f self, key: &'f str, schemes: &[&str]) -> Field<'f, Vec<Url>> {
        self.field(key, "[\"https://…\"]", |node| {
            list(node, Scalar::Refused, |item| {
                text(item)
                    .and_then(|text| Url::parse(text, schemes))
                    .map_err(Wrong::One)
            })
        })
    }

    /// An absolute path.
    pub fn path<'f>(&'f self, key: &'f str) -> Field<'f, PathBuf> {
        self.text_field(key, "\"/…\"", absolute)
    }

    /// A list of absolute paths.
    pub fn path_list<'f>(&'f self, key: &'f str) -> Field<'f, Vec<PathBuf>> {
        self.field(key, "[\"/…\"]", |node| {
            list(node, Scalar::Refused, |item| {
                text(item).and_then(absolute).map_err(Wrong::One)
            })
        })
    }

    /// A file that holds a secret: an absolute path, or `"credential:NAME"` for one that systemd hands over.
    ///
    /// `key` ends in `_file`, so that nobody takes it for the secret itself.
    pub fn secret_file<'f>(&'f self, key: &'f str) -> Field<'f, SecretFile> {
        debug_assert!(
            key.ends_with("_file"),
            "the key of a secret's file ends in _file"
        );
        let credentials = self.run.credentials.as_deref();
        // The text is not quoted: whoever writes the secret itself here would find it in the log.
        self.text_field(key, "\"/etc/vigie/secrets/…\"", |text| match (text.strip_prefix("credential:"), credentials) {
            (Some(name), _) if name.is_empty() || name.contains('/') || name.starts_with('.') => Err(Complaint::new(
                "this is not the name of a credential",
                "write \"credential:NAME\" with the name in the unit's LoadCredential=",
            )),
            (Some(name), Some(folder)) => Ok(SecretFile::credential(folder, name)),
            (Some(_), None) => Err(Complaint::new(
                "systemd hands over no credentials here",
                "start the program through its unit with LoadCredential=, or write an absolute path",
            )),
            (None, _) if text.starts_with('/') => Ok(SecretFile::at(text)),
            (None, _) => Err(Complaint::new(
                "this is not an absolute path",
                "write the path of a file of mode 0600 that holds the secret",
            )),
        })
    }

    /// The section under `key`, or `None` if nobody wrote it. What is not a table is noted.
    pub fn sub<'k: 's>(&self, key: &'k str) -> Option<Section<'s>> {
        let node = self.ask(key)?;
        match &node.value {
            Value::Table(table) => Some(Section::new(
                self.run,
                Some(table),
                key,
                joined(&self.path, key),
                self.key_place(key),
            )),
            _ => {
                let mend = format!("write a table `[{}]`", joined(&self.path, key));
                self.note(key, not_a(node, "a table", mend), node);
                None
            }
        }
    }

    /// The section under `key`; if nobody wrote it, an empty one from which every default can be read.
    pub fn sub_or_empty<'k: 's>(&self, key: &'k str) -> Section<'s> {
        self.sub(key).unwrap_or_else(|| {
            Section::new(
                self.run,
                None,
                key,
                joined(&self.path, key),
                self.place_of(key),
            )
        })
    }

    /// The named tables under `key` (`[check.a]`, `[check.b]`) in order of name, second sights included.
    pub fn tables(&self, key: &str) -> Vec<Section<'s>> {
        let path = joined(&self.path, key);
        let mut sections = Vec::new();
        let mut add = |name: &'s str, place: &Place, node: &'s Node| match &node.value {
            Value::Table(table) => {
                sections.push(Section::new(
                    self.run,
                    Some(table),
                    name,
                    joined(&path, name),
                    place.clone(),
                ));
            }
            _ => {
                let mend = format!("write a table `[{path}.NAME]`");
                self.note(name, not_a(node, "a table", mend), node);
            }
        };
        let node = self.ask(key);
        match node.map(|node| &node.value) {
            Some(Value::Table(named)) => {
                for (name, entry) in named {
                    add(name, &entry.key, &entry.node);
                }
            }
            Some(_) => {
                if let Some(node) = node {
                    let mend = format!("write tables `[{path}.NAME]`");
                    self.note(key, not_a(node, "a table", mend), node);
                }
            }
            None => {}
        }
        for (name, entry) in self.run.seconds.get(&path).into_iter().flatten() {
            if name != key {
                add(name, &entry.key, &entry.node);
            }
        }
        sections
    }

    /// The elements of the list `[[key]]` in order, second sights included.
    pub fn array_of_tables(&self, key: &str) -> Vec<Section<'s>> {
        let path = joined(&self.path, key);
        let again = self.run.seconds.get(&path).into_iter().flatten();
        let again = again
            .filter(|(name, _)| name == key)
            .map(|(_, entry)| &entry.node);
        let mut sections = Vec::new();
        let name: &'s str = self
            .table
            .and_then(|table| table.get_key_value(key))
            .map_or("", |(name, _)| name);
        for node in self.ask(key).into_iter().chain(again) {
            let mend = format!("write `[[{path}]]`");
            let Value::Array(items) = &node.value else {
                self.note(key, not_a(node, "a list of tables", mend), node);
                continue;
            };
            for item in items {
                match &item.value {
                    Value::Table(table) => {
                        sections.push(Section::new(
                            self.run,
                            Some(table),
                            name,
                            path.clone(),
                            item.place.clone(),
                        ));
                    }
                    _ => self.note(key, not_a(item, "a table", mend.clone()), item),
                }
            }
        }
        sections
    }

    /// The digest of all that is written in this section, wherever it was written: it changes with every key and value,
    /// and not with their order, their file or their layout.
    pub fn digest(&self) -> Digest {
        let json = self.table.map_or(serde_json::Value::Null, json_of);
        Digest::of(json.to_string().as_bytes())
    }

    /// Notes the keys that nobody asked for. Dropping the section does the same unless it was left half read.
    pub fn finish(self) {
        self.note_unknown();
        self.is_silent.set(true);
    }

    /// Ends the section without judging its other keys: when its `kind` is wrong, nobody knows which are allowed.
    pub fn abandon(self) {
        self.is_silent.set(true);
    }

    fn node(&self, key: &str) -> Option<&'s Node> {
        self.table?.get(key).map(|entry| &entry.node)
    }

    fn key_place(&self, key: &str) -> Place {
        self.table
            .and_then(|table| table.get(key))
            .map_or_else(|| self.place.clone(), |entry| entry.key.clone())
    }

    fn ask(&self, key: &str) -> Option<&'s Node> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.node(key)
    }

    fn text_field<'f, T>(
        &'f self,
        key: &'f str,
        example: &'static str,
        read: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Field<'f, T> {
        self.field(key, example, |node| {
            text(node).and_then(&read).map_err(Wrong::One)
        })
    }

    fn field<'f, T>(
        &'f self,
        key: &'f str,
        example: &'static str,
        read: impl FnOnce(&Node) -> Result<T, Wrong>,
    ) -> Field<'f, T> {
        let found = match self.ask(key) {
            None => Found::Absent,
            Some(node) => match read(node) {
                Ok(value) => Found::Value(value),
                Err(wrong) => {
                    self.note(key, wrong, node);
                    Found::Wrong
                }
            },
        };
        Field {
            section: self,
            key,
            example,
            found,
        }
    }

    fn note(&self, key: &str, wrong: Wrong, node: &Node) {
        if matches!(node.value, Value::Unreadable) {
            return;
        }
        let note = |place: &Place, complaint: Complaint| {
            let what = format!("`{key}`: {}", complaint.what);
            self.run.notebook.note(place.clone(), what, complaint.mend);
        };
        match wrong {
            Wrong::One(complaint) => note(&node.place, complaint),
            Wrong::Items(complaints) => complaints
                .into_iter()
                .for_each(|(place, complaint)| note(&place, complaint)),
        }
    }

    /// Whether the absence of a key could be the fault of text that could not be read.
    fn may_hide_keys(&self) -> bool {
        let gathers_from_all_files = !self.path.contains('.');
        let partial = &self.run.partial;
        !partial.is_empty()
            && (gathers_from_all_files
                || partial.iter().any(|file| file.path() == self.place.path()))
    }

    fn note_unknown(&self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for (key, entry) in table.iter().filter(|(key, _)| !asked.contains(*key)) {
            let in_file = format!("{key}_file");
            let (what, mend) = if asked.contains(&in_file) {
                (
                    format!("`{key}` must not be in the settings"),
                    format!("put it into a file of mode 0600 and write `{in_file}` with its path"),
                )
            } else if let Some(meant) = nearest(key, asked.iter().map(String::as_str)) {
                (
                    format!("unknown key `{key}`"),
                    format!("did you mean `{meant}`?"),
                )
            } else if asked.is_empty() {
                (
                    format!("unknown key `{key}`"),
                    "remove it; nothing is set here".to_owned(),
                )
            } else {
                let allowed: Vec<String> = asked.iter().map(|key| format!("`{key}`")).collect();
                (
                    format!("unknown key `{key}`"),
                    format!("remove it or use one of {}", allowed.join(", ")),
                )
            };
            self.run.notebook.note(entry.key.clone(), what, mend);
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        // Something is noted already in that case, so nothing unknown slips through.
        let was_left =
            self.run.gave_up.get() && (!self.is_complete.get() || self.asked.borrow().is_empty());
        if !self.is_silent.get() && !was_left {
            self.note_unknown();
        }
    }
}

/// One key's value, read and judged; what remains is to say what absence means.
#[must_use = "say what an absent key means: `required`, `or` or `optional`"]
pub struct Field<'f, T> {
    section: &'f Section<'f>,
    key: &'f str,
    example: &'static str,
    found: Found<T>,
}

enum Found<T> {
    Absent,
    /// Already noted.
    Wrong,
    Value(T),
}

impl<'f, T> Field<'f, T> {
    /// The value; an absent one is noted at the section's header.
    pub fn required(self) -> Option<T> {
        if !matches!(self.found, Found::Value(_)) {
            self.section.is_complete.set(false);
            self.section.run.gave_up.set(true);
        }
        if matches!(self.found, Found::Absent) && !self.section.may_hide_keys() {
            let section = self.section;
            let what = if section.path.is_empty() {
                format!("`{}` is missing", self.key)
            } else {
                format!("`{}` is missing in `{}`", self.key, section.path)
            };
            let mend = format!("write `{} = {}`", self.key, self.example);
            section.run.notebook.note(section.place.clone(), what, mend);
        }
        self.optional()
    }

    /// The value, or `default` if it is absent (or wrong, which is noted).
    pub fn or(self, default: T) -> T {
        self.optional().unwrap_or(default)
    }

    /// The value, or `None` if it is absent (or wrong, which is noted).
    pub fn optional(self) -> Option<T> {
        match self.found {
            Found::Value(value) => Some(value),
            Found::Absent | Found::Wrong => None,
        }
    }

    /// The value turned into another by a rule of the caller's; its complaint is noted at the value.
    pub fn try_map<U>(self, rule: impl FnOnce(T) -> Result<U, Complaint>) -> Field<'f, U> {
        let found = match self.found {
            Found::Absent => Found::Absent,
            Found::Wrong => Found::Wrong,
            Found::Value(value) => match rule(value) {
                Ok(value) => Found::Value(value),
                Err(complaint) => {
                    let what = format!("`{}`: {}", self.key, complaint.what);
                    self.section.mistake(self.key, what, complaint.mend);
                    Found::Wrong
                }
            },
        };
        Field {
            section: self.section,
            key: self.key,
            example: self.example,
            found,
        }
    }
}

impl Field<'_, Duration> {
    /// Refuses a duration outside `range`.
    pub fn within(self, range: RangeInclusive<Duration>) -> Self {
        self.try_map(|duration| {
            if range.contains(&duration) {
                return Ok(duration);
            }
            let [found, least, most] =
                [&duration, range.start(), range.end()].map(values::shown_duration);
            Err(Complaint::new(
                format!("{found} is out of bounds"),
                format!("write a duration from \"{least}\" to \"{most}\""),
            ))
        })
    }
}

/// One complaint at the value, or several at the items of a list.
enum Wrong {
    One(Complaint),
    Items(Vec<(Place, Complaint)>),
}

#[derive(Clone, Copy)]
enum Scalar {
    Accepted,
    Refused,
}

/// More names than this do not fit one line of a terminal.
const NAMES_SHOWN_MAX: usize = 8;

/// The order given where a configured name is wrong.
const NAME_MEND: &str =
    "write a name such as \"app-01\": lower-case letters, digits, `.`, `_`, `-`";

fn not_a(node: &Node, wanted: &str, mend: impl Into<String>) -> Wrong {
    Wrong::One(Complaint::new(
        format!("this is {}, not {wanted}", node.value.kind()),
        mend,
    ))
}

fn text(node: &Node) -> Result<&str, Complaint> {
    match &node.value {
        Value::String(text) => Ok(text),
        Value::Table(_) | Value::Array(_) => Err(Complaint::new(
            format!("this is {}, not text", node.value.kind()),
            "write one text in quotes",
        )),
        _ => Err(Complaint::new(
            format!("this is {}, not text", node.value.kind()),
            "put it in quotes",
        )),
    }
}

fn integer<T: TryFrom<i64> + PartialOrd + Display>(
    node: &Node,
    range: &RangeInclusive<T>,
) -> Result<T, Wrong> {
    let mend = format!(
        "write a whole number from {} to {}, without quotes",
        range.start(),
        range.end()
    );
    let number = match (&node.value, node.place.is_variable()) {
        (Value::Integer(number), _) => *number,
        (Value::String(text), true) => match text.parse() {
            Ok(number) => number,
            Err(_) => return Err(not_a(node, "a whole number", mend)),
        },
        _ => return Err(not_a(node, "a whole number", mend)),
    };
    match T::try_from(number) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Wrong::One(Complaint::new(
            format!("{number} is out of bounds"),
            mend,
        ))),
    }
}

fn list<T>(
    node: &Node,
    scalar: Scalar,
    read: impl Fn(&Node) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let items = match (&node.value, scalar) {
        (Value::Array(items), _) => items.as_slice(),
        (_, Scalar::Accepted) => std::slice::from_ref(node),
        (_, Scalar::Refused) => return Err(not_a(node, "a list", "put it in square brackets")),
    };
    let (mut values, mut complaints) = (Vec::new(), Vec::new());
    for item in items {
        match read(item) {
            Ok(value) => values.push(value),
            Err(Wrong::One(complaint)) if !matches!(item.value, Value::Unreadable) => {
                complaints.push((item.place.clone(), complaint));
            }
            Err(Wrong::One(_)) => {}
            Err(Wrong::Items(mut inner)) => complaints.append(&mut inner),
        }
    }
    if values.len() == items.len() {
        Ok(values)
    } else {
        Err(Wrong::Items(complaints))
    }
}

fn parse<T: FromStr<Err: Display>>(text: &str, mend: &str) -> Result<T, Complaint> {
    text.parse()
        .map_err(|error| Complaint::new(format!("{text:?} is not valid: {error}"), mend))
}

fn undeclared<T: Display>(name: &T, noun: &str, declared: &BTreeSet<T>) -> Complaint {
    let names: Vec<String> = declared.iter().map(ToString::to_string).collect();
    let wanted = name.to_string();
    let mend = match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if names.is_empty() => format!("declare a {noun} first"),
        None if names.len() > NAMES_SHOWN_MAX => format!("write the name of a declared {noun}"),
        None => {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            format!("write {}", names.join(" or "))
        }
    };
    Complaint::new(format!("no {noun} is called \"{wanted}\""), mend)
}

/// What a table holds as JSON with sorted keys. Never shown to anybody: a value in the wrong place may be a secret.
fn json_of(table: &Table) -> serde_json::Value {
    fn of_value(value: &Value) -> serde_json::Value {
        match value {
            Value::String(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Boolean(boolean) => (*boolean).into(),
            Value::Array(items) => items.iter().map(|item| of_value(&item.value)).collect(),
            Value::Table(table) => json_of(table),
            // Mistakes all of them, so that nobody gets to use the digest.
            Value::Float | Value::Datetime | Value::Unreadable => serde_json::Value::Null,
        }
    }
    let members = table
        .iter()
        .map(|(key, entry)| (key.clone(), of_value(&entry.node.value)));
    serde_json::Value::Object(members.collect())
}

fn absolute(text: &str) -> Result<PathBuf, Complaint> {
    if text.starts_with('/') && !text.contains('\0') {
        Ok(PathBuf::from(text))
    } else {
        Err(Complaint::new(
            format!("{text:?} is not an absolute path"),
            "write a path that begins with `/`",
        ))
    }
}

fn choose<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, Complaint> {
    if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(choice.clone());
    }
    let mend = match nearest(text, choices.iter().map(|(word, _)| *word)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => {
            let words: Vec<String> = choices
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            format!("write {}", words.join(" or "))
        }
    };
    Err(Complaint::new(
        format!("{text:?} is not one of the known words"),
        mend,
    ))
}
