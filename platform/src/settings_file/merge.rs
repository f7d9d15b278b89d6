//! Several parsed files and variables to one tree.
//!
//! `config` does the merging, over keys alone: every leaf is replaced by its index before and looked up again after, so
//! that it can neither convert a value (`"10"` to 10) nor let a second file's list erase the first's. What is seen twice is
//! noted and set aside before the merge.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;

use config::{Config, ConfigError, Map, Source, Value as ConfigValue, ValueKind};

use super::mistake::{Notebook, Place};
use super::parse;
use super::tree::{Entry, Node, Table, Value, joined};

/// Entries that stand a second time in another file, by the path of the table or list they belong to. They are out of
/// the tree but still read, so that their own mistakes are told in the same run.
pub(super) type Seconds = BTreeMap<String, Vec<(String, Entry)>>;

/// Takes out of each file what an earlier one already holds, with a note that names both places.
///
/// Tables of the first level (`[check]`, `[defaults]`) gather entries from all files; each entry lives in one.
pub(super) fn set_aside_seconds(files: &mut [Table], notebook: &Notebook) -> Seconds {
    let mut seconds = Seconds::new();
    let mut sights: BTreeMap<String, (Place, bool)> = BTreeMap::new();
    for file in files {
        take_seconds(file, "", &mut sights, &mut seconds, notebook);
    }
    seconds
}

fn take_seconds(
    table: &mut Table,
    path: &str,
    sights: &mut BTreeMap<String, (Place, bool)>,
    seconds: &mut Seconds,
    notebook: &Notebook,
) {
    let is_root = path.is_empty();
    let mut again = Vec::new();
    for (key, entry) in table.iter_mut() {
        let path_here = joined(path, key);
        let gathers = is_root && matches!(entry.node.value, Value::Table(_));
        match sights.get(&path_here) {
            Some((first, first_gathers)) if !(gathers && *first_gathers) => {
                let shown = shown(&path_here, &entry.node.value);
                notebook.note(
                    entry.key.clone(),
                    format!("{shown} is already at {first}"),
                    "keep one of the two",
                );
                again.push(key.clone());
                continue;
            }
            Some(_) => {}
            None => {
                sights.insert(path_here.clone(), (entry.key.clone(), gathers));
            }
        }
        if gathers && let Value::Table(inner) = &mut entry.node.value {
            take_seconds(inner, &path_here, sights, seconds, notebook);
        }
    }
    for key in again {
        if let Some(entry) = table.remove(&key) {
            // A list's second sight is looked up under its own path, a named table's under its parent's.
            let owner = if is_root {
                key.clone()
            } else {
                path.to_owned()
            };
            seconds.entry(owner).or_default().push((key, entry));
        }
    }
}

fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::Table(_) => format!("[{path}]"),
        Value::Array(items)
            if items
                .iter()
                .any(|item| matches!(item.value, Value::Table(_))) =>
        {
            format!("[[{path}]]")
        }
        _ => format!("`{path}`"),
    }
}

/// One variable's name and text, as the environment holds them.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: Option<String>,
}

/// The variables that start with `prefix`, by name.
pub(super) fn variables<K, V>(
    pairs: impl IntoIterator<Item = (K, V)>,
    prefix: &str,
) -> Vec<Variable>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut variables: Vec<Variable> = pairs
        .into_iter()
        .filter_map(|(name, text)| {
            let name = name.into().to_string_lossy().into_owned();
            name.starts_with(prefix).then(|| Variable {
                name,
                text: text.into().into_string().ok(),
            })
        })
        .collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

/// Each variable as a tree of its own. `__` separates keys; `-` and `.` are written `_`, matched against the keys of the files.
pub(super) fn overrides(
    variables: &[Variable],
    prefix: &str,
    files: &[Table],
    notebook: &Notebook,
) -> Vec<Table> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut trees = Vec::new();
    for variable in variables {
        let place = Place::variable(&variable.name);
        let Some(text) = &variable.text else {
            notebook.note(place, "the value is not UTF-8 text", "write it in UTF-8");
            continue;
        };
        let Some(path) = resolved(&variable.name[prefix.len()..], &place, files, notebook) else {
            continue;
        };
        let dotted = path.join(".");
        if let Some(first) = seen.insert(dotted.clone(), &variable.name) {
            notebook.note(
                place,
                format!("`{dotted}` is already set by {first}"),
                "keep one of the two",
            );
            continue;
        }
        // Lists, tables and quoted text are TOML; all else is text, which readers turn into numbers where they want one.
        let node = if text.trim_start().starts_with(['[', '{', '"', '\'']) {
            parse::variable(&place, text, notebook)
        } else {
            Some(Node {
                value: Value::String(text.clone()),
                place: place.clone(),
            })
        };
        let Some(node) = node else { continue };
        if conflicts(&path, &node, files) {
            notebook.note(
                place,
                format!("`{dotted}` would replace a table of the settings files"),
                "set one key of the table, with `__` before its name",
            );
            continue;
        }
        let mut tree = Table::new();
        nest(&mut tree, &path, node, &place);
        trees.push(tree);
    }
    trees
}

