//! The steps of a probe and how long each took.

use std::time::Duration;

use tokio::time::Instant;
use vigie_core::observation::{MetricId, Observation};
use vigie_platform::clock::whole_ms;

/// A step of a probe, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From the name to its addresses.
    Resolve,
    /// The TCP handshake.
    Connect,
    /// The TLS handshake.
    Tls,
    /// From our first byte to the head of the answer.
    FirstByte,
    /// The rest of the answer.
    Body,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::FirstByte,
        Self::Body,
    ];

    /// The word in facts and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
        }
    }
}

/// Where one probe is, and what its phases took. A phase entered again (a redirect) adds up.
///
/// Durations are of the runtime's monotonic clock: finer than the milliseconds that deadlines count.
#[derive(Debug, Clone)]
pub struct Progress {
    phase: Phase,
    entered: Instant,
    spent: [Option<Duration>; Phase::ALL.len()],
}

impl Progress {
    /// A probe that begins now, with `phase`.
    #[must_use]
    pub fn beginning_with(phase: Phase) -> Self {
        Self {
            phase,
            entered: Instant::now(),
            spent: [None; Phase::ALL.len()],
        }
    }

    /// Ends the phase it is in and begins another.
    pub fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        let spent = self.spent[self.phase as usize].get_or_insert_default();
        *spent += now.duration_since(self.entered);
        (self.phase, self.entered) = (phase, now);
    }

    /// The phase it is in.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Time spent so far, in milliseconds.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        whole_ms(self.total())
    }

    fn total(&self) -> Duration {
        self.spent.iter().flatten().sum::<Duration>() + self.entered.elapsed()
    }

    /// Ends the probe and adds the duration of every phase it entered, and their sum as `total`, to `observation`.
    #[must_use]
    pub fn measured(mut self, metric: MetricId, mut observation: Observation) -> Observation {
        self.enter(self.phase);
        for phase in Phase::ALL {
            if let Some(spent) = self.spent[phase as usize] {
                observation =
                    observation.measure_labelled(metric, phase.as_str(), spent.as_secs_f64());
            }
        }
        let total = self.spent.iter().flatten().sum::<Duration>();
        observation.measure_labelled(metric, "total", total.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use vigie_core::{reason::availability::TCP_OK, status::Status};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn phases_add_up_and_only_those_entered_are_measured() {
        let metric = MetricId("vigie_test_phase_duration_seconds");
        let mut progress = Progress::beginning_with(Phase::Connect);
        tokio::time::advance(Duration::from_millis(10)).await;
        progress.enter(Phase::FirstByte);
        tokio::time::advance(Duration::from_millis(200)).await;
        progress.enter(Phase::Connect);
        tokio::time::advance(Duration::from_millis(30)).await;
        assert_eq!(
            (progress.phase(), progress.total_ms()),
            (Phase::Connect, 240)
        );
        let observation = progress.measured(metric, Observation::new(Status::Ok, TCP_OK));
        let measured: Vec<_> = observation
            .measurements
            .iter()
            .map(|measurement| (measurement.label, measurement.value))
            .collect();
        assert_eq!(
            measured,
            [("connect", 0.04), ("first_byte", 0.2), ("total", 0.24)]
        );
    }
}
