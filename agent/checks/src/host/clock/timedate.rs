//! What systemd tells: timesyncd's status, and the kernel's word on whether the clock is synchronised.
//!
//! timesyncd keeps no stratum of a daemon's own, one server, and touches a file at each synchronisation (its polls are at
//! most 34 minutes apart). `timedatectl timesync-status` prints for people; its lines have stood since systemd 239, and a
//! line that reads differently is left out rather than guessed. `timedatectl show` prints the kernel's word for programs.

use vigie_machine::Context;

use super::{Machine, Reading, Told, run_program};
use crate::host::daemon::{Daemon, Life};

/// The words for them.
const TIMESYNCD: &str = "timesyncd";
const KERNEL: &str = "kernel";

const DAEMON: Daemon = Daemon {
    process: "systemd-timesyn",
    units: &["systemd-timesyncd.service"],
    pid_files: &[],
};

/// Touched by timesyncd whenever it set the clock right.
const SYNCHRONISED_FILE: &str = "run/systemd/timesync/synchronized";

/// How long a synchronisation needs no other word: the longest time between two polls (2,048 s, timesyncd.conf(5)), and
/// half as much again. The kernel counts a clock as right for hours longer.
const FRESH_MS: i64 = 3_072_000;

/// Asks timesyncd, where it runs.
pub(super) async fn ask_timesyncd(machine: &Machine, context: &Context) -> Told {
    if DAEMON.life(context, &machine.root).await != Life::Alive {
        return Told::Absent;
    }
    let stamp = context
        .files
        .stamp(&machine.root.join(SYNCHRONISED_FILE))
        .await;
    let last_sync = stamp.ok().map(|stamp| stamp.modified);
    let now = context.clock.wall();
    let is_fresh =
        last_sync.is_some_and(|last| (0..FRESH_MS).contains(&now.0.saturating_sub(last.0)));
    // `timedatectl show` has systemd start a service that logs three lines each time: only where it is in doubt.
    let is_synchronised = if is_fresh {
        Some(true)
    } else {
        ask_synchronised(machine, context).await
    };
    let Some(is_synchronised) = is_synchronised else {
        return Told::Silent(TIMESYNCD);
    };
    let mut reading = Reading {
        last_sync,
        ..Reading::of(TIMESYNCD, is_synchronised)
    };
    let status = run_program(
        context,
        &machine.timedatectl,
        ["timesync-status", "--no-pager"],
    )
    .await;
    match status {
        Ok(output) if output.status.success() => {
            parse_status(&String::from_utf8_lossy(&output.stdout), &mut reading);
            Told::Reading(reading)
        }
        Ok(_) | Err(_) => Told::Silent(TIMESYNCD),
    }
}

/// Asks for the kernel's word.
pub(super) async fn ask_kernel(machine: &Machine, context: &Context) -> Told {
    match ask_synchronised(machine, context).await {
        Some(is_synchronised) => Told::Reading(Reading::of(KERNEL, is_synchronised)),
        None => Told::Absent,
    }
}

async fn ask_synchronised(machine: &Machine, context: &Context) -> Option<bool> {
    let arguments = ["show", "--property=NTPSynchronized"];
    let output = run_program(context, &machine.timedatectl, arguments)
        .await
        .ok()
        .filter(|output| output.status.success())?;
    parse_synchronised(&String::from_utf8_lossy(&output.stdout))
}

fn parse_synchronised(text: &str) -> Option<bool> {
    match text.trim_end() {
        "NTPSynchronized=yes" => Some(true),
        "NTPSynchronized=no" => Some(false),
        _ => None,
    }
}

/// Adds what `timesync-status` prints. The packet count and the offset are there once a server has answered.
fn parse_status(text: &str, reading: &mut Reading) {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'))
            .map(str::trim)
    };
    let packets = value("Packet count").and_then(|count| count.parse::<u64>().ok());
    reading.sources = Some(u64::from(packets.is_some_and(|count| count > 0)));
    if !reading.is_synchronised {
        return;
    }
    // Timesyncd's own stratum would be one more than its server's.
    reading.stratum = value("Stratum")
        .and_then(|stratum| stratum.parse::<u64>().ok())
        .map(|stratum| stratum.saturating_add(1));
    // It prints what has to be added to the clock.
    reading.offset_seconds = value("Offset")
        .and_then(parse_timespan)
        .map(|offset| 0.0 - offset);
}

/// A time span as systemd prints it: `-1.286ms`, `+1min 2.3s`, `0`.
fn parse_timespan(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 9] = [
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("min", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
        ("w", 7.0 * 86_400.0),
        ("month", 30.44 * 86_400.0),
        ("y", 365.25 * 86_400.0),
    ];
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1.0, span),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if span.is_empty() {
        return None;
    }
    if span == "0" {
        return Some(0.0);
    }
    let mut seconds = 0.0;
    for part in span.split_ascii_whitespace() {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &part[digits.len()..];
        let (_, unit_seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number: f64 = digits.parse().ok().filter(|_| is_number)?;
        seconds += number * unit_seconds;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn spans_are_read_as_systemd_writes_them() {
        let table = [
            ("-1.286ms", Some(-0.001_286)),
            ("+1min 2.3s", Some(62.3)),
            ("26us", Some(0.000_026)),
            ("0", Some(0.0)),
            ("+0", Some(0.0)),
            ("1d 2h", Some(93_600.0)),
            ("", None),
            ("-", None),
            ("12", None),
            ("1e9s", None),
            ("n/a", None),
            ("1 fortnight", None),
        ];
        for (text, seconds) in table {
            match (parse_timespan(text), seconds) {
                (Some(read), Some(seconds)) => {
                    assert!((read - seconds).abs() < 1e-9, "{text}: {read}");
                }
                (read, seconds) => assert_eq!(read, seconds, "{text}"),
            }
        }
    }

    #[test]
    fn a_recorded_status_is_read() {
        let text = "       Server: 192.0.2.7 (ntp.example)\nPoll interval: 34min 8s (min: 32s; max 34min 8s)\n         Leap: normal\n      Version: 4\n      Stratum: 2\n    Reference: C944586A\n    Precision: 1us (-25)\nRoot distance: 869us (max: 5s)\n       Offset: -1.286ms\n        Delay: 26.231ms\n       Jitter: 1.212ms\n Packet count: 5\n    Frequency: +14.053ppm\n";
        let mut reading = Reading::of(TIMESYNCD, true);
        parse_status(text, &mut reading);
        assert!((reading.offset_seconds.unwrap() - 0.001_286).abs() < 1e-12);
        assert_eq!((reading.sources, reading.stratum), (Some(1), Some(3)));
        let mut waiting = Reading::of(TIMESYNCD, false);
        parse_status("Server: n/a (n/a)\nPacket count: 0\n", &mut waiting);
        assert_eq!((waiting.sources, waiting.offset_seconds), (Some(0), None));
        assert_eq!(parse_synchronised("NTPSynchronized=yes\n"), Some(true));
        assert_eq!(parse_synchronised("NTPSynchronized=no\n"), Some(false));
        assert_eq!(parse_synchronised(""), None);
    }
}
