#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;

use rcgen::PublicKeyData as _;
use tempfile::TempDir;
use vigie_core::{digest::Digest, token::Role};
use x509_parser::extensions::GeneralName;

use super::{certificate::NODE_LIFE_MS, *};

/// 2026-11-22T19:04:31Z.
const NOW: Wall = Wall(1_795_374_271_000);
const DAY_MS: i64 = 86_400_000;

fn names() -> ServerNames {
    ServerNames::parse(["vigie.example", "192.0.2.1", "2001:db8::1"]).unwrap()
}

fn created() -> (TempDir, Pki) {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(dir.path(), names(), "vigie.example", NOW).unwrap();
    (dir, pki)
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn node(name: &str) -> Subject {
    Subject::new(Role::Node, name).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    parse_certificates(pem.as_bytes(), "issued")
        .unwrap()
        .remove(0)
}

#[test]
fn what_is_created_is_private_and_opens_again() {
    let (dir, pki) = created();
    let folder = dir.path().join("pki");
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let mut files = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        files += 1;
        let mode = file.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
    assert_eq!(files, 7);

    let again = Pki::open(dir.path(), NOW).unwrap();
    assert_eq!(again.server_ca().sha256(), pki.server_ca().sha256());
    assert_eq!(again.agent_ca().sha256(), pki.agent_ca().sha256());
    assert_eq!(again.own().chain(), pki.own().chain());
    assert_eq!(again.domain(), "vigie.example");
}

#[test]
fn a_second_creation_is_refused_and_changes_nothing() {
    let (dir, pki) = created();
    assert!(matches!(
        Pki::create(dir.path(), names(), "vigie.example", NOW),
        Err(PkiError::Exists { .. })
    ));
    let again = Pki::open(dir.path(), NOW).unwrap();
    assert_eq!(again.server_ca().sha256(), pki.server_ca().sha256());
}

#[test]
fn an_interrupted_creation_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Pki::open(dir.path(), NOW),
        Err(PkiError::NotInitialised { .. })
    ));
    fs::create_dir(dir.path().join("pki.making")).unwrap();
    fs::write(dir.path().join("pki.making/server-ca.key"), "half").unwrap();
    Pki::create(dir.path(), names(), "vigie.example", NOW).unwrap();
    assert!(!dir.path().join("pki.making").exists());
}

