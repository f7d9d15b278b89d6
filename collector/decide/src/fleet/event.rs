//! What happens to the fleet: the events that the log holds. What is decided about them is [`super::decision`]'s.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::{
    alert::{Actor, Message},
    destination::Destination,
    mute::{Nodes, SilenceMatch},
};
use vigie_core::{
    contact::Contact,
    digest::Digest,
    entry::EntryLine,
    id::{NodeName, ReceiverName, SenderName, SiteName},
    status::Status,
    time::Wall,
    token::Holder,
};

/// Something that happened. Every event that changed anything is a line of the log: its `kind`, and the members of its
/// variant. The groups are ours alone; in the log there is one list of kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// What nodes and senders hand in.
    HandedIn(HandInEvent),
    /// Who belongs to the fleet: tokens, joins, keys, and what operators say of members.
    Membership(MembershipEvent),
    /// What the collector itself notices of nodes and sites, and that it is over.
    Trouble(TroubleEvent),
    /// What became of messages.
    Delivery(DeliveryEvent),
    /// What people do about alerts.
    Operator(OperatorEvent),
    /// Silences and maintenance that commands begin and end.
    Mute(MuteEvent),
    /// The course of the program and of time.
    Clock(ClockEvent),
}

/// What nodes and senders hand in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum HandInEvent {
    /// A node handed in a line that is not stored yet.
    #[serde(rename = "entry")]
    Entry {
        /// From the certificate.
        node: NodeName,
        /// The node's certificate has expired: what it says may open or worsen, never end.
        doubt: bool,
        /// Below its request's head: it happened, but says nothing about now.
        history: bool,
        /// The line, verbatim, and what it says.
        line: EntryLine,
    },
    /// A node handed in a line that cannot be taken as one; its digest stands for it.
    #[serde(rename = "entry.refused")]
    EntryRefused {
        /// From the certificate.
        node: NodeName,
        /// Digest of the bytes.
        sha256: Digest,
        /// The length of the bytes.
        len: u64,
    },
    /// A node said what is wrong now.
    #[serde(rename = "contact")]
    Contact {
        /// From the certificate.
        node: NodeName,
        /// As for an entry.
        doubt: bool,
        /// What it said.
        contact: Contact,
    },
    /// A sender says how one of its alerts stands (Alertmanager's API v2).
    #[serde(rename = "sender.alert")]
    SenderAlert {
        /// From the certificate.
        sender: SenderName,
        /// What it says.
        alert: Box<SenderAlert>,
    },
}

