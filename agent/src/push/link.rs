//! One request to hand in lines, and what its answer means; the connection is [`crate::uplink`]'s.
//!
//! It knows nothing of chains or pacing, and reads at most `ANSWER_LEN_MAX` of an answer.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use vigie_core::{
    hand_in::{ENTRIES_PATH, EntriesAnswer},
    wire::ErrorBody,
};
use vigie_platform::error_chain::chain;

use crate::uplink::Uplink;

/// Longest time for a request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest answer read, in bytes: 512 refused lines take 60 KiB.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// The longest `Retry-After` that is believed: an hour of maintenance; more would hide the node.
const RETRY_AFTER_MAX_MS: u64 = 3_600_000;

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is durable.
    Answered(Box<EntriesAnswer>),
    /// The collector asks for patience: this node sends too much (429), or it cannot take anything now (503).
    Later {
        /// The floor of the delay.
        retry_after_ms: Option<u64>,
        /// In words.
        why: String,
        /// Whether it is about this node, which another address would not change.
        is_about_us: bool,
    },
    /// The collector says no.
    Refused {
        /// In words.
        why: String,
        /// Whether what was sent may be the cause, rather than who sent it.
        is_about_body: bool,
    },
    /// No answer, or none that a collector gives.
    NoAnswer {
        /// In words.
        why: String,
    },
}

/// Sends one body. Samples wait meanwhile; this waits for nobody.
pub(super) async fn post(way: &Uplink, body: Vec<u8>) -> Outcome {
    let _turn = way.turn();
    let stretch = match way.stretch() {
        Ok(stretch) => stretch,
        Err(why) => return Outcome::NoAnswer { why },
    };
    let sent = stretch
        .client
        .post(format!("{}{ENTRIES_PATH}", stretch.address))
        .timeout(REQUEST_TIMEOUT)
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body)
        .send()
        .await;
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return no_answer(error),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= ANSWER_LEN_MAX => {
                bytes.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => {
                let why = format!("its answer is longer than {ANSWER_LEN_MAX} bytes");
                return Outcome::NoAnswer { why };
            }
            Ok(None) => return judge(status, &headers, &bytes),
            Err(error) => return no_answer(error),
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Outcome {
    match status {
        StatusCode::OK => match serde_json::from_slice(bytes) {
            Ok(answer) => Outcome::Answered(Box::new(answer)),
            Err(error) => Outcome::NoAnswer {
                why: format!("its answer is not that of a collector: {error}"),
            },
        },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Later {
            retry_after_ms: retry_after_ms(headers),
            why: said(status, bytes),
            is_about_us: status == StatusCode::TOO_MANY_REQUESTS,
        },
        status => Outcome::Refused {
            why: said(status, bytes),
            is_about_body: status.is_server_error()
                || matches!(
                    status,
                    StatusCode::BAD_REQUEST
                        | StatusCode::PAYLOAD_TOO_LARGE
                        | StatusCode::UNPROCESSABLE_ENTITY
                ),
        },
    }
}

/// `Retry-After` in its form of seconds (RFC 9110 §10.2.3); dates would need the collector's clock.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MAX_MS))
}

pub(crate) fn said(status: StatusCode, bytes: &[u8]) -> String {
    let clean = |text: String| -> String {
        text.chars()
            .filter(|character| !character.is_control())
            .take(300)
            .collect()
    };
    match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) => format!(
            "it says {}: {}; {}",
            status.as_u16(),
            clean(body.error),
            clean(body.mend)
        ),
        Err(_) => format!("it says {}", status.as_u16()),
    }
}

fn no_answer(error: reqwest::Error) -> Outcome {
    // The address is told beside it; in the text it would only be in the way.
    Outcome::NoAnswer {
        why: chain(&error.without_url()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_to_do_next() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        let body = br#"{"error":"node.flooding","mend":"wait"}"#;
        let judged = judge(StatusCode::TOO_MANY_REQUESTS, &headers, body);
        assert!(
            matches!(judged, Outcome::Later { retry_after_ms: Some(7_000), ref why, is_about_us: true }
                if why == "it says 429: node.flooding; wait")
        );
        headers.insert(header::RETRY_AFTER, "99999999".parse().unwrap());
        let judged = judge(StatusCode::SERVICE_UNAVAILABLE, &headers, b"");
        assert!(matches!(
            judged,
            Outcome::Later {
                retry_after_ms: Some(RETRY_AFTER_MAX_MS),
                ..
            }
        ));
        for (status, about_body) in [
            (400, true),
            (500, true),
            (401, false),
            (403, false),
            (302, false),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap(), &headers, b"<html>");
            assert!(
                matches!(judged, Outcome::Refused { is_about_body, .. } if is_about_body == about_body),
                "{status}"
            );
        }
        assert!(matches!(
            judge(StatusCode::OK, &headers, b"{}"),
            Outcome::NoAnswer { .. }
        ));
    }
}