#[test]
fn a_key_that_others_can_read_is_refused_by_name() {
    let (dir, _) = created();
    let path = dir.path().join("pki/agent-ca.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Pki::open(dir.path(), NOW).unwrap_err();
    assert!(matches!(error, PkiError::Mode { mode: 0o640, .. }));
    assert!(error.to_string().contains("agent-ca.key"));
}

#[test]
fn an_authority_with_the_key_of_the_other_is_refused() {
    let (dir, _) = created();
    let pki = dir.path().join("pki");
    fs::copy(pki.join("server-ca.key"), pki.join("agent-ca.key")).unwrap();
    assert!(matches!(
        Pki::open(dir.path(), NOW),
        Err(PkiError::Authority {
            source: AuthorityError::Mismatch { .. }
        })
    ));
}

#[test]
fn the_collectors_certificate_is_renewed_hot_and_in_time() {
    let (dir, pki) = created();
    let own = pki.own();
    let first = own.chain();
    let early = NOW.plus_ms(59 * DAY_MS);
    assert_eq!(pki.renew_if_due(early).unwrap(), Renewal::NotDue);
    assert_eq!(own.chain(), first);

    let due = NOW.plus_ms(60 * DAY_MS);
    assert_eq!(pki.renew_if_due(due).unwrap(), Renewal::Renewed);
    let second = own.chain();
    assert_ne!(second[0], first[0]);
    assert_eq!(second[1], *pki.server_ca().certificate());
    assert_eq!(pki.own_not_after(), Some(due.plus_ms(90 * DAY_MS)));
    assert_eq!(pki.renew_if_due(due).unwrap(), Renewal::NotDue);
    assert_eq!(Pki::open(dir.path(), due).unwrap().own().chain(), second);
}

#[test]
fn a_clock_set_back_before_the_certificate_renews_it() {
    let (_dir, pki) = created();
    let before = NOW.plus_ms(-2 * DAY_MS);
    // The CA itself is not yet valid then; a client that trusts it does not look at its dates.
    assert_eq!(pki.renew_if_due(before).unwrap(), Renewal::Renewed);
    assert_eq!(pki.renew_if_due(before).unwrap(), Renewal::NotDue);
}

#[test]
fn a_renewal_that_cannot_be_written_leaves_the_old_certificate_in_use() {
    let (dir, pki) = created();
    let before = pki.own().chain();
    fs::rename(dir.path().join("pki"), dir.path().join("away")).unwrap();
    let due = NOW.plus_ms(60 * DAY_MS);
    assert!(matches!(pki.renew_if_due(due), Err(PkiError::Write { .. })));
    assert_eq!(pki.own().chain(), before);
    fs::rename(dir.path().join("away"), dir.path().join("pki")).unwrap();
    assert_eq!(pki.renew_if_due(due).unwrap(), Renewal::Renewed);
}

#[test]
fn a_damaged_certificate_of_the_collector_is_made_anew() {
    let (dir, pki) = created();
    let path = dir.path().join("pki/server.pem");
    for damage in ["", "-----BEGIN CERTIFICATE-----\n"] {
        fs::write(&path, damage).unwrap();
        let again = Pki::open(dir.path(), NOW).unwrap();
        assert_eq!(again.own().chain()[1], *pki.server_ca().certificate());
    }
    fs::remove_file(&path).unwrap();
    Pki::open(dir.path(), NOW).unwrap();
    assert!(path.exists());
}

#[test]
fn the_server_ca_vouches_for_the_names_given_at_its_making_only() {
    let (dir, _) = created();
    for (other, is_permitted) in [
        ("vigie.example", true),
        ("192.0.2.1", true),
        ("other.example", false),
        ("192.0.2.2", false),
        ("2001:db8::2", false),
    ] {
        fs::write(dir.path().join("pki/names"), format!("{other}\n")).unwrap();
        match Pki::open(dir.path(), NOW) {
            Ok(_) => assert!(is_permitted, "{other}"),
            Err(PkiError::Constrained { name, .. }) => {
                assert!(!is_permitted, "{other}");
                assert_eq!(name, other);
            }
            Err(error) => panic!("{other}: {error}"),
        }
    }
}

#[test]
fn forms_of_name_that_were_not_given_are_excluded_as_a_whole() {
    for (given, other) in [
        ("vigie.example", "192.0.2.1"),
        ("192.0.2.1", "vigie.example"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let names = ServerNames::parse([given]).unwrap();
        Pki::create(dir.path(), names, "vigie", NOW).unwrap();
        fs::write(dir.path().join("pki/names"), other).unwrap();
        assert!(matches!(
            Pki::open(dir.path(), NOW),
            Err(PkiError::Constrained { .. })
        ));
    }
}

#[test]
fn a_new_ca_is_put_first_and_the_old_one_stays_in_the_bundle() {
    let (dir, pki) = created();
    let old = pki.server_ca().bundle_pem().to_owned();
    let new = Authority::create_server(&names(), NOW).unwrap();
    let path = dir.path().join("pki");
    fs::write(path.join("server-ca.key"), new.key_pem()).unwrap();
    fs::write(
        path.join("server-ca.pem"),
        format!("{}{old}", new.bundle_pem()),
    )
    .unwrap();

    let pki = Pki::open(dir.path(), NOW).unwrap();
    assert_eq!(pki.server_ca().sha256(), new.sha256());
    assert_eq!(pki.server_ca().trusted().len(), 2);
    assert!(pki.server_ca_bundle_pem().contains(&old));
    // The certificate that the old CA signed was replaced, and the chain holds the signing CA alone.
    let chain = pki.own().chain();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], *new.certificate());
}

