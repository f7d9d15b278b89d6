//! Who belongs to the fleet: tokens, joins, keys, and what operators say of nodes and senders.

use std::sync::Arc;

use super::{
    Decision, JoinRefused, MembershipEvent, NodeKeys, SenderKeys, Step, row,
    state::{Key, Node, Sender, Token, UsedBy},
};
use crate::alert::{AlertKey, BuiltIn, Ended, Source};
use vigie_core::{
    contact::NotOk, digest::Digest, id::NodeName, reason::vigie, status::Status, time::Deadline,
    token::Holder,
};

/// How a machine or program comes through the door.
enum Entrance {
    /// For the first time with this token.
    New,
    /// With the keys it came with already: its answer was lost.
    Again,
}

fn used(keys: &NodeKeys) -> UsedBy {
    UsedBy {
        tls_key_sha256: keys.tls_key_sha256,
        signing_key: Some(keys.signing_key.clone()),
    }
}

fn used_by_sender(keys: &SenderKeys) -> UsedBy {
    UsedBy {
        tls_key_sha256: keys.tls_key_sha256,
        signing_key: None,
    }
}

/// The keys after a renewal: the one it was asked with and the one not used yet, so that who asks again and again keeps
/// only the latest, and who lost the answer is not shut out.
fn renewed(keys: &mut Vec<Key>, asked_with: Option<Digest>, new: Key) {
    match asked_with {
        Some(asked_with) => keys.retain(|key| key.tls_key_sha256 == asked_with),
        None => keys.truncate(1),
    }
    // A key that is exchanged for itself stays one key: two would look like one not used yet for ever.
    keys.retain(|key| key.tls_key_sha256 != new.tls_key_sha256);
    keys.push(new);
}

/// Whether these keys may still be exchanged for a new one. While the request was on its way another machine may have
/// taken over the name: what was asked with a key of the one before must not put that one's next key beside its own.
fn may_renew(denied: bool, keys: &[Key], asked_with: Option<Digest>) -> bool {
    let is_good = |asked_with| keys.iter().any(|key| key.tls_key_sha256 == asked_with);
    !denied && asked_with.is_none_or(is_good)
}

