//! What chrony tells: `chronyc -c -n tracking` and `sources` (chronyc(1), one line of comma-separated columns each).
//!
//! chronyc asks over the daemon's socket or over UDP on loopback, which needs no rights. It waits up to 7 s for a daemon
//! that hangs; the deadline of the run is shorter and counts.

use std::io;

use vigie_core::time::Wall;
use vigie_machine::{Context, commands::CommandError};

use super::{Machine, Reading, Told, run_program};
use crate::host::daemon::{Daemon, Life};

/// The word for it.
const CHRONY: &str = "chrony";

const CHRONYD: Daemon = Daemon {
    process: "chronyd",
    units: &["chrony.service", "chronyd.service"],
    pid_files: &["run/chrony/chronyd.pid", "run/chronyd.pid"],
};

/// Asks chrony. It is absent when its client is not installed, or cannot reach a daemon that does not run.
pub(super) async fn ask(machine: &Machine, context: &Context) -> Told {
    let arguments = |report| {
        machine
            .chronyc_arguments
            .iter()
            .map(String::as_str)
            .chain(["-c", "-n", report])
    };
    let tracking = match run_program(context, &machine.chronyc, arguments("tracking")).await {
        Ok(output) if output.status.success() => output.stdout,
        Ok(_) => return unanswered(machine, context, Life::Gone).await,
        Err(CommandError::Start { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return unanswered(machine, context, Life::Gone).await;
        }
        // It did not say that there is nobody, it said nothing.
        Err(_) => return unanswered(machine, context, Life::Alive).await,
    };
    let Some(mut reading) = parse_tracking(&String::from_utf8_lossy(&tracking)) else {
        return Told::Silent(CHRONY);
    };
    match run_program(context, &machine.chronyc, arguments("sources")).await {
        Ok(output) if output.status.success() => {
            reading.sources = Some(count_usable(&String::from_utf8_lossy(&output.stdout)));
            Told::Reading(reading)
        }
        Ok(_) | Err(_) => Told::Silent(CHRONY),
    }
}

/// Without an answer the daemon counts: `untold` where nothing tells whether it runs.
async fn unanswered(machine: &Machine, context: &Context, untold: Life) -> Told {
    let life = match CHRONYD.life(context, &machine.root).await {
        Life::Untold => untold,
        life => life,
    };
    match life {
        Life::Alive => Told::Silent(CHRONY),
        Life::Gone | Life::Untold => Told::Absent,
    }
}

/// One line of 14 columns: reference, its name, stratum, time of the last measurement, system time, last offset, its
/// mean, frequency, residual frequency, skew, root delay, root dispersion, interval, leap status.
fn parse_tracking(text: &str) -> Option<Reading> {
    let columns: Vec<&str> = text.lines().next()?.split(',').collect();
    let [
        reference,
        _name,
        stratum,
        measured,
        system,
        _last,
        _mean,
        _frequency,
        _residual,
        _skew,
        delay,
        dispersion,
        _interval,
        leap,
    ] = columns.as_slice()
    else {
        return None;
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let measured_seconds = number(measured)?;
    // Before the first measurement the reference is empty and its time is the epoch.
    let has_reference = u32::from_str_radix(reference, 16).ok()? != 0;
    let is_synchronised = match leap.trim_end() {
        "Normal" | "Insert second" | "Delete second" => has_reference,
        "Not synchronised" => false,
        _ => return None,
    };
    Some(Reading {
        // What chrony prints is what has to be added to the clock.
        offset_seconds: Some(0.0 - number(system)?).filter(|_| is_synchronised),
        stratum: Some(stratum.parse().ok()?).filter(|_| is_synchronised),
        root_delay_seconds: Some(number(delay)?).filter(|_| is_synchronised),
        root_dispersion_seconds: Some(number(dispersion)?).filter(|_| is_synchronised),
        last_sync: (has_reference && measured_seconds >= 1.0)
            .then(|| Wall(super::scaled(measured_seconds, 1e3))),
        ..Reading::of(CHRONY, is_synchronised)
    })
}

/// Sources whose second column says that they answer and agree: selected (`*`), combined (`+`), or left out of the
/// combination only because others are better (`-`).
fn count_usable(text: &str) -> u64 {
    let usable = text
        .lines()
        .filter(|line| matches!(line.split(',').nth(1), Some("*" | "+" | "-")))
        .count();
    u64::try_from(usable).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn recorded_answers_are_read() {
        let reading = parse_tracking(
            "C0A80A01,192.168.10.1,3,1795379889.385033981,-0.000213352,-0.000000001,0.000000030,-0.010,-0.000,0.079,0.012005714,0.000500554,64.1,Normal\n",
        )
        .unwrap();
        assert!(reading.is_synchronised);
        assert_eq!(reading.offset_seconds, Some(0.000_213_352));
        assert_eq!(reading.stratum, Some(3));
        assert_eq!(reading.root_delay_seconds, Some(0.012_005_714));
        assert_eq!(reading.root_dispersion_seconds, Some(0.000_500_554));
        assert_eq!(reading.last_sync, Some(Wall(1_795_379_889_385)));

        let never = parse_tracking(
            "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised\n",
        )
        .unwrap();
        assert!(!never.is_synchronised);
        assert_eq!(
            (never.offset_seconds, never.stratum, never.last_sync),
            (None, None, None)
        );

        for wrong in ["", "506 Cannot talk to daemon\n", "a,b\n"] {
            assert_eq!(parse_tracking(wrong), None, "{wrong:?}");
        }
        let newer = "C0A80A01,,3,1.0,0,0,0,0,0,0,0,0,0,Something new\n";
        assert_eq!(parse_tracking(newer), None);
    }

    #[test]
    fn only_sources_that_answer_and_agree_are_usable() {
        let text = "^,*,192.0.2.1,2,6,377,20,0.000060,0.000061,0.01\n\
            ^,+,192.0.2.2,2,6,377,20,0.000060,0.000061,0.01\n\
            ^,-,192.0.2.3,2,6,377,20,0.000060,0.000061,0.01\n\
            ^,?,192.0.2.4,0,6,0,4294967295,0.0,0.0,0.0\n\
            ^,x,192.0.2.5,2,6,377,20,9.000060,9.000061,0.01\n\
            ^,~,192.0.2.6,2,6,377,20,0.000060,0.000061,0.9\n";
        assert_eq!(count_usable(text), 3);
        assert_eq!(count_usable(""), 0);
    }
}
