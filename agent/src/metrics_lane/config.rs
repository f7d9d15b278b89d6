//! What the lane is told: who is sent samples, what is shown to them, and how much of them may wait.
//!
//! Plain data, judged before it comes here; a reload replaces it as a whole. Secrets are named by their files and read when
//! they are needed; no text holds one.

use std::{path::PathBuf, sync::Arc};

use http::{HeaderName, HeaderValue, header};
use vigie_platform::{
    error_chain::chain,
    settings_file::{SecretFile, Url},
};

/// Who is sent samples, and how much of them may wait. Changed by a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Receivers besides the collector.
    pub others: Vec<RemoteWrite>,
    /// Bounds of each spool.
    pub limits: Limits,
}

/// A receiver of samples besides the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWrite {
    /// Its name, a configured name.
    pub name: Arc<str>,
    /// Where requests go.
    pub url: Url,
    /// Whom to trust instead of the system's certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// What is shown to it.
    pub credential: Option<Credential>,
}

/// A secret that goes with each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A header, `Name: value`.
    Header(SecretFile),
    /// A bearer token.
    Bearer(SecretFile),
}

/// How big a spool may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records on disk.
    pub bytes: u64,
    /// Age of the oldest record, by the wall clock.
    pub age_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024 * 1024,
            age_ms: 24 * 3_600 * 1_000,
        }
    }
}

impl Credential {
    /// The header that carries it, read anew. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read or holds no header; the text says nothing of what it holds.
    pub fn read(&self) -> Result<(HeaderName, HeaderValue), String> {
        let (Self::Header(file) | Self::Bearer(file)) = self;
        let secret = file.read().map_err(|error| chain(&error))?;
        let text = secret.expose_str().map(str::trim);
        let header = match self {
            Self::Header(_) => text.and_then(|text| {
                let (name, value) = text.split_once(':')?;
                let value = HeaderValue::from_str(value.trim()).ok()?;
                Some((name.trim().parse().ok()?, value))
            }),
            Self::Bearer(_) => text.and_then(|token| {
                let value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
                Some((header::AUTHORIZATION, value))
            }),
        };
        let (name, mut value) =
            header.ok_or_else(|| format!("{} holds no header", file.path().display()))?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}
