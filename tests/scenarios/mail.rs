//! Does a mail arrive, once and in its thread, whatever the mail server does?

use std::{collections::HashSet, sync::Arc};

use vigie_core::status::Status;
use vigie_tests::harness::{Collector, DrivenClock, Flight, MailManner, MailServer, Webhook};

use crate::fleet::{fleet, hand_agent};

/// The nodes of these stories say nothing for a while.
const PATIENT: &str = "silent_after = \"1h\"\n";

/// A collector by a clock that walks: people get one mail a minute, and nobody wants to wait for it.
async fn start(settings: String) -> (Collector, Flight) {
    let clock = Arc::new(DrivenClock::new());
    let collector = Collector::with(settings).clock(&clock).start().await;
    let walk = clock.keep_walking();
    (collector, walk)
}

/// Everything goes by mail to `equipe`.
fn by_mail(server: &MailServer) -> String {
    PATIENT.to_owned()
        + &fleet(&["app-01"])
        + &server.as_receiver("equipe")
        + "[[route]]\nnotify = [\"equipe\"]\n"
}

/// Alarms about vigie itself go to `own`, all the rest to both.
fn by_mail_and(server: &MailServer, own: &Webhook) -> String {
    let url = own.url();
    PATIENT.to_owned()
        + &fleet(&["app-01"])
        + &server.as_receiver("equipe")
        + &format!(
            r#"
            [receiver.own]
            webhook = {{ url = "{url}" }}
            [[route]]
            match = {{ service = ["vigie"] }}
            notify = ["own"]
            [[route]]
            notify = ["equipe", "own"]
            "#
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_mailed_in_french_over_starttls_and_its_end_lands_in_the_same_thread() {
    let server = MailServer::start().await;
    let (collector, _walk) = start(by_mail(&server)).await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;

    let open = server.takes("portail en panne depuis").await;
    assert!(
        open.header("subject")
            .starts_with("[vigie #1] dossier-patient : portail")
    );
    assert_eq!(open.seen["is_encrypted"], true);
    assert_eq!(open.seen["is_logged_in"], true);
    assert_eq!(open.word("from"), "vigie@chu.example");
    assert_eq!(open.seen["to"], serde_json::json!(["equipe@chu.example"]));
    assert_eq!(open.header("auto-submitted"), "auto-generated");
    for part in ["Nœud", "app-01", "service critique", "en panne"] {
        assert!(open.word("text").contains(part), "{part}: {open:?}");
        assert!(open.word("html").contains(part), "{part}: {open:?}");
    }

    let up = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[up]).await;
    let close = server.takes("portail rétabli").await;
    assert_eq!(close.header("in-reply-to"), open.header("message-id"));
    assert_eq!(close.header("references"), open.header("message-id"));
    assert_ne!(close.header("message-id"), open.header("message-id"));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_gets_the_mail_later_and_once() {
    let server = MailServer::start().await;
    server.behave(MailManner::Answers(451));
    let (collector, _walk) = start(by_mail(&server)).await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    let turned_away = server.turns_away().await;
    server.behave(MailManner::Accepts);
    let open = server.takes("portail en panne").await;
    assert_eq!(open.header("message-id"), turned_away.header("message-id"));

    // What comes after it shows that nothing more came between.
    let up = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[up]).await;
    server.takes("portail rétabli").await;
    assert_eq!(server.taken().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_refused_is_an_alarm_for_the_others_who_are_told_all_the_same() {
    let server = MailServer::start().await;
    let own = Webhook::start().await;
    server.behave(MailManner::RefusesRecipients(550));
    let (collector, _walk) = start(by_mail_and(&server, &own)).await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    own.hears_line("open app-01 portail critical").await;
    let alarm = own.hears_reason("@collector", "delivery.failing").await;
    assert_eq!(alarm.body["facts"]["receiver"], "equipe");
    assert_eq!(alarm.body["facts"]["http_status"], 550);
    assert!(server.taken().is_empty());

    // Somebody mends the mailbox, and new settings try again at once.
    server.behave(MailManner::Accepts);
    collector.write_settings(&(by_mail_and(&server, &own) + "# mended\n"));
    collector.reload();
    server.takes("portail en panne").await;
    own.hears_line("close @collector @delivery/equipe").await;
    assert_eq!(server.taken().len(), 1);
    own.expect_each_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_between_taking_a_mail_and_saying_so_gets_it_once_more_under_the_same_id() {
    let mut server = MailServer::start().await;
    server.behave(MailManner::Dies);
    let (collector, _walk) = start(by_mail(&server)).await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    server.takes("portail en panne").await;
    server.dies().await;
    server.behave(MailManner::Accepts);
    server.restart().await;
    server.takes_so_many(2).await;
    let up = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[up]).await;
    server.takes("portail rétabli").await;

    let taken = server.taken();
    let ids: HashSet<&str> = taken.iter().map(|mail| mail.header("message-id")).collect();
    assert_eq!((taken.len(), ids.len()), (3, 2), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_wrong_is_told_and_the_right_one_counts_without_a_reload() {
    let server = MailServer::start().await;
    let own = Webhook::start().await;
    server.set_password("not it");
    let (collector, _walk) = start(by_mail_and(&server, &own)).await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let down = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[down]).await;
    let alarm = own.hears_reason("@collector", "delivery.failing").await;
    assert_eq!(alarm.body["facts"]["http_status"], 535);
    assert!(server.seen().is_empty());

    server.set_good_password();
    server.takes("portail en panne").await;
    own.hears_line("close @collector @delivery/equipe").await;
    assert!(!collector.program().log().contains("s3cret"));
}