fn resolved(
    name: &str,
    place: &Place,
    files: &[Table],
    notebook: &Notebook,
) -> Option<Vec<String>> {
    let mut here: Vec<&Table> = files.iter().collect();
    let mut path = Vec::new();
    for segment in name.split("__") {
        if segment.is_empty() {
            notebook.note(
                place.clone(),
                "the name has an empty part",
                "put one key between each two `__`",
            );
            return None;
        }
        let wanted = segment.to_lowercase();
        let mut matching: Vec<&String> = here
            .iter()
            .flat_map(|table| table.keys())
            .filter(|key| key.to_lowercase().replace(['-', '.'], "_") == wanted)
            .collect();
        matching.sort();
        matching.dedup();
        let key = match matching.as_slice() {
            [] => wanted,
            [one] => (*one).clone(),
            [first, second, ..] => {
                notebook.note(
                    place.clone(),
                    format!("the name fits both `{first}` and `{second}`"),
                    "set this key in a file",
                );
                return None;
            }
        };
        here = here
            .iter()
            .filter_map(|table| match &table.get(&key)?.node.value {
                Value::Table(inner) => Some(inner),
                _ => None,
            })
            .collect();
        path.push(key);
    }
    Some(path)
}

/// Whether the variable would put a leaf where a file has a table; the other way round the reader complains by itself.
fn conflicts(path: &[String], node: &Node, files: &[Table]) -> bool {
    if matches!(node.value, Value::Table(_)) {
        return false;
    }
    files.iter().any(|file| {
        let mut table = file;
        for (i, key) in path.iter().enumerate() {
            match table.get(key).map(|entry| &entry.node.value) {
                Some(Value::Table(_)) if i + 1 == path.len() => return true,
                Some(Value::Table(inner)) => table = inner,
                _ => return false,
            }
        }
        false
    })
}

fn nest(table: &mut Table, path: &[String], node: Node, place: &Place) {
    let [key, rest @ ..] = path else { return };
    let node = if rest.is_empty() {
        node
    } else {
        let mut inner = Table::new();
        nest(&mut inner, rest, node, place);
        Node {
            value: Value::Table(inner),
            place: place.clone(),
        }
    };
    table.insert(
        key.clone(),
        Entry {
            key: place.clone(),
            node,
        },
    );
}

/// Later trees win, leaf by leaf.
pub(super) fn merged(trees: Vec<Table>) -> Result<Table, ConfigError> {
    let mut index = Index::default();
    let mut builder = Config::builder();
    for tree in trees {
        let keys = index.keys_of(tree, "");
        builder = builder.add_source(Keys(ConfigValue::new(None, keys)));
    }
    let whole = builder.build()?.collect()?;
    Ok(match whole.get(ROOT).map(|value| &value.kind) {
        Some(ValueKind::Table(keys)) => index.table_of(keys, ""),
        _ => Table::new(),
    })
}

/// `config` reads a key of the first level as a path expression (`a.b`, `a[0]`); below that it takes keys as they are.
const ROOT: &str = "settings";

/// A tree of keys whose leaves are indices into [`Index::leaves`].
#[derive(Clone, Debug)]
struct Keys(ConfigValue);

impl Source for Keys {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, ConfigValue>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), self.0.clone())]))
    }
}

#[derive(Default)]
struct Index {
    leaves: Vec<Entry>,
    /// Where a table was first seen; by path, keys separated by a character that no TOML file can hold unescaped.
    tables: HashMap<String, (Place, Place)>,
}

impl Index {
    fn keys_of(&mut self, table: Table, path: &str) -> ValueKind {
        let mut keys = Map::new();
        for (key, entry) in table {
            let path_here = format!("{path}\0{key}");
            let kind = match entry.node.value {
                Value::Table(inner) => {
                    self.tables
                        .entry(path_here.clone())
                        .or_insert((entry.key, entry.node.place));
                    self.keys_of(inner, &path_here)
                }
                value => {
                    self.leaves.push(Entry {
                        key: entry.key,
                        node: Node {
                            value,
                            place: entry.node.place,
                        },
                    });
                    ValueKind::U64(self.leaves.len() as u64 - 1)
                }
            };
            keys.insert(key, ConfigValue::new(None, kind));
        }
        ValueKind::Table(keys)
    }

    fn table_of(&self, keys: &Map<String, ConfigValue>, path: &str) -> Table {
        keys.iter()
            .filter_map(|(key, value)| {
                let entry = match &value.kind {
                    ValueKind::Table(inner) => {
                        let path_here = format!("{path}\0{key}");
                        let (key_place, place) = self.tables.get(&path_here)?.clone();
                        Entry {
                            key: key_place,
                            node: Node {
                                value: Value::Table(self.table_of(inner, &path_here)),
                                place,
                            },
                        }
                    }
                    ValueKind::U64(leaf) => self.leaves.get(usize::try_from(*leaf).ok()?)?.clone(),
                    _ => return None,
                };
                Some((key.clone(), entry))
            })
            .collect()
    }
}
