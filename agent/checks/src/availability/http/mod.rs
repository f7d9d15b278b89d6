//! `http`: does a web service answer as expected, at each of its addresses?
//!
//! One run asks every address on a connection of its own, with the name of the URL in SNI and `Host`; the certificate
//! is judged as a browser would and its end of validity measured even when it is not accepted. The run ends shortly
//! before the runner's deadline, so that a timeout says what was waited for. Bodies, paths, queries and header values
//! never get into an observation or a log. Cancelling drops the sockets and nothing else.

mod endpoint;
mod exchange;
mod settings;
#[cfg(test)]
mod tests;
mod verdict;

use std::{net::SocketAddr, sync::Arc};

use http::StatusCode;
use vigie_core::{
    observation::{MetricId, Observation},
    reason::availability::{HTTP_REDIRECT_REFUSED, HTTP_REDIRECTS},
    status::{Family, Status},
    time::Elapsed,
};
use vigie_machine::{Context, tls::Shown};
use vigie_platform::settings_file::Section;

use self::{
    endpoint::{Endpoint, Step},
    exchange::{Answer, Question, ask},
    settings::{RedirectHosts, Settings},
};
use super::{
    failure::Failure,
    phase::{Phase, Progress},
    target::{Host, Target},
};
use crate::{Check, Kind, MetricSpec, MetricType, Run};

const PHASE_DURATION: MetricId = MetricId("vigie_http_phase_duration_seconds");
const STATUS_CODE: MetricId = MetricId("vigie_http_status_code");
const NOT_AFTER: MetricId = MetricId("vigie_http_certificate_not_after_timestamp_seconds");

/// The `http` kind.
pub static KIND: Kind = Kind {
    name: "http",
    family: Family::Availability,
    metrics: &[
        MetricSpec {
            id: PHASE_DURATION,
            metric_type: MetricType::Gauge,
            help: "How long each phase of the last probe took; phases it did not reach are absent.",
            label: "phase",
        },
        MetricSpec {
            id: STATUS_CODE,
            metric_type: MetricType::Gauge,
            help: "Status code of the last answer.",
            label: "",
        },
        MetricSpec {
            id: NOT_AFTER,
            metric_type: MetricType::Gauge,
            help: "End of validity of the certificate last shown, whether or not it was accepted.",
            label: "",
        },
    ],
    target_key: "url",
    example: r#"[check.portail]
kind = "http"
service = "dossier-patient"
url = "https://portail.example/health"
addresses = "all"                    # or "first"
method = "GET"
headers = ["Accept: application/json"]
redirects = 3                        # followed at most; 0 if absent
redirect_hosts = "same"              # or "any"
expect = { status = [200], body = '"status":"UP"', body_not = "maintenance" }
"#,
    build: |section: &mut Section<'_>| {
        let settings = Settings::read(section)?;
        Some(Box::new(HttpCheck::new(settings)))
    },
};

struct HttpCheck {
    settings: Settings,
    target: Target,
}

impl HttpCheck {
    fn new(settings: Settings) -> Self {
        let Endpoint { host, port, .. } = &settings.endpoint;
        Self {
            target: Target::new(host.clone(), *port, settings.addresses),
            settings,
        }
    }
}

impl Check for HttpCheck {
    fn run<'a>(&'a mut self, context: &'a Context) -> Run<'a> {
        let Self { settings, target } = self;
        let deadline = context.own_deadline();
        Box::pin(async move {
            let probe = |address, progress| settings.probe(context, deadline, address, progress);
            target.observe(context, deadline, probe).await
        })
    }
}

/// What asking an address came to.
enum Outcome {
    /// It answered, and this is what to think of it.
    Judged {
        code: StatusCode,
        observation: Observation,
    },
    /// It did not.
    Failed(Failure),
}

impl Settings {
    /// Asks one address and says all about it but its object.
    async fn probe(
        &self,
        context: &Context,
        deadline: Elapsed,
        address: SocketAddr,
        mut progress: Progress,
    ) -> Observation {
        let shown = Shown::default();
        let visit = Box::pin(self.visit(context, address, &mut progress, &shown));
        let outcome = match context.within(deadline, visit).await {
            Some(outcome) => outcome,
            None => Outcome::Failed(Failure::of_deadline(progress.phase(), progress.total_ms())),
        };
        let observation = match outcome {
            Outcome::Judged { code, observation } => {
                let code = f64::from(code.as_u16());
                let observation = progress.measured(PHASE_DURATION, observation);
                observation.measure(STATUS_CODE, code)
            }
            Outcome::Failed(failure) => progress.measured(PHASE_DURATION, failure.observation()),
        };
        match shown.not_after() {
            // Whole seconds, exact in a double for millions of years.
            Some(not_after) => observation.measure(NOT_AFTER, (not_after.0 / 1000) as f64),
            None => observation,
        }
    }

