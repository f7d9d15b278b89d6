//! What the senders of a fleet write: the same samples as remote write 1.0 and 2.0.

use prost::Message as _;
use vigie_core::remote_write::{Sample, Version, v1};

/// Nodes that send.
pub const SENDERS: usize = 200;

/// Series of each, all in one request.
pub const SERIES: usize = 250;

/// From one round to the next, by the samples' own clock.
const STEP_MS: i64 = 15_000;

/// Series of one metric.
const OBJECTS: usize = 25;

/// Metrics as hosts have them: name, check, what is measured (a number stands for `#`), unit, whether it only rises.
const METRICS: [(&str, &str, &str, &str, bool); SERIES / OBJECTS] = [
    (
        "vigie_filesystem_available_bytes",
        "disques",
        "/srv/donnees-#",
        "bytes",
        false,
    ),
    (
        "vigie_filesystem_size_bytes",
        "disques",
        "/srv/donnees-#",
        "bytes",
        false,
    ),
    (
        "vigie_filesystem_inodes_free",
        "disques",
        "/srv/donnees-#",
        "",
        false,
    ),
    (
        "vigie_process_resident_memory_bytes",
        "processus",
        "postgres-#",
        "bytes",
        false,
    ),
    (
        "vigie_process_cpu_seconds_total",
        "processus",
        "postgres-#",
        "seconds",
        true,
    ),
    (
        "vigie_network_receive_bytes_total",
        "reseau",
        "bond0.#",
        "bytes",
        true,
    ),
    (
        "vigie_network_transmit_packets_total",
        "reseau",
        "bond0.#",
        "",
        true,
    ),
    (
        "vigie_http_phase_duration_seconds",
        "portail-#",
        "10.20.#.15:8443",
        "seconds",
        false,
    ),
    (
        "vigie_check_runs_total",
        "portail-#",
        "10.20.#.15:8443",
        "",
        true,
    ),
    (
        "vigie_systemd_unit_restarts_total",
        "unites",
        "dossier-patient@#.service",
        "",
        true,
    ),
];

/// All senders.
pub struct Load {
    /// By sender and series: the label fields of 1.0.
    labels: Vec<Vec<Vec<u8>>>,
    /// By sender: everything of 2.0 but its samples.
    templates: Vec<wire::Request>,
    start_ms: i64,
}

impl Load {
    /// Series of every sender; their first samples are of `start_ms`.
    pub fn new(start_ms: i64) -> Self {
        let names = (0..SENDERS).map(sender);
        let (labels, templates) = names
            .map(|name| {
                let all: Vec<_> = (0..SERIES).map(|index| labels_of(&name, index)).collect();
                let fields = all.iter().map(|labels| {
                    let mut field = Vec::new();
                    let pairs = labels.iter().map(|(name, value)| (*name, value.as_str()));
                    v1::write_labels(pairs, &mut field);
                    field
                });
                (fields.collect(), template(&all))
            })
            .unzip();
        Self {
            labels,
            templates,
            start_ms,
        }
    }

    /// Bytes of the labels of a series as 1.0 says them, on average.
    pub fn labels_len(&self) -> f64 {
        let lengths = self.labels.iter().flatten().map(Vec::len);
        lengths.sum::<usize>() as f64 / (SENDERS * SERIES) as f64
    }

    /// The body of a request of `sender` with its first `series`, compressed.
    pub fn body(&self, version: Version, sender: usize, round: usize, series: usize) -> Vec<u8> {
        let request = match version {
            Version::V1 => self.v1(sender, round, series),
            Version::V2 => self.v2(sender, round, series),
        };
        snap::raw::Encoder::new()
            .compress_vec(&request)
            .expect("a request is shorter than snappy's limit")
    }

    fn v1(&self, sender: usize, round: usize, series: usize) -> Vec<u8> {
        let mut request = Vec::new();
        for (index, labels) in self.labels[sender].iter().take(series).enumerate() {
            v1::write_series(labels, self.sample(sender, index, round), &mut request);
        }
        request
    }

    fn v2(&self, sender: usize, round: usize, series: usize) -> Vec<u8> {
        let mut request = self.templates[sender].clone();
        request.timeseries.truncate(series);
        for (index, series) in request.timeseries.iter_mut().enumerate() {
            let sample = self.sample(sender, index, round);
            series.samples = vec![wire::Sample {
                value: sample.value,
                timestamp: sample.timestamp_ms,
            }];
        }
        request.encode_to_vec()
    }

    /// A third of the series never change, as sizes do; the others rise or wander.
    fn sample(&self, sender: usize, index: usize, round: usize) -> Sample {
        let base = (sender * 7_919 + index * 104_729) as f64;
        let (.., rises) = METRICS[index / OBJECTS];
        let value = if rises {
            base + (round * (17 + index % 13)) as f64
        } else if index.is_multiple_of(2) {
            base * 4096.0
        } else {
            base + (base + round as f64).sin() * 1e3
        };
        let round = i64::try_from(round).expect("rounds are few");
        Sample {
            value,
            timestamp_ms: self.start_ms + round * STEP_MS,
        }
    }
}

/// The name of a sender.
pub fn sender(n: usize) -> String {
    format!("app-{n:03}")
}

/// Eight or nine labels in order of their names.
fn labels_of(sender: &str, index: usize) -> Vec<(&'static str, String)> {
    let (metric, check, object, unit, _) = METRICS[index / OBJECTS];
    let number = format!("{:02}", index % OBJECTS);
    let labels = [
        ("__name__", metric.to_owned()),
        ("check", check.replace('#', &number)),
        ("environment", "prod".to_owned()),
        ("group", "app".to_owned()),
        ("job", "vigie".to_owned()),
        ("node", sender.to_owned()),
        ("object", object.replace('#', &number)),
        ("site", "strasbourg".to_owned()),
        ("unit", unit.to_owned()),
    ];
    let has_value = |(_, value): &(_, String)| !value.is_empty();
    labels.into_iter().filter(has_value).collect()
}

fn template(all: &[Vec<(&'static str, String)>]) -> wire::Request {
    // The first symbol is the empty text, by the specification.
    let mut symbols = vec![String::new()];
    let mut places = std::collections::HashMap::new();
    let mut refer = |text: &str| -> u32 {
        *places.entry(text.to_owned()).or_insert_with(|| {
            symbols.push(text.to_owned());
            u32::try_from(symbols.len() - 1).expect("symbols are few")
        })
    };
    let timeseries = all
        .iter()
        .enumerate()
        .map(|(index, labels)| {
            let (.., rises) = METRICS[index / OBJECTS];
            wire::TimeSeries {
                labels_refs: labels
                    .iter()
                    .flat_map(|(name, value)| [refer(name), refer(value)])
                    .collect(),
                samples: Vec::new(),
                metadata: Some(wire::Metadata {
                    metric_type: if rises { 1 } else { 2 },
                    help_ref: refer("What the check measured at its last run."),
                    unit_ref: 0,
                }),
            }
        })
        .collect();
    wire::Request {
        symbols,
        timeseries,
    }
}

/// The messages of remote write 2.0 (`io/prometheus/write/v2/types.proto`), as far as they are sent here. They are
/// written by prost, and not by code of ours, so that ours is not measured against itself.
mod wire {
    #[derive(Clone, prost::Message)]
    pub(super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, optional, tag = "5")]
        pub(super) metadata: Option<Metadata>,
    }

    #[derive(Clone, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, prost::Message)]
    pub(super) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(super) metric_type: i32,
        #[prost(uint32, tag = "3")]
        pub(super) help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub(super) unit_ref: u32,
    }
}
