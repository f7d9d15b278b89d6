//! vigie-checks: what is checked on a node, and how it is judged. It knows nothing of entries, spools or alerts.
//!
//! The story of a run: whoever holds a [`Check`] gives it a [`Context`], the only way in which it touches the machine; it
//! looks once, and returns [`Observation`]s, one per object, each with a status, a reason of core and the numbers that led
//! to it. Settling, showing and keeping them is for whoever asked.
//!
//! A kind is one file or folder under `<family>/`: its settings, its run, the metrics it exports. [`KINDS`] names all of
//! them. Adding one touches that file, [`KINDS`] and its family's reasons in core; nothing else. The family `host` checks
//! this machine, `availability` the services that it can reach.
//!
//! What could not be measured is `unknown` and never ok.

mod availability;
pub mod host;

use std::{future::Future, pin::Pin};

use vigie_core::{
    observation::{MetricId, Observation},
    status::Family,
};
use vigie_machine::Context;
use vigie_platform::settings_file::Section;

/// The future of one run.
pub type Run<'a> = Pin<Box<dyn Future<Output = Vec<Observation>> + Send + 'a>>;

/// One configured check, ready to run again and again.
pub trait Check: Send {
    /// Looks once and says what it found, one observation per object.
    ///
    /// Cancel-safe: the runner drops the future at the check's deadline, and the next run starts afresh. Touches the
    /// machine only through `context`, never blocks the runtime, and reports what it could not measure as `unknown`.
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a>;
}

/// A metric that a kind exports, apart from those every check has.
#[derive(Debug, Clone, Copy)]
pub struct MetricSpec {
    /// Full name, base unit last (`vigie_http_phase_duration_seconds`).
    pub id: MetricId,
    /// How its numbers behave.
    pub metric_type: MetricType,
    /// What Prometheus shows as help.
    pub help: &'static str,
    /// The name of its one extra label, or `""`.
    pub label: &'static str,
}

/// How the numbers of a metric behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricType {
    /// They rise and fall.
    Gauge,
    /// Each is a running total that something else keeps; a smaller one means that it began anew.
    Counter,
}

/// One kind of check.
pub struct Kind {
    /// The word after `kind =`.
    pub name: &'static str,
    /// The family it belongs to.
    pub family: Family,
    /// What it measures.
    pub metrics: &'static [MetricSpec],
    /// The settings key that `probe KIND TARGET` fills with TARGET.
    pub target_key: &'static str,
    /// A complete `[check.N]` section, shown by `--help` and run through the parser by a test.
    pub example: &'static str,
    /// Reads the kind's own settings. Mistakes go to the section; `None` when it cannot be built.
    pub build: fn(&mut Section<'_>) -> Option<Box<dyn Check>>,
}

/// Every kind this agent knows.
pub static KINDS: &[&Kind] = &[
    &availability::http::KIND,
    &availability::tcp::KIND,
    &host::cpu::KIND,
    &host::memory::KIND,
    &host::load::KIND,
    &host::filesystem::KIND,
    &host::admin_accounts::KIND,
    &host::systemd_unit::KIND,
    &host::clock::KIND,
    &host::log_forwarding::KIND,
    &host::updates::KIND,
    &host::process::KIND,
    &host::network::KIND,
];

/// The kind with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `promtool check metrics` finds wrong (Prometheus documentation, "Metric and label naming").
    #[test]
    fn metric_names_pass_promtools_rules() {
        for (kind, metric) in KINDS
            .iter()
            .flat_map(|kind| kind.metrics.iter().map(move |metric| (kind, metric)))
        {
            let name = metric.id.0;
            let is_well_written = name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(is_well_written && name.starts_with("vigie_"), "{name}");
            let is_counter = metric.metric_type == MetricType::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            for suffix in ["_count", "_sum", "_bucket", "_info"] {
                assert!(!name.ends_with(suffix), "{name} of {}", kind.name);
            }
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }
}
