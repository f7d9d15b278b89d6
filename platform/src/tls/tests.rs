#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

use super::*;

const HOST: &str = "vigie.example";

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of `HOST` for servers, valid from 2020 to 2030, signed by `ca`.
fn leaf(ca: &CertifiedIssuer<'static, KeyPair>) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    (params.signed_by(&key, ca).unwrap().into(), key)
}

/// 2025-01-01.
const WITHIN: u64 = 1_735_689_600;
/// 2035-01-01.
const AFTER: u64 = 2_051_222_400;

fn verify_pinned(
    pin: Digest,
    leaf: &CertificateDer<'_>,
    sent: &[CertificateDer<'_>],
    host: &str,
    at: u64,
) -> Result<(), RustlsError> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
    let host = ServerName::try_from(host.to_owned()).unwrap();
    PinnedCa { ca_sha256: pin }
        .verify_server_cert(leaf, sent, &host, &[], now)
        .map(drop)
}

#[test]
fn a_server_under_the_pinned_ca_is_accepted_under_its_name_and_while_valid() {
    let ca = ca();
    let (leaf, _) = leaf(&ca);
    let pin = certificate_sha256(ca.der());
    let sent = [ca.der().clone()];
    assert_eq!(verify_pinned(pin, &leaf, &sent, HOST, WITHIN), Ok(()));
    assert!(matches!(
        verify_pinned(pin, &leaf, &sent, "other.example", WITHIN),
        Err(RustlsError::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName
        ))
    ));
    assert!(matches!(
        verify_pinned(pin, &leaf, &sent, HOST, AFTER),
        Err(RustlsError::InvalidCertificate(
            CertificateError::ExpiredContext { .. } | CertificateError::Expired
        ))
    ));
}

#[test]
fn a_server_under_another_ca_is_refused_whatever_it_sends_along() {
    let (pinned, other) = (ca(), ca());
    let (leaf, _) = leaf(&other);
    let pin = certificate_sha256(pinned.der());
    let (pinned, other) = (pinned.der().clone(), other.der().clone());
    let sendings: [&[CertificateDer<'_>]; 4] = [
        &[],
        std::slice::from_ref(&other),
        // The pinned CA's certificate is public: a man in the middle can send it too.
        std::slice::from_ref(&pinned),
        &[other.clone(), pinned.clone()],
    ];
    for sent in sendings {
        assert!(
            matches!(
                verify_pinned(pin, &leaf, sent, HOST, WITHIN),
                Err(RustlsError::InvalidCertificate(_))
            ),
            "{} sent",
            sent.len()
        );
    }
}

#[test]
fn a_pinned_certificate_that_is_no_ca_vouches_for_nobody() {
    let ca = ca();
    let (no_ca, key) = leaf(&ca);
    let issuer = rcgen::Issuer::from_ca_cert_der(&no_ca, key).unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let forged = params
        .signed_by(&KeyPair::generate().unwrap(), &issuer)
        .unwrap();
    assert_eq!(
        verify_pinned(
            certificate_sha256(&no_ca),
            forged.der(),
            std::slice::from_ref(&no_ca),
            HOST,
            WITHIN
        ),
        Err(CertificateError::UnknownIssuer.into())
    );
}

#[test]
fn a_key_of_another_certificate_is_refused_and_the_old_pair_stays() {
    let ca = ca();
    let (first, first_key) = leaf(&ca);
    let (second, second_key) = leaf(&ca);
    let secret = |key: &KeyPair| SecretKey::parse(key.serialize_pem().as_bytes(), "a key").unwrap();
    let hot = HotCredential::new(vec![first.clone()], &secret(&first_key)).unwrap();
    assert!(matches!(
        hot.replace(vec![second.clone()], &secret(&first_key)),
        Err(TlsError::Pair { .. })
    ));
    assert_eq!(hot.chain(), [first]);
    hot.replace(vec![second.clone()], &secret(&second_key))
        .unwrap();
    assert_eq!(hot.chain(), [second]);
    assert!(matches!(
        HotCredential::new(vec![], &secret(&first_key)),
        Err(TlsError::Pair { .. })
    ));
}

#[test]
fn neither_debug_nor_errors_show_a_key() {
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let key = SecretKey::parse(pem.as_bytes(), "a key").unwrap();
    assert_eq!(format!("{key:?}"), "SecretKey(…)");

    let second_line = pem.lines().nth(1).unwrap();
    let damaged = [
        pem.replacen("-----END", "----- END", 1),
        pem.replacen(second_line, &format!("{second_line}*"), 1),
        pem.replacen("-----\n", &format!("{second_line}\n"), 1),
    ];
    for text in damaged {
        let error = SecretKey::parse(text.as_bytes(), "key.pem").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("key.pem"), "{shown}");
        assert!(!shown.contains(&second_line[..16]), "{shown}");
    }
}

#[test]
fn errors_name_the_file_and_what_is_missing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots.pem");
    let shown = load_certificates(&path).unwrap_err().to_string();
    assert!(shown.contains("roots.pem"), "{shown}");
    std::fs::write(&path, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(matches!(
        load_certificates(&path),
        Err(TlsError::NoCertificate { origin }) if origin.ends_with("roots.pem")
    ));
    std::fs::write(&path, ca().pem()).unwrap();
    assert_eq!(load_certificates(&path).unwrap().len(), 1);
    assert!(matches!(
        SecretKey::load(&path),
        Err(TlsError::NoKey { origin }) if origin.ends_with("roots.pem")
    ));
    std::fs::File::create(&path)
        .unwrap()
        .set_len(PEM_LEN_MAX + 1)
        .unwrap();
    assert!(matches!(
        load_certificates(&path),
        Err(TlsError::TooLong { .. })
    ));
}

#[test]
fn a_key_is_known_across_certificates() {
    let ca = ca();
    let key = KeyPair::generate().unwrap();
    let certificate = |host: &str| {
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        CertificateDer::from(params.signed_by(&key, &ca).unwrap())
    };
    let (first, second) = (certificate("a.example"), certificate("b.example"));
    assert_ne!(certificate_sha256(&first), certificate_sha256(&second));
    assert_eq!(key_sha256(&first).unwrap(), key_sha256(&second).unwrap());
    assert!(key_sha256(&CertificateDer::from(vec![0x30, 0])).is_err());
}

#[test]
fn roots_that_are_none_are_refused_by_origin() {
    let ca = ca();
    assert!(client_config(&[ca.der().clone()], "roots.pem", None).is_ok());
    assert!(matches!(
        client_config(&[CertificateDer::from(vec![1, 2, 3])], "roots.pem", None),
        Err(TlsError::Root { origin, .. }) if origin == "roots.pem"
    ));
    assert!(matches!(
        client_config(&[], "roots.pem", None),
        Err(TlsError::Root { .. })
    ));
    assert!(pinned_client_config(Digest::of(b"ca")).is_ok());
}
