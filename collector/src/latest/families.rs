//! What metrics are about: the type and the sentence that a sender gives each family.
//!
//! Every node of a fleet says the same, so the texts are shared between all origins ([`Texts`]). Metadata is not worth
//! a refusal: what is over a bound is cut or left out, and a page then says `untyped`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use vigie_core::remote_write::{Metadata, MetricType};

use super::{keys::grow_by_an_eighth, labels, lock};

/// Families of one origin; with one more all are dropped, and learnt again as they are sent again. Of one request no
/// more are read.
const FAMILIES_MAX: usize = 4096;

/// The longest name of a family; series with longer names are refused.
const NAME_LEN_MAX: usize = 1024;

/// Where a help text is cut.
const HELP_LEN_MAX: usize = 1024;

/// Below this many texts it is not worth looking for unused ones.
const TEXTS_PRUNED_MIN: usize = 1024;

/// One family, as its sender describes it.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub(super) name: Arc<str>,
    pub(super) help: Arc<str>,
    pub(super) metric_type: MetricType,
}

/// The families of one origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Families {
    /// By name.
    known: Vec<Family>,
    /// Those of the request under way, in its order: put in their places all at once, or a request that brings
    /// thousands would move all of them for each.
    new: Vec<Family>,
}

impl Families {
    /// Takes in what a sender says about `name`. Touches nothing if it said so before. What is new is known after
    /// [`Families::settle`].
    pub(super) fn describe(&mut self, name: &str, metadata: &Metadata<'_>, texts: &Texts) {
        let help = cut(metadata.help);
        let says_nothing = metadata.metric_type == MetricType::Unknown && help.is_empty();
        if name.is_empty() || name.len() > NAME_LEN_MAX || says_nothing {
            return;
        }
        // The page has that family already. Some series, such as a sum, would bring it in under their own name.
        if labels::is_node_up(name) {
            return;
        }
        let family = match self.position(name) {
            Ok(at) => Some(&mut self.known[at]),
            // All series of a family mostly come together.
            Err(_) => self.new.last_mut().filter(|last| *last.name == *name),
        };
        if let Some(family) = family {
            family.metric_type = metadata.metric_type;
            if &*family.help != help {
                family.help = texts.shared(help);
            }
        } else if self.new.len() < FAMILIES_MAX {
            self.new.push(Family {
                name: texts.shared(name),
                help: texts.shared(help),
                metric_type: metadata.metric_type,
            });
        }
    }

    /// Puts what a request brought in its places; of what it said twice the last stands.
    pub(super) fn settle(&mut self) {
        if self.new.is_empty() {
            return;
        }
        let mut new = std::mem::take(&mut self.new);
        sort(&mut new);
        if self.known.len() + new.len() > FAMILIES_MAX {
            self.known.clear();
        }
        grow_by_an_eighth(&mut self.known, new.len());
        self.known.append(&mut new);
        // Two sorted runs, which is quick.
        sort(&mut self.known);
    }

    /// The family of exactly this name.
    pub(super) fn find(&self, name: &str) -> Option<&Family> {
        self.position(name).ok().map(|at| &self.known[at])
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.known
            .binary_search_by(|family| (*family.name).cmp(name))
    }

    pub(super) fn allocated_len(&self) -> usize {
        self.known.capacity() * size_of::<Family>()
    }
}

/// The family that a series of remote write 2.0 describes: its metadata stands beside each series, and those of a
/// histogram or a summary are several.
pub(super) fn described_by(name: &str, metric_type: MetricType) -> &str {
    let suffixes = suffixes(metric_type);
    let stripped = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    stripped.filter(|base| !base.is_empty()).unwrap_or(name)
}

/// What the series of a family of that type are called besides the family's own name.
pub(super) const fn suffixes(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Unknown
        | MetricType::Counter
        | MetricType::Gauge
        | MetricType::Info
        | MetricType::StateSet => &[],
    }
}

/// Sorts by name; of several with the same name the last stands.
fn sort(families: &mut Vec<Family>) {
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families.dedup_by(|later, earlier| {
        let is_same = later.name == earlier.name;
        if is_same {
            std::mem::swap(later, earlier);
        }
        is_same
    });
}

fn cut(help: &str) -> &str {
    &help[..help.floor_char_boundary(HELP_LEN_MAX)]
}

/// Texts that several origins share.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    texts: HashSet<Arc<str>>,
    prune_at: usize,
}

impl Texts {
    /// The one copy of `text`. Copies that nobody uses any more are dropped whenever their number may have doubled, so
    /// there are at most twice as many as the origins' families need.
    fn shared(&self, text: &str) -> Arc<str> {
        let mut pool = lock(&self.0);
        if let Some(shared) = pool.texts.get(text) {
            return Arc::clone(shared);
        }
        if pool.texts.len() >= pool.prune_at.max(TEXTS_PRUNED_MIN) {
            pool.texts.retain(|text| Arc::strong_count(text) > 1);
            pool.prune_at = pool.texts.len() * 2;
        }
        let shared: Arc<str> = text.into();
        pool.texts.insert(Arc::clone(&shared));
        shared
    }

    /// Bytes that all texts take, roughly: their own, two counts and a place in the set.
    pub(super) fn allocated_len(&self) -> usize {
        /// Two counts before the text, a pointer with a length and a byte in the set.
        const EACH: usize = 16 + 17;
        let pool = lock(&self.0);
        pool.texts.iter().map(|text| text.len() + EACH).sum()
    }
}
