//! Secrets, which are never in the settings but in files of their own or in systemd credentials.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::load::bytes_of;

/// A password, header or key; nothing that we know is longer.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The path of a file that holds a secret. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    path: PathBuf,
    guard: Guard,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Mode 0600 or less.
    Mode,
    /// systemd shows the service's access as a group bit, inside a folder that only the service can enter.
    CredentialsFolder,
}

impl SecretFile {
    /// A file of the administrator; only its owner may read it.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            guard: Guard::Mode,
        }
    }

    pub(super) fn credential(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(name),
            guard: Guard::CredentialsFolder,
        }
    }

    /// Where the secret is; safe to print.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the secret, without the end of line that editors add.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is empty, or can be read or written by group or others.
    pub fn read(&self) -> Result<Secret, ReadSecretError> {
        let (mut bytes, metadata) =
            bytes_of(&self.path, SECRET_BYTES_MAX).map_err(|source| ReadSecretError::Read {
                path: self.path.clone(),
                source,
            })?;
        let mode = metadata.permissions().mode() & 0o7777;
        let refused = match self.guard {
            Guard::Mode => 0o077,
            Guard::CredentialsFolder => 0o037,
        };
        if mode & refused != 0 {
            return Err(ReadSecretError::TooOpen {
                path: self.path.clone(),
                mode,
            });
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(ReadSecretError::Empty {
                path: self.path.clone(),
            });
        }
        Ok(Secret(bytes))
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretFile(..)")
    }
}

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSecretError {
    /// The file is absent, unreadable, not a regular file or too large.
    #[error("cannot read the secret in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else can read or change it.
    #[error(
        "refused to read the secret in {path}: its mode {mode:04o} lets others in; run `chmod 600 {path}`"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing is in it.
    #[error("the secret in {path} is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The bytes of a secret. Its `Debug` says nothing and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes, for the one who hands them to the peer.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text, if it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs;

    use super::*;

    fn written(mode: u32, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_private_file_is_read_without_its_end_of_line() {
        let (_folder, path) = written(0o600, "s3cret\r\n");
        let secret = SecretFile::at(path).read().unwrap();
        assert_eq!(secret.expose_str(), Some("s3cret"));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn a_file_open_to_others_is_refused_with_its_mode() {
        for mode in [0o640, 0o604, 0o620, 0o602] {
            let (_folder, path) = written(mode, "s3cret");
            let error = SecretFile::at(path).read().unwrap_err();
            assert!(
                matches!(error, ReadSecretError::TooOpen { mode: found, .. } if found == mode),
                "{error}"
            );
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn a_credential_may_show_its_acl_as_a_group_bit() {
        let (folder, _path) = written(0o440, "s3cret");
        assert!(
            SecretFile::credential(folder.path(), "secret")
                .read()
                .is_ok()
        );
        let (folder, _path) = written(0o444, "s3cret");
        assert!(
            SecretFile::credential(folder.path(), "secret")
                .read()
                .is_err()
        );
    }

    #[test]
    fn an_empty_secret_is_not_a_secret() {
        let (_folder, path) = written(0o600, "\n");
        assert!(matches!(
            SecretFile::at(path).read(),
            Err(ReadSecretError::Empty { .. })
        ));
    }

    #[test]
    fn a_folder_or_an_absent_file_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("absent")] {
            let error = SecretFile::at(&path).read().unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()));
        }
    }
}
