#![expect(clippy::unwrap_used, reason = "tests")]

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PublicKeyData as _, SanType,
};
use vigie_platform::tls::parse_certificates;

use super::*;
use crate::identity::{
    authority::{Authority, set_validity},
    certificate::{Subject, issue},
};

/// 2026-11-22T19:04:31Z.
const NOW: Wall = Wall(1_795_374_271_000);
const DAY_MS: i64 = 86_400_000;
const DOMAIN: &str = "vigie.example";

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn issued(
    ca: &Authority,
    domain: &str,
    role: Role,
    name: &str,
    at: Wall,
) -> CertificateDer<'static> {
    let subject = Subject::new(role, name).unwrap();
    let spki = key().subject_public_key_info();
    let issued = issue(ca, domain, &subject, &spki, at).unwrap();
    parse_certificates(issued.pem.as_bytes(), "issued")
        .unwrap()
        .remove(0)
}

/// A certificate of the given CA with whatever the test asks for.
fn forged(ca: &Authority, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri("node/app-01")];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    set_validity(&mut params, NOW, NOW.plus_ms(DAY_MS)).unwrap();
    change(&mut params);
    ca.sign(&params, &key()).unwrap().into()
}

fn uri(path: &str) -> SanType {
    SanType::URI(format!("spiffe://{DOMAIN}/{path}").try_into().unwrap())
}

fn verifier(ca: &Authority) -> AgentVerifier {
    AgentVerifier::new(ca.trusted(), DOMAIN).unwrap()
}

#[test]
fn a_certificate_of_the_agent_ca_is_taken_whatever_its_dates() {
    let ca = Authority::create_agent(NOW).unwrap();
    let verifier = verifier(&ca);
    for at in [NOW, NOW.plus_ms(-400 * DAY_MS), NOW.plus_ms(400 * DAY_MS)] {
        let leaf = issued(&ca, DOMAIN, Role::Node, "app-01", at);
        assert_eq!(verifier.verify(&leaf), Ok(()), "{at}");
    }
    let never = forged(&ca, |params| {
        set_validity(params, NOW, NOW.plus_ms(-DAY_MS)).unwrap();
    });
    assert!(verifier.verify(&never).is_err());
}

