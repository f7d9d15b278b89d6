//! Who may read metrics over the network: those with a certificate of the right authority and the right token.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on says where")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use vigie_tests::harness::{Collector, eventually};

/// What is shown in `Authorization`.
const TOKEN: &str = "4f1c2b0a9e8d7c6b5a49382716051423";

/// An authority, and what it gives out.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A client that trusts `server`, and shows a certificate of `clients` if there is one.
fn client(server: &Authority, clients: Option<&Authority>) -> reqwest::Client {
    let roots =
        [rustls::pki_types::pem::PemObject::from_pem_slice(server.0.pem().as_bytes()).unwrap()];
    let mut trust = rustls::RootCertStore::empty();
    trust.add_parsable_certificates(roots);
    let provider = vigie_platform::tls::provider();
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trust);
    let config = match clients {
        Some(clients) => {
            let (certificate, key) = clients.issue("prometheus.example");
            let chain = vec![
                rustls::pki_types::pem::PemObject::from_pem_slice(certificate.as_bytes()).unwrap(),
            ];
            let key = rustls::pki_types::pem::PemObject::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_collectors_pages_open_to_a_certificate_and_a_token_and_to_nothing_less() {
    let (servers, readers, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let mut collector = Collector::with("").start().await;
    let dir = collector.config().parent().unwrap().to_owned();
    let address = collector.metrics_address();
    let (certificate, key) = servers.issue(&address.ip().to_string());
    write(&dir, "certificate.pem", &certificate);
    write(&dir, "key.pem", &key);
    write(&dir, "clients.pem", &readers.0.pem());
    write(&dir, "token", TOKEN);
    let dir = dir.display();
    collector.write_settings(&format!(
        "[scrape]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n\
         client_ca_file = \"{dir}/clients.pem\"\nbearer_file = \"{dir}/token\"\n"
    ));
    // By a reload first, and then by a start.
    collector.reload();
    for _ in 0..2 {
        let url = format!("https://{address}/metrics");
        let reader = client(&servers, Some(&readers));
        let page = eventually("the right reader reads", async || {
            let answer = reader.get(&url).bearer_auth(TOKEN).send().await;
            let answer = answer.map_err(|cause| cause.to_string())?;
            match answer.status().as_u16() {
                200 => answer.text().await.map_err(|cause| cause.to_string()),
                status => Err(status.to_string()),
            }
        })
        .await;
        assert!(page.contains("vigie_build_info"), "{page}");
        for wrong in [None, Some("4f1c2b0a9e8d7c6b5a49382716051424")] {
            let mut request = reader.get(&url);
            if let Some(token) = wrong {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401);
            assert!(answer.headers().contains_key("www-authenticate"));
        }
        for stranger in [client(&servers, None), client(&servers, Some(&strangers))] {
            let refused = stranger.get(&url).bearer_auth(TOKEN).send().await;
            assert!(refused.is_err(), "{refused:?}");
        }
        let refused = collector.metrics().await;
        assert!(refused.is_err(), "without TLS: {refused:?}");
        collector.stop().await;
        collector.restart().await;
    }
}
