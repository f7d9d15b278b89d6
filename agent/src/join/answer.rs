//! Whether what the collector answers fits what it was asked. Changes nothing, on disk or in memory.

use rustls_pki_types::CertificateDer;
use vigie_core::{
    digest::Digest,
    id::is_configured_name,
    token::{Holder, JoinToken},
    wire::{JoinAnswer, JoinRequest, PublicKeyDer, RenewAnswer, RenewRequest},
};
use vigie_platform::tls::{TlsError, parse_certificates};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what failed, its source why")]
pub enum AnswerError {
    #[error("a certificate in it cannot be read")]
    Certificate { source: TlsError },
    #[error("the certificate is not over the key that was sent")]
    OtherKey,
    #[error("the certificate does not name {holder}")]
    OtherHolder { holder: Holder },
    #[error("the collector's CAs do not include the one of the join token")]
    OtherCa,
    #[error("the collector's id is not a name")]
    CollectorId,
}

pub(super) fn check_join(
    answer: &JoinAnswer,
    token: &JoinToken,
    asked: &JoinRequest,
) -> Result<(), AnswerError> {
    check_certificate(&answer.certificate_pem, &asked.holder, &asked.tls_key_spki)?;
    let cas = answer_certificates(&answer.server_ca_pem)?;
    if !cas.iter().any(|ca| Digest::of(ca) == token.ca_sha256()) {
        return Err(AnswerError::OtherCa);
    }
    if !is_configured_name(&answer.collector_id) {
        return Err(AnswerError::CollectorId);
    }
    Ok(())
}

pub(super) fn check_renewal(
    answer: &RenewAnswer,
    holder: &Holder,
    asked: &RenewRequest,
) -> Result<(), AnswerError> {
    check_certificate(&answer.certificate_pem, holder, &asked.tls_key_spki)?;
    answer_certificates(&answer.server_ca_pem).map(drop)
}

/// Whether the certificate is over our key and names its holder. What it may be used for is the collector's affair.
fn check_certificate(pem: &str, holder: &Holder, spki: &PublicKeyDer) -> Result<(), AnswerError> {
    let chain = answer_certificates(pem)?;
    let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|_| AnswerError::Certificate {
        source: TlsError::NotX509 {
            origin: "the answer".to_owned(),
        },
    })?;
    if leaf.public_key().raw != spki.as_bytes() {
        return Err(AnswerError::OtherKey);
    }
    let names = leaf.subject_alternative_name().ok().flatten();
    let names_us = names.is_some_and(|names| {
        names.value.general_names.iter().any(|name| {
            matches!(name, GeneralName::URI(uri) if uri
                .strip_prefix("spiffe://")
                .and_then(|rest| rest.split_once('/'))
                .and_then(|(_, path)| path.split_once('/'))
                == Some((holder.role().as_str(), holder.name())))
        })
    });
    if !names_us {
        return Err(AnswerError::OtherHolder {
            holder: holder.clone(),
        });
    }
    Ok(())
}

fn answer_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, AnswerError> {
    parse_certificates(pem.as_bytes(), "the answer")
        .map_err(|source| AnswerError::Certificate { source })
}
