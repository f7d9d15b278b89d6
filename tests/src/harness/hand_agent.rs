//! A node driven by hand: joined like any other, with keys of its own, and free to say anything.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::Value;
use tempfile::TempDir;
use vigie_agent::join::{Existing, Join, identity::Identity, join, node::Node};
use vigie_core::{
    contact::{Contact, NotOk},
    digest::Digest,
    entry::{Draft, Head, Kind, Line},
    hand_in::{ENTRIES_PATH, EntriesAnswer},
    id::{CheckName, NodeName},
    observation::{Fact, Facts, Object},
    plan::{self, Plan, PlannedCheck},
    reason::{Reason, availability, vigie},
    remote_write::{Version, WRITE_PATH},
    status::{Family, Status},
    time::Wall,
    token::JoinToken,
};
use vigie_platform::clock::{Clock as _, SystemClock};

use super::{Collector, DrivenClock, Patience, program::copy_folder};

/// The boot id that its lines carry.
const BOOT: &str = "00000000-0000-0000-0000-000000000001";

/// What the collector answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The code of a refusal, or empty.
    #[must_use]
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

/// What the collector answered to samples.
#[derive(Debug, Clone)]
pub struct Written {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub text: String,
}

impl Written {
    /// The number in `X-Prometheus-Remote-Write-<what>-Written`.
    #[must_use]
    pub fn count(&self, what: &str) -> Option<u64> {
        let name = format!("x-prometheus-remote-write-{what}-written");
        self.headers.get(name)?.to_str().ok()?.parse().ok()
    }
}

/// A node with an identity, a chain and no scruples.
#[derive(Debug)]
pub struct HandAgent {
    /// Holds the identity's files.
    dir: TempDir,
    identity: Identity,
    client: reqwest::Client,
    url: String,
    /// Head of its chain. Change it to lie.
    pub head: Head,
    /// What it plans to check.
    pub plan: Plan,
    /// What it says is not ok.
    pub not_ok: BTreeMap<(CheckName, Option<String>), NotOk>,
    /// Its clock minus the collector's, in milliseconds.
    pub clock_off_ms: i64,
    /// The collector's, where a scenario drives it.
    clock: Option<Arc<DrivenClock>>,
}

impl HandAgent {
    /// Joins `collector` as `node`.
    ///
    /// # Panics
    /// When the collector does not take it in.
    pub async fn join(collector: &Collector, node: &str) -> Self {
        let token = collector.token(node).await;
        Self::join_with(collector, node, &token)
            .await
            .expect("a good token opens the door")
    }

