//! Child processes: absolute program, empty environment, a deadline, bounded output, and an end for the whole group.
//!
//! Each child leads its own process group. When the deadline passes, its output grows too long or the future is dropped,
//! the group is killed (SIGKILL), so that nothing it started survives it. The leader is not reaped before that can no
//! longer be needed: until then its number cannot belong to anybody else. A command is always written in the
//! administrator's settings or in this program; nothing that a peer says becomes one.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    sync::Semaphore,
};
use vigie_core::time::Elapsed;
use vigie_platform::clock::{Clock, wait_until};

/// Children at a time. Backup tools read repositories; more of them at once would be a load of its own.
const COMMANDS_MAX: usize = 4;

/// What a child finds as PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts children and ends them.
#[derive(Clone)]
pub struct Commands {
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The longest output read, in bytes, of each stream.
    pub output_len_max: usize,
}

/// What a child said before it ended by itself.
#[derive(Debug)]
pub struct CommandOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why a command has no result. Arguments and output stay out of the text: they may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program is not named by its absolute path.
    #[error("{program} is not an absolute path")]
    Relative {
        /// The program.
        program: PathBuf,
    },
    /// It cannot be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its output or its end cannot be had.
    #[error("cannot follow {program}")]
    Follow {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It said more than was allowed and was killed.
    #[error("{program} wrote more than {output_len_max} bytes")]
    TooLong {
        /// The program.
        program: PathBuf,
        /// The bound.
        output_len_max: usize,
    },
    /// The deadline came first; it was killed if it had been started.
    #[error("{program} had not ended at its deadline")]
    Deadline {
        /// The program.
        program: PathBuf,
    },
}

/// Kills the process group when dropped, unless the leader was reaped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails only when all of the group ended by themselves.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Commands {
    /// Children whose deadlines `clock` counts.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            permits: Arc::new(Semaphore::new(COMMANDS_MAX)),
        }
    }

    /// Runs `command` to its end: until it has closed its output and exited, and so has whatever shares its output.
    ///
    /// Cancel-safe: dropping the future kills the group.
    ///
    /// # Errors
    /// See [`CommandError`]. An exit status other than 0 is not an error.
    pub async fn run(
        &self,
        command: &Command,
        deadline: Elapsed,
    ) -> Result<CommandOutput, CommandError> {
        tokio::select! {
            biased;
            result = self.run_to_end(command) => result,
            () = wait_until(&*self.clock, deadline) => Err(CommandError::Deadline {
                program: command.program.clone(),
            }),
        }
    }

    async fn run_to_end(&self, command: &Command) -> Result<CommandOutput, CommandError> {
        let program = &command.program;
        let follow_error = |source| CommandError::Follow {
            program: program.clone(),
            source,
        };
        if !program.is_absolute() {
            return Err(CommandError::Relative {
                program: program.clone(),
            });
        }
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|closed| follow_error(io::Error::other(closed)))?;
        let (mut child, mut group) = start(command).map_err(|source| CommandError::Start {
            program: program.clone(),
            source,
        })?;
        let bound = command.output_len_max;
        let (stdout, stderr) = tokio::try_join!(
            read_bounded(child.stdout.take(), bound),
            read_bounded(child.stderr.take(), bound),
        )
        .map_err(|source| {
            if source.kind() == io::ErrorKind::FileTooLarge {
                CommandError::TooLong {
                    program: program.clone(),
                    output_len_max: bound,
                }
            } else {
                follow_error(source)
            }
        })?;
        let status = child.wait().await.map_err(follow_error)?;
        // Reaped: from now on the number may be somebody else's.
        group.0 = None;
        Ok(CommandOutput {
            status,
            stdout,
            stderr,
        })
    }
}

/// The order of the pair matters: locals drop last to first, so the group is killed before the child's drop lets the
/// leader be reaped.
fn start(command: &Command) -> io::Result<(Child, Group)> {
    let child = tokio::process::Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let leader = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    Ok((child, Group(leader)))
}

