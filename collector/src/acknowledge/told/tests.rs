#![expect(clippy::unwrap_used, reason = "tests")]

use vigie_decide::{alert::AlertKey, fleet::State};

use super::*;
use crate::status::tests::{alert, busy, key, policy, shown, told};

fn since(to: &str, first: u64, last: u64) -> Linked {
    Linked {
        to: to.parse().unwrap(),
        last,
        about: About::Since(first),
    }
}

fn numbers(state: &State, linked: &Linked) -> Result<Vec<u64>, NotTold> {
    let told = told_by(&shown(state, &policy()), linked)?;
    Ok(told.into_iter().map(|alert| alert.number).collect())
}

#[test]
fn a_link_to_many_is_about_what_its_destination_was_told_within_its_span_and_is_open() {
    let mut state = busy();
    state.meta.last_message = 99;
    let about = |to, first, last| numbers(&state, &since(to, first, last));
    assert_eq!(about("am/sms", 1, 2), Ok(vec![]));
    assert_eq!(about("am/sms", 1, 3), Ok(vec![1]));
    assert_eq!(about("am/sms", 9, 99), Ok(vec![1]));
    // Told of it before, and never since.
    assert_eq!(about("am/sms", 10, 99), Ok(vec![]));
    assert_eq!(about("am/mail", 1, 5), Ok(vec![]));
    assert_eq!(about("equipe", 1, 7), Ok(vec![1]));
    // Not in the settings: gone, or told by steps and never itself.
    for gone in ["jb/sms", "am/voice", "astreinte"] {
        assert_eq!(about(gone, 1, 99), Err(NotTold::Retired), "{gone}");
    }
    // Its message is not in the log yet: that is not the same as being over.
    for unwritten in [0, 100] {
        assert_eq!(about("am/sms", 0, unwritten), Err(NotTold::Unwritten));
    }
    let first = &told_by(&shown(&state, &policy()), &since("am/sms", 1, 3)).unwrap()[0];
    assert_eq!(
        first.acknowledged_by,
        Some(Actor::Link("am/sms".parse().unwrap()))
    );
    assert_eq!((first.status, first.is_exercise), (Status::Critical, false));
}

#[test]
fn the_link_of_an_exercise_is_about_no_older_alert_and_no_span_about_an_exercise() {
    let mut state = State::default();
    state.meta.last_message = 99;
    let exercise = AlertKey::exercise(&"equipe".parse().unwrap());
    let real = key("app-01", "portail", "");
    // Told before the exercise, and reminded of after it.
    for (key, number, reached) in [
        (&real, 1, ("am/sms", 1, 9)),
        (&exercise, 2, ("am/sms", 5, 5)),
    ] {
        let mut alert = alert(number, Status::Critical);
        alert
            .told
            .insert("equipe".parse().unwrap(), told(&[reached]));
        state.alerts.insert(key.clone(), alert);
    }
    let of = |key: &AlertKey, opening| Linked {
        to: "am/sms".parse().unwrap(),
        last: 5,
        about: About::Alerts(vec![Mark::of(key, opening)]),
    };
    assert_eq!(numbers(&state, &of(&exercise, 1)), Ok(vec![2]));
    assert_eq!(numbers(&state, &of(&real, 1)), Ok(vec![1]));
    // Another opening of the same alert was another alert.
    assert_eq!(numbers(&state, &of(&real, 2)), Ok(vec![]));
    assert_eq!(numbers(&state, &since("am/sms", 5, 5)), Ok(vec![1]));
}
