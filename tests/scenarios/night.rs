//! Is the right person woken, and everybody else told in the morning? The story for which vigie exists.

use std::time::Duration;

use vigie_core::{status::Status, time::Wall};
use vigie_tests::harness::{Agent, HandAgent, Nginx, SeenMail, eventually};

use crate::on_call::{AM, CHEF, House, JB, wall};

const MINUTE: Duration = Duration::from_secs(60);

/// An agent is in touch more often than this.
const CONTACT_EVERY_S: u32 = 30;

/// What the node of the night watches.
fn watches(portal: &Nginx, intranet: &Nginx) -> String {
    let (portal, intranet) = (portal.url(), intranet.url());
    format!(
        r#"
        [defaults]
        every = "30s"
        timeout = "25s"
        failures = 2
        recoveries = 2
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{portal}"
        [check.annuaire]
        kind = "http"
        service = "intranet"
        url = "{intranet}"
        "#
    )
}

/// Lets time pass until then, slowly enough for a real agent.
async fn passes_until(house: &House, then: Wall, node: &str) {
    let heard_every_ms = 30 * 60_000;
    loop {
        let now = house.clock.now().wall;
        let left = then.0 - now.0;
        if left <= 0 {
            return;
        }
        let step = u64::try_from(left.min(heard_every_ms)).expect("time is left");
        let at = Wall(now.0 + left.min(heard_every_ms)).to_string();
        house.clock.jump(Duration::from_millis(step));
        // It may have set its alarm for the next contact just after this jump.
        let mut nudges = CONTACT_EVERY_S;
        eventually(&format!("{node} is heard at {at}"), async || {
            let row = house.collector.node(node).await;
            if row["last_contact"].as_str() >= Some(&at) {
                return Ok(());
            }
            if nudges > 0 {
                nudges -= 1;
                house.clock.jump(Duration::from_secs(1));
            }
            Err(row.to_string())
        })
        .await;
    }
}

/// The one mail that was sent.
async fn only_mail(house: &House, part: &str) -> SeenMail {
    let mail = house.mail.takes(part).await;
    assert_eq!(house.mail.taken().len(), 1, "{:?}", house.mail.taken());
    mail
}

/// What waits for the team's digest.
async fn waiting(house: &House) -> u64 {
    let status = house.collector.status().await;
    let rows = status["held"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["receiver"] == "equipe-sis");
    row.and_then(|row| row["waiting"].as_u64())
        .unwrap_or_default()
}

