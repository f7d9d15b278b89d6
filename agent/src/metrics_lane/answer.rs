//! What a receiver's answer means (Prometheus remote write 1.0, "Retries & Backoff").
//!
//! Our own collector is told apart from others. What it says against this node (401, 403, 404) is trouble with an
//! identity or a version that somebody mends, so the samples wait; another receiver means the request, and the
//! specification forbids to repeat it. The body of another receiver's answer is never looked at.

use http::{HeaderMap, StatusCode};

use super::order::Verdict;
use crate::push::link::{retry_after_ms, said};

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// This node's collector.
    Collector,
    /// Anybody else.
    Other,
}

/// A verdict, and the answer in words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) why: String,
}

/// Judges an answer.
pub(super) fn judge(
    receiver: Receiver,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    let is_about_body = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    let verdict = match status {
        _ if status.is_success() => Verdict::Taken,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Verdict::Later {
            retry_after_ms: retry_after_ms(headers),
        },
        _ if status.is_server_error() => Verdict::Failed { is_answer: true },
        _ if is_about_body => Verdict::Refused,
        _ if status.is_client_error() && receiver == Receiver::Other => Verdict::Refused,
        _ => Verdict::Later {
            retry_after_ms: None,
        },
    };
    let why = match receiver {
        Receiver::Collector => said(status, body),
        Receiver::Other => said(status, b""),
    };
    Answer { verdict, why }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const LATER: Verdict = Verdict::Later {
        retry_after_ms: None,
    };
    const FAILED: Verdict = Verdict::Failed { is_answer: true };

    #[test]
    fn each_status_means_one_thing_to_each_receiver() {
        use Verdict::{Refused, Taken};
        for (status, collector, other) in [
            (200, Taken, Taken),
            (204, Taken, Taken),
            (302, LATER, LATER),
            (400, Refused, Refused),
            (401, LATER, Refused),
            (403, LATER, Refused),
            (404, LATER, Refused),
            (409, LATER, Refused),
            (413, Refused, Refused),
            (415, Refused, Refused),
            (422, Refused, Refused),
            (429, LATER, LATER),
            (500, FAILED, FAILED),
            (502, FAILED, FAILED),
            (503, LATER, LATER),
            (504, FAILED, FAILED),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            for (receiver, expected) in [(Receiver::Collector, collector), (Receiver::Other, other)]
            {
                let answer = judge(receiver, status, &HeaderMap::new(), b"");
                assert_eq!(answer.verdict, expected, "{status} of {receiver:?}");
            }
        }
    }

    #[test]
    fn only_our_own_collectors_words_are_read() {
        let body = br#"{"error":"samples.refused","mend":"look at line 3"}"#;
        let told = |receiver| judge(receiver, StatusCode::BAD_REQUEST, &HeaderMap::new(), body).why;
        assert_eq!(
            told(Receiver::Collector),
            "it says 400: samples.refused; look at line 3"
        );
        assert_eq!(told(Receiver::Other), "it says 400");
    }
}
