//! What is live of an origin as a page of the Prometheus text format 0.0.4.
//!
//! Families come in order of their names, each with `HELP` and `TYPE` before all of its lines; those of a histogram or
//! a summary stand together, its buckets in rising order. A family that nobody described is `untyped` with a neutral
//! help text, so that a linter has nothing to say about what only the sender could know. There are no timestamps: the
//! scraper stamps what it reads, and what is too old for that is not here.
//!
//! Names that are not of the old grammar (any UTF-8 is one since Prometheus 3) are shown with underscores in place of
//! what it lacks, as Prometheus' own `escaping=underscores` does. A node's page says `node`, a sender's page `sender`,
//! from the certificate; what a sender itself called so is shown as `exported_node` and `exported_sender`.

use std::{
    borrow::Cow,
    cmp::{Ordering, Reverse},
    collections::HashMap,
    io::Write as _,
    ops::Range,
    sync::Arc,
};

use vigie_core::remote_write::{MetricType, Sample, v1};

use super::{
    Origin,
    families::{Families, suffixes},
    labels::{NAME, NODE, SENDER, shown_name},
    table::Live,
};

/// Said of a family that nobody described.
const NO_HELP: &str = "No description was sent.";

/// Put before a label that the collector sets itself.
const EXPORTED: &str = "exported_";

/// One family of the page.
struct Heading {
    name: String,
    help: Option<Arc<str>>,
    metric_type: MetricType,
}

/// One line of the page.
struct Line {
    heading: usize,
    /// Name and labels.
    text: Range<usize>,
    /// In a histogram or a summary: the labels without `le` or `quantile`, which keeps together what is one of them.
    group: Range<usize>,
    /// In a group: buckets or quantiles, sum, count.
    rank: u8,
    /// The bucket's or quantile's bound.
    bound: f64,
    sample: Sample,
}

/// Appends the page to `out`.
pub(super) fn write(origin: &Origin, live: &Live, out: &mut Vec<u8>) {
    let mut page = Page {
        families: &live.families,
        headings: Vec::new(),
        by_name: HashMap::new(),
        by_heading: HashMap::new(),
        texts: Vec::new(),
        lines: Vec::new(),
    };
    let mut labels = Vec::new();
    for (raw, sample) in live.series() {
        labels.clear();
        // What is kept was read before.
        labels.extend(v1::labels(raw).map_while(Result::ok));
        page.add(origin, &labels, sample);
    }
    page.write(out);
}

struct Page<'a> {
    families: &'a Families,
    headings: Vec<Heading>,
    /// Headings by the name of a series, and its rank in the group if it is in one.
    by_name: HashMap<&'a str, (usize, Option<u8>)>,
    by_heading: HashMap<String, usize>,
    texts: Vec<u8>,
    lines: Vec<Line>,
}

impl<'a> Page<'a> {
    fn add(&mut self, origin: &Origin, labels: &[(&'a str, &'a str)], sample: Sample) {
        let value_of = |wanted: &str| {
            let label = labels.iter().find(|(name, _)| *name == wanted)?;
            Some(label.1)
        };
        let Some(name) = value_of(NAME) else { return };
        let (heading, rank) = self.heading(name);
        let shown = shown_labels(origin, labels);
        let start = self.texts.len();
        self.texts
            .extend_from_slice(shown_name(name, true).as_bytes());
        write_labels(&shown, "", &mut self.texts);
        let text = start..self.texts.len();
        let mut line = Line {
            heading,
            group: text.end..text.end,
            text,
            rank: 0,
            bound: f64::NAN,
            sample,
        };
        if let Some(rank) = rank {
            let bound = match self.headings[heading].metric_type {
                MetricType::Summary => "quantile",
                _ => "le",
            };
            write_labels(&shown, bound, &mut self.texts);
            line.group.end = self.texts.len();
            line.rank = rank;
            line.bound = value_of(bound)
                .and_then(|bound| bound.parse().ok())
                .unwrap_or(f64::NAN);
        }
        self.lines.push(line);
    }

    /// The heading under which the series of that name stand, and their rank in a group.
    fn heading(&mut self, name: &'a str) -> (usize, Option<u8>) {
        if let Some(found) = self.by_name.get(name) {
            return *found;
        }
        let (family, help, metric_type, rank) = describe(self.families, name);
        let shown = shown_name(family, true);
        let heading = match self.by_heading.get(&*shown) {
            Some(heading) => *heading,
            None => {
                let heading = self.headings.len();
                self.by_heading.insert(shown.clone().into_owned(), heading);
                self.headings.push(Heading {
                    name: shown.into_owned(),
                    help,
                    metric_type,
                });
                heading
            }
        };
        self.by_name.insert(name, (heading, rank));
        (heading, rank)
    }