#[test]
fn certificates_of_another_issuer_purpose_or_form_are_refused() {
    use CertificateError as Refused;
    let ca = Authority::create_agent(NOW).unwrap();
    let other_ca = Authority::create_agent(NOW).unwrap();
    let names = crate::identity::authority::ServerNames::parse([DOMAIN]).unwrap();
    let server_ca = Authority::create_server(&names, NOW).unwrap();
    let verifier = verifier(&ca);
    assert_eq!(verifier.verify(&forged(&ca, |_| {})), Ok(()));

    let another_domain = issued(&ca, "other.example", Role::Node, "app-01", NOW);
    let unconstrained = |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa;
    let cases = [
        (
            "another CA",
            forged(&other_ca, unconstrained),
            Refused::UnknownIssuer,
        ),
        (
            "the server CA",
            forged(&server_ca, unconstrained),
            Refused::UnknownIssuer,
        ),
        (
            "the CA itself",
            ca.certificate().clone(),
            Refused::InvalidPurpose,
        ),
        (
            "a server's certificate",
            forged(&ca, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            Refused::InvalidPurpose,
        ),
        (
            "a client's and server's certificate",
            forged(&ca, |params| {
                params
                    .extended_key_usages
                    .push(ExtendedKeyUsagePurpose::ServerAuth);
            }),
            Refused::InvalidPurpose,
        ),
        (
            "no purpose",
            forged(&ca, |params| params.extended_key_usages.clear()),
            Refused::InvalidPurpose,
        ),
        (
            "a CA under the CA",
            forged(&ca, |params| {
                params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }),
            Refused::InvalidPurpose,
        ),
        (
            "another domain",
            another_domain,
            Refused::ApplicationVerificationFailure,
        ),
        (
            "another role",
            forged(&ca, |params| {
                params.subject_alt_names = vec![uri("admin/app-01")]
            }),
            Refused::ApplicationVerificationFailure,
        ),
        (
            "two names",
            forged(&ca, |params| {
                params.subject_alt_names.push(uri("node/app-02"))
            }),
            Refused::ApplicationVerificationFailure,
        ),
        (
            "no name",
            forged(&ca, |params| params.subject_alt_names.clear()),
            Refused::ApplicationVerificationFailure,
        ),
        (
            "no certificate",
            CertificateDer::from(vec![0x30, 0x03, 1, 1, 0]),
            Refused::BadEncoding,
        ),
    ];
    for (what, leaf, refused) in cases {
        assert_eq!(verifier.verify(&leaf), Err(refused), "{what}");
    }
}

#[test]
fn a_forged_signature_is_refused() {
    let ca = Authority::create_agent(NOW).unwrap();
    let mut leaf = issued(&ca, DOMAIN, Role::Node, "app-01", NOW).to_vec();
    let last = leaf.len() - 1;
    leaf[last] ^= 1;
    assert_eq!(
        verifier(&ca).verify(&CertificateDer::from(leaf)),
        Err(CertificateError::BadSignature)
    );
}

#[test]
fn the_agent_ca_cannot_vouch_for_a_host() {
    let ca = Authority::create_agent(NOW).unwrap();
    let anchor = anchor_from_trusted_cert(ca.certificate()).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(NOW.0 / 1000).unwrap(),
    ));
    for name in ["vigie.example", "192.0.2.1", "2001:db8::1"] {
        let leaf = forged(&ca, |params| {
            params.subject_alt_names = CertificateParams::new(vec![name.to_owned()])
                .unwrap()
                .subject_alt_names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let parsed = EndEntityCert::try_from(&leaf).unwrap();
        let result = parsed.verify_for_usage(
            provider().signature_verification_algorithms.all,
            std::slice::from_ref(&anchor),
            &[],
            at,
            KeyUsage::server_auth(),
            None,
            None,
        );
        assert_eq!(
            result.err(),
            Some(webpki::Error::NameConstraintViolation),
            "{name}"
        );
    }
}

#[test]
fn old_and_new_agent_cas_are_both_trusted() {
    let (old, new) = (
        Authority::create_agent(NOW).unwrap(),
        Authority::create_agent(NOW).unwrap(),
    );
    let roots = [new.certificate().clone(), old.certificate().clone()];
    let verifier = AgentVerifier::new(&roots, DOMAIN).unwrap();
    assert_eq!(verifier.root_hint_subjects().len(), 2);
    for ca in [&old, &new] {
        let leaf = issued(ca, DOMAIN, Role::Node, "app-01", NOW);
        assert_eq!(verifier.verify(&leaf), Ok(()));
    }
    assert!(AgentVerifier::new(&[CertificateDer::from(vec![1])], DOMAIN).is_err());
}

#[test]
fn a_peer_is_its_certificate() {
    let ca = Authority::create_agent(NOW).unwrap();
    assert_eq!(Peer::from_verified(None, DOMAIN), Ok(Peer::None));
    assert_eq!(Peer::from_verified(Some(&[]), DOMAIN), Ok(Peer::None));
    assert_eq!(Peer::None.standing(NOW), None);

    let leaf = issued(&ca, DOMAIN, Role::Node, "app-01", NOW);
    let peer = Peer::from_verified(Some(&[leaf.clone(), ca.certificate().clone()]), DOMAIN);
    let Ok(Peer::Node { name, credential }) = &peer else {
        panic!("{peer:?}");
    };
    assert_eq!(name.as_str(), "app-01");
    assert_eq!(
        credential.key_sha256,
        vigie_platform::tls::key_sha256(&leaf).unwrap()
    );

    let leaf = issued(&ca, DOMAIN, Role::Sender, "prom", NOW);
    let peer = Peer::from_verified(Some(&[leaf]), DOMAIN).unwrap();
    assert!(matches!(&peer, Peer::Sender { name, .. } if &**name == "prom"));
}

#[test]
fn dates_are_judged_by_the_instant_given() {
    let credential = Credential {
        key_sha256: Digest::ZERO,
        serial: String::new(),
        not_before: NOW,
        not_after: NOW.plus_ms(DAY_MS),
    };
    for (at_ms, expected) in [
        (-1, Standing::NotYetValid { begins_in_ms: 1 }),
        (0, Standing::Valid),
        (DAY_MS, Standing::Valid),
        (DAY_MS + 7, Standing::Expired { expired_by_ms: 7 }),
    ] {
        assert_eq!(credential.standing(NOW.plus_ms(at_ms)), expected);
    }
}
