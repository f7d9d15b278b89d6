//! `[ingest]`: how much samples may cost. Every limit of the metrics lane is here, with a default that fits a fleet of
//! machines and bounds within which the collector still keeps its promises about memory.

use std::{ops::RangeInclusive, time::Duration};

use vigie_core::remote_write;
use vigie_platform::settings_file::{Complaint, Field, Section};

use crate::{ingest::metrics, latest};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

const UNITS: [(&str, usize); 3] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// The room of all bodies holds at least so many of the longest: one origin has a quarter of it.
const BODIES_MIN: usize = 4;

/// `[ingest]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ingest {
    /// What requests may hold while they are under way.
    pub intake: metrics::Limits,
    /// What is kept of what they say.
    pub latest: latest::Limits,
}

pub(super) fn read(section: Section<'_>) -> Ingest {
    let intake = metrics::Limits::default();
    let latest = latest::Limits::default();
    let length = |key, range, default| length(&section, key, range).or(default);
    let number = |key, range, default| section.integer::<usize>(key, range).or(default);
    let window = |key, range: RangeInclusive<Duration>, default_ms| {
        section
            .duration(key)
            .within(range)
            .optional()
            .map_or(default_ms, |window| {
                u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
            })
    };
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let read = Ingest {
        intake: metrics::Limits {
            body_len_max: length("body", 64 * KIB..=64 * MIB, intake.body_len_max),
            decoded_len_max: length("decoded", MIB..=256 * MIB, intake.decoded_len_max),
            in_flight_len_max: length("in_flight", 4 * MIB..=4 * GIB, intake.in_flight_len_max),
            node_requests_max: number("node_requests", 1..=16, intake.node_requests_max),
            sender_requests_max: number("sender_requests", 1..=64, intake.sender_requests_max),
            request: remote_write::Limits {
                series_max: number(
                    "request_series",
                    1_000..=1_000_000,
                    intake.request.series_max,
                ),
                samples_max: number(
                    "request_samples",
                    1_000..=5_000_000,
                    intake.request.samples_max,
                ),
                symbols_max: number(
                    "request_symbols",
                    1_000..=5_000_000,
                    intake.request.symbols_max,
                ),
                // A series of more is refused by what is kept, which is never set higher.
                labels_max: intake.request.labels_max,
            },
        },
        latest: latest::Limits {
            series_per_node: number("node_series", 100..=1_000_000, latest.series_per_node),
            series_per_sender: number("sender_series", 100..=10_000_000, latest.series_per_sender),
            labels_per_series: number(
                "labels",
                8..=intake.request.labels_max,
                latest.labels_per_series,
            ),
            label_names: number("label_names", 10..=100_000, latest.label_names),
            label_name_len: number("label_name_bytes", 16..=4_096, latest.label_name_len),
            label_value_len: number("label_value_bytes", 64..=65_536, latest.label_value_len),
            expanded_len: length("expanded", MIB..=256 * MIB, latest.expanded_len),
            future_ms: window("future", minutes(1)..=minutes(24 * 60), latest.future_ms),
            past_ms: window("past", minutes(10)..=minutes(31 * 24 * 60), latest.past_ms),
        },
    };
    judge(&section, &read.intake);
    section.finish();
    read
}

/// What must hold between limits.
fn judge(section: &Section<'_>, limits: &metrics::Limits) {
    let written = |first, second| if section.has(first) { first } else { second };
    if limits.decoded_len_max < limits.body_len_max {
        let key = written("decoded", "body");
        let what = format!("`{key}`: unpacked bodies would have to be shorter than packed ones");
        let mend = format!(
            "write a `decoded` of at least {}",
            shown(limits.body_len_max)
        );
        section.mistake(key, what, mend);
    }
    let needed = BODIES_MIN * limits.body_len_max;
    if limits.in_flight_len_max < needed {
        let key = written("in_flight", "body");
        let what = format!("`{key}`: fewer than {BODIES_MIN} of the longest bodies would fit");
        let mend = format!("write an `in_flight` of at least {}", shown(needed));
        section.mistake(key, what, mend);
    }
}

/// A length in bytes, such as `"4MiB"`.
fn length<'f>(
    section: &'f Section<'_>,
    key: &'f str,
    range: RangeInclusive<usize>,
) -> Field<'f, usize> {
    section.str(key).try_map(move |text| {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit_len = UNITS.iter().find(|(name, _)| *name == unit);
        let (Ok(number), Some((_, unit_len))) = (number.parse::<usize>(), unit_len) else {
            return Err(Complaint::new(
                format!("{text:?} is not a length"),
                "write a whole number and a unit, such as \"512KiB\", \"4MiB\" or \"1GiB\"",
            ));
        };
        number
            .checked_mul(*unit_len)
            .filter(|len| range.contains(len))
            .ok_or_else(|| {
                let (least, most) = (shown(*range.start()), shown(*range.end()));
                Complaint::new(
                    format!("{text} is out of bounds"),
                    format!("write a length from {least} to {most}"),
                )
            })
    })
}

/// A length in the largest unit that holds it whole, in quotes, as it is written.
fn shown(len: usize) -> String {
    let (unit, unit_len) = UNITS
        .iter()
        .find(|(_, unit_len)| len >= *unit_len && len.is_multiple_of(*unit_len))
        .unwrap_or(&UNITS[2]);
    format!("\"{}{unit}\"", len.div_ceil(*unit_len))
}