#[test]
fn a_node_certificate_says_what_the_collector_says_and_nothing_else() {
    let (_dir, pki) = created();
    let key = p256();
    let spki = key.subject_public_key_info();
    let issued = pki.issue(&node("app-01"), &spki, NOW).unwrap();
    let der = der(&issued.pem);
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();

    assert_eq!(parsed.subject().iter().count(), 0);
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("spiffe://vigie.example/node/app-01")]
    );
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty());
    let basic = parsed.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && !basic.value.ca);
    let key_usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(key_usage.digital_signature() && !key_usage.key_cert_sign());
    assert_eq!(parsed.public_key().raw, spki);

    let holder = certificate::holder(&der, "vigie.example").unwrap();
    assert_eq!(holder.subject, node("app-01"));
    assert_eq!(holder.serial, issued.serial);
    assert_eq!(holder.key_sha256, issued.key_sha256);
    assert_eq!(holder.not_before, NOW);
    assert_eq!(holder.not_after, issued.not_after);
    assert_eq!(issued.not_after, NOW.plus_ms(NODE_LIFE_MS));
    assert_eq!(issued.certificate_sha256, Digest::of(&der));

    let other = pki.issue(&node("app-01"), &spki, NOW).unwrap();
    assert_ne!(other.serial, issued.serial);
}

#[test]
fn keys_other_than_p256_are_refused() {
    let (_dir, pki) = created();
    let spki = p256().subject_public_key_info();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)
        .unwrap()
        .subject_public_key_info();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .unwrap()
        .subject_public_key_info();
    let mut off_curve = spki.clone();
    off_curve[60] ^= 1;
    let mut infinity = spki[..26].to_vec();
    infinity.push(0);
    let longer = [spki.as_slice(), &[0]].concat();
    for (what, key) in [
        ("P-384", p384.as_slice()),
        ("Ed25519", &ed25519),
        ("off the curve", &off_curve),
        ("point at infinity", &infinity),
        ("trailing byte", &longer),
        ("cut short", &spki[..90]),
        ("empty", &[]),
        ("a certificate", pki.agent_ca().certificate()),
    ] {
        assert!(
            matches!(pki.issue(&node("app-01"), key, NOW), Err(IssueError::Key)),
            "{what}"
        );
    }
}

#[test]
fn an_absurd_clock_issues_nothing_and_does_not_panic() {
    let (_dir, pki) = created();
    let spki = p256().subject_public_key_info();
    for at in [i64::MIN, -1, i64::MAX] {
        assert!(matches!(
            pki.issue(&node("app-01"), &spki, Wall(at)),
            Err(IssueError::Sign { .. })
        ));
    }
}

#[test]
fn names_outside_the_grammar_get_no_certificate() {
    for bad in ["", "App", "a/b", "../node/a", "a\n", "é", "-a"] {
        assert!(Subject::new(Role::Node, bad).is_err(), "{bad:?}");
    }
    let sender = Subject::new(Role::Sender, "prom-1").unwrap();
    assert_eq!(sender.uri("d"), "spiffe://d/sender/prom-1");
    assert_eq!(
        Subject::parse_uri("spiffe://d/sender/prom-1", "d"),
        Some(sender)
    );
    for bad in [
        "spiffe://d/node/",
        "spiffe://d/node/a/b",
        "spiffe://d/agent/a",
        "spiffe://d.example/node/a",
        "spiffe://d:1/node/a",
        "https://d/node/a",
        "spiffe://d/node/A",
    ] {
        assert_eq!(Subject::parse_uri(bad, "d"), None, "{bad}");
    }
}

#[test]
fn a_token_carries_the_server_ca_and_is_new_each_time() {
    let (_dir, pki) = created();
    let token = pki.make_token("https://vigie.example:9443").unwrap();
    assert_eq!(token.ca_sha256(), pki.server_ca().sha256());
    assert_eq!(token.url(), "https://vigie.example:9443");
    let other = pki.make_token("https://vigie.example:9443").unwrap();
    assert_ne!(token.id(), other.id());
    assert_ne!(token.secret_sha256(), other.secret_sha256());
    assert!(matches!(
        pki.make_token("http://vigie.example"),
        Err(MakeTokenError::Url { .. })
    ));
}

#[test]
fn the_domain_must_fit_a_spiffe_id() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["", "A", "a/b", "a:1", "é"] {
        assert!(matches!(
            Pki::create(dir.path(), names(), bad, NOW),
            Err(PkiError::Domain { .. })
        ));
    }
}
