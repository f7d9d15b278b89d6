//! Who a sender of metrics is to the fleet, asked at every request.
//!
//! Senders are not nodes: they have certificates and may be denied, but no chain, no contact and no signing key. Decides
//! only who speaks, never what may be said; changes nothing but for the note that a sender went over to a new key.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::response::Response;
use http::StatusCode;
use vigie_core::{id::SenderName, time::Wall};
use vigie_decide::fleet::{Event, MembershipEvent};

use super::{
    Ingest,
    authenticate::{Peer, Standing},
    entries::EXPIRED_MAX_MS,
    refuse,
};

/// How long a sender's old key stays good after its new certificate was issued, in milliseconds.
///
/// Prometheus and vmagent send over several connections and keep those that are open when the files change. A request on
/// one of them that was refused because another one showed the new key first would be lost: a 403 is final to them. By
/// this time every connection made with the old key has been closed for its age (`age_max` in `accept`, one hour).
const OLD_KEY_KEPT_MS: i64 = 2 * 3_600_000;

/// Who a peer is to the fleet as a sender, or why it may not speak. Notes that a newer key has taken over.
///
/// A known key whose certificate ended up to 90 days ago is recognised, as a node's is; [`Peer::standing`] says so.
pub(super) fn recognise(
    ingest: &Ingest,
    peer: &Peer,
    now: Wall,
) -> Result<SenderName, Box<Response>> {
    let refused = |counter: &AtomicU64, code: &str, mend: &str| {
        counter.fetch_add(1, Relaxed);
        Box::new(refuse(StatusCode::FORBIDDEN, code, mend))
    };
    let counters = &ingest.counters;
    let Peer::Sender { name, credential } = peer else {
        return Err(refused(
            &counters.foreign,
            "peer.not_a_sender",
            "join this program as a sender first",
        ));
    };
    let found = ingest.directory.find_sender(name);
    let Some((member, name)) = found.zip(name.parse::<SenderName>().ok()) else {
        return Err(refused(
            &counters.foreign,
            "sender.unknown",
            "this sender was retired; join it again with a new token",
        ));
    };
    if member.denied {
        return Err(refused(
            &counters.foreign,
            "sender.denied",
            "an operator denied this sender",
        ));
    }
    if !member.keys.contains(&credential.key_sha256) {
        return Err(refused(
            &counters.foreign,
            "key.unknown",
            "another program took over this name, or a newer key is in use; join again with a new token",
        ));
    }
    // As for nodes: a clock that is in doubt itself says nothing about how long ago.
    if let Standing::Expired { expired_by_ms } = credential.standing(now)
        && expired_by_ms > EXPIRED_MAX_MS
        && !ingest.directory.is_clock_in_doubt()
    {
        return Err(refused(
            &counters.expired,
            "certificate.expired",
            "the certificate ended more than 90 days ago; join again with a new token",
        ));
    }
    let is_newest_of_several =
        member.keys.len() > 1 && member.keys.last() == Some(&credential.key_sha256);
    if is_newest_of_several && now >= credential.not_before.plus_ms(OLD_KEY_KEPT_MS) {
        // The next request notices it again.
        ingest
            .engine
            .try_note(Event::Membership(MembershipEvent::SenderKeyUsed {
                sender: name.clone(),
                tls_key_sha256: credential.key_sha256,
            }));
    }
    Ok(name)
}