impl Step<'_> {
    pub(super) fn membership(&mut self, event: MembershipEvent) {
        match event {
            MembershipEvent::TokenIssued {
                ref id,
                secret_sha256,
                ref holder,
                replace,
                valid_ms,
                ..
            } => {
                let token = Token {
                    secret_sha256,
                    holder: holder.clone(),
                    replace,
                    expires: Deadline::after(self.now, valid_ms),
                    used_by: None,
                };
                self.record(&event);
                self.delta.tokens.insert(id.clone(), Some(token));
            }
            MembershipEvent::Join {
                ref token,
                secret_sha256,
                ref node,
                ref keys,
            } => match self.judge_join(
                token,
                secret_sha256,
                &Holder::Node(node.clone()),
                &used(keys),
            ) {
                Ok(Entrance::New) => self.join(event),
                Ok(Entrance::Again) => {}
                Err(why) => self.outcome.join_refused = Some(why),
            },
            MembershipEvent::Renewed {
                ref node,
                tls_key_sha256,
                asked_with,
                not_after,
            } => {
                let node = node.clone();
                let row = self.node(&node);
                if !row.is_some_and(|row| may_renew(row.denied, &row.keys, asked_with)) {
                    self.outcome.renewal_refused = true;
                    return;
                }
                self.record(&event);
                let new = Key {
                    tls_key_sha256,
                    not_after,
                };
                self.edit_node(&node, |row| renewed(&mut row.keys, asked_with, new));
            }
            MembershipEvent::KeyUsed {
                ref node,
                tls_key_sha256,
            } => {
                // Several requests may notice it at once, one of them perhaps from a machine that was replaced meanwhile.
                let says_something = self
                    .node(node)
                    .is_some_and(|row| row.keys.len() > 1 && row.may_use(&tls_key_sha256));
                if !says_something {
                    return;
                }
                let node = node.clone();
                self.record(&event);
                self.edit_node(&node, |row| {
                    row.keys.retain(|key| key.tls_key_sha256 == tls_key_sha256);
                });
                self.end(&node, BuiltIn::NodeExpired);
            }
            MembershipEvent::NodeRetired { ref node, .. } => {
                let node = node.clone();
                self.record(&event);
                for key in self.alert_keys_of(&Source::Node(node.clone())) {
                    self.close(&key, Ended::Retired);
                }
                if let Some(head) = self.node(&node).map(|row| row.head) {
                    self.meta().retired.insert(node.clone(), head);
                }
                self.delta.plans.insert(node.clone(), None);
                self.delta.nodes.insert(node, None);
            }
            MembershipEvent::NodeDenied {
                ref node, denied, ..
            } => {
                let node = node.clone();
                self.record(&event);
                self.edit_node(&node, |row| row.denied = denied);
            }
            MembershipEvent::SenderJoin {
                ref token,
                secret_sha256,
                ref sender,
                ref keys,
            } => match self.judge_join(
                token,
                secret_sha256,
                &Holder::Sender(sender.clone()),
                &used_by_sender(keys),
            ) {
                Ok(Entrance::New) => self.sender_joins(event),
                Ok(Entrance::Again) => {}
                Err(why) => self.outcome.join_refused = Some(why),
            },
            MembershipEvent::SenderRenewed {
                ref sender,
                tls_key_sha256,
                asked_with,
                not_after,
            } => {
                let sender = sender.clone();
                let row = self.sender(&sender);
                if !row.is_some_and(|row| may_renew(row.denied, &row.keys, asked_with)) {
                    self.outcome.renewal_refused = true;
                    return;
                }
                self.record(&event);
                let new = Key {
                    tls_key_sha256,
                    not_after,
                };
                self.edit_sender(&sender, |row| renewed(&mut row.keys, asked_with, new));
            }
            MembershipEvent::SenderKeyUsed {
                ref sender,
                tls_key_sha256,
            } => {
                // Several requests may notice it at once; one line says it.
                let says_something = self.sender(sender).is_some_and(|row| {
                    let newest = row.keys.last().map(|key| key.tls_key_sha256);
                    row.keys.len() > 1 && newest == Some(tls_key_sha256)
                });
                if says_something {
                    let sender = sender.clone();
                    self.record(&event);
                    self.edit_sender(&sender, |row| {
                        row.keys.retain(|key| key.tls_key_sha256 == tls_key_sha256);
                    });
                }
            }
            MembershipEvent::SenderRetired { ref sender, .. } => {
                let sender = sender.clone();
                self.record(&event);
                self.delta.senders.insert(sender, None);
            }
            MembershipEvent::SenderDenied {
                ref sender, denied, ..
            } => {
                let sender = sender.clone();
                self.record(&event);
                self.edit_sender(&sender, |row| row.denied = denied);
            }
            MembershipEvent::Confirmed { ref node, .. } => {
                let node = node.clone();
                self.record(&event);
                self.confirmed(&node);
            }
        }
    }

    fn judge_join(
        &self,
        token: &str,
        secret_sha256: Digest,
        holder: &Holder,
        keys: &UsedBy,
    ) -> Result<Entrance, JoinRefused> {
        let token = row(&self.delta.tokens, &self.state.tokens, token)
            .filter(|token| token.secret_sha256 == secret_sha256)
            .filter(|token| !token.expires.is_past(self.now))
            .ok_or(JoinRefused::UnknownToken)?;
        if token.holder.role() != holder.role() {
            return Err(JoinRefused::OtherRole(token.holder.role()));
        }
        if token.holder != *holder {
            return Err(JoinRefused::OtherName(holder.role()));
        }
        let row = match holder {
            Holder::Node(node) => self.node(node).map(|row| (row.denied, &row.keys)),
            Holder::Sender(sender) => self.sender(sender).map(|row| (row.denied, &row.keys)),
        };
        if let Some(used_by) = &token.used_by {
            // Its key must still be the one in use: a certificate that opens nothing would only look like a join.
            return match row {
                Some((denied, own))
                    if used_by == keys
                        && own
                            .iter()
                            .any(|key| key.tls_key_sha256 == keys.tls_key_sha256) =>
                {
                    if denied {
                        Err(JoinRefused::Denied(holder.role()))
                    } else {
                        Ok(Entrance::Again)
                    }
                }
                _ => Err(JoinRefused::UnknownToken),
            };
        }
        match row.map(|(denied, _)| denied) {
            Some(true) => Err(JoinRefused::Denied(holder.role())),
            Some(false) if !token.replace => Err(JoinRefused::NameInUse(holder.role())),
            _ => Ok(Entrance::New),
        }
    }

    /// Notes with which keys a token was used, so that they alone may use it again.
    fn spend_token(&mut self, token: String, used_by: UsedBy) {
        if let Some(mut row) = row(&self.delta.tokens, &self.state.tokens, &token).cloned() {
            row.used_by = Some(used_by);
            self.delta.tokens.insert(token, Some(row));
        }
    }

    fn sender_joins(&mut self, event: MembershipEvent) {
        self.record(&event);
        let MembershipEvent::SenderJoin {
            token,
            sender,
            keys,
            ..
        } = event
        else {
            return;
        };
        self.spend_token(token, used_by_sender(&keys));
        let mut joined = Sender::joined(&keys, self.now);
        if let Some(before) = self.sender(&sender) {
            joined.joined_at = before.joined_at;
        }
        self.delta.senders.insert(sender.clone(), Some(joined));
        self.decide(Decision::SenderAccepted { sender });
    }

    fn join(&mut self, event: MembershipEvent) {
        self.record(&event);
        let MembershipEvent::Join {
            token, node, keys, ..
        } = event
        else {
            return;
        };
        self.spend_token(token, used(&keys));
        let mut joined = Node::joined(keys, self.now);
        if let Some(before) = self.node(&node) {
            joined.joined_at = before.joined_at;
            joined.head = before.head;
            joined.rejoined = true;
        } else if let Some(head) = self.meta().retired.remove(&node) {
            joined.head = head;
            joined.rejoined = true;
        }
        self.delta.nodes.insert(node.clone(), Some(joined));
        self.decide(Decision::JoinAccepted { node: node.clone() });
        self.end(&node, BuiltIn::NodeExpired);
        self.judge_grouping(&node);
    }

    /// A node that no group names is treated as production and critical, and somebody should put it right.
    pub(super) fn judge_grouping(&mut self, node: &NodeName) {
        let what = BuiltIn::NodeUngrouped;
        if self.rules.groups_of(node).next().is_some() {
            self.end(node, what);
        } else if !self.is_open(node, what.clone()) {
            self.raise_built_in(node, what, Status::Warning, vigie::NODE_UNGROUPED, []);
        }
    }

    /// An operator has seen it: the plan as it is becomes the one agreed on, and what only a person could end, ends.
    fn confirmed(&mut self, node: &NodeName) {
        let complete = self
            .plan(node)
            .and_then(|plan| plan.complete.as_ref().map(|(_, plan)| Arc::clone(plan)));
        let keys = self.alert_keys_of(&Source::Node(node.clone()));
        let is_faulty = keys
            .iter()
            .filter_map(AlertKey::built_in)
            .any(BuiltIn::is_chain_fault);
        for key in keys {
            let Some(alert) = self.alert(&key) else {
                continue;
            };
            let is_unplanned = !key.is_built_in()
                && complete
                    .as_ref()
                    .is_some_and(|plan| !plan.contains_key(key.check()));
            let is_gone = alert.reason == vigie::OBJECT_GONE.code();
            // What the node no longer lists and no line will end any more, unless its word is in question itself.
            let is_stale = !key.is_built_in() && !is_faulty && !self.is_listed(node, &key);
            if alert.until_confirmed || is_unplanned || is_gone || is_stale {
                self.close(&key, Ended::Confirmed);
                // The node may list it for as long as it runs; that says nothing new.
                self.edit_node(node, |row| {
                    let same = |item: &&NotOk| key.is_of(&item.check, item.object.as_deref());
                    let listed: Vec<NotOk> = row.listed.iter().filter(same).cloned().collect();
                    row.dismissed.extend(listed);
                });
            }
        }
        if complete.is_some() {
            self.edit_plan(node, |plan| plan.agreed = complete);
        }
    }

    /// Whether the node's latest contact lists the object as not ok.
    fn is_listed(&self, node: &NodeName, key: &AlertKey) -> bool {
        self.node(node).is_some_and(|row| {
            row.listed
                .iter()
                .any(|item| key.is_of(&item.check, item.object.as_deref()))
        })
    }
}
