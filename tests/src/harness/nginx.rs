//! A real nginx, the service that users care about.

use std::{fs, net::SocketAddr};

use tempfile::TempDir;

use super::{
    eventually, own_address,
    program::{Program, command},
};

/// What it serves, always the same.
const PAGE: &str = r#"{"status":"UP"}"#;

/// An nginx that serves `/health`, and can be stopped and started again on the same address.
#[derive(Debug)]
pub struct Nginx {
    // Before its folder: fields are dropped in order, and a log must outlive its program.
    program: Option<Program>,
    dir: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one.
    ///
    /// # Panics
    /// When nginx is not installed (`make test` installs it) or does not start.
    pub async fn start() -> Self {
        let mut nginx = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            address: (own_address(), 8080).into(),
            program: None,
        };
        let dir = nginx.dir.path().display();
        let address = nginx.address;
        let settings = format!(
            r#"
            daemon off;
            # One process, so that nothing outlives a kill.
            master_process off;
            pid {dir}/pid;
            error_log stderr;
            events {{ worker_connections 64; }}
            http {{
                access_log off;
                client_body_temp_path {dir}/body;
                proxy_temp_path {dir}/proxy;
                fastcgi_temp_path {dir}/fastcgi;
                uwsgi_temp_path {dir}/uwsgi;
                scgi_temp_path {dir}/scgi;
                server {{
                    listen {address};
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
