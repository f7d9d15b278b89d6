//! A batch as a mail.

use std::collections::BTreeSet;

use super::{
    Detail, Mail, Voice,
    clock::Clock,
    document::{Block, Document},
    items::Batch,
    morning, several, single, title, words,
};
use vigie_core::reason::message::{Language, sanitised};
use vigie_decide::alert::Message;

/// How many receivers a signature names.
const RECEIVERS_NAMED_MAX: usize = 5;

/// The longest link that is repeated, in bytes; what is longer is no link of ours.
const LINK_LEN_MAX: usize = 2_000;

pub(super) fn compose(voice: Voice<'_>, messages: &[Message], detail: Detail) -> Mail {
    let batch = Batch::of(messages);
    let clock = voice.clock(batch.today);
    let mut document = body(voice, clock, &batch, detail);
    if detail == Detail::Full {
        document.signature = signature(voice.language, messages);
    }
    let subject = title::of_batch(clock, &batch, detail);
    Mail {
        text: document.text(),
        html: document.html(&subject),
        subject,
    }
}

/// Everything but the signature.
pub(super) fn body(
    voice: Voice<'_>,
    clock: Clock<'_>,
    batch: &Batch<'_>,
    detail: Detail,
) -> Document {
    let language = voice.language;
    let mut document = Document::new(language);
    if batch.is_exercise() {
        document.push(Block::Strong(exercise(language).to_owned()));
    }
    match batch.items.as_slice() {
        [] => {}
        [item] => single::write(clock, item, detail, &mut document),
        _ => several::write(clock, batch, detail, &mut document),
    }
    if let Some(url) = followed(voice, batch) {
        document.push(Block::Link {
            sentence: acknowledge(language, batch).to_owned(),
            url,
        });
    }
    for digest in &batch.digests {
        morning::write(clock, digest, detail, &mut document);
    }
    if let Some(line) = clock.zone_line() {
        document.push(Block::Paragraph(line));
    }
    document
}

/// The link, where there is something to acknowledge.
pub(super) fn followed(voice: Voice<'_>, batch: &Batch<'_>) -> Option<String> {
    let link = voice
        .link
        .filter(|link| batch.is_open() && link.len() <= LINK_LEN_MAX)?;
    Some(sanitised(link, LINK_LEN_MAX))
}

/// That nothing has failed.
pub(super) const fn exercise(language: Language) -> &'static str {
    words::either(
        language,
        "EXERCICE : rien n'est en panne. Ce message montre seulement qu'il arrive.",
        "EXERCISE: nothing has failed. This message only shows that it arrives.",
    )
}

const fn acknowledge(language: Language, batch: &Batch<'_>) -> &'static str {
    if batch.items.len() == 1 {
        words::either(
            language,
            "Pour dire que vous vous en chargez (une page s'ouvre, puis un bouton)",
            "To say that you are on it (a page opens, then a button)",
        )
    } else {
        words::either(
            language,
            "Pour dire que vous vous chargez de tout ce qui précède (une page s'ouvre, puis un bouton)",
            "To say that you are on all of the above (a page opens, then a button)",
        )
    }
}

/// Who says it to whom.
fn signature(language: Language, messages: &[Message]) -> String {
    let receivers: BTreeSet<&str> = messages
        .iter()
        .map(|message| message.receiver.as_str())
        .collect();
    let mut named: Vec<&str> = receivers
        .iter()
        .copied()
        .take(RECEIVERS_NAMED_MAX)
        .collect();
    if receivers.len() > named.len() {
        named.push("…");
    }
    let mut to = named.join(", ");
    if let Some(first) = messages.first()
        && first.to.to_string() != first.receiver.as_str()
    {
        to.push_str(&format!(" ({})", first.to));
    }
    let number = match messages {
        [message] => message.telling().map(|telling| telling.number),
        _ => None,
    };
    match (language, number) {
        (Language::French, Some(number)) => {
            format!("Alerte {number}, dite par vigie au destinataire {to}.")
        }
        (Language::French, None) => format!("Dit par vigie au destinataire {to}."),
        (Language::English, Some(number)) => {
            format!("Alert {number}, told by vigie to the receiver {to}.")
        }
        (Language::English, None) => format!("Told by vigie to the receiver {to}."),
    }
}
