//! `[channel.N]`: the ways by which people and programs are told, and who is told by them: `email = { … }` and
//! `contact = { … }` of a receiver, `contacts = [ … ]` of a person.
//!
//! Whatever could go wrong on the night it is needed is found here: addresses that nobody takes, secrets that cannot be
//! read or would travel without encryption, a body that is no JSON once it is filled in. A webhook needs no channel.

use std::collections::{BTreeMap, BTreeSet};

use vigie_core::id::ChannelName;
use vigie_deliver::config::{
    AlertmanagerApi, Contact, ContactChannel, Detail, Email, HttpContact, HttpGateway, MailAddress,
    Mattermost, MattermostContact, Ntfy, NtfyContact, Pagerduty, Smtp,
};
use vigie_platform::settings_file::{Complaint, Mistake, Section};

pub(super) use self::http::url_secret;

mod http;
mod mail;
#[cfg(test)]
mod tests;

/// A mail to more people than this is for a list of the mail server; some refuse it as spam.
const TO_MAX: usize = 50;

/// More contacts than this of one person are never tried in one night.
const CONTACTS_MAX: usize = 8;

/// The longest `to` of an HTTP gateway, in characters.
const TO_LEN_MAX: usize = 200;

/// A channel, before anybody is told by it.
#[derive(Debug, Clone)]
struct Channel {
    way: ChannelWay,
    detail: Detail,
}

#[derive(Debug, Clone)]
enum ChannelWay {
    Smtp(Smtp),
    Http(Box<HttpGateway>),
    Ntfy(Ntfy),
    Mattermost(Mattermost),
    Pagerduty(Pagerduty),
    Alertmanager(AlertmanagerApi),
}

/// The keys of which a channel has one.
const WAYS: [&str; 6] = [
    "smtp",
    "http",
    "ntfy",
    "mattermost",
    "pagerduty",
    "alertmanager",
];

/// What to write where a channel has none of them.
const WAY_MEND: &str = "write one of `smtp`, `http`, `ntfy`, `mattermost`, `pagerduty`, `alertmanager`, such as \
                        `smtp = { host = \"…\" }`";

/// What `[channel.N]` tables said.
pub(super) struct Channels {
    /// All that are declared; `None` for those with mistakes, so that naming them is not another mistake.
    declared: BTreeMap<ChannelName, Option<Channel>>,
    /// Those whose tables have an `smtp`, whatever mistakes are in it.
    of_mail: BTreeSet<ChannelName>,
    /// No table had a mistake.
    is_whole: bool,
    /// What is allowed, but hardly meant.
    warnings: Vec<Mistake>,
}

/// Reads all `[channel.N]`. `host`: what the collector is called.
pub(super) fn read(root: &Section<'_>, host: &[String]) -> Channels {
    let mut channels = Channels {
        declared: BTreeMap::new(),
        of_mail: BTreeSet::new(),
        is_whole: true,
        warnings: Vec::new(),
    };
    for section in root.tables("channel") {
        let name = section.parsed_own_name::<ChannelName>();
        let is_of_mail = section.has("smtp");
        let channel = read_channel(&section, host);
        if let Some(channel) = &channel {
            channels.warnings.extend(long_texts(&section, channel));
        }
        section.finish();
        channels.is_whole &= name.is_some() && channel.is_some();
        let Some(name) = name else { continue };
        if is_of_mail {
            channels.of_mail.insert(name.clone());
        }
        channels.declared.insert(name, channel);
    }
    channels
}

/// `detail = "full"|"minimal"`.
pub(super) fn read_detail(section: &Section<'_>) -> Detail {
    let words = [("full", Detail::Full), ("minimal", Detail::Minimal)];
    section.one_of("detail", &words).or(Detail::Full)
}

/// Allowed, since some gateways call and read aloud; but a text message of everything that is known comes in many pieces,
/// and shows findings to whoever carries it.
fn long_texts(section: &Section<'_>, channel: &Channel) -> Option<Mistake> {
    let ChannelWay::Http(gateway) = &channel.way else {
        return None;
    };
    (channel.detail == Detail::Full && gateway.body.says_text()).then(|| Mistake {
        place: section.place().clone(),
        what: format!(
            "`channel.{}` sends everything that is known, far more than one text message holds",
            section.own_name()
        ),
        mend: "write `detail = \"minimal\"` for text messages: 160 characters without node and finding".to_owned(),
    })
}

