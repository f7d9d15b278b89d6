//! What channels and contacts may say, and what each mistake is told as.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use vigie_deliver::config::{AcceptedWhen, Address, HttpMethod};
use vigie_platform::settings_file::{self, Mistakes};

use super::*;

/// A folder with secrets, and the settings that are read beside them.
struct Folder(tempfile::TempDir);

/// What a test file says: channels, and the receivers and people of these names.
struct Read {
    contacts: Vec<Contact>,
    people: Vec<Vec<Contact>>,
}

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in [
            ("header", "Authorization: Bearer s3cret\n"),
            ("token", "tk_s3cret\n"),
            ("hook", "https://chat.example/hooks/s3cret\n"),
            ("plain-hook", "http://chat.example/hooks/s3cret\n"),
            ("user-hook", "https://me:s3cret@chat.example/\n"),
            ("no-token", "not a token\n"),
        ] {
            let path = folder.0.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        folder
    }

    fn read(&self, text: &str) -> Result<Read, Mistakes> {
        let text = text.replace("{dir}", &self.0.path().display().to_string());
        let file: PathBuf = self.0.path().join("collector.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let loaded = settings_file::load(&file, Vec::<(String, String)>::new());
        let value = {
            let root = loaded.root();
            let channels = read(&root, &["vigie.example".to_owned()]);
            let contacts: Vec<Option<Contact>> = root
                .tables("receiver")
                .into_iter()
                .map(|section| {
                    let contact = section.sub("contact").map(|sub| channels.contact(sub));
                    let email = section.sub("email").map(|sub| channels.email(sub));
                    section.finish();
                    contact.or(email).unwrap()
                })
                .collect();
            let people: Vec<Option<Vec<Contact>>> = root
                .tables("person")
                .into_iter()
                .map(|section| {
                    let contacts = channels.contacts(&section);
                    section.finish();
                    contacts
                })
                .collect();
            root.finish();
            let contacts: Option<Vec<_>> = contacts.into_iter().collect();
            let people: Option<Vec<_>> = people.into_iter().collect();
            match (contacts, people, channels.is_whole()) {
                (Some(contacts), Some(people), true) => Some(Read { contacts, people }),
                _ => None,
            }
        };
        loaded.finish(value)
    }

    fn contacts(&self, text: &str) -> Vec<Contact> {
        self.read(text)
            .map_err(|told| told.to_string())
            .unwrap()
            .contacts
    }

    /// The mistakes, without the file's name and the folder.
    fn mistakes(&self, text: &str) -> Vec<String> {
        let Err(mistakes) = self.read(text) else {
            panic!("accepted: {text}");
        };
        let dir = self.0.path().display().to_string();
        mistakes
            .iter()
            .map(|mistake| {
                mistake
                    .to_string()
                    .replace(&format!("{dir}/collector.toml:"), "")
                    .replace(&dir, "{dir}")
            })
            .collect()
    }
}

const EVERY: &str = r#"
[channel.mail]
smtp = { host = "smtp.example", from = "vigie@example.org" }
[channel.sms]
http = { url = "https://sms.example/send", header_file = "{dir}/header", body = '{"to":"{to}","text":"{text}"}', accepted = { status = [200, 202], body_contains = "queued" } }
detail = "minimal"
[channel.voice]
http = { url_file = "{dir}/hook", method = "PUT", content_type = "application/x-www-form-urlencoded", body = "to={to}&text={text}&id={key}&n={number}&t={title}" }
[channel.push]
ntfy = { url = "https://ntfy.example", token_file = "{dir}/token" }
[channel.chat]
mattermost = { url_file = "{dir}/hook" }
[channel.duty]
pagerduty = { routing_key_file = "{dir}/token" }
[channel.am]
alertmanager = { url = "http://127.0.0.1:9093", header_file = "{dir}/header" }
detail = "full"
[receiver.a]
contact = { channel = "sms", to = "+33600000000" }
[receiver.b]
contact = { channel = "voice", to = "standard" }
[receiver.c]
contact = { channel = "push", to = "astreinte_1" }
[receiver.d]
contact = { channel = "chat" }
[receiver.e]
contact = { channel = "chat", to = "@chef" }
[receiver.f]
contact = { channel = "duty" }
[receiver.g]
contact = { channel = "am" }
[receiver.h]
email = { to = ["a@b.example"] }
[person.am]
contacts = [{ channel = "sms", to = "+33600000001" }, { channel = "mail", to = "am@example.org" }]
[person.jb]
"#;

