//! What mails are known by (RFC 5322 §3.6.4), so that what is said of one alert stands in one thread.

use vigie_core::digest::Digest;
use vigie_decide::alert::Message;

/// How many threads one mail continues. A header line has room for no more (RFC 5322 §2.1.1), and no reader shows one mail
/// in more places.
const THREADS_MAX: usize = 10;

/// The left sides of what a mail is known by. The channel adds `@` and its domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailIds {
    /// Its own. The same message always has the same, so that whoever gets it twice can tell.
    pub own: String,
    /// Those of the mails with which the threads began that it continues: `In-Reply-To` and `References`. Empty: one
    /// begins with it.
    pub thread: Vec<String>,
}

impl MailIds {
    /// The ids of the mail that a batch becomes. It goes by the name of its first message: the one that
    /// [`vigie_decide::fleet::event::DeliveryEvent::Delivered`] names as having carried the others.
    #[must_use]
    pub fn of(batch: &[Message]) -> Self {
        let own = batch.first().map_or(Digest::ZERO, |message| message.key);
        let mut threads = Vec::new();
        let all = batch.iter().filter_map(|message| message.telling()?.thread);
        for thread in all {
            // The first of them first: the mail goes by its name.
            if thread != own && !threads.contains(&thread) && threads.len() < THREADS_MAX {
                threads.push(thread);
            }
        }
        Self {
            own: id(own),
            thread: threads.into_iter().map(id).collect(),
        }
    }
}

fn id(key: Digest) -> String {
    format!("vigie.message.{key}")
}
