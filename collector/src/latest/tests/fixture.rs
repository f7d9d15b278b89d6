//! Requests of both versions, written field by field.

use vigie_core::{
    remote_write::{Decoder, Limits as RequestLimits, Metadata, MetricType, Sample, Version, v1},
    time::{Elapsed, Now, Wall},
};

use crate::latest::{Applied, Latest, Origin};

/// The collector's clock when a test begins.
pub(super) const NOW: i64 = 1_795_374_271_207;

/// That many milliseconds later, by both clocks.
pub(super) fn at(ms: i64) -> Now {
    Now {
        wall: Wall(NOW + ms),
        elapsed: Elapsed(7_200_000 + u64::try_from(ms).unwrap()),
    }
}

pub(super) fn node(name: &str) -> Origin {
    Origin::Node(name.parse().unwrap())
}

pub(super) fn sender(name: &str) -> Origin {
    Origin::Sender(name.into())
}

/// One series of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) labels: Vec<(String, String)>,
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: usize,
    pub(super) exemplars: usize,
    /// Type and help.
    pub(super) metadata: Option<(MetricType, String)>,
}

/// A series that has only a name, with one sample of now.
pub(super) fn gauge(name: &str, value: f64) -> Said {
    labelled(&[("__name__", name)], value)
}

pub(super) fn labelled(labels: &[(&str, &str)], value: f64) -> Said {
    Said {
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        samples: vec![Sample {
            value,
            timestamp_ms: NOW,
        }],
        ..Said::default()
    }
}

/// Sends a request and says what became of it.
pub(super) fn take_in(
    latest: &Latest,
    origin: &Origin,
    version: Version,
    said: &[Said],
    now: Now,
) -> Applied {
    let body = match version {
        Version::V1 => v1_request(said),
        Version::V2 => v2_request(said, &[]),
    };
    take_in_body(latest, origin, version, &body, now)
}

pub(super) fn take_in_body(
    latest: &Latest,
    origin: &Origin,
    version: Version,
    body: &[u8],
    now: Now,
) -> Applied {
    let mut decoder = Decoder::default();
    let limits = RequestLimits {
        series_max: 2_000_000,
        ..RequestLimits::default()
    };
    let batch = decoder.decode(version, body, &limits).unwrap();
    let applied = latest.apply(origin, &batch, now);
    if applied.impostor.is_none() {
        assert_eq!(
            applied.written + applied.refused_total(),
            batch.sample_count() + batch.histogram_count() + batch.exemplar_count(),
            "all is accounted for"
        );
    }
    applied
}

pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn bytes_field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn samples(number: u64, samples: &[Sample], out: &mut Vec<u8>) {
    for sample in samples {
        let mut message = vec![1 << 3 | 1];
        message.extend(sample.value.to_le_bytes());
        message.push(2 << 3);
        varint(sample.timestamp_ms.cast_unsigned(), &mut message);
        bytes_field(number, &message, out);
    }
}

pub(super) fn v1_request(said: &[Said]) -> Vec<u8> {
    let mut out = Vec::new();
    for said in said {
        let mut series = Vec::new();
        for (name, value) in &said.labels {
            let mut label = Vec::new();
            bytes_field(1, name.as_bytes(), &mut label);
            bytes_field(2, value.as_bytes(), &mut label);
            bytes_field(1, &label, &mut series);
        }
        samples(2, &said.samples, &mut series);
        for _ in 0..said.exemplars {
            bytes_field(3, &[], &mut series);
        }
        for _ in 0..said.histograms {
            bytes_field(4, &[], &mut series);
        }
        bytes_field(1, &series, &mut out);
    }
    for said in said {
        if let Some((metric_type, help)) = &said.metadata {
            let name = said.labels.iter().find(|(name, _)| name == "__name__");
            let metadata = Metadata {
                metric_type: *metric_type,
                family: &name.unwrap().1,
                help,
                unit: "",
            };
            v1::write_metadata(&metadata, &mut out);
        }
    }
    out
}

/// `also` are symbols that no series needs: they come first, so that requests with the same have the same table.
pub(super) fn v2_request(said: &[Said], also: &[String]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut reference = |text: &str| {
        let at = symbols.iter().position(|symbol| symbol == text);
        at.unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        }) as u64
    };
    for text in also {
        reference(text);
    }
    let mut all = Vec::new();
    for said in said {
        let mut series = Vec::new();
        let mut references = Vec::new();
        for (name, value) in &said.labels {
            varint(reference(name), &mut references);
            varint(reference(value), &mut references);
        }
        bytes_field(1, &references, &mut series);
        samples(2, &said.samples, &mut series);
        for _ in 0..said.histograms {
            bytes_field(3, &[], &mut series);
        }
        for _ in 0..said.exemplars {
            bytes_field(4, &[], &mut series);
        }
        if let Some((metric_type, help)) = &said.metadata {
            let mut metadata = vec![1 << 3, *metric_type as u8, 3 << 3];
            varint(reference(help), &mut metadata);
            bytes_field(5, &metadata, &mut series);
        }
        bytes_field(5, &series, &mut all);
    }
    let mut out = Vec::new();
    for symbol in &symbols {
        bytes_field(4, symbol.as_bytes(), &mut out);
    }
    out.extend(all);
    out
}
