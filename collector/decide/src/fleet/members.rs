//! Who belongs to the fleet: tokens, joins, keys, and what operators say of nodes and senders.

use std::sync::Arc;

use super::{
    Decision, JoinRefused, MembershipEvent, NodeKeys, SenderKeys, Transition, row,
    state::{Key, Node, Sender, Token, UsedBy},
};
use crate::alert::{AlertKey, BuiltIn, Ended, Source};
use vigie_core::{
    contact::NotOk,
    digest::Digest,
    id::{NodeName, SenderName},
    reason::vigie,
    status::Status,
    time::Deadline,
    token::Holder,
};

/// How a machine or program comes through the door.
enum Entrance {
    /// For the first time with this token.
    New,
    /// With the keys it came with already: its answer was lost.
    Again,
}

/// Who asks to join, and with which keys.
enum Applicant<'a> {
    Node(&'a NodeName, &'a NodeKeys),
    Sender(&'a SenderName, &'a SenderKeys),
}

impl Applicant<'_> {
    fn holder(&self) -> Holder {
        match *self {
            Self::Node(name, _) => Holder::Node(name.clone()),
            Self::Sender(name, _) => Holder::Sender(name.clone()),
        }
    }

    fn keys(&self) -> UsedBy {
        match *self {
            Self::Node(_, keys) => UsedBy {
                tls_key_sha256: keys.tls_key_sha256,
                signing_key: Some(keys.signing_key.clone()),
            },
            Self::Sender(_, keys) => UsedBy {
                tls_key_sha256: keys.tls_key_sha256,
                signing_key: None,
            },
        }
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

impl Transition<'_> {
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
            } => {
                let asks = Applicant::Node(node, keys);
                self.asks_to_join(&event, token, secret_sha256, &asks);
            }
            MembershipEvent::SenderJoin {
                ref token,
                secret_sha256,
                ref sender,
                ref keys,
            } => {
                let asks = Applicant::Sender(sender, keys);
                self.asks_to_join(&event, token, secret_sha256, &asks);
            }
            MembershipEvent::Renewed {
                ref node,
                tls_key_sha256,
                asked_with,
                not_after,
            } => {
                let new = Key {
                    tls_key_sha256,
                    not_after,
                };
                self.renews(&event, &Holder::Node(node.clone()), asked_with, new);
            }
            MembershipEvent::SenderRenewed {
                ref sender,
                tls_key_sha256,
                asked_with,
                not_after,
            } => {
                let new = Key {
                    tls_key_sha256,
                    not_after,
                };
                self.renews(&event, &Holder::Sender(sender.clone()), asked_with, new);
            }
            MembershipEvent::KeyUsed {
                ref node,
                tls_key_sha256,
            } => self.uses_key(&event, &Holder::Node(node.clone()), tls_key_sha256),
            MembershipEvent::SenderKeyUsed {
                ref sender,
                tls_key_sha256,
            } => self.uses_key(&event, &Holder::Sender(sender.clone()), tls_key_sha256),
            MembershipEvent::NodeRetired { ref node, .. } => {
                self.record(&event);
                self.retire_node(node);
            }
            MembershipEvent::SenderRetired { ref sender, .. } => {
                self.record(&event);
                self.delta.senders.insert(sender.clone(), None);
            }
            MembershipEvent::NodeDenied {
                ref node, denied, ..
            } => {
                self.record(&event);
                self.edit_node(node, |row| row.denied = denied);
            }
            MembershipEvent::SenderDenied {
                ref sender, denied, ..
            } => {
                self.record(&event);
                self.edit_sender(sender, |row| row.denied = denied);
            }
            MembershipEvent::Confirmed { ref node, .. } => {
                self.record(&event);
                self.confirmed(node);
            }
        }
    }

    /// Whether a member is shut out, and its keys.
    fn member(&self, holder: &Holder) -> Option<(bool, &[Key])> {
        match holder {
            Holder::Node(name) => self.node(name).map(|row| (row.denied, &*row.keys)),
            Holder::Sender(name) => self.sender(name).map(|row| (row.denied, &*row.keys)),
        }
    }

    /// Changes the keys of a member that exists.
    fn edit_keys(&mut self, holder: &Holder, edit: impl FnOnce(&mut Vec<Key>)) {
        match holder {
            Holder::Node(name) => self.edit_node(name, |row| edit(&mut row.keys)),
            Holder::Sender(name) => self.edit_sender(name, |row| edit(&mut row.keys)),
        }
    }

    fn asks_to_join(
        &mut self,
        event: &MembershipEvent,
        token: &str,
        secret_sha256: Digest,
        who: &Applicant<'_>,
    ) {
        let (holder, keys) = (who.holder(), who.keys());
        match self.judge_join(token, secret_sha256, &holder, &keys) {
            Ok(Entrance::New) => {
                self.record(event);
                self.spend_token(token, keys);
                match *who {
                    Applicant::Node(node, keys) => self.node_joins(node, keys),
                    Applicant::Sender(sender, keys) => self.sender_joins(sender, keys),
                }
            }
            Ok(Entrance::Again) => {}
            Err(why) => self.outcome.join_refused = Some(why),
        }
    }

    fn renews(
        &mut self,
        event: &MembershipEvent,
        holder: &Holder,
        asked_with: Option<Digest>,
        new: Key,
    ) {
        let member = self.member(holder);
        if member.is_some_and(|(denied, keys)| may_renew(denied, keys, asked_with)) {
            self.record(event);
            self.edit_keys(holder, |keys| renewed(keys, asked_with, new));
        } else {
            self.outcome.renewal_refused = true;
        }
    }

    /// A key that takes over makes the others void. Of a node that is whichever is used first; of a sender only the newest,
    /// which the front door notes two hours after its certificate was issued: until then the old one stays good.
    ///
    /// Several requests may notice it at once, one of them perhaps from a machine that was replaced meanwhile; one line says
    /// it.
    fn uses_key(&mut self, event: &MembershipEvent, holder: &Holder, tls_key_sha256: Digest) {
        let is_it = |key: &Key| key.tls_key_sha256 == tls_key_sha256;
        let says_something = self.member(holder).is_some_and(|(_, keys)| {
            keys.len() > 1
                && match holder {
                    Holder::Node(_) => keys.iter().any(is_it),
                    Holder::Sender(_) => keys.last().is_some_and(is_it),
                }
        });
        if !says_something {
            return;
        }
        self.record(event);
        self.edit_keys(holder, |keys| keys.retain(is_it));
        if let Holder::Node(node) = holder {
            self.end(node, BuiltIn::NodeExpired);
        }
    }

    fn retire_node(&mut self, node: &NodeName) {
        for key in self.alert_keys_of(&Source::Node(node.clone())) {
            self.close(&key, Ended::Retired);
        }
        if let Some(head) = self.node(node).map(|row| row.head) {
            self.meta().retired.insert(node.clone(), head);
        }
        self.delta.plans.insert(node.clone(), None);
        self.delta.nodes.insert(node.clone(), None);
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
        let member = self.member(holder);
        if let Some(used_by) = &token.used_by {
            // Its key must still be the one in use: a certificate that opens nothing would only look like a join.
            let is_it = |key: &Key| key.tls_key_sha256 == keys.tls_key_sha256;
            return match member {
                Some((denied, own)) if used_by == keys && own.iter().any(is_it) => {
                    if denied {
                        Err(JoinRefused::Denied(holder.role()))
                    } else {
                        Ok(Entrance::Again)
                    }
                }
                _ => Err(JoinRefused::UnknownToken),
            };
        }
        match member.map(|(denied, _)| denied) {
            Some(true) => Err(JoinRefused::Denied(holder.role())),
            Some(false) if !token.replace => Err(JoinRefused::NameInUse(holder.role())),
            _ => Ok(Entrance::New),
        }
    }

    /// Notes with which keys a token was used, so that they alone may use it again.
    fn spend_token(&mut self, token: &str, used_by: UsedBy) {
        if let Some(mut row) = row(&self.delta.tokens, &self.state.tokens, token).cloned() {
            row.used_by = Some(used_by);
            self.delta.tokens.insert(token.to_owned(), Some(row));
        }
    }

    fn sender_joins(&mut self, sender: &SenderName, keys: &SenderKeys) {
        let mut joined = Sender::joined(keys, self.now);
        if let Some(before) = self.sender(sender) {
            joined.joined_at = before.joined_at;
        }
        self.delta.senders.insert(sender.clone(), Some(joined));
        let sender = sender.clone();
        self.decide(Decision::SenderAccepted { sender });
    }

    fn node_joins(&mut self, node: &NodeName, keys: &NodeKeys) {
        let mut joined = Node::joined(keys.clone(), self.now);
        if let Some(before) = self.node(node) {
            joined.joined_at = before.joined_at;
            joined.head = before.head;
            joined.rejoined = true;
        } else if let Some(head) = self.meta().retired.remove(node) {
            joined.head = head;
            joined.rejoined = true;
        }
        self.delta.nodes.insert(node.clone(), Some(joined));
        self.decide(Decision::JoinAccepted { node: node.clone() });
        self.end(node, BuiltIn::NodeExpired);
        self.judge_grouping(node);
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
