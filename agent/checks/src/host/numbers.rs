//! Whole numbers of a machine as metrics and as spans of time.

use vigie_core::time::Wall;

/// A count as the value of a metric.
#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point; exact to 9 PB, and to 285,000 years of milliseconds"
)]
pub(super) fn as_metric(count: u64) -> f64 {
    count as f64
}

/// Milliseconds from `earlier` to `later`; zero if that is in the future.
pub(super) fn since_ms(earlier: Wall, later: Wall) -> u64 {
    u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or(0)
}