    /// Asks, follows redirects, judges the last answer.
    async fn visit(
        &self,
        context: &Context,
        address: SocketAddr,
        progress: &mut Progress,
        shown: &Shown,
    ) -> Outcome {
        let mut here = std::borrow::Cow::Borrowed(&self.endpoint);
        let mut address = address;
        let mut headers = &self.headers;
        // Only the certificate of the host in the settings is measured.
        let (mut shown, elsewhere) = (shown, Shown::default());
        let mut followed = 0;
        loop {
            let question = Question {
                endpoint: &here,
                method: &self.method,
                headers,
                tls: self.tls.as_ref(),
                keep: self.expected.keep(),
            };
            let answer = match ask(&question, address, context, progress, shown).await {
                Ok(answer) => answer,
                Err(failure) => return Outcome::Failed(failure),
            };
            let code = answer.status;
            let redirect = if self.redirects.max > 0 && !self.is_expected(code) {
                redirect(&here, &answer)
            } else {
                Redirect::No
            };
            let next = match redirect {
                Redirect::No => return self.judge(answer, progress.total_ms()).await,
                Redirect::To(next) => next,
                Redirect::Nowhere => return refused(code),
            };
            if followed == self.redirects.max {
                let observation = Observation::new(Status::Critical, HTTP_REDIRECTS)
                    .fact("followed", i64::from(followed));
                return Outcome::Judged { code, observation };
            }
            followed += 1;
            match (here.step_to(&next), self.redirects.hosts) {
                (Step::SameOrigin, _) => address.set_port(next.port),
                (Step::SameHost, _) => {
                    address.set_port(next.port);
                    headers = &self.headers_elsewhere;
                }
                (Step::Elsewhere, RedirectHosts::Any) => {
                    progress.enter(Phase::Resolve);
                    address = match first_address(context, &next, progress).await {
                        Ok(address) => address,
                        Err(failure) => return Outcome::Failed(failure),
                    };
                    headers = &self.headers_elsewhere;
                    shown = &elsewhere;
                }
                (Step::Elsewhere, RedirectHosts::Same) | (Step::Downgrade, _) => {
                    return refused(code);
                }
            }
            here = std::borrow::Cow::Owned(next);
        }
    }

    /// A redirect that the settings expect is an answer, not a way to go.
    fn is_expected(&self, code: StatusCode) -> bool {
        self.expected.status.contains(&code.as_u16())
    }

    async fn judge(&self, answer: Answer, total_ms: u64) -> Outcome {
        let Answer {
            status: code, body, ..
        } = answer;
        let observation = if self.expected.is_slow_for(&body) {
            let expected = Arc::clone(&self.expected);
            let judged =
                tokio::task::spawn_blocking(move || expected.judge(code.as_u16(), &body, total_ms));
            match judged.await {
                Ok(observation) => observation,
                // The runtime is shutting down.
                Err(_) => return Outcome::Failed(Failure::Local { errno: 0 }),
            }
        } else {
            self.expected.judge(code.as_u16(), &body, total_ms)
        };
        Outcome::Judged { code, observation }
    }
}

enum Redirect {
    No,
    To(Endpoint),
    /// The address cannot be read.
    Nowhere,
}

/// Where an answer sends us (RFC 9110 §15.4). The method stays what it is: what is checked is the page of the settings.
fn redirect(from: &Endpoint, answer: &Answer) -> Redirect {
    let code = answer.status.as_u16();
    match (&answer.location, code) {
        (Some(location), 301 | 302 | 303 | 307 | 308) => from
            .redirected(location)
            .map_or(Redirect::Nowhere, Redirect::To),
        _ => Redirect::No,
    }
}

fn refused(code: StatusCode) -> Outcome {
    let observation = Observation::new(Status::Critical, HTTP_REDIRECT_REFUSED)
        .fact("got", i64::from(code.as_u16()));
    Outcome::Judged { code, observation }
}

async fn first_address(
    context: &Context,
    endpoint: &Endpoint,
    progress: &Progress,
) -> Result<SocketAddr, Failure> {
    let address = match &endpoint.host {
        Host::Address(address) => *address,
        Host::Name(name) => {
            let found = context.net.resolve(name.as_str()).await;
            let found = found.map_err(|error| Failure::of_resolve(&error, progress.total_ms()))?;
            *found.first().ok_or(Failure::NoAddress)?
        }
    };
    Ok(SocketAddr::new(address, endpoint.port))
}
