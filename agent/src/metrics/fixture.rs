//! Reads back what the agent shows, in both its forms.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use vigie_core::remote_write::{Decoder, Limits, MetricType, Sample, Version};

/// Labels of one series in order of name, the name of the metric among them.
pub type Labels = Vec<(String, String)>;

/// A WriteRequest, read.
#[derive(Debug, Default)]
pub struct Request {
    pub series: Vec<(Labels, Sample)>,
    /// Type and help by family.
    pub metadata: BTreeMap<String, (MetricType, String)>,
}

impl Request {
    /// Reads one; every series has one sample, and labels in order.
    pub fn read(bytes: &[u8]) -> Self {
        let mut decoder = Decoder::default();
        let batch = decoder
            .decode(Version::V1, bytes, &Limits::default())
            .unwrap();
        let mut request = Self::default();
        for series in batch.series() {
            let labels: Labels = series
                .labels()
                .map(Result::unwrap)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert!(labels.is_sorted(), "{labels:?}");
            assert!(
                labels.iter().all(|(_, value)| !value.is_empty()),
                "{labels:?}"
            );
            let [sample] = series.samples() else {
                panic!("{labels:?}: {:?}", series.samples());
            };
            request.series.push((labels, *sample));
        }
        for family in batch.metadata() {
            let said = (family.metric_type, family.help.to_owned());
            let before = request.metadata.insert(family.family.to_owned(), said);
            assert_eq!(before, None, "{} is told twice", family.family);
        }
        request
    }

    /// The values of what is live; each series is there once.
    pub fn live(&self) -> BTreeMap<Labels, f64> {
        let mut live = BTreeMap::new();
        for (labels, sample) in self.series.iter().filter(|(_, s)| !s.is_stale()) {
            let before = live.insert(labels.clone(), sample.value);
            assert_eq!(before, None, "{labels:?} stands twice");
        }
        live
    }

    /// What has ended.
    pub fn ended(&self) -> Vec<&Labels> {
        let ended = self.series.iter().filter(|(_, sample)| sample.is_stale());
        ended.map(|(labels, _)| labels).collect()
    }
}

/// The series of a text of version 0.0.4 whose label values hold no quotes.
pub fn read_text(text: &str) -> BTreeMap<Labels, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut read = vec![("__name__".to_owned(), name.to_owned())];
            let labels = labels.strip_suffix('}').unwrap();
            for label in labels.split_terminator("\",") {
                let (name, value) = label.split_once("=\"").unwrap();
                read.push((name.to_owned(), value.trim_end_matches('"').to_owned()));
            }
            read.sort();
            (read, value.parse().unwrap())
        })
        .collect()
}
