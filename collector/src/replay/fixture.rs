//! A past: a store with a log that core decided, as a collector writes it.

#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use tempfile::TempDir;
use vigie_core::{
    contact::{Contact, NotOk},
    digest::Digest,
    entry::{Draft, Head, Kind, Line},
    id::NodeName,
    observation::{Fact, Facts, Object},
    reason::availability,
    status::Status,
    time::{Now, Wall},
    token::Holder,
};
use vigie_decide::{
    fleet::{
        ClockEvent, DeliveryEvent, Delta, Event, HandInEvent, MembershipEvent, NodeKeys, Outcome,
        State, step,
    },
    routing::Policy,
    rules::Rules,
};

use crate::{
    store::{LogReader, SqliteStore, Store as _},
    zones,
};

/// Time zone data of some version, by whose rules the fixtures' times are reckoned.
pub(crate) const TZDATA: &str = "2026b";

/// The collector's mind and memory, without its doors.
pub(crate) struct Past {
    pub(crate) dir: TempDir,
    pub(crate) store: SqliteStore,
    pub(crate) state: State,
    pub(crate) policy: Policy,
    pub(crate) now: Now,
}

/// A node with its own chain.
pub(crate) struct Agent {
    name: NodeName,
    head: Head,
    not_ok: Vec<NotOk>,
}

/// A team at work from Monday to Friday, somebody on call, two services, two nodes, and a third that is being brought in.
pub(crate) fn rules() -> Rules {
    let service = |criticality: &str| json!({"criticality": criticality, "needs": {"D": 4, "I": 4, "C": 4, "T": 4}});
    let group = |node: &str, service: &str| json!({"nodes": [node], "services": [service], "site": "sxb", "environment": "production"});
    let rules = json!({
        "silent_after_ms": 120_000,
        "services": {"dossier": service("critical"), "intranet": service("standard")},
        "groups": {
            "app": group("app-01", "dossier"),
            "new": group("new-01", "dossier"),
            "web": group("web-01", "intranet"),
        },
        "maintenance": {"arrival": {
            "place": {"groups": ["new"]},
            "window": "2026-11-20 08:00..2026-12-01 08:00 Europe/Paris",
            "scope": "everything",
            "reason": "new node",
        }},
        "calendars": {"bureau": {"time_zone": "Europe/Paris", "open": ["Mon-Fri 08:30-18:00"]}},
        "people": {"am": {"channels": ["sms"]}, "chef": {"channels": ["mail"]}},
        "receivers": {
            "astreinte": {"steps": [
                {"after_ms": 0, "people": ["am"], "via": ["sms"], "repeat_ms": 300_000},
                {"after_ms": 900_000, "people": ["chef"], "via": ["mail"], "repeat_ms": 600_000},
            ]},
            "equipe-sis": {"calendar": "bureau"},
        },
        "routes": [
            {
                "matches": {"criticality": ["critical"], "status": ["critical", "unknown"]},
                "when": {"outside": "bureau"},
                "notify": ["astreinte"],
                "digest": ["equipe-sis"],
            },
            {"matches": {}, "notify": ["equipe-sis"], "hold": true},
        ],
    });
    serde_json::from_value(rules).unwrap()
}

