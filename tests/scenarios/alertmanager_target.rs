//! An Alertmanager as a receiver: is it told what opens and what ends, and does it understand?

use vigie_core::status::Status;
use vigie_tests::harness::{Alertmanager, Collector, alerts_in, eventually};

use crate::fleet::{fleet, hand_agent};

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_shows_what_is_on_and_drops_what_is_over() {
    let alertmanager = Alertmanager::start().await;
    let url = alertmanager.url();
    let settings = format!(
        r#"
        {}
        [channel.am]
        alertmanager = {{ url = "{url}" }}
        [receiver.am]
        contact = {{ channel = "am" }}
        [[route]]
        notify = ["am"]
        "#,
        fleet(&["app-01"])
    );
    let collector = Collector::with(settings).start().await;
    let mut agent = hand_agent(&collector, "app-01", &["portail"]).await;
    let shown = async |severity: &str, is_shown: bool| {
        let what = format!("amtool shows {severity}: {is_shown}");
        eventually(&what, async || {
            let severity = format!("severity={severity}");
            let alerts = alerts_in(&url, None, &["alertname=portail", &severity])?;
            if alerts.is_empty() == is_shown {
                return Err(format!("{alerts:?}"));
            }
            Ok(alerts)
        })
        .await
    };

    let line = agent.finds("portail", None, Status::Warning);
    agent.hands_in(&[line]).await;
    shown("warning", true).await;
    // It gets worse: there, that is one alert for another.
    let line = agent.finds("portail", None, Status::Critical);
    agent.hands_in(&[line]).await;
    let alerts = shown("critical", true).await;
    assert_eq!(alerts[0]["labels"]["node"], "app-01");
    assert_eq!(alerts[0]["labels"]["service"], "dossier-patient");
    assert_eq!(alerts[0]["status"]["state"], "active");
    shown("warning", false).await;

    let line = agent.finds("portail", None, Status::Ok);
    agent.hands_in(&[line]).await;
    shown("critical", false).await;
}
