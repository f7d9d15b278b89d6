//! Reads everything that a request holds.

use vigie_core::remote_write::{Decoder, Limits, Version};

/// Decodes `body` twice with one decoder, and reads what it holds.
pub fn read_all(version: Version, body: &[u8]) {
    let limits = Limits::default();
    let mut decoder = Decoder::default();
    let first = decoder
        .decode(version, body, &limits)
        .map(|batch| batch.series().len());
    let again = decoder.decode(version, body, &limits);
    assert_eq!(first, again.map(|batch| batch.series().len()));

    let Ok(batch) = decoder.decode(version, body, &limits) else {
        return;
    };
    let mut samples = 0;
    for series in batch.series() {
        samples += series.samples().len() as u64;
        assert!(series.key().len() <= body.len());
        let labels = series.labels().filter(Result::is_ok).count();
        assert!(labels <= limits.labels_max);
        // Asked for so that it is read.
        let _ = series.metadata();
    }
    assert_eq!(samples, batch.sample_count());
    assert!(batch.symbol_bytes().len() <= body.len());
    assert!(batch.metadata().count() <= limits.series_max);
}
