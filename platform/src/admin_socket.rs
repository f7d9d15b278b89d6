//! The listening end of `admin.sock`, a Unix socket for operators: a caller asks with at most one line and is answered one.
//!
//! Who may call is the file's mode and that of its folder; who does call, the kernel says (SO_PEERCRED, unix(7)). Callers at
//! a time and a question's length have bounds; how long each may take is for whoever answers to say, since only that side
//! knows how long an answer takes. Dropping the future closes the socket and ends no conversation; the file is replaced at
//! the next start.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct SocketError {
    /// What was attempted.
    pub action: &'static str,
    /// The socket.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Opens the socket at `path`, replacing one that a process before left, for those whom `mode` lets in.
///
/// # Errors
/// When it can be neither made nor kept from others.
pub fn listen(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    let failed = |action| {
        move |source| SocketError {
            action,
            path: path.to_owned(),
            source,
        }
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    // The folder keeps others out until this has happened.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("protect"))?;
    Ok(listener)
}

/// How many callers are served, and what if one cannot be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Callers at a time; the next waits in the kernel's queue.
    pub callers_max: usize,
    /// How long to wait after an error of accepting, which does not pass at once.
    pub accept_pause: Duration,
    /// Tells of such an error.
    pub not_accepted: fn(&io::Error),
}

/// Lets each caller be answered in a task of its own, until dropped.
pub async fn serve<Conversation>(
    listener: UnixListener,
    bounds: Bounds,
    answer: impl Fn(Caller) -> Conversation,
) where
    Conversation: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(bounds.callers_max));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let conversation = answer(Caller(stream));
                tokio::spawn(async move {
                    conversation.await;
                    drop(permit);
                });
            }
            Err(error) => {
                (bounds.not_accepted)(&error);
                tokio::time::sleep(bounds.accept_pause).await;
            }
        }
    }
}

/// A program that has opened the socket.
#[derive(Debug)]
pub struct Caller(UnixStream);

impl Caller {
    /// The account it runs under.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn uid(&self) -> io::Result<u32> {
        Ok(self.0.peer_cred()?.uid())
    }

    /// Its question: what comes until the end of the line or of what it sends, at most `len_max` bytes.
    ///
    /// # Errors
    /// When it went away or sends no text.
    pub async fn read_line(&mut self, len_max: u64) -> io::Result<String> {
        let mut line = String::new();
        let mut limited = BufReader::new((&mut self.0).take(len_max));
        limited.read_line(&mut line).await?;
        Ok(line)
    }

    /// Writes the answer, which is the last it hears.
    ///
    /// # Errors
    /// When it went away.
    pub async fn write_line(mut self, mut text: String) -> io::Result<()> {
        text.push('\n');
        self.0.write_all(text.as_bytes()).await?;
        self.0.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::sync::mpsc;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        callers_max: 1,
        accept_pause: Duration::from_millis(1),
        not_accepted: |error| panic!("{error}"),
    };

    async fn ask(path: &Path, question: &str) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(question.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let mut stream = BufReader::new(stream);
        stream.read_line(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn callers_are_answered_one_line_each_no_more_at_a_time_than_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        // What a killed process left.
        drop(listen(&path, 0o600).unwrap());
        let listener = listen(&path, 0o660).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);

        let (callers, mut called) = mpsc::channel(2);
        let serving = tokio::spawn(serve(listener, BOUNDS, move |caller| {
            let callers = callers.clone();
            async move { callers.send(caller).await.unwrap() }
        }));
        let first = tokio::spawn({
            let path = path.clone();
            async move { ask(&path, "0123456789\nmore").await }
        });
        let mut caller = called.recv().await.unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(caller.uid().unwrap(), own);
        assert_eq!(caller.read_line(4).await.unwrap(), "0123");
        caller.write_line("done".to_owned()).await.unwrap();
        assert_eq!(first.await.unwrap(), "done\n");

        let second = tokio::spawn(async move { ask(&path, "whole\nmore").await });
        let mut caller = called.recv().await.unwrap();
        assert_eq!(caller.read_line(64).await.unwrap(), "whole\n");
        caller.write_line(String::new()).await.unwrap();
        assert_eq!(second.await.unwrap(), "\n");
        serving.abort();
    }
}
