#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_core::{
    reason::{
        availability::{NET_RESOLVED, NET_RESOLVER, NET_TIMEOUT, TCP_CLOSED, TCP_OK},
        vigie::{CHECK_FAULT, CHECK_LATE, CHECK_TIMEOUT, OBJECT_GONE, OBJECTS_TOO_MANY},
    },
    time::Elapsed,
};

use super::*;

fn now(elapsed_ms: u64) -> Now {
    Now {
        wall: Wall(i64::try_from(elapsed_ms).unwrap()),
        elapsed: Elapsed(elapsed_ms),
    }
}

fn state(failures: u32, recoveries: u32) -> CheckState {
    CheckState::new(
        "portail".parse().unwrap(),
        None,
        Damping {
            failures,
            recoveries,
        },
        1_000,
        now(0),
    )
}

fn seen(name: &str, status: Status, reason: Reason) -> Observation {
    Observation::new(status, reason).of(Object::configured(name).unwrap())
}

/// Everything said, as `object status reason`.
fn said(state: &mut CheckState) -> Vec<String> {
    let mut lines = Vec::new();
    state.say(|draft| {
        let object = draft.object.as_ref().map_or("-", Object::as_str);
        lines.push(format!(
            "{object} {} {}",
            draft.status.unwrap(),
            draft.reason
        ));
        true
    });
    lines
}

#[test]
fn objects_settle_apart() {
    let mut state = state(2, 1);
    state.result(
        vec![
            seen("a", Status::Ok, TCP_OK),
            seen("b", Status::Critical, NET_TIMEOUT),
        ],
        now(1),
    );
    assert_eq!(said(&mut state), ["a ok tcp.ok"]);
    state.result(
        vec![
            seen("a", Status::Ok, TCP_OK),
            seen("b", Status::Critical, NET_TIMEOUT),
        ],
        now(2),
    );
    assert_eq!(said(&mut state), ["b critical net.timeout"]);
    assert_eq!(said(&mut state), [""; 0], "each is said once");
    assert_eq!(state.worst(), Some(Status::Critical));
}

#[test]
fn what_the_ledger_does_not_take_is_offered_again_with_the_latest_status() {
    let mut state = state(1, 1);
    state.result(vec![seen("a", Status::Critical, NET_TIMEOUT)], now(1));
    assert!(!state.say(|_| false));
    state.result(vec![seen("a", Status::Warning, TCP_CLOSED)], now(2));
    assert_eq!(said(&mut state), ["a warning tcp.closed"]);
}

#[test]
fn getting_better_by_half_a_way_tells_the_worse_reason() {
    let mut state = state(1, 2);
    state.result(vec![seen("a", Status::Critical, NET_TIMEOUT)], now(1));
    said(&mut state);
    state.result(vec![seen("a", Status::Warning, TCP_CLOSED)], now(2));
    state.result(vec![seen("a", Status::Ok, TCP_OK)], now(3));
    assert_eq!(said(&mut state), ["a warning tcp.closed"]);
}

#[test]
fn an_object_that_vanishes_is_gone_after_as_many_runs_as_a_failure_needs() {
    let mut state = state(2, 1);
    let both = || vec![seen("a", Status::Ok, TCP_OK), seen("b", Status::Ok, TCP_OK)];
    let one = || vec![seen("a", Status::Ok, TCP_OK)];
    state.result(both(), now(1));
    said(&mut state);
    state.result(one(), now(2));
    assert_eq!(said(&mut state), [""; 0]);
    state.result(one(), now(3));
    assert_eq!(said(&mut state), [format!("b unknown {OBJECT_GONE}")]);
    state.result(both(), now(4));
    assert_eq!(said(&mut state), ["b ok tcp.ok"]);
}

#[test]
fn a_run_that_could_not_measure_says_nothing_of_absent_objects() {
    let mut state = state(1, 1);
    let whole = |status, reason| Observation::new(status, reason);
    state.result(
        vec![
            whole(Status::Ok, NET_RESOLVED),
            seen("a", Status::Ok, TCP_OK),
        ],
        now(1),
    );
    said(&mut state);
    state.result(vec![whole(Status::Unknown, NET_RESOLVER)], now(2));
    assert_eq!(said(&mut state), ["- unknown net.resolver"]);
    state.result(vec![], now(3));
    assert_eq!(said(&mut state), [""; 0], "nor does an empty run");
}