fn read_channel(section: &Section<'_>, host: &[String]) -> Option<Channel> {
    let detail = read_detail(section);
    // Every table is read, so that its mistakes are told too.
    let ways = [
        section
            .sub("smtp")
            .map(|sub| mail::read_smtp(sub, host).map(ChannelWay::Smtp)),
        section
            .sub("http")
            .map(|sub| http::read_gateway(sub).map(|read| ChannelWay::Http(Box::new(read)))),
        section
            .sub("ntfy")
            .map(|sub| http::read_ntfy(sub).map(ChannelWay::Ntfy)),
        section
            .sub("mattermost")
            .map(|sub| http::read_mattermost(sub).map(ChannelWay::Mattermost)),
        section
            .sub("pagerduty")
            .map(|sub| http::read_pagerduty(sub).map(ChannelWay::Pagerduty)),
        section
            .sub("alertmanager")
            .map(|sub| http::read_alertmanager(sub).map(ChannelWay::Alertmanager)),
    ];
    let written: Vec<&str> = WAYS.into_iter().filter(|way| section.has(way)).collect();
    match written[..] {
        [] => {
            let what = format!("`channel.{}` has no way to tell", section.own_name());
            section.mistake(WAYS[0], what, WAY_MEND);
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            let what = format!(
                "`channel.{}` has both `{first}` and `{second}`",
                section.own_name()
            );
            let mend = "keep one of the two, and declare another channel for the other";
            section.mistake(second, what, mend);
            return None;
        }
    }
    let way = ways.into_iter().flatten().next()??;
    Some(Channel { way, detail })
}

impl Channels {
    /// Whether no channel has a mistake.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What is allowed, but hardly meant.
    pub(super) fn warnings(&self) -> Vec<Mistake> {
        self.warnings.clone()
    }

    /// All channels that may be named, those with mistakes included.
    pub(super) fn names(&self) -> BTreeSet<ChannelName> {
        self.declared.keys().cloned().collect()
    }

    /// `email = { to = ["…"], channel = "…" }` of a receiver. `None`: with a mistake, which is noted.
    pub(super) fn email(&self, section: Section<'_>) -> Option<Contact> {
        let to = section
            .parsed_list::<MailAddress>("to", mail::ADDRESS_MEND)
            .try_map(recipients)
            .required();
        let channel = if section.has("channel") {
            self.named(&section)
        } else {
            self.only_mail(&section)
        };
        let contact = channel.and_then(|channel| {
            let declared = self.declared.get(&channel)?.as_ref()?;
            let ChannelWay::Smtp(smtp) = &declared.way else {
                let what = format!("`channel`: `channel.{channel}` is not for mail");
                let mend = format!(
                    "name one with `smtp`, or write `contact = {{ channel = \"{channel}\" }}`"
                );
                section.mistake("channel", what, mend);
                return None;
            };
            Some(Contact {
                channel,
                way: ContactChannel::Email(Email {
                    to: to?,
                    smtp: smtp.clone(),
                }),
                detail: declared.detail,
            })
        });
        section.finish();
        contact
    }

    /// `{ channel = "…", to = "…" }`: the `contact` of a receiver. `None`: with a mistake, which is noted.
    pub(super) fn contact(&self, section: Section<'_>) -> Option<Contact> {
        let contact = self.read_contact(&section);
        section.finish();
        contact
    }

    /// `contacts = [{ channel = "…", to = "…" }, …]` of a person, the first to try first; absent: nobody reaches them.
    /// `None`: with a mistake, which is noted.
    pub(super) fn contacts(&self, person: &Section<'_>) -> Option<Vec<Contact>> {
        let mut named = BTreeSet::new();
        let mut contacts = Vec::new();
        let mut is_whole = true;
        for section in person.array_of_tables("contacts") {
            let contact = self.read_contact(&section);
            if let Some(contact) = &contact
                && !named.insert(contact.channel.clone())
            {
                let what = format!("`channel`: \"{}\" is named twice", contact.channel);
                let mend = "name each channel once; declare another one for a second address";
                section.mistake("channel", what, mend);
                is_whole = false;
            }
            section.finish();
            is_whole &= contact.is_some();
            contacts.extend(contact);
        }
        if contacts.len() > CONTACTS_MAX {
            let what = format!("`contacts`: {} are too many", contacts.len());
            person.mistake("contacts", what, format!("keep at most {CONTACTS_MAX}"));
            is_whole = false;
        }
        is_whole.then_some(contacts)
    }

