//! The fleets and checks that the stories share.

use vigie_core::status::Status;
use vigie_tests::harness::{Collector, HandAgent};

/// Settings of a fleet whose nodes serve two services, one of them critical.
pub fn fleet(nodes: &[&str]) -> String {
    format!(
        r#"
        [service.dossier-patient]
        criticality = "critical"
        needs = {{ D = 4, I = 4, C = 4, T = 3 }}
        [service.messagerie]
        criticality = "important"
        needs = {{ D = 3, I = 4, C = 4, T = 4 }}
        [service.paie]
        criticality = "standard"
        needs = {{ D = 2, I = 3, C = 4, T = 3 }}
        [group.app]
        nodes = {nodes:?}
        services = ["dossier-patient", "messagerie"]
        "#
    )
}

/// An agent's settings: one check of `url` as quick as checks can be.
pub fn watches(url: &str) -> String {
    format!(
        r#"
        [defaults]
        every = "1s"
        timeout = "500ms"
        failures = 2
        recoveries = 2
        [check.portail]
        kind = "http"
        service = "dossier-patient"
        url = "{url}"
        "#
    )
}

/// Joins a node driven by hand that plans `checks` for the critical service and finds them well.
pub async fn hand_agent(collector: &Collector, node: &str, checks: &[&str]) -> HandAgent {
    let mut agent = HandAgent::join(collector, node).await;
    let mut lines = agent.plans(checks, Some("dossier-patient"));
    lines.extend(
        checks
            .iter()
            .map(|check| agent.finds(check, None, Status::Ok)),
    );
    agent.hands_in(&lines).await;
    agent
}
