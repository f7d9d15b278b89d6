//! The stored form is frozen: logs are replayed and rows are read by it.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::alert::{AgentTrouble, Ends};

fn node() -> NodeName {
    "app-01".parse().unwrap()
}

fn of_node(what: BuiltIn) -> AlertKey {
    AlertKey::of_node(&node(), what)
}

fn own(what: BuiltIn) -> AlertKey {
    AlertKey::of_collector(what)
}

/// Every built-in, as logs and databases from before there were types hold it, and whether only an operator ends it.
fn golden() -> Vec<(AlertKey, [&'static str; 3], bool)> {
    use AgentTrouble as Agent;
    let agent = |trouble| of_node(BuiltIn::Agent(trouble));
    let check = "portail".parse().unwrap();
    let service = "dossier-patient".parse().unwrap();
    let receiver: ReceiverName = "equipe".parse().unwrap();
    vec![
        (
            of_node(BuiltIn::NodeSilent),
            ["app-01", "@node", "silent"],
            false,
        ),
        (
            of_node(BuiltIn::NodeFlooding),
            ["app-01", "@node", "flooding"],
            false,
        ),
        (
            of_node(BuiltIn::NodeImpostor),
            ["app-01", "@node", "impostor"],
            true,
        ),
        (
            of_node(BuiltIn::NodeClock),
            ["app-01", "@node", "clock"],
            false,
        ),
        (
            of_node(BuiltIn::NodeExpired),
            ["app-01", "@node", "expired"],
            false,
        ),
        (
            of_node(BuiltIn::EntriesWithheld),
            ["app-01", "@node", "withheld"],
            false,
        ),
        (
            of_node(BuiltIn::NodeUngrouped),
            ["app-01", "@node", "ungrouped"],
            false,
        ),
        (
            of_node(BuiltIn::TooManyAlerts),
            ["app-01", "@node", "alerts"],
            true,
        ),
        (
            of_node(BuiltIn::ChainFork),
            ["app-01", "@chain", "fork"],
            true,
        ),
        (
            of_node(BuiltIn::ChainBroken),
            ["app-01", "@chain", "broken"],
            true,
        ),
        (
            of_node(BuiltIn::LineRefused),
            ["app-01", "@chain", "refused"],
            true,
        ),
        (
            of_node(BuiltIn::LineMalformed),
            ["app-01", "@chain", "malformed"],
            true,
        ),
        (
            of_node(BuiltIn::ContactForged),
            ["app-01", "@chain", "contact"],
            true,
        ),
        (
            of_node(BuiltIn::PlanDiffers),
            ["app-01", "@plan", ""],
            false,
        ),
        (
            of_node(BuiltIn::PlanLines),
            ["app-01", "@plan", "@lines"],
            false,
        ),
        (
            of_node(BuiltIn::PlanCheck(check)),
            ["app-01", "@plan", "portail"],
            true,
        ),
        (
            of_node(BuiltIn::ServiceUndeclared(service)),
            ["app-01", "@service", "dossier-patient"],
            true,
        ),
        (agent(Agent::Amnesia), ["app-01", "@agent", "amnesia"], true),
        (
            agent(Agent::EntriesLost),
            ["app-01", "@agent", "lost"],
            true,
        ),
        (
            agent(Agent::EntriesRefused),
            ["app-01", "@agent", "refused"],
            true,
        ),
        (
            agent(Agent::CollectorRollback),
            ["app-01", "@agent", "rollback"],
            true,
        ),
        (
            agent(Agent::SettingsRefused),
            ["app-01", "@agent", "settings"],
            false,
        ),
        (
            agent(Agent::SpoolDegraded),
            ["app-01", "@agent", "spool"],
            false,
        ),
        (agent(Agent::ClockStep), ["app-01", "@agent", "clock"], true),
        (agent(Agent::Newer), ["app-01", "@agent", "newer"], true),
        (
            AlertKey::of_site(&"strasbourg".parse().unwrap()),
            ["@collector", "@site", "strasbourg"],
            false,
        ),
        (
            own(BuiltIn::CommitFailing),
            ["@collector", "@commit", ""],
            false,
        ),
        (own(BuiltIn::ClockStep), ["@collector", "@clock", ""], false),
        (
            own(BuiltIn::DeliveryFailing("am/sms".parse().unwrap())),
            ["@collector", "@delivery", "am/sms"],
            false,
        ),
        (
            own(BuiltIn::ReceiverUnreachable(receiver.clone())),
            ["@collector", "@receiver", "equipe"],
            false,
        ),
        (
            AlertKey::exercise(&receiver),
            ["@collector", "@exercise", "equipe"],
            false,
        ),
        (
            AlertKey::of_sender(&"prometheus".parse().unwrap(), "@node", "alerts"),
            ["@sender/prometheus", "@node", "alerts"],
            true,
        ),
    ]
}

#[test]
fn the_stored_form_of_every_built_in_is_what_it_was() {
    for (key, [node, check, object], only_by_an_operator) in golden() {
        let stored = json!({"node": node, "check": check, "object": object});
        assert_eq!(serde_json::to_value(&key).unwrap(), stored);
        assert_eq!(
            serde_json::from_value::<AlertKey>(stored).unwrap(),
            key,
            "{key}"
        );
        assert_eq!(
            AlertKey::from_parts(node, check, object).as_ref(),
            Ok(&key),
            "{key}"
        );
        let ends = key.built_in().unwrap().ends();
        assert_eq!(ends == Ends::ByConfirmation, only_by_an_operator, "{key}");
    }
}

#[test]
fn what_another_version_stored_stays_as_it_is() {
    for [node, check, object] in [
        ["app-01", "@tls", "hello"],
        ["@collector", "@leader", ""],
        ["@collector", "@site", "No Name"],
        ["@collector", "disk", ""],
        ["app-01", "@plan", "No Name"],
    ] {
        let key = AlertKey::from_parts(node, check, object).unwrap();
        assert_eq!(
            (&*key.node(), key.check(), &*key.object()),
            (node, check, object)
        );
    }
    assert!(AlertKey::from_parts("@elsewhere", "@node", "silent").is_err());
}

#[test]
fn what_a_sender_calls_its_alerts_means_nothing_here() {
    let key = AlertKey::of_sender(&"prometheus".parse().unwrap(), "@node", "silent");
    assert!(!key.is_node_silence());
    assert!(!key.is_built_in());
}

fn texts() -> impl Strategy<Value = (String, String, String)> {
    (
        prop_oneof![
            "[0-9a-z]{1,3}",
            Just("@collector".to_owned()),
            "@sender/[0-9a-z]{1,2}"
        ],
        prop_oneof![
            "[0-9a-z]{0,2}",
            "@(node|plan|site|delivery)",
            "[@A-Z.]{0,2}"
        ],
        prop_oneof![
            "[0-9a-z/@]{0,3}",
            Just("silent".to_owned()),
            Just("alerts".to_owned())
        ],
    )
}

proptest! {
    /// Rows are decided on in this order, so a replay gives the same lines only if it never changes.
    #[test]
    fn keys_are_in_the_order_of_their_texts(a in texts(), b in texts()) {
        let key = |(node, check, object): &(String, String, String)| {
            AlertKey::from_parts(node, check, object).unwrap()
        };
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        prop_assert_eq!(key(&a) == key(&b), a == b);
    }
}