#[test]
fn an_empty_run_is_unknown_and_never_ok() {
    let mut state = state(1, 1);
    state.result(vec![], now(1));
    assert_eq!(said(&mut state), [format!("- unknown {CHECK_FAULT}")]);
}

#[test]
fn a_trouble_of_running_settles_by_patience_and_ends_when_a_run_does_not_mention_it() {
    let mut state = state(2, 1);
    let timeout = || Observation::new(Status::Unknown, CHECK_TIMEOUT).fact("after_ms", 5_000_u64);
    state.result(vec![seen("a", Status::Ok, TCP_OK)], now(1));
    said(&mut state);
    state.trouble(timeout(), now(2));
    assert_eq!(said(&mut state), [""; 0]);
    state.trouble(timeout(), now(3));
    assert_eq!(said(&mut state), ["- unknown check.timeout"]);
    state.result(vec![seen("a", Status::Ok, TCP_OK)], now(4));
    assert_eq!(said(&mut state), ["- ok check.ran"]);
    state.result(vec![seen("a", Status::Ok, TCP_OK)], now(5));
    assert_eq!(said(&mut state), [""; 0]);
}

#[test]
fn three_intervals_without_a_result_are_late_at_once_and_once() {
    let mut state = state(5, 1);
    state.judge_lateness(now(3_000));
    assert_eq!(said(&mut state), [""; 0]);
    state.judge_lateness(now(3_001));
    state.judge_lateness(now(4_000));
    assert_eq!(said(&mut state), [format!("- unknown {CHECK_LATE}")]);
    state.result(vec![seen("a", Status::Ok, TCP_OK)], now(5_000));
    assert_eq!(said(&mut state), ["- ok check.ran", "a ok tcp.ok"]);
    state.resume(now(90_000));
    state.judge_lateness(now(91_000));
    assert_eq!(
        said(&mut state),
        [""; 0],
        "a pause is not the check's fault"
    );
}

#[test]
fn more_objects_than_allowed_are_said_and_not_judged() {
    let mut state = state(1, 1);
    let many = (0..=OBJECTS_MAX)
        .map(|n| seen(&format!("o{n}"), Status::Ok, TCP_OK))
        .collect();
    state.result(many, now(1));
    let lines = said(&mut state);
    assert_eq!(lines.len(), OBJECTS_MAX + 1);
    assert_eq!(lines[0], format!("- unknown {OBJECTS_TOO_MANY}"));
}

#[test]
fn an_object_named_twice_counts_as_the_louder() {
    let mut state = state(1, 1);
    state.result(
        vec![
            seen("a", Status::Critical, NET_TIMEOUT),
            seen("a", Status::Ok, TCP_OK),
        ],
        now(1),
    );
    assert_eq!(said(&mut state), ["a critical net.timeout"]);
}

#[test]
fn restating_says_every_settled_status_once_more() {
    let mut state = state(1, 1);
    state.result(
        vec![
            seen("a", Status::Ok, TCP_OK),
            seen("b", Status::Critical, NET_TIMEOUT),
        ],
        now(1),
    );
    said(&mut state);
    state.restate();
    assert_eq!(said(&mut state), ["a ok tcp.ok", "b critical net.timeout"]);
}

#[test]
fn names_that_come_and_go_do_not_crowd_out_those_there_are() {
    let mut state = state(1, 1);
    let mut time = 1;
    for round in 0..OBJECTS_MAX + 50 {
        time += 1;
        state.result(
            vec![seen(&format!("o{round}"), Status::Ok, TCP_OK)],
            now(time),
        );
        said(&mut state);
    }
    let last = format!("o{}", OBJECTS_MAX + 50);
    state.result(
        vec![seen(&last, Status::Critical, TCP_CLOSED)],
        now(time + 1),
    );
    assert!(said(&mut state).contains(&format!("{last} critical {TCP_CLOSED}")));
}