#[test]
fn every_channel_is_read_and_nothing_secret_is_shown() {
    let folder = Folder::new();
    let read = folder.read(EVERY).map_err(|told| told.to_string()).unwrap();
    let ways: Vec<&ContactChannel> = read.contacts.iter().map(|contact| &contact.way).collect();
    let ContactChannel::Http(sms) = ways[0] else {
        panic!("{:?}", ways[0]);
    };
    assert_eq!(sms.to.expose(), "+33600000000");
    assert_eq!(sms.gateway.method, HttpMethod::Post);
    assert_eq!(sms.gateway.accepted.status, [200, 202]);
    assert_eq!(read.contacts[0].detail, Detail::Minimal);
    let ContactChannel::Http(voice) = ways[1] else {
        panic!("{:?}", ways[1]);
    };
    assert!(matches!(voice.gateway.address, Address::File(_)));
    assert_eq!(voice.gateway.accepted, AcceptedWhen::default());
    assert!(matches!(ways[2], ContactChannel::Ntfy(ntfy) if ntfy.topic.expose() == "astreinte_1"));
    assert!(matches!(ways[3], ContactChannel::Mattermost(chat) if chat.channel.is_none()));
    assert!(
        matches!(ways[4], ContactChannel::Mattermost(chat) if chat.channel.as_deref() == Some("@chef"))
    );
    assert!(
        matches!(ways[5], ContactChannel::Pagerduty(duty) if duty.url == "https://events.pagerduty.com/v2/enqueue")
    );
    assert!(matches!(ways[6], ContactChannel::Alertmanager(_)));
    assert!(matches!(ways[7], ContactChannel::Email(_)));
    assert_eq!(read.contacts[7].channel.as_str(), "mail");
    let for_people: Vec<bool> = ways.iter().map(|way| way.is_for_people()).collect();
    assert_eq!(
        for_people,
        [true, true, true, true, true, false, false, true]
    );
    let [am, jb] = &read.people[..] else {
        panic!("{:?}", read.people);
    };
    let named: Vec<&str> = am.iter().map(|contact| contact.channel.as_str()).collect();
    assert_eq!(named, ["sms", "mail"]);
    assert!(jb.is_empty());
    let shown = format!("{:?}{:?}", read.contacts, read.people);
    for hidden in ["s3cret", "+336", "/hook", "Bearer"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}

/// A channel of this text, and a receiver that names it.
fn told_by(channel: &str) -> String {
    format!("[channel.x]\n{channel}\n[receiver.r]\ncontact = {{ channel = \"x\", to = \"t\" }}\n")
}

#[test]
fn each_mistake_of_a_channel_has_its_place_and_its_mend() {
    let folder = Folder::new();
    for (channel, told) in [
        (
            "detail = \"minimal\"",
            "1:10: `channel.x` has no way to tell; write one of `smtp`, `http`, `ntfy`, `mattermost`, `pagerduty`, `alertmanager`, such as `smtp = { host = \"…\" }`",
        ),
        (
            "ntfy = { url = \"https://n.example\" }\nmattermost = { url_file = \"{dir}/hook\" }",
            "3:1: `channel.x` has both `ntfy` and `mattermost`; keep one of the two, and declare another channel for the other",
        ),
        (
            "ntfy = { url = \"https://n.example\" }\ndetail = \"some\"",
            "3:10: `detail`: \"some\" is not one of the known words; write \"full\" or \"minimal\"",
        ),
        (
            "http = { url = \"https://g.example\", body = '{\"t\":\"{text}\",\"p\":\"{phone}\"}' }",
            "2:44: `body`: nothing is known of the place `{phone}`; use {to}, {text}, {title}, {number} or {key}",
        ),
        (
            "http = { url = \"https://g.example\", body = '{\"t\":{text}}' }",
            "2:44: `body`: this is not JSON once it is filled in; put each of {to}, {text} and {title} between quotes, such as '{\"to\":\"{to}\",\"text\":\"{text}\"}'",
        ),
        (
            "http = { url = \"https://g.example\", body = '{\"t\":\"{to}\"}' }",
            "2:44: `body`: this body says nothing of the alert; write {text} or {title} where the words belong",
        ),
        (
            "http = { url = \"https://g.example\", body = '{text}', content_type = \"text\" }",
            "2:69: `content_type`: this is not a media type; write one such as \"application/json\" or \"application/x-www-form-urlencoded\"",
        ),
        (
            "http = { url = \"http://g.example\", header_file = \"{dir}/header\", body = '\"{text}\"' }",
            "`header_file`: the secret would travel without encryption; write a `url` with https://",
        ),
        (
            "http = { url = \"https://g.example\", body = '\"{text}\"', accepted = { status = 302 } }",
            "2:78: `status`: 302 is out of bounds; write a whole number from 200 to 299, without quotes",
        ),
        (
            "http = { url_file = \"{dir}/token\", body = '\"{text}\"' }",
            "`url_file`: {dir}/token does not hold an address; write one line that starts with https://",
        ),
        (
            "ntfy = { url = \"https://n.example/topic\" }",
            "2:16: `url`: messages are published at the root of the server; write the address without a path; the topic is the `to` of each contact",
        ),
        (
            "ntfy = { url = \"https://u:p@n.example\" }",
            "2:16: `url`: the address holds a user or a password; remove it; secrets are in files of mode 0600, named by a key that ends in `_file`",
        ),
        (
            "ntfy = { url = \"https://n.example\", token_file = \"{dir}/no-token\" }",
            "`token_file`: {dir}/no-token does not hold a token or key; write it as one line of ASCII without blanks",
        ),
        (
            "mattermost = { url_file = \"{dir}/plain-hook\" }",
            "`url_file`: the address in {dir}/plain-hook is without encryption, and is a secret; write one that starts with https://",
        ),
        (
            "mattermost = { url_file = \"{dir}/user-hook\" }",
            "`url_file`: the address in {dir}/user-hook holds a user or a password; remove it; a login goes into `header_file` where there is one",
        ),
        (
            "mattermost = { url = \"https://chat.example/hooks/s3cret\" }",
            "`url` must not be in the settings; put it into a file of mode 0600 and write `url_file` with its path",
        ),
        (
            "pagerduty = { routing_key = \"s3cret\" }",
            "`routing_key` must not be in the settings; put it into a file of mode 0600 and write `routing_key_file` with its path",
        ),
        (
            "alertmanager = { url = \"https://am.example/api/v2/alerts\" }",
            "2:24: `url`: this is not where an Alertmanager is, but something of it; write its address without `/api/v2/alerts`, such as \"https://alertmanager.example:9093\"",
        ),
    ] {
        let mistakes = folder.mistakes(&told_by(channel));
        assert!(
            mistakes.iter().any(|mistake| mistake.ends_with(told)),
            "{channel}\n{mistakes:#?}"
        );
        assert!(!format!("{mistakes:?}").contains("s3cret"), "{mistakes:?}");
    }
}

#[test]
fn each_mistake_of_a_contact_has_its_place_and_its_mend() {
    let folder = Folder::new();
    let channels = EVERY.split("[receiver.a]").next().unwrap();
    let lines = channels.lines().count();
    for (contact, told) in [
        (
            "{ channel = \"smss\", to = \"+336\" }",
            "`channel`: no channel is called \"smss\"; did you mean \"sms\"?",
        ),
        (
            "{ channel = \"sms\" }",
            "`to` is missing in `receiver.r.contact`; write `to = \"…\"`",
        ),
        (
            "{ to = \"+336\" }",
            "`channel` is missing in `receiver.r.contact`; write `channel = [\"…\"]`",
        ),
        (
            "{ channel = \"sms\", to = \" +336\" }",
            "`to`: this is not a number or name that a gateway takes; write 1 to 200 characters without control characters and outer blanks, such as \"+33600000000\"",
        ),
        (
            "{ channel = \"push\", to = \"a/b\" }",
            "`to`: this is not a topic of ntfy; write 1 to 64 letters, digits, `_`, `-`",
        ),
        (
            "{ channel = \"chat\", to = \"a b\" }",
            "`to`: this is not the name of a channel; write 1 to 64 letters, digits, `_`, `-`, `.`, or `@` and a person's name",
        ),
        (
            "{ channel = \"mail\", to = \"a\" }",
            "`to`: \"a\" is not valid: it is not a mail address; write \"name@host.example\", in ASCII and without a display name",
        ),
        (
            "{ channel = \"duty\", to = \"a\" }",
            "`to`: `channel.duty` says itself who is told; remove it",
        ),
        (
            "{ channel = [\"sms\", \"mail\"], to = \"a\" }",
            "`channel`: this goes one way; name one channel",
        ),
    ] {
        let text = format!("{channels}[receiver.r]\ncontact = {contact}\n");
        let mistakes = folder.mistakes(&text);
        let place = format!("{}:", lines + 2);
        assert_eq!(mistakes.len(), 1, "{contact}\n{mistakes:#?}");
        let in_place =
            mistakes[0].starts_with(&place) || mistakes[0].starts_with(&format!("{}:", lines + 1));
        assert!(
            in_place && mistakes[0].ends_with(told),
            "{contact}\n{mistakes:#?}"
        );
    }
    let twice = format!(
        "{channels}[person.am]\ncontacts = [{{ channel = \"sms\", to = \"+331\" }}, {{ channel = \"sms\", to = \"+332\" }}]\n"
    );
    let mistakes = folder.mistakes(&twice);
    assert!(
        mistakes[0].ends_with("`channel`: \"sms\" is named twice; name each channel once; declare another one for a second address"),
        "{mistakes:?}"
    );
    let email = format!(
        "{channels}[receiver.r]\nemail = {{ to = [\"a@b.example\"], channel = \"sms\" }}\n"
    );
    let mistakes = folder.mistakes(&email);
    assert!(
        mistakes[0].ends_with("`channel`: `channel.sms` is not for mail; name one with `smtp`, or write `contact = { channel = \"sms\" }`"),
        "{mistakes:?}"
    );
}

#[test]
fn the_only_channel_for_mail_need_not_be_named() {
    let folder = Folder::new();
    let contacts = folder.contacts(EVERY);
    assert!(matches!(&contacts[7].way, ContactChannel::Email(email) if email.to.len() == 1));
    let two = EVERY.replace(
        "[channel.sms]",
        "[channel.mail2]\nsmtp = { host = \"b.example\", from = \"b@b.example\" }\n[channel.sms]",
    );
    let mistakes = folder.mistakes(&two);
    assert!(
        mistakes[0].ends_with("`email`: there are several channels for mail; write `channel = \"mail\"`, or another one"),
        "{mistakes:?}"
    );
}

#[test]
fn mail_is_from_the_domain_of_its_server_unless_written() {
    let folder = Folder::new();
    for (host, from) in [
        ("host = \"smtp.gradest.example\"", "vigie@gradest.example"),
        ("host = \"gradest.example\"", "vigie@gradest.example"),
        ("host = \"192.0.2.25\"", "vigie@vigie.example"),
        (
            "host = \"localhost\", tls = \"none\"",
            "vigie@vigie.example",
        ),
        (
            "host = \"smtp.a.example\", from = \"b@c.example\"",
            "b@c.example",
        ),
    ] {
        let smtp = "host = \"smtp.example\", from = \"vigie@example.org\"";
        let contacts = folder.contacts(&EVERY.replace(smtp, host));
        let ContactChannel::Email(email) = &contacts[7].way else {
            panic!("{host}");
        };
        assert_eq!(email.smtp.from.to_string(), from);
    }
    assert_eq!(mail_from("192.0.2.25", &[]), None);
    assert_eq!(mail_from("localhost", &["2001:db8::1", "vigie"]), None);
}

fn mail_from(host: &str, own: &[&str]) -> Option<String> {
    let own: Vec<String> = own.iter().map(ToString::to_string).collect();
    mail::usual_from(host, &own).map(|from| from.to_string())
}