impl Past {
    /// A collector that has just started, on the Saturday evening of 21 November 2026.
    pub(crate) async fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = rules();
        let mut past = Self {
            store: SqliteStore::open(dir.path()).await.unwrap(),
            dir,
            state: State::default(),
            policy: Policy {
                zones: zones::load(rules.zone_names()).unwrap(),
                rules: rules.into(),
            },
            now: Now {
                wall: Wall::parse("2026-11-21T21:00:00Z").unwrap(),
                elapsed: vigie_core::time::Elapsed(50_000),
            },
        };
        let sha256 = past.policy.rules.digest();
        let started = Event::Clock(ClockEvent::Started {
            collector: "c".to_owned(),
        });
        let loaded = Event::Clock(ClockEvent::RulesLoaded {
            sha256,
            tzdata: TZDATA.to_owned(),
        });
        past.happens(vec![started, loaded]).await;
        past
    }

    /// Events of one commit.
    pub(crate) async fn happens(&mut self, events: Vec<Event>) -> Vec<Outcome> {
        self.passes(7);
        let mut delta = Delta::default();
        let outcomes = events
            .into_iter()
            .map(|event| step(&self.state, &mut delta, &self.policy, event, self.now))
            .collect();
        self.store.commit(&delta).await.unwrap();
        self.state.merge(delta);
        outcomes
    }

    pub(crate) fn passes(&mut self, ms: u64) {
        self.now.elapsed = self.now.elapsed.plus_ms(ms);
        self.now.wall = self.now.wall.plus_ms(i64::try_from(ms).unwrap());
    }

    /// Time passes until `at`, and the collector wakes there.
    pub(crate) async fn wakes(&mut self, at: &str) {
        let at = Wall::parse(at).unwrap();
        self.passes(u64::try_from(at.0 - self.now.wall.0).unwrap());
        self.happens(vec![Event::Clock(ClockEvent::Deadline)]).await;
    }

    pub(crate) async fn joins(&mut self, name: &str) -> Agent {
        let node: NodeName = name.parse().unwrap();
        let token = Event::Membership(MembershipEvent::TokenIssued {
            id: format!("t-{name}"),
            secret_sha256: Digest::of(b"secret"),
            holder: Holder::Node(node.clone()),
            replace: false,
            valid_ms: 3_600_000,
            uid: 0,
        });
        let join = Event::Membership(MembershipEvent::Join {
            token: format!("t-{name}"),
            secret_sha256: Digest::of(b"secret"),
            node: node.clone(),
            keys: NodeKeys {
                tls_key_sha256: Digest::of(name.as_bytes()),
                signing_key: "00".repeat(32),
                not_after: Wall(0),
            },
        });
        self.happens(vec![token]).await;
        self.happens(vec![join]).await;
        Agent {
            head: self.state.nodes[&node].head,
            name: node,
            not_ok: Vec::new(),
        }
    }

    /// What a node finds reaches the collector, led by its contact.
    pub(crate) async fn finds(
        &mut self,
        agent: &mut Agent,
        check: &str,
        object: Option<&str>,
        status: Status,
    ) {
        let line = agent.writes(check, object, status, self.now.wall);
        let contact = Event::HandedIn(HandInEvent::Contact {
            node: agent.name.clone(),
            doubt: false,
            contact: Contact {
                at: self.now.wall,
                head: agent.head,
                plan: None,
                not_ok: agent.not_ok.clone(),
            },
        });
        let entry = Event::HandedIn(HandInEvent::Entry {
            node: agent.name.clone(),
            doubt: false,
            history: false,
            line: serde_json::from_slice(&line.bytes).unwrap(),
        });
        self.happens(vec![contact, entry]).await;
    }

    /// Every message that waits is accepted.
    pub(crate) async fn delivers(&mut self) {
        let mut messages: Vec<_> = self.state.outbox.values().cloned().collect();
        messages.sort_by_key(|message| message.order);
        for message in messages {
            let delivered = Event::Delivery(DeliveryEvent::Delivered {
                key: message.key,
                carried_by: None,
            });
            self.happens(vec![delivered]).await;
        }
    }

    pub(crate) async fn reader(&self) -> LogReader {
        LogReader::open(self.dir.path()).await.unwrap()
    }

    /// The number of the one open alert of a check.
    pub(crate) fn number(&self, check: &str) -> u64 {
        let mut open = self.state.alerts.iter();
        open.find(|(key, _)| key.check() == check).unwrap().1.number
    }

    /// Changes one line of the log behind everybody's back.
    pub(crate) async fn falsify(&self, find: &str, from: &str, to: &str) {
        use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
        let mut connection = SqliteConnectOptions::new()
            .filename(self.dir.path().join(crate::store::sqlite::FILE_NAME))
            .connect()
            .await
            .unwrap();
        let changed = sqlx::query(
            "UPDATE log SET line = replace(line, ?2, ?3)
             WHERE n = (SELECT min(n) FROM log WHERE line LIKE ?1)",
        )
        .bind(format!("%{find}%"))
        .bind(from)
        .bind(to)
        .execute(&mut connection)
        .await
        .unwrap();
        assert_eq!(changed.rows_affected(), 1);
        connection.close().await.unwrap();
    }
}

impl Agent {
    fn writes(&mut self, check: &str, object: Option<&str>, status: Status, at: Wall) -> Line {
        let is_ok = status == Status::Ok;
        let mut facts = Facts::default();
        if !is_ok {
            facts.insert("got", Fact::Integer(503));
        }
        let draft = Draft {
            kind: Kind::CheckStatus,
            check: Some(check.parse().unwrap()),
            object: object.map(|object| Object::configured(object).unwrap()),
            service: None,
            status: Some(status),
            reason: if is_ok {
                availability::HTTP_OK
            } else {
                availability::HTTP_STATUS
            },
            facts,
        };
        let line = draft.chain(self.head, &self.name, "boot", at);
        self.head = line.head();
        let is_it =
            |listed: &NotOk| listed.check.as_str() == check && listed.object.as_deref() == object;
        self.not_ok.retain(|listed| !is_it(listed));
        if !is_ok {
            self.not_ok.push(NotOk {
                check: check.parse().unwrap(),
                object: object.map(str::to_owned),
                status,
                seq: line.seq,
            });
        }
        line
    }
}