    fn read_contact(&self, section: &Section<'_>) -> Option<Contact> {
        let channel = self.named(section);
        let to = section.str("to");
        let Some(channel) = channel else {
            // Whatever it is, nobody knows what it should be.
            drop(to.optional());
            return None;
        };
        let Some(declared) = self.declared.get(&channel)?.as_ref() else {
            drop(to.optional());
            return None;
        };
        let way = match &declared.way {
            ChannelWay::Smtp(smtp) => {
                let to = to.try_map(|text| {
                    text.parse::<MailAddress>().map_err(|error| {
                        Complaint::new(
                            format!("{text:?} is not valid: {error}"),
                            mail::ADDRESS_MEND,
                        )
                    })
                });
                ContactChannel::Email(Email {
                    to: vec![to.required()?],
                    smtp: smtp.clone(),
                })
            }
            ChannelWay::Http(gateway) => ContactChannel::Http(Box::new(HttpContact {
                gateway: (**gateway).clone(),
                to: to.try_map(gateway_address).required()?.into(),
            })),
            ChannelWay::Ntfy(server) => ContactChannel::Ntfy(NtfyContact {
                server: server.clone(),
                topic: to.try_map(topic).required()?.into(),
            }),
            ChannelWay::Mattermost(hook) => {
                let is_written = section.has("to");
                let channel = to.try_map(chat_channel).optional();
                if is_written && channel.is_none() {
                    return None;
                }
                ContactChannel::Mattermost(MattermostContact {
                    hook: hook.clone(),
                    channel,
                })
            }
            ChannelWay::Pagerduty(_) | ChannelWay::Alertmanager(_) if section.has("to") => {
                drop(to.optional());
                let what = format!("`to`: `channel.{channel}` says itself who is told");
                section.mistake("to", what, "remove it");
                return None;
            }
            ChannelWay::Pagerduty(pagerduty) => ContactChannel::Pagerduty(pagerduty.clone()),
            ChannelWay::Alertmanager(api) => ContactChannel::Alertmanager(api.clone()),
        };
        Some(Contact {
            channel,
            way,
            detail: declared.detail,
        })
    }

    /// The channel that `channel` names.
    fn named(&self, section: &Section<'_>) -> Option<ChannelName> {
        section
            .references("channel", "channel", &self.names())
            .try_map(|mut named| match (named.pop(), named.is_empty()) {
                (Some(name), true) => Ok(name),
                _ => Err(Complaint::new("this goes one way", "name one channel")),
            })
            .required()
    }

    /// The only channel for mail, where nobody named one.
    fn only_mail(&self, section: &Section<'_>) -> Option<ChannelName> {
        let mut all = self.of_mail.iter();
        let (what, mend) = match (all.next(), all.next()) {
            (Some(only), None) => return Some(only.clone()),
            (Some(first), Some(_)) => (
                "`email`: there are several channels for mail",
                format!("write `channel = \"{first}\"`, or another one"),
            ),
            (None, _) => (
                "`email`: there is no channel for mail",
                "declare one: `[channel.mail]` with `smtp = { host = \"…\" }`".to_owned(),
            ),
        };
        section.mistake("channel", what, mend);
        None
    }
}

fn recipients(to: Vec<MailAddress>) -> Result<Vec<MailAddress>, Complaint> {
    if to.is_empty() {
        let what = "this mail would reach nobody";
        return Err(Complaint::new(what, "write at least one address"));
    }
    if to.len() > TO_MAX {
        let what = format!("{} are too many", to.len());
        let mend = format!("keep at most {TO_MAX}, or write to a list of the mail server");
        return Err(Complaint::new(what, mend));
    }
    let mut seen = BTreeSet::new();
    for address in &to {
        if !seen.insert(address.to_string().to_ascii_lowercase()) {
            let what = format!("\"{address}\" is named twice");
            return Err(Complaint::new(what, "name each address once"));
        }
    }
    Ok(to)
}

/// What a gateway calls a number is its own business; only that it is one line is ours.
fn gateway_address(to: String) -> Result<String, Complaint> {
    let is_line = (1..=TO_LEN_MAX).contains(&to.chars().count()) && !to.contains(char::is_control);
    if is_line && to.trim() == to {
        return Ok(to);
    }
    Err(Complaint::new(
        "this is not a number or name that a gateway takes",
        format!(
            "write 1 to {TO_LEN_MAX} characters without control characters and outer blanks, such as \"+33600000000\""
        ),
    ))
}

/// What ntfy takes for a topic.
fn topic(to: String) -> Result<String, Complaint> {
    let is_topic = (1..=64).contains(&to.len())
        && to
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    is_topic.then_some(to).ok_or_else(|| {
        Complaint::new(
            "this is not a topic of ntfy",
            "write 1 to 64 letters, digits, `_`, `-`",
        )
    })
}

/// The name of a channel or of somebody in a chat.
fn chat_channel(to: String) -> Result<String, Complaint> {
    let is_channel = (1..=64).contains(&to.len())
        && to.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@' | b'#')
        });
    is_channel.then_some(to).ok_or_else(|| {
        Complaint::new(
            "this is not the name of a channel",
            "write 1 to 64 letters, digits, `_`, `-`, `.`, or `@` and a person's name",
        )
    })
}
