//! A real nginx, the service that users care about.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::{
    eventually, own_address,
    program::{Program, command},
};

/// What it serves, always the same.
const PAGE: &str = r#"{"status":"UP"}"#;

/// Its connections at a time, its own two listeners included: more than checks of one scenario ask in one moment.
const CONNECTIONS_MAX: usize = 1024;

/// An nginx that serves `/health`, with and without TLS, and can be stopped and started again on the same address.
#[derive(Debug)]
pub struct Nginx {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Option<Program>,
    dir: TempDir,
    address: SocketAddr,
    tls_address: SocketAddr,
}

impl Nginx {
    /// Starts one.
    ///
    /// # Panics
    /// When nginx is not installed (`make test` installs it) or does not start.
    pub async fn start() -> Self {
        let address: IpAddr = own_address().into();
        let mut nginx = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            address: (address, 8080).into(),
            tls_address: (address, 8443).into(),
            program: None,
        };
        nginx.write_certificates(address);
        let dir = nginx.dir.path().display();
        let (address, tls_address) = (nginx.address, nginx.tls_address);
        let settings = format!(
            r#"
            daemon off;
            # One process, so that nothing outlives a kill.
            master_process off;
            pid {dir}/pid;
            error_log stderr;
            events {{ worker_connections {CONNECTIONS_MAX}; }}
            http {{
                access_log off;
                client_body_temp_path {dir}/body;
                proxy_temp_path {dir}/proxy;
                fastcgi_temp_path {dir}/fastcgi;
                uwsgi_temp_path {dir}/uwsgi;
                scgi_temp_path {dir}/scgi;
                server {{
                    listen {address};
                    listen {tls_address} ssl;
                    ssl_certificate {dir}/certificate.pem;
                    ssl_certificate_key {dir}/key.pem;
                    location = /health {{ default_type application/json; return 200 '{PAGE}'; }}
                }}
            }}"#
        );
        fs::write(nginx.dir.path().join("nginx.conf"), settings).expect("settings can be written");
        nginx.restart().await;
        nginx
    }

    /// Where it answers 200.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/health", self.address)
    }

    /// Where it answers 200 over TLS, to those who trust [`Nginx::ca_file`].
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("https://{}/health", self.tls_address)
    }

    /// The certificate of the authority that vouches for it.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    fn write_certificates(&self, address: IpAddr) {
        let key = || KeyPair::generate().expect("keys can be made");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority of the scenario");
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("a good authority");
        let own_key = key();
        let certificate = CertificateParams::new([address.to_string()])
            .and_then(|params| params.signed_by(&own_key, &authority))
            .expect("an address can be certified");
        for (name, pem) in [
            ("authority.pem", authority.pem()),
            ("certificate.pem", certificate.pem()),
            ("key.pem", own_key.serialize_pem()),
        ] {
            fs::write(self.dir.path().join(name), pem).expect("certificates can be written");
        }
    }

    /// Stops it: the connection is refused from now on.
    pub async fn stop(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.stop().await;
        }
    }

    /// Starts it again and waits until it answers.
    pub async fn restart(&mut self) {
        let mut nginx = command("nginx");
        nginx
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(self.dir.path().join("nginx.conf"))
            .arg("-p")
            .arg(self.dir.path());
        let log = self.dir.path().join("nginx.log");
        self.program = Some(Program::start("nginx", nginx, &log));
        eventually(
            "nginx answers",
            async || match tokio::net::TcpStream::connect(self.address).await {
                Ok(_) => Ok(()),
                Err(cause) => Err(cause.to_string()),
            },
        )
        .await;
    }
}
