//! The ledger's thread, and the handle through which the rest of the agent gives it work.
//!
//! One thread, one bounded queue in order of arrival. Whoever decides statuses never waits for it: [`EntryWriter::offer`]
//! says at once whether a line was taken. If a disk hangs, this thread hangs with it, the queue fills, no batch is
//! made, and the node falls silent to its collector: that is the alarm. It ends when the last handle is dropped.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot, watch};
use vigie_core::{entry::Draft, hand_in::EntriesAnswer, plan::Plan};

use super::{Batch, Consequence, Ledger, View};

/// Lines that wait for the disk: every object of one large check at once, and then some.
const QUEUE_MAX: usize = 2_048;

/// The thread keeps no large value on its stack; a hash, a JSON line and the file system's calls need far less.
const STACK_BYTES: usize = 256 * 1024;

enum Work {
    Write(Draft),
    Plan(Plan),
    Batch {
        lines_max: usize,
        bytes_max: usize,
        reply: oneshot::Sender<Batch>,
    },
    Answered {
        answer: Box<EntriesAnswer>,
        reply: oneshot::Sender<Consequence>,
    },
    Settle(oneshot::Sender<()>),
}

/// A handle to the ledger's thread.
#[derive(Debug, Clone)]
pub struct EntryWriter {
    work: mpsc::Sender<Work>,
    view: watch::Receiver<View>,
}

/// The ledger's thread is gone, which only a fault of the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's thread has ended")]
pub struct EntryWriterClosed;

impl EntryWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut ledger: Ledger) -> io::Result<Self> {
        let (work, mut queue) = mpsc::channel(QUEUE_MAX);
        let (view_sender, view) = watch::channel(ledger.view());
        thread::Builder::new()
            .name("ledger".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Some(work) = queue.blocking_recv() {
                    perform(&mut ledger, work);
                    view_sender.send_replace(ledger.view());
                }
            })?;
        Ok(Self { work, view })
    }

    /// Gives a line to write; false if the queue is full, and then the line was not taken.
    #[must_use]
    pub fn offer(&self, draft: Draft) -> bool {
        self.work.try_send(Work::Write(draft)).is_ok()
    }

    /// Gives a line to write, waiting for room.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn write(&self, draft: Draft) -> Result<(), EntryWriterClosed> {
        self.send(Work::Write(draft)).await
    }

    /// Gives a plan to write, waiting for room.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn write_plan(&self, plan: Plan) -> Result<(), EntryWriterClosed> {
        self.send(Work::Plan(plan)).await
    }

    /// What to send next; see [`Ledger::batch`].
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn batch(
        &self,
        lines_max: usize,
        bytes_max: usize,
    ) -> Result<Batch, EntryWriterClosed> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Batch {
            lines_max,
            bytes_max,
            reply,
        })
        .await?;
        answer.await.map_err(|_| EntryWriterClosed)
    }

    /// Hands over the collector's answer; see [`Ledger::answered`].
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn answered(&self, answer: EntriesAnswer) -> Result<Consequence, EntryWriterClosed> {
        let (reply, consequence) = oneshot::channel();
        let answer = Box::new(answer);
        self.send(Work::Answered { answer, reply }).await?;
        consequence.await.map_err(|_| EntryWriterClosed)
    }

    /// Waits until everything given before has been done.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn settle(&self) -> Result<(), EntryWriterClosed> {
        let (reply, done) = oneshot::channel();
        self.send(Work::Settle(reply)).await?;
        done.await.map_err(|_| EntryWriterClosed)
    }

    /// What may be known without asking; follows the last work done.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    async fn send(&self, work: Work) -> Result<(), EntryWriterClosed> {
        self.work.send(work).await.map_err(|_| EntryWriterClosed)
    }
}

fn perform(ledger: &mut Ledger, work: Work) {
    // Who asked may have gone; the work counts all the same.
    match work {
        Work::Write(draft) => ledger.write(&draft),
        Work::Plan(plan) => ledger.write_plan(plan),
        Work::Batch {
            lines_max,
            bytes_max,
            reply,
        } => {
            let _ = reply.send(ledger.batch(lines_max, bytes_max));
        }
        Work::Answered { answer, reply } => {
            let _ = reply.send(ledger.answered(&answer));
        }
        Work::Settle(reply) => {
            let _ = reply.send(());
        }
    }
}