/// Who belongs to the fleet: tokens, joins, keys, and what operators say of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum MembershipEvent {
    /// An operator made a join token.
    #[serde(rename = "token.issued")]
    TokenIssued {
        /// The token's public half.
        id: String,
        /// Digest of its secret half.
        secret_sha256: Digest,
        /// The only node or sender it may be used for: `node` or `sender` in the line.
        #[serde(flatten)]
        holder: Holder,
        /// Whether it may take over a name that is in use.
        replace: bool,
        /// How long it is good, in milliseconds.
        valid_ms: u64,
        /// Who made it.
        uid: u32,
    },
    /// A machine asks to be a node.
    #[serde(rename = "joined")]
    Join {
        /// The token's public half.
        token: String,
        /// Digest of the secret half it presented.
        secret_sha256: Digest,
        /// Who it wants to be.
        node: NodeName,
        /// Its keys.
        keys: NodeKeys,
    },
    /// A node asked for a new certificate with a new key.
    #[serde(rename = "renewed")]
    Renewed {
        /// The node.
        node: NodeName,
        /// Its new TLS key.
        tls_key_sha256: Digest,
        /// The key it asked with: it must still be good when this is decided, and stays good until the new one is used.
        /// Absent in lines from before this was written down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_with: Option<Digest>,
        /// When the new certificate ends.
        not_after: Wall,
    },
    /// A node used its new key for the first time: older ones are void.
    #[serde(rename = "key.used")]
    KeyUsed {
        /// The node.
        node: NodeName,
        /// The key.
        tls_key_sha256: Digest,
    },
    /// An operator removed a node for good.
    #[serde(rename = "node.retired")]
    NodeRetired {
        /// The node.
        node: NodeName,
        /// Who.
        uid: u32,
    },
    /// An operator shut a node out, or let it back in.
    #[serde(rename = "node.denied")]
    NodeDenied {
        /// The node.
        node: NodeName,
        /// Shut out or let in.
        denied: bool,
        /// Who.
        uid: u32,
    },
    /// A program that sends metrics asks to be a sender.
    #[serde(rename = "sender.joined")]
    SenderJoin {
        /// The token's public half.
        token: String,
        /// Digest of the secret half it presented.
        secret_sha256: Digest,
        /// Who it wants to be.
        sender: SenderName,
        /// Its key.
        keys: SenderKeys,
    },
    /// A sender asked for a new certificate with a new key.
    #[serde(rename = "sender.renewed")]
    SenderRenewed {
        /// The sender.
        sender: SenderName,
        /// Its new TLS key.
        tls_key_sha256: Digest,
        /// The key it asked with: it must still be good when this is decided, and stays good until the new one is used.
        /// Absent in lines from before this was written down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_with: Option<Digest>,
        /// When the new certificate ends.
        not_after: Wall,
    },
    /// A sender has gone over to its new key: older ones are void.
    #[serde(rename = "sender.key_used")]
    SenderKeyUsed {
        /// The sender.
        sender: SenderName,
        /// The key.
        tls_key_sha256: Digest,
    },
    /// An operator removed a sender for good.
    #[serde(rename = "sender.retired")]
    SenderRetired {
        /// The sender.
        sender: SenderName,
        /// Who.
        uid: u32,
    },
    /// An operator shut a sender out, or let it back in.
    #[serde(rename = "sender.denied")]
    SenderDenied {
        /// The sender.
        sender: SenderName,
        /// Shut out or let in.
        denied: bool,
        /// Who.
        uid: u32,
    },
    /// An operator has seen what only a person can settle about a node: plan changes, chain faults, amnesia.
    #[serde(rename = "plan.confirmed")]
    Confirmed {
        /// The node.
        node: NodeName,
        /// Who.
        uid: u32,
    },
}

/// What the collector itself notices of nodes and sites, and that it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum TroubleEvent {
    /// A contact's signature was wrong.
    #[serde(rename = "contact.forged")]
    ContactForged {
        /// From the certificate.
        node: NodeName,
    },
    /// A node has not been heard for too long.
    #[serde(rename = "node.silent")]
    NodeSilent {
        /// The node.
        node: NodeName,
        /// When it was last heard.
        last_contact: Wall,
    },
    /// A silent node was heard.
    #[serde(rename = "node.heard")]
    NodeHeard {
        /// The node.
        node: NodeName,
    },
    /// Most of a site fell silent together.
    #[serde(rename = "site.silent")]
    SiteSilent {
        /// The site.
        site: SiteName,
        /// Its silent nodes.
        nodes: Vec<NodeName>,
        /// Whether the collector's own probes reach anything else: then the site is cut, else the collector is blind.
        probes_answer: bool,
    },
    /// A site is heard again.
    #[serde(rename = "site.heard")]
    SiteHeard {
        /// The site.
        site: SiteName,
    },
    /// A node sends more than it may.
    #[serde(rename = "node.flooding")]
    NodeFlooding {
        /// The node.
        node: NodeName,
        /// Requests refused so far.
        refused: u64,
    },
    /// It stopped doing so.
    #[serde(rename = "node.calm")]
    NodeCalm {
        /// The node.
        node: NodeName,
    },
    /// A node's body claimed to be another node.
    #[serde(rename = "node.impostor")]
    NodeImpostor {
        /// From the certificate.
        node: NodeName,
        /// What the body said.
        claimed: String,
    },
    /// A node's clock went far from the collector's (or came back: `by_ms` small).
    #[serde(rename = "node.clock")]
    NodeClock {
        /// The node.
        node: NodeName,
        /// Node minus collector, in milliseconds.
        by_ms: i64,
    },
    /// A node says that it has lines, and does not hand them in.
    #[serde(rename = "entries.withheld")]
    EntriesWithheld {
        /// The node.
        node: NodeName,
        /// The head it signed.
        said_seq: u64,
        /// The head it handed in.
        has_seq: u64,
    },
    /// It handed them in.
    #[serde(rename = "entries.handed_in")]
    EntriesHandedIn {
        /// The node.
        node: NodeName,
    },
    /// A node's contact names another plan than its lines, or it has sent none.
    #[serde(rename = "plan.differs")]
    PlanDiffers {
        /// The node.
        node: NodeName,
        /// The digest in its contact.
        said: Option<Digest>,
    },
    /// They agree.
    #[serde(rename = "plan.agrees")]
    PlanAgrees {
        /// The node.
        node: NodeName,
    },
    /// A node uses an expired certificate of a known key.
    #[serde(rename = "node.expired")]
    NodeExpired {
        /// The node.
        node: NodeName,
        /// When it expired.
        not_after: Wall,
    },
    /// It uses a valid one again.
    #[serde(rename = "node.valid")]
    NodeValid {
        /// The node.
        node: NodeName,
    },
}