    /// Joins with this token.
    ///
    /// # Errors
    /// Why not.
    ///
    /// # Panics
    /// When `node` is no name.
    pub async fn join_with(
        collector: &Collector,
        node: &str,
        token: &JoinToken,
    ) -> Result<Self, vigie_agent::join::JoinError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let node: NodeName = node.parse().expect("scenarios use good names");
        let joined = join(&Join::<Node> {
            token,
            name: &node,
            dir: dir.path(),
            proxy: None,
            existing: Existing::Keep,
        })
        .await?;
        Ok(Self {
            client: client_of(&joined.identity),
            identity: joined.identity,
            dir,
            url: collector.url(),
            head: joined.head.unwrap_or(Head::EMPTY),
            plan: Plan::new(),
            not_ok: BTreeMap::new(),
            clock_off_ms: 0,
            clock: collector.clock().cloned(),
        })
    }

    /// A twin: the same identity and chain, as a clone of its machine has them.
    ///
    /// # Panics
    /// When the identity cannot be read.
    #[must_use]
    pub fn clone_machine(&self) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy_folder(self.dir.path(), dir.path());
        let identity = Identity::load(dir.path()).expect("a copied identity is an identity");
        Self {
            client: client_of(&identity),
            identity,
            dir,
            url: self.url.clone(),
            head: self.head,
            plan: self.plan.clone(),
            not_ok: self.not_ok.clone(),
            clock_off_ms: self.clock_off_ms,
            clock: self.clock.clone(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        self.identity.node()
    }

    /// The folder that holds its identity.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its identity.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Takes another identity, as after a renewal, and opens connections anew.
    pub fn take_identity(&mut self, identity: Identity) {
        self.client = client_of(&identity);
        self.identity = identity;
    }

    fn now(&self) -> Wall {
        let wall = match &self.clock {
            Some(clock) => clock.now().wall,
            None => SystemClock.wall(),
        };
        Wall(wall.0 + self.clock_off_ms)
    }

    /// Appends to its chain.
    pub fn write(&mut self, draft: &Draft) -> Line {
        let line = draft.chain(self.head, self.identity.node(), BOOT, self.now());
        self.head = line.head();
        line
    }

    /// Appends an agent's line about itself.
    pub fn says(&mut self, reason: Reason, facts: Facts) -> Line {
        self.write(&Draft::own(reason, facts))
    }

    /// An object of a check has settled: appends the line and keeps the contact's list.
    ///
    /// # Panics
    /// When `check` or `object` is no name.
    pub fn finds(&mut self, check: &str, object: Option<&str>, status: Status) -> Line {
        let check: CheckName = check.parse().expect("scenarios use good names");
        let service = self
            .plan
            .get(&check)
            .and_then(|planned| planned.service.clone());
        let reason = if status == Status::Ok {
            availability::HTTP_OK
        } else {
            availability::HTTP_STATUS
        };
        let line = self.write(&Draft {
            kind: Kind::CheckStatus,
            check: Some(check.clone()),
            object: object
                .map(|object| Object::configured(object).expect("scenarios use good names")),
            service,
            status: Some(status),
            reason,
            facts: Facts::from([("got", Fact::Integer(503))]),
        });
        let key = (check.clone(), object.map(str::to_owned));
        if status == Status::Ok {
            self.not_ok.remove(&key);
        } else {
            let item = NotOk {
                check,
                object: key.1.clone(),
                status,
                seq: line.seq,
            };
            self.not_ok.insert(key, item);
        }
        line
    }

    /// Plans `checks` for `service` and appends the plan's lines.
    ///
    /// # Panics
    /// When a name is no name.
    pub fn plans(&mut self, checks: &[&str], service: Option<&str>) -> Vec<Line> {
        self.plan.clear();
        self.adds_to_plan(checks, service);
        self.says_plan()
    }

    /// Puts `checks` for `service` into its plan, and says nothing of that yet.
    ///
    /// # Panics
    /// When a name is no name.
    pub fn adds_to_plan(&mut self, checks: &[&str], service: Option<&str>) {
        self.plan.extend(checks.iter().map(|check| {
            let planned = PlannedCheck {
                kind: "http".to_owned(),
                family: Family::Availability,
                service: service.map(|service| service.parse().expect("scenarios use good names")),
                every_ms: 30_000,
                timeout_ms: 5_000,
                failures: 2,
                recoveries: 2,
                settings_sha256: Digest::of(check.as_bytes()),
            };
            (check.parse().expect("scenarios use good names"), planned)
        }));
    }

    /// Appends the lines of its plan as it is.
    ///
    /// # Panics
    /// When a plan has more numbers than a line can carry.
    pub fn says_plan(&mut self) -> Vec<Line> {
        let number =
            |number: u64| Fact::Integer(i64::try_from(number).expect("plans have small numbers"));
        let mut lines = Vec::new();
        for (check, planned) in self.plan.clone() {
            lines.push(
                self.write(&Draft {
                    kind: Kind::Own(vigie::CHECK_PLANNED),
                    check: Some(check),
                    object: None,
                    service: planned.service,
                    status: None,
                    reason: vigie::CHECK_PLANNED,
                    facts: Facts::from([
                        (
                            "check_kind",
                            Object::configured(&planned.kind)
                                .expect("kinds are names")
                                .into(),
                        ),
                        ("family", Fact::Word(planned.family.as_str())),
                        ("every_ms", number(planned.every_ms)),
                        ("timeout_ms", number(planned.timeout_ms)),
                        ("failures", number(planned.failures)),
                        ("recoveries", number(planned.recoveries)),
                        ("settings_sha256", Fact::Digest(planned.settings_sha256)),
                    ]),
                }),
            );
        }
        let count = number(self.plan.len() as u64);
        let sha256 = Fact::Digest(plan::digest(&self.plan));
        lines.push(self.says(
            vigie::PLAN_COMPLETE,
            Facts::from([("count", count), ("sha256", sha256)]),
        ));
        lines
    }

    /// What its contact says now.
    #[must_use]
    pub fn contact(&self) -> Contact {
        Contact {
            at: self.now(),
            head: self.head,
            plan: (!self.plan.is_empty()).then(|| plan::digest(&self.plan)),
            not_ok: self.not_ok.values().cloned().collect(),
        }
    }

    /// The signed line of `contact`.
    #[must_use]
    pub fn signed(&self, contact: &Contact) -> String {
        let sign = |bytes: &[u8]| self.identity.sign(bytes).to_vec();
        contact.to_line(self.identity.collector_id(), self.identity.node(), sign)
    }

    /// The body of a request with an honest contact and `lines`.
    #[must_use]
    pub fn body(&self, lines: &[Line]) -> Vec<u8> {
        self.body_with(&self.contact(), lines)
    }

    /// The body of a request with this contact.
    #[must_use]
    pub fn body_with(&self, contact: &Contact, lines: &[Line]) -> Vec<u8> {
        let mut body = self.signed(contact).into_bytes();
        body.push(b'\n');
        for line in lines {
            body.extend_from_slice(&line.bytes);
            body.push(b'\n');
        }
        body
    }

    /// Posts a body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, body: Vec<u8>) -> Result<Answer, reqwest::Error> {
        let request = self
            .client
            .post(format!("{}{ENTRIES_PATH}", self.url))
            .body(body);
        let answer = request.send().await?;
        Ok(Answer {
            status: answer.status().as_u16(),
            body: serde_json::from_slice(&answer.bytes().await?).unwrap_or_default(),
        })
    }

    /// Writes samples: `request` is an uncompressed remote write request of this version.
    ///
    /// # Errors
    /// When there is no answer.
    ///
    /// # Panics
    /// When the request is longer than snappy allows.
    pub async fn write_samples(
        &self,
        version: Version,
        request: &[u8],
    ) -> Result<Written, reqwest::Error> {
        let body = snap::raw::Encoder::new()
            .compress_vec(request)
            .expect("requests of scenarios are short");
        let headers = [
            ("content-encoding", "snappy"),
            ("content-type", version.content_type()),
            ("x-prometheus-remote-write-version", version.header()),
        ];
        self.post_samples(&headers, body).await
    }

    /// Posts any body with any headers to the place for samples.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_samples(
        &self,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Written, reqwest::Error> {
        let mut request = self
            .client
            .post(format!("{}{WRITE_PATH}", self.url))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        Ok(Written {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await?,
        })
    }

    /// Hands `lines` in once.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn hand_in(&self, lines: &[Line]) -> Answer {
        self.post(self.body(lines))
            .await
            .expect("the collector answers")
    }

    /// Hands `lines` in again and again, as an agent does, until they are durable.
    ///
    /// # Panics
    /// When the answer is none.
    pub async fn hands_in(&self, lines: &[Line]) -> EntriesAnswer {
        let patience = Patience::until(&format!("what {} hands in is durable", self.node()));
        let body = self.body(lines);
        loop {
            let seen = match self.post(body.clone()).await {
                Ok(Answer { status: 200, body }) => {
                    return serde_json::from_value(body).expect("the documented answer");
                }
                Ok(answer) => format!("{answer:?}"),
                Err(cause) => format!("{cause:?}"),
            };
            patience.wait(&seen).await;
        }
    }
}

fn client_of(identity: &Identity) -> reqwest::Client {
    let tls = identity.client_config().expect("a new identity is good");
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .build()
        .expect("a client can be built")
}
