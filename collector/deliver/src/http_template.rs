//! A gateway for text messages or calls: one request whose body the settings describe.
//!
//! `{text}` is one text message of 160 characters where the channel's detail is minimal, and all that a chat would be told
//! where it is full, title first.
//!
//! **Lying bodies.** Gateways answer 200 to what they will never send. Where the settings say what counts as accepted
//! (`accepted = { status, body_contains }`), any other 2xx is busy: the message is tried again, is counted as not
//! delivered, and the destination fails visibly. It may then come twice, which is better than not at all.

use http::{HeaderMap, HeaderValue, Method, header};
use vigie_decide::{
    alert::{Body, Message},
    destination::Destination,
};

use super::{
    attempt::{Occasion, TargetError},
    http::{self as outside, Endpoint, Reply, Request},
    queue::Answer,
};
use crate::config::{self, AcceptedWhen, Address, Detail, HttpMethod, Placeholder};

/// One number or name at a gateway.
pub(super) struct HttpGateway {
    endpoint: Endpoint,
    method: Method,
    content_type: HeaderValue,
    settings: config::HttpContact,
}

impl HttpGateway {
    /// Reads everything that telling it needs. Blocks on files.
    pub(super) fn open(
        settings: &config::HttpContact,
        to: &Destination,
    ) -> Result<Self, TargetError> {
        let gateway = &settings.gateway;
        let url = match &gateway.address {
            Address::Url(url) => outside::url(Some(url), to)?,
            Address::File(file) => outside::url(outside::secret(file, to)?.expose_str(), to)?,
        };
        let mut headers: HeaderMap = outside::header_of(gateway.header_file.as_ref(), to)?;
        // The settings say what the body is.
        headers.remove(header::CONTENT_TYPE);
        Ok(Self {
            endpoint: Endpoint::open(url, headers, gateway.ca_file.as_deref(), to)?,
            method: match gateway.method {
                HttpMethod::Post => Method::POST,
                HttpMethod::Put => Method::PUT,
            },
            // Judged when the settings were read; what is no header after all says nothing.
            content_type: HeaderValue::from_str(&gateway.content_type)
                .unwrap_or(HeaderValue::from_static("text/plain")),
            settings: settings.clone(),
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, told: &Occasion<'_>, batch: &[Message]) -> Answer {
        let Some(lead) = batch.first() else {
            return Answer::Accepted;
        };
        let request = Request {
            method: self.method.clone(),
            content_type: self.content_type.clone(),
            body: self.body(told, batch, lead).into_bytes(),
            key: lead.key,
        };
        let when = &self.settings.gateway.accepted;
        let judges = *when != AcceptedWhen::default();
        let accepts = |reply: &Reply<'_>| is_accepted(when, reply);
        self.endpoint
            .send(
                request,
                judges.then_some(&accepts),
                told.destination,
                told.now,
                told.limit,
            )
            .await
    }

    fn body(&self, told: &Occasion<'_>, batch: &[Message], lead: &Message) -> String {
        let said = told.chat(batch);
        let text = match told.detail {
            Detail::Minimal => vigie_wording::brief(told.voice, batch),
            Detail::Full => format!("{}\n{}", said.title, said.text),
        };
        let number = match &lead.body {
            Body::Alert(telling) => telling.number,
            Body::Digest(_) => 0,
        };
        self.settings
            .gateway
            .body
            .fill(|placeholder| match placeholder {
                Placeholder::To => self.settings.to.expose().to_owned(),
                Placeholder::Text => text.clone(),
                Placeholder::Title => said.title.clone(),
                Placeholder::Number => number.to_string(),
                Placeholder::Key => lead.key.to_string(),
            })
    }
}

fn is_accepted(when: &AcceptedWhen, reply: &Reply<'_>) -> bool {
    let says = |text: &str| {
        reply
            .body
            .windows(text.len().max(1))
            .any(|window| window == text.as_bytes())
    };
    (when.status.is_empty() || when.status.contains(&reply.status))
        && when.body_contains.as_deref().is_none_or(says)
}

#[cfg(test)]
mod tests;