/// The standard service fails and is kept for the morning.
async fn fails_quietly(house: &House, node: &mut HandAgent) {
    let down = node.finds("annuaire", None, Status::Critical);
    node.hands_in(&[down]).await;
    let alert = house.alert("annuaire").await;
    assert_eq!(alert["held_for"], serde_json::json!(["equipe-sis"]));
    assert_eq!(alert["told"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_stop_on_saturday_night_one_wakes_somebody_and_both_are_in_mondays_mail() {
    let house = House::open().await;
    let (mut portal, mut intranet) = (Nginx::start().await, Nginx::start().await);
    let walk = house.clock.keep_walking();
    let agent = Agent::with(watches(&portal, &intranet))
        .clock(&house.clock)
        .start(&house.collector, "app-01")
        .await;
    house.collector.is_fine("app-01").await;

    // Saturday, about 23:00. What will happen can be asked beforehand.
    let opening = serde_json::json!(house.opening().to_string());
    let page = house.explains(&["--if", "portail=critical", "--node", "app-01"]);
    assert_eq!(page["told_now"], serde_json::json!(["astreinte"]), "{page}");
    assert_eq!(
        page["steps"][0]["to"],
        serde_json::json!(["am/sms"]),
        "{page}"
    );
    assert_eq!(page["held_until"], opening, "{page}");
    let hold = house.explains(&["--service", "intranet", "--status", "critical"]);
    assert_eq!(hold["told_now"], serde_json::json!([]), "{hold}");
    assert_eq!(hold["held_until"], opening, "{hold}");
    portal.stop().await;
    intranet.stop().await;
    let page = house.gateway.sends(AM, "dossier-patient").await;
    assert!(page.text.contains("en panne depuis 2"), "{page:?}");
    assert!(
        !page.text.contains("app-01"),
        "it leaves the house: {page:?}"
    );
    let alert = house.alert("annuaire").await;
    assert_eq!(alert["held_for"], serde_json::json!(["equipe-sis"]));
    let number = house.alert("portail").await["number"].to_string();
    drop(walk);
    let taken_on = house.presses(page.link()).await;
    assert!(taken_on.contains("dossier-patient"), "{taken_on}");

    // The rest of the night, and Sunday: somebody is on it, and nobody else hears of it.
    let pages = house.gateway.texts().len();
    passes_until(&house, wall(house.monday(), 8, 29), "app-01").await;
    assert_eq!(
        house.gateway.texts().len(),
        pages,
        "{:?}",
        house.gateway.texts()
    );
    assert_eq!(house.gateway.count_for(CHEF), 0);
    assert_eq!(house.mail.taken().len(), 0, "{:?}", house.mail.taken());
    assert_eq!(waiting(&house).await, 2);

    // Monday, 8:30. The rota hands over in the same second.
    passes_until(&house, house.opening(), "app-01").await;
    let digest = only_mail(&house, "point du matin").await;
    assert_eq!(digest.seen["to"], serde_json::json!(["sis@chu.example"]));
    assert_eq!(digest.seen["is_encrypted"], true);
    assert_eq!(digest.seen["is_logged_in"], true);
    assert!(
        digest.header("subject").contains("2 en cours"),
        "{digest:?}"
    );
    assert!(!digest.header("subject").contains("retard"), "{digest:?}");
    for part in [
        "dossier-patient",
        "intranet",
        "portail",
        "annuaire",
        "astreinte",
    ] {
        assert!(digest.word("text").contains(part), "{part}: {digest:?}");
        assert!(digest.word("html").contains(part), "{part}: {digest:?}");
    }
    assert_eq!(waiting(&house).await, 0);

    // Both come back: whoever was told of the beginning is told of the end, in the same thread.
    portal.restart().await;
    intranet.restart().await;
    let walk = house.clock.keep_walking();
    house.gateway.sends(AM, "rétabli").await;
    let thread = eventually("both ends are in the mail", async || {
        let mails = house.mail.taken();
        let after: Vec<SeenMail> = mails.into_iter().skip(1).collect();
        let says = |part: &str| after.iter().any(|mail| mail.word("text").contains(part));
        if says("dossier-patient") && says("intranet") {
            Ok(after)
        } else {
            Err(format!("{after:?}"))
        }
    })
    .await;
    for close in &thread {
        assert_eq!(
            close.header("in-reply-to"),
            digest.header("message-id"),
            "{close:?}"
        );
        assert!(
            close
                .header("references")
                .contains(digest.header("message-id")),
            "{close:?}"
        );
    }
    house.collector.is_fine("app-01").await;
    drop(walk);
    assert_eq!(house.gateway.count_for(JB), 0, "it was never theirs");
    drop(agent);
    let why = house.tells_why(&number);
    for part in ["astreinte", "am/sms", "equipe-sis"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_off_at_the_opening_sends_its_digest_once_when_it_is_back_and_says_that_it_is_late()
 {
    let mut house = House::open().await;
    let mut node = house.node("app-01").await;
    fails_quietly(&house, &mut node).await;
    house.collector.kill();
    let until_ten = wall(house.monday(), 10, 0).0 - house.clock.now().wall.0;
    house
        .clock
        .jump(Duration::from_millis(until_ten.unsigned_abs()));
    house.collector.restart().await;
    let digest = only_mail(&house, "point du matin").await;
    let subject = digest.header("subject");
    assert!(
        subject.contains("en retard : était dû") && subject.contains("08:30"),
        "{subject}"
    );
    assert!(digest.word("text").contains("intranet"), "{digest:?}");

    // And not again at the next boot: its end, minutes later, is the next thing that the team reads.
    house.collector.kill();
    house.collector.restart().await;
    let up = node.finds("annuaire", None, Status::Ok);
    node.hands_in(&[up]).await;
    let walk = house.clock.keep_walking();
    let close = house.mail.takes("rétabli").await;
    drop(walk);
    assert_eq!(close.header("in-reply-to"), digest.header("message-id"));
    assert_eq!(house.mail.taken().len(), 2);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_killed_while_something_is_held_still_tells_it_at_the_opening() {
    let mut house = House::open().await;
    let mut node = house.node("app-01").await;
    fails_quietly(&house, &mut node).await;
    house.collector.kill();
    house.collector.restart().await;
    assert_eq!(waiting(&house).await, 1);
    house
        .passes_until(wall(house.monday(), 8, 29), &[&node])
        .await;
    // It also ends before anybody comes to work.
    let up = node.finds("annuaire", None, Status::Ok);
    node.hands_in(&[up]).await;
    assert_eq!(house.mail.taken().len(), 0);
    house.passes(MINUTE, &[&node]).await;
    let digest = only_mail(&house, "point du matin").await;
    assert!(
        digest.header("subject").contains("1 terminée"),
        "{digest:?}"
    );
    assert!(digest.word("text").contains("08:29"), "{digest:?}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_changes_while_something_is_held_moves_the_digest() {
    let house = House::open().await;
    let mut node = house.node("app-01").await;
    fails_quietly(&house, &mut node).await;
    let sunday = house.monday().yesterday().expect("the calendar goes on");

    // The team will come on Sunday at ten after all.
    let hours = r#"open = ["Mon-Fri 08:30-18:00", "Sun 10:00-12:00"]"#;
    house
        .reloads(
            &house
                .settings()
                .replace(r#"open = ["Mon-Fri 08:30-18:00"]"#, hours),
        )
        .await;
    house.passes_until(wall(sunday, 9, 59), &[&node]).await;
    assert_eq!(house.mail.taken().len(), 0, "{:?}", house.mail.taken());
    house.passes(MINUTE, &[&node]).await;
    let digest = only_mail(&house, "point du matin").await;
    assert!(digest.word("text").contains("intranet"), "{digest:?}");

    // And on Monday an hour later; the promised 8:30 is not kept for its own sake.
    let hours = r#"open = ["Mon-Fri 09:30-18:00"]"#;
    house
        .reloads(
            &house
                .settings()
                .replace(r#"open = ["Mon-Fri 08:30-18:00"]"#, hours),
        )
        .await;
    house
        .passes_until(wall(house.monday(), 9, 29), &[&node])
        .await;
    assert_eq!(house.mail.taken().len(), 1, "{:?}", house.mail.taken());
    house.passes(MINUTE, &[&node]).await;
    eventually(
        "Monday's digest comes at half past nine",
        async || match &*house.mail.taken() {
            [_, monday] if monday.header("subject").contains("point du matin") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_pages_as_soon_as_it_has_become_critical_for_those_who_rely_on_it() {
    let house = House::open().await;
    let mut node = house.node("app-01").await;
    let slow = node.finds("portail", None, Status::Warning);
    node.hands_in(&[slow]).await;
    let alert = house.alert("portail").await;
    assert_eq!(alert["held_for"], serde_json::json!(["equipe-sis"]));
    house.passes(Duration::from_secs(7_200), &[&node]).await;
    assert_eq!(house.gateway.asked().len(), 0, "a warning wakes nobody");
    let down = node.finds("portail", None, Status::Critical);
    node.hands_in(&[down]).await;
    house.gateway.sends(AM, "dossier-patient").await;
    assert_eq!(house.mail.taken().len(), 0);
    house.closes().await;
}