async fn read_bounded(stream: Option<impl AsyncRead + Unpin>, bound: usize) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if let Some(stream) = stream {
        let limit = u64::try_from(bound).unwrap_or(u64::MAX).saturating_add(1);
        stream.take(limit).read_to_end(&mut output).await?;
    }
    if output.len() > bound {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use vigie_core::time::{Now, Wall};
    use vigie_platform::clock::{ManualClock, SystemClock};

    use super::*;

    const FAR: Elapsed = Elapsed(u64::MAX);

    fn shell(script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            output_len_max: 1000,
        }
    }

    #[tokio::test]
    async fn a_command_says_what_it_has_to_say_and_how_it_ended() {
        let commands = Commands::new(Arc::new(SystemClock));
        let command = shell("echo out; echo err >&2; env | sort; exit 3");
        let output = commands.run(&command, FAR).await.unwrap();
        assert_eq!(output.status.code(), Some(3));
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.starts_with("out\nLC_ALL=C\n"), "{stdout}");
        assert!(!stdout.contains("HOME="), "the environment is empty");
        assert_eq!(output.stderr, b"err\n");
    }

    #[tokio::test]
    async fn what_cannot_run_is_told_with_its_name_and_without_its_arguments() {
        let commands = Commands::new(Arc::new(SystemClock));
        let mut command = shell("secret");
        command.program = "/no/such/tool".into();
        let error = commands.run(&command, FAR).await.unwrap_err();
        assert!(matches!(error, CommandError::Start { .. }));
        assert_eq!(error.to_string(), "cannot start /no/such/tool");
        command.program = "tool".into();
        let error = commands.run(&command, FAR).await.unwrap_err();
        assert!(matches!(error, CommandError::Relative { .. }));
    }

    #[tokio::test]
    async fn endless_output_ends_the_command() {
        let commands = Commands::new(Arc::new(SystemClock));
        let error = commands.run(&shell("yes"), FAR).await.unwrap_err();
        assert!(matches!(
            error,
            CommandError::TooLong {
                output_len_max: 1000,
                ..
            }
        ));
    }

    /// A fifo whose only writers are the command and its child: once it reads end of file, both are dead.
    struct Lifeline {
        dir: tempfile::TempDir,
        reader: tokio::net::unix::pipe::Receiver,
    }

    impl Lifeline {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("fifo");
            rustix::fs::mkfifoat(
                rustix::fs::CWD,
                &path,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            )
            .unwrap();
            let reader = tokio::net::unix::pipe::OpenOptions::new()
                .open_receiver(&path)
                .unwrap();
            Self { dir, reader }
        }

        /// A command with a child of its own, both of which would live for an hour.
        fn command(&self) -> Command {
            let fifo = self.dir.path().join("fifo").display().to_string();
            shell(&format!(
                "exec 9>{fifo}; echo alive >&9; sleep 3600 & sleep 3600"
            ))
        }

        async fn is_alive(&mut self) {
            let mut line = [0; 6];
            self.reader.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"alive\n");
        }

        async fn is_dead(&mut self) {
            assert_eq!(self.reader.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn at_the_deadline_the_command_and_its_children_die() {
        let clock = Arc::new(ManualClock::at(Now {
            wall: Wall(0),
            elapsed: Elapsed(0),
        }));
        let commands = Commands::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let mut lifeline = Lifeline::new();
        let command = lifeline.command();
        let run = commands.run(&command, Elapsed(5_000));
        let (result, ()) = tokio::join!(run, async {
            lifeline.is_alive().await;
            clock.advance(std::time::Duration::from_secs(5));
        });
        assert!(matches!(result, Err(CommandError::Deadline { .. })));
        lifeline.is_dead().await;
    }

    #[tokio::test]
    async fn dropping_the_run_kills_the_command_and_its_children() {
        let commands = Commands::new(Arc::new(SystemClock));
        let mut lifeline = Lifeline::new();
        let command = lifeline.command();
        tokio::select! {
            _ = commands.run(&command, FAR) => panic!("it would run for an hour"),
            () = lifeline.is_alive() => {}
        }
        lifeline.is_dead().await;
    }
}
