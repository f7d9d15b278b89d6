//! Prometheus remote write, as bytes: what a request says, read in place, and how the agent writes one.
//!
//! Two versions of one idea. 1.0 (`prometheus.WriteRequest`, [`v1`]) repeats the text of each label in each series; 2.0
//! (`io.prometheus.write.v2.Request`, release candidate 4, `v2`) sends each text once in a table of symbols, and
//! series point into it. Both are protobuf, read here by hand: a general decoder copies each text, and that copy is
//! most of what taking in a sample costs.
//!
//! The same sender says the same series again and again, so what a series is called is not parsed here but handed out
//! as the bytes that say it ([`Series::key`]). A receiver that has seen those bytes knows the series; only for a new
//! one does it read [`Series::labels`], and only then are texts and references checked. A mistake in a label therefore
//! costs its series, and a mistake in the structure costs the request: nothing is handed out before all of it was
//! walked. Exemplars and native histograms are counted, not looked into.
//!
//! Compression, HTTP and what may be written are the caller's. This module must never panic, recurse or allocate beyond
//! its [`Limits`], whatever the bytes; it keeps nothing of a request except room for the next.

mod batch;
mod labels;
mod malformed;
pub mod v1;
mod v2;
mod wire;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Decoder, Series};
pub use labels::{BadLabel, Labels};
pub use malformed::Malformed;

/// Where every remote write receiver of ours listens.
pub const WRITE_PATH: &str = "/api/v1/write";

/// The one NaN that says "this series ended" and not "not a number" (Remote Write 1.0, "Stale Markers").
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Its value. The payload of a NaN is kept bit by bit: it tells [`STALE_NAN_BITS`] from any other.
    pub value: f64,
    /// When it was taken, in milliseconds since 1970, by the sender's clock.
    pub timestamp_ms: i64,
}

impl Sample {
    /// A stale marker: its series ended at `timestamp_ms`.
    #[must_use]
    pub const fn stale(timestamp_ms: i64) -> Self {
        Self {
            value: f64::from_bits(STALE_NAN_BITS),
            timestamp_ms,
        }
    }

    /// Whether it says that its series ended.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.value.to_bits() == STALE_NAN_BITS
    }
}

/// Which message a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Remote write 1.0, `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// Reads a `Content-Type`. Without `proto` it is 1.0, which is older than that parameter; parameters other than
    /// `proto` are ignored, as Prometheus does. `None` means 415: another type, or a message nobody knows here.
    #[must_use]
    pub fn from_content_type(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let proto = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("proto")
                .then(|| value.trim())
        });
        let proto = proto.map(|value| {
            value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value)
        });
        match proto {
            None | Some("prometheus.WriteRequest") => Some(Self::V1),
            Some("io.prometheus.write.v2.Request") => Some(Self::V2),
            Some(_) => None,
        }
    }

    /// What a sender says in `Content-Type`. 1.0 leaves the parameter out: receivers older than it refuse the rest.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// What a sender says in `X-Prometheus-Remote-Write-Version`.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// How the samples of a metric are to be understood. Both versions number them alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Not said, or a type that this build does not know.
    #[default]
    Unknown,
    /// Only rises, except when it restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
    /// Counts by bucket that may fall.
    GaugeHistogram,
    /// Quantiles that the sender computed.
    Summary,
    /// Always 1: the labels are what it says.
    Info,
    /// One series for each of several states, 1 where it holds.
    StateSet,
}

impl MetricType {
    /// Its word in the text format 0.0.4. That format is older than half of the types: those are written as the one
    /// that its readers take them for, and as `untyped` where there is none.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info | Self::StateSet => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::GaugeHistogram | Self::Unknown => "untyped",
        }
    }

    /// The number both protocols give it.
    const fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Counter => 1,
            Self::Gauge => 2,
            Self::Histogram => 3,
            Self::GaugeHistogram => 4,
            Self::Summary => 5,
            Self::Info => 6,
            Self::StateSet => 7,
        }
    }

    /// From the value of an enum field. Enums of protobuf are open, so a number that came after us is no mistake. It is
    /// cut to 32 bits first, as an enum is.
    const fn from_number(number: u64) -> Self {
        match number as u32 {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }
}

/// What a sender says about a metric as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// How its samples are to be understood.
    pub metric_type: MetricType,
    /// The metric's name. Empty in 2.0, where metadata stands in a series: it is the series' name.
    pub family: &'a str,
    /// One sentence for people; may be empty.
    pub help: &'a str,
    /// The unit, in plural and lower case; may be empty.
    pub unit: &'a str,
}

/// How much one request may hold. What is over it is [`Malformed::TooMany`], found before room is made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series of a request; as many metrics may have metadata beside them.
    pub series_max: usize,
    /// Samples of a request.
    pub samples_max: usize,
    /// Labels of one series.
    pub labels_max: usize,
    /// Symbols of a request (2.0).
    pub symbols_max: usize,
}

impl Default for Limits {
    /// Five times what the usual senders put into one request (vmagent: 10,000 samples; Prometheus: 2,000), at most 7 MB
    /// for a decoder that has seen such requests.
    fn default() -> Self {
        Self {
            series_max: 50_000,
            samples_max: 200_000,
            labels_max: 256,
            symbols_max: 200_000,
        }
    }
}