/// What became of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum DeliveryEvent {
    /// A provider accepted a message. That it was read, only an acknowledgement says.
    #[serde(rename = "delivered")]
    Delivered {
        /// The message.
        key: Digest,
        /// The message under whose name it travelled, when several went as one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried_by: Option<Digest>,
    },
    /// A provider refused a message for good. It is tried again all the same, and the next step does not wait.
    #[serde(rename = "refused")]
    Refused {
        /// The message.
        key: Digest,
        /// What it answered.
        http_status: u16,
    },
    /// A message's receiver is not in the settings any more.
    #[serde(rename = "undeliverable")]
    Undeliverable {
        /// The message.
        key: Digest,
    },
    /// A destination has not accepted messages for a while.
    #[serde(rename = "delivery.failing")]
    DeliveryFailing {
        /// The destination.
        receiver: Destination,
        /// How many messages wait for it.
        waiting: u64,
        /// Its last answer; 0 when there was none.
        http_status: u16,
    },
    /// It accepts them again.
    #[serde(rename = "delivery.works")]
    DeliveryWorks {
        /// The destination.
        receiver: Destination,
    },
    /// Commits failed and work again.
    #[serde(rename = "commit.failed")]
    CommitFailed {
        /// How many failed.
        count: u64,
        /// Messages that went out although their decision was not in the log.
        told: Vec<Message>,
    },
}

/// What people do about alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum OperatorEvent {
    /// Somebody says that they are on it: the steps stop.
    #[serde(rename = "acknowledged")]
    Acknowledged {
        /// Alerts by their numbers: of a link those that its page showed.
        numbers: Vec<u64>,
        /// Who.
        by: Actor,
        /// How long it counts, in milliseconds; `None`: until the alert ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// An operator says that nobody is on it after all.
    #[serde(rename = "unacknowledged")]
    Unacknowledged {
        /// The alert.
        number: u64,
        /// Who.
        uid: u32,
    },
    /// An operator ends an alert that nothing else would end: what a sender opened and never ended, an exercise.
    #[serde(rename = "alert.ended")]
    AlertEnded {
        /// The alert.
        number: u64,
        /// Why, in their words.
        reason: String,
        /// Who.
        uid: u32,
    },
    /// An operator wants to see whether a receiver can be told. It ends when somebody acknowledges it, after half an hour,
    /// or when an operator ends it.
    #[serde(rename = "exercise.started")]
    ExerciseStarted {
        /// The receiver.
        receiver: ReceiverName,
        /// Who.
        uid: u32,
    },
}

/// Silences and maintenance that commands begin and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
#[expect(
    clippy::large_enum_variant,
    reason = "operators say one at a time, and it is gone with its turn"
)]
pub enum MuteEvent {
    /// An operator silences alerts.
    #[serde(rename = "silence.started")]
    SilenceStarted {
        /// Which.
        matches: SilenceMatch,
        /// Why, in their words.
        reason: String,
        /// For how long, in milliseconds.
        for_ms: u64,
        /// Who.
        uid: u32,
    },
    /// Maintenance begins.
    #[serde(rename = "maintenance.started")]
    MaintenanceStarted {
        /// Of which nodes.
        place: Nodes,
        /// Why, in the operator's words.
        reason: String,
        /// For how long, in milliseconds.
        for_ms: u64,
        /// Who.
        uid: u32,
    },
    /// An operator ends a silence or maintenance before its time.
    #[serde(rename = "mute.ended")]
    MuteEnded {
        /// Its number.
        mute: u64,
        /// Who.
        uid: u32,
    },
}