    fn write(mut self, out: &mut Vec<u8>) {
        let (texts, headings) = (&self.texts, &self.headings);
        let compare = |a: &Line, b: &Line| -> Ordering {
            let name = |line: &Line| &headings[line.heading].name;
            let text = |range: &Range<usize>| &texts[range.clone()];
            name(a)
                .cmp(name(b))
                .then_with(|| text(&a.group).cmp(text(&b.group)))
                .then_with(|| a.rank.cmp(&b.rank))
                .then_with(|| a.bound.total_cmp(&b.bound))
                .then_with(|| text(&a.text).cmp(text(&b.text)))
                .then_with(|| Reverse(a.sample.timestamp_ms).cmp(&Reverse(b.sample.timestamp_ms)))
        };
        self.lines.sort_unstable_by(compare);
        let mut heading = None;
        let mut previous: &[u8] = &[];
        for line in &self.lines {
            let text = &self.texts[line.text.clone()];
            // Two names may be shown alike: the newest of the samples stands.
            if text == previous {
                continue;
            }
            previous = text;
            if heading != Some(line.heading) {
                heading = Some(line.heading);
                self.headings[line.heading].write(out);
            }
            out.extend_from_slice(text);
            out.push(b' ');
            write_value(line.sample.value, out);
            out.push(b'\n');
        }
    }
}

/// The family that the series called `name` belong to, what is said about it, and the rank in a group.
fn describe<'a>(
    families: &Families,
    name: &'a str,
) -> (&'a str, Option<Arc<str>>, MetricType, Option<u8>) {
    if let Some(family) = families.find(name) {
        let help = Some(Arc::clone(&family.help));
        let rank = match family.metric_type {
            // The family's own name is that of the quantiles; no series of a classic histogram has it.
            MetricType::Summary => Some(0),
            MetricType::Histogram => Some(u8::MAX),
            _ => None,
        };
        return (name, help, family.metric_type, rank);
    }
    let base = |suffix: &str, metric_type| {
        let base = name.strip_suffix(suffix)?;
        let family = families.find(base)?;
        (family.metric_type == metric_type).then(|| (base, Arc::clone(&family.help)))
    };
    for metric_type in [MetricType::Histogram, MetricType::Summary] {
        // In the order in which they stand in a group.
        for (rank, suffix) in (0..).zip(suffixes(metric_type)) {
            if let Some((base, help)) = base(suffix, metric_type) {
                // A summary's quantiles come before its sum.
                let rank = rank + u8::from(metric_type == MetricType::Summary);
                return (base, Some(help), metric_type, Some(rank));
            }
        }
    }
    // Families whose series are called otherwise than they are, which this format does not know.
    let renamed = [
        ("_total", MetricType::Counter),
        ("_info", MetricType::Info),
        ("_bucket", MetricType::GaugeHistogram),
        ("_gsum", MetricType::GaugeHistogram),
        ("_gcount", MetricType::GaugeHistogram),
    ];
    for (suffix, metric_type) in renamed {
        if let Some((_, help)) = base(suffix, metric_type) {
            return (name, Some(help), metric_type, None);
        }
    }
    (name, None, MetricType::Unknown, None)
}

impl Heading {
    fn write(&self, out: &mut Vec<u8>) {
        let help = self.help.as_deref().filter(|help| !help.is_empty());
        out.extend_from_slice(b"# HELP ");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b' ');
        for byte in help.unwrap_or(NO_HELP).bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                _ => out.push(byte),
            }
        }
        out.extend_from_slice(b"\n# TYPE ");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.metric_type.as_str().as_bytes());
        out.push(b'\n');
    }
}

/// The labels of a line: what the collector sets, then what was sent, each name once.
fn shown_labels<'a>(
    origin: &'a Origin,
    labels: &[(&'a str, &'a str)],
) -> Vec<(Cow<'a, str>, &'a str)> {
    let own = match origin {
        Origin::Node(_) => NODE,
        Origin::Sender(_) => SENDER,
    };
    let mut shown = Vec::with_capacity(labels.len());
    shown.push((Cow::Borrowed(own), origin.name()));
    for (name, value) in labels {
        let mut name = match (origin, *name) {
            (_, NAME) | (Origin::Node(_), NODE) => continue,
            (Origin::Sender(_), NODE | SENDER) => Cow::Owned(format!("{EXPORTED}{name}")),
            (_, name) => shown_name(name, false),
        };
        while shown.iter().any(|(taken, _)| *taken == name) {
            name = Cow::Owned(format!("{EXPORTED}{name}"));
        }
        shown.push((name, value));
    }
    shown
}

/// Writes labels in braces, leaving one out.
fn write_labels(labels: &[(Cow<'_, str>, &str)], without: &str, out: &mut Vec<u8>) {
    let mut separator = b'{';
    for (name, value) in labels {
        if name == without {
            continue;
        }
        out.push(separator);
        separator = b',';
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'"' => out.extend_from_slice(b"\\\""),
                b'\n' => out.extend_from_slice(b"\\n"),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    }
    out.push(b'}');
}

/// The shortest text that reads back as the same number.
fn write_value(value: f64, out: &mut Vec<u8>) {
    // Beyond these, plain digits are longer than an exponent.
    const PLAIN: Range<f64> = 1e-5..1e17;
    let written = if value.is_nan() {
        out.write_all(b"NaN")
    } else if value.is_infinite() {
        out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" })
    } else if value == 0.0 || PLAIN.contains(&value.abs()) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
    written.expect("a vector takes all bytes");
}
