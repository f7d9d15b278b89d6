//! Is the answer as expected? Pure; nothing of the body gets into the observation but its length.

use regex_lite::Regex;
use vigie_core::{
    observation::{Fact, Observation},
    reason::availability::{
        HTTP_BODY_FORBIDDEN, HTTP_BODY_MISSING, HTTP_BODY_TOO_LONG, HTTP_OK, HTTP_STATUS,
    },
    status::Status,
};

use super::exchange::{Body, Extent, Keep};
use crate::availability::contains;

/// What an answer must be like.
#[derive(Clone)]
pub(super) struct Expected {
    /// Status codes that are well.
    pub(super) status: Vec<u16>,
    /// What the body must have.
    pub(super) body: Vec<Pattern>,
    /// What the body must not have.
    pub(super) body_not: Vec<Pattern>,
}

/// Something to look for in a body. No `Debug`: what a body holds is nobody's business.
#[derive(Clone)]
pub(super) enum Pattern {
    /// These bytes.
    Text(Box<[u8]>),
    /// A match of this expression; bytes that are not UTF-8 count as U+FFFD.
    Regex(Regex),
}

impl Pattern {
    fn is_in(&self, body: &[u8]) -> bool {
        match self {
            Self::Text(text) => contains(body, text),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(body)),
        }
    }
}

impl Expected {
    /// Judges an answer that took `total_ms`.
    pub(super) fn judge(&self, status: u16, body: &Body, total_ms: u64) -> Observation {
        let got = i64::from(status);
        let body_bytes = body.len as u64;
        if !self.status.contains(&status) {
            let expected = self.status.iter().map(|code| Fact::from(i64::from(*code)));
            return Observation::new(Status::Critical, HTTP_STATUS)
                .fact("got", got)
                .fact("expected", Fact::List(expected.collect()));
        }
        if self
            .body_not
            .iter()
            .any(|pattern| pattern.is_in(&body.bytes))
        {
            return Observation::new(Status::Critical, HTTP_BODY_FORBIDDEN)
                .fact("got", got)
                .fact("body_bytes", body_bytes);
        }
        let has_all = self.body.iter().all(|pattern| pattern.is_in(&body.bytes));
        // With nothing to look for, the beginning has all of it.
        let is_decided = body.extent == Extent::Whole || (has_all && self.body_not.is_empty());
        if !is_decided {
            // What is missing or forbidden may stand in the part that was not read.
            return Observation::new(Status::Unknown, HTTP_BODY_TOO_LONG)
                .fact("got", got)
                .fact("read_bytes", body_bytes);
        }
        if !has_all {
            return Observation::new(Status::Critical, HTTP_BODY_MISSING)
                .fact("got", got)
                .fact("body_bytes", body_bytes);
        }
        Observation::new(Status::Ok, HTTP_OK)
            .fact("got", got)
            .fact("total_ms", total_ms)
    }

    /// What must be kept of a body to judge it.
    pub(super) fn keep(&self) -> Keep {
        if self.body.is_empty() && self.body_not.is_empty() {
            Keep::Length
        } else {
            Keep::Bytes
        }
    }

    /// Whether judging this much may take long enough to be done off the runtime: regex-lite reads some 10 MB/s.
    pub(super) fn is_slow_for(&self, body: &Body) -> bool {
        const INLINE_LEN_MAX: usize = 16 * 1024;
        body.bytes.len() > INLINE_LEN_MAX
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use vigie_core::reason::Reason;

    use super::*;

    fn text(text: &str) -> Vec<Pattern> {
        vec![Pattern::Text(text.as_bytes().into())]
    }

    fn judged(expected: &Expected, status: u16, body: &[u8], extent: Extent) -> (Status, Reason) {
        let body = Body {
            bytes: body.to_vec(),
            len: body.len(),
            extent,
        };
        let observation = expected.judge(status, &body, 12);
        (observation.status, observation.reason)
    }

    #[test]
    fn each_expectation_has_its_own_reason() {
        let expected = Expected {
            status: vec![200, 204],
            body: text("\"UP\""),
            body_not: text("maintenance"),
        };
        let whole = |status, body: &str| judged(&expected, status, body.as_bytes(), Extent::Whole);
        assert_eq!(whole(200, "{\"s\":\"UP\"}"), (Status::Ok, HTTP_OK));
        assert_eq!(
            whole(503, "{\"s\":\"UP\"}"),
            (Status::Critical, HTTP_STATUS)
        );
        assert_eq!(whole(200, ""), (Status::Critical, HTTP_BODY_MISSING));
        let both = "\"UP\" maintenance";
        assert_eq!(whole(204, both), (Status::Critical, HTTP_BODY_FORBIDDEN));
    }

    #[test]
    fn what_was_not_read_is_not_guessed() {
        let must = Expected {
            status: vec![200],
            body: text("UP"),
            body_not: Vec::new(),
        };
        let must_not = Expected {
            status: vec![200],
            body: Vec::new(),
            body_not: text("DOWN"),
        };
        let any = Expected {
            status: vec![200],
            body: Vec::new(),
            body_not: Vec::new(),
        };
        let part = |expected, body: &str| judged(expected, 200, body.as_bytes(), Extent::Beginning);
        assert_eq!(part(&must, "UP …"), (Status::Ok, HTTP_OK));
        assert_eq!(part(&must, "…"), (Status::Unknown, HTTP_BODY_TOO_LONG));
        assert_eq!(part(&must_not, "…"), (Status::Unknown, HTTP_BODY_TOO_LONG));
        assert_eq!(
            part(&must_not, "DOWN"),
            (Status::Critical, HTTP_BODY_FORBIDDEN)
        );
        assert_eq!(part(&any, "…"), (Status::Ok, HTTP_OK));
    }

    #[test]
    fn an_expression_reads_bytes_that_are_not_text() {
        let expected = Expected {
            status: vec![200],
            body: vec![Pattern::Regex(
                Regex::new(r#""status"\s*:\s*"UP""#).unwrap(),
            )],
            body_not: Vec::new(),
        };
        let body = b"\xff{\"status\" : \"UP\"}\xfe";
        assert_eq!(
            judged(&expected, 200, body, Extent::Whole),
            (Status::Ok, HTTP_OK)
        );
    }

    #[test]
    fn the_facts_hold_numbers_only() {
        let expected = Expected {
            status: vec![200],
            body: text("UP"),
            body_not: Vec::new(),
        };
        let body = Body {
            bytes: b"Marie Dupont".to_vec(),
            len: 12,
            extent: Extent::Whole,
        };
        let observation = expected.judge(200, &body, 12);
        assert!(!format!("{observation:?}").contains("Marie"));
        assert_eq!(observation.facts["body_bytes"], Fact::Integer(12));
    }
}