/// The course of the program and of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum ClockEvent {
    /// The collector started, with this identity; deadlines are anchored to this boot's clock.
    #[serde(rename = "collector.started")]
    Started {
        /// The collector's id.
        collector: String,
    },
    /// Settings were read; their text is kept beside the log under this digest.
    #[serde(rename = "rules.loaded")]
    RulesLoaded {
        /// Digest of the canonical rules.
        sha256: Digest,
        /// Version of the time zone data.
        tzdata: String,
    },
    /// The collector's wall clock stepped against its elapsed clock.
    #[serde(rename = "clock.step")]
    ClockStep {
        /// By how much, in milliseconds.
        by_ms: i64,
    },
    /// The wall clock is trusted again: nodes agree with it, or an operator said so.
    #[serde(rename = "clock.trusted")]
    ClockTrusted {
        /// Who said so; absent when nodes agree.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// Time passed.
    #[serde(rename = "deadline")]
    Deadline,
}

/// By its kind: each is of one group.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let kind = value.get("kind").and_then(Value::as_str);
        match kind.and_then(group) {
            Some(Group::HandedIn) => HandInEvent::deserialize(value).map(Self::HandedIn),
            Some(Group::Membership) => MembershipEvent::deserialize(value).map(Self::Membership),
            Some(Group::Trouble) => TroubleEvent::deserialize(value).map(Self::Trouble),
            Some(Group::Delivery) => DeliveryEvent::deserialize(value).map(Self::Delivery),
            Some(Group::Operator) => OperatorEvent::deserialize(value).map(Self::Operator),
            Some(Group::Mute) => MuteEvent::deserialize(value).map(Self::Mute),
            Some(Group::Clock) => ClockEvent::deserialize(value).map(Self::Clock),
            None => {
                let kind = kind.unwrap_or_default();
                return Err(de::Error::custom(format!("no event is of kind {kind:?}")));
            }
        }
        .map_err(de::Error::custom)
    }
}

/// The groups, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    HandedIn,
    Membership,
    Trouble,
    Delivery,
    Operator,
    Mute,
    Clock,
}

/// The group that a kind is of. A test holds it to what the groups themselves read.
fn group(kind: &str) -> Option<Group> {
    Some(match kind {
        "entry" | "entry.refused" | "contact" | "sender.alert" => Group::HandedIn,
        "token.issued" | "joined" | "renewed" | "key.used" | "node.retired" | "node.denied"
        | "sender.joined" | "sender.renewed" | "sender.key_used" | "sender.retired"
        | "sender.denied" | "plan.confirmed" => Group::Membership,
        "contact.forged" | "node.silent" | "node.heard" | "site.silent" | "site.heard"
        | "node.flooding" | "node.calm" | "node.impostor" | "node.clock" | "entries.withheld"
        | "entries.handed_in" | "plan.differs" | "plan.agrees" | "node.expired" | "node.valid" => {
            Group::Trouble
        }
        "delivered" | "refused" | "undeliverable" | "delivery.failing" | "delivery.works"
        | "commit.failed" => Group::Delivery,
        "acknowledged" | "unacknowledged" | "alert.ended" | "exercise.started" => Group::Operator,
        "silence.started" | "maintenance.started" | "mute.ended" => Group::Mute,
        "collector.started" | "rules.loaded" | "clock.step" | "clock.trusted" | "deadline" => {
            Group::Clock
        }
        _ => return None,
    })
}

/// How an alert of a sender stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderAlert {
    /// Tells it from the sender's others: a digest of its labels.
    pub fingerprint: String,
    /// Its name, as a check's.
    pub name: String,
    /// How it stands; ok: it is over.
    pub status: Status,
    /// The service that it is about, where one of the rules' is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<vigie_core::id::ServiceName>,
    /// Its labels, those that may be shown.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Since when, by the sender's clock.
    pub since: Wall,
    /// How long what it says is good without a word, in milliseconds.
    pub good_for_ms: u64,
}

/// The public halves of a node's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKeys {
    /// SHA-256 of the TLS key (SubjectPublicKeyInfo, DER).
    pub tls_key_sha256: Digest,
    /// Ed25519 key that signs contacts, hexadecimal.
    pub signing_key: String,
    /// When the certificate ends.
    pub not_after: Wall,
}

/// The public half of a sender's key. A sender signs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderKeys {
    /// SHA-256 of the TLS key (SubjectPublicKeyInfo, DER).
    pub tls_key_sha256: Digest,
    /// When the certificate ends.
    pub not_after: Wall,
}

#[cfg(test)]
mod tests;
