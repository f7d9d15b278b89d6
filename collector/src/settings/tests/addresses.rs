//! `webhook = { … }` and `email = { … }` of receivers, and the channels for mail.

use super::*;

#[test]
fn each_mistake_of_a_webhook_has_its_place_and_its_mend() {
    for (text, told) in [
        (
            "",
            "1:11: `receiver.night` has no way to be told; write one of `email = { to = [\"…\"] }`, `webhook = { url = \"https://…\" }`, `contact = { channel = \"…\" }` and `steps = [ … ]`",
        ),
        (
            "webhook = {}",
            "2:1: `url` is missing in `receiver.night.webhook`; write `url = \"https://…\"`",
        ),
        (
            "webhook = { url = \"https://x.example/?token=s3cret\" }",
            "2:19: `url`: the address seems to hold a token or a password in its query; put the secret into a file of mode 0600, named by a key that ends in `_file`",
        ),
        (
            "webhook = { url = \"https://x.example\", url_file = \"{secrets}/collector.toml\" }",
            "2:19: `url` and `url_file` are both written; keep one of the two",
        ),
        (
            "webhook = { url_file = \"{secrets}/collector.toml\" }",
            "2:24: `url_file`: collector.toml does not hold an address; write one line that starts with https://",
        ),
        (
            "webhook = { url = \"https://x.example\", format = \"alertmanger\" }",
            "2:49: `format`: \"alertmanger\" is not one of the known words; did you mean \"alertmanager\"?",
        ),
        (
            "webhook = { url = \"https://x.example\", header = \"A: b\" }",
            "2:40: `header` must not be in the settings; put it into a file of mode 0600 and write `header_file` with its path",
        ),
        (
            "webhook = { url = \"http://x.example\", header_file = \"{secrets}/collector.toml\" }",
            "2:53: `header_file`: the secret would travel without encryption; write a `url` with https://",
        ),
        (
            "webhook = { url = \"https://x.example\", ca_file = \"{secrets}/none\" }",
            "2:50: `ca_file`: cannot read none: No such file or directory (os error 2); write the path of a PEM file of certificate authorities",
        ),
        (
            "webhook = \"https://x.example\"",
            "2:11: `webhook`: this is text, not a table; write a table `[receiver.night.webhook]`",
        ),
        (
            "webhook = { url = \"https://x.example\" }\nchannel = \"mail\"",
            "3:1: unknown key `channel`; remove it or use one of `calendar`, `contact`, `digest`, `email`, `language`, `steps`, `webhook`",
        ),
    ] {
        let folder = Folder::new(&format!(
            "[receiver.night]\n{text}\n[[route]]\nnotify = [\"night\"]\n"
        ));
        assert_eq!(
            folder.mistakes(),
            [format!("collector.toml:{told}")],
            "{text}"
        );
    }
    let local = "[receiver.night]\nwebhook = { url = \"http://127.0.0.1:8080/\", header_file = \"{secrets}/collector.toml\" }\n[[route]]\nnotify = [\"night\"]\n";
    assert!(Folder::new(local).load().is_ok());
}

#[test]
fn each_mistake_of_a_mail_has_its_place_and_its_mend() {
    let whole = "{ host = \"mx.example\", from = \"vigie@example.org\" }";
    let channel = |smtp: &str| format!("[channel.mail]\nsmtp = {smtp}\n");
    let receiver =
        |way: &str| format!("[receiver.night]\n{way}\n[[route]]\nnotify = [\"night\"]\n");
    let mailed = receiver("email = { to = [\"a@b.example\"] }");
    for (text, told) in [
        (
            "[channel.mail]\n".to_owned() + &receiver("webhook = { url = \"https://x.example\" }"),
            "1:10: `channel.mail` has no way to tell; write one of `smtp`, `http`, `ntfy`, `mattermost`, `pagerduty`, `alertmanager`, such as `smtp = { host = \"…\" }`",
        ),
        (
            channel("{ host = \"192.0.2.25\" }") + &mailed,
            "2:1: `from` is missing in `channel.mail.smtp`; write `from = \"…\"`",
        ),
        (
            channel("{ host = \"smtp://mx\", from = \"a@b.example\" }") + &mailed,
            "2:17: `host`: \"smtp://mx\" is not valid: it is neither a DNS name nor an IP address; write a DNS name or an IP address, without scheme and port",
        ),
        (
            channel("{ host = \"mx.example\", from = \"Vigie <a@b.example>\" }") + &mailed,
            "2:38: `from`: \"Vigie <a@b.example>\" is not valid: it is not a mail address; write \"name@host.example\", in ASCII and without a display name",
        ),
        (
            channel("{ host = \"mx.example\", from = \"a@b.example\", tls = \"none\" }") + &mailed,
            "2:59: `tls`: mail to another machine would travel without encryption; write \"starttls\" or \"tls\"",
        ),
        (
            channel("{ host = \"mx.example\", from = \"a@b.example\", user = \"vigie\" }")
                + &mailed,
            "2:60: `user` is written without `password_file`; write both, or none",
        ),
        (
            channel("{ host = \"mx.example\", from = \"a@b.example\", password = \"x\" }")
                + &mailed,
            "2:53: `password` must not be in the settings; put it into a file of mode 0600 and write `password_file` with its path",
        ),
        (
            mailed.clone(),
            "2:1: `email`: there is no channel for mail; declare one: `[channel.mail]` with `smtp = { host = \"…\" }`",
        ),
        (
            channel(whole) + &channel(whole).replace("mail", "other") + &mailed,
            "6:1: `email`: there are several channels for mail; write `channel = \"mail\"`, or another one",
        ),
        (
            channel(whole) + &receiver("email = { to = [\"a@b.example\"], channel = \"mial\" }"),
            "4:43: `channel`: no channel is called \"mial\"; did you mean \"mail\"?",
        ),
        (
            channel(whole) + &receiver("email = { to = [] }"),
            "4:16: `to`: this mail would reach nobody; write at least one address",
        ),
        (
            channel(whole) + &receiver("email = { to = [\"a@b.example\", \"A@b.example\"] }"),
            "4:16: `to`: \"A@b.example\" is named twice; name each address once",
        ),
        (
            channel(whole)
                + &receiver(
                    "email = { to = [\"a@b.example\"] }\nwebhook = { url = \"https://x.example\" }",
                ),
            "4:1: `receiver.night` has both `webhook` and `email`; keep one of the two, and declare another receiver for the other",
        ),
    ] {
        let told = [format!("collector.toml:{told}")];
        assert_eq!(Folder::new(&text).mistakes(), told, "{text}");
    }
    let local = "{ host = \"localhost\", from = \"a@b.example\", tls = \"none\", ca_file = \"{secrets}/collector.toml\" }";
    let told = Folder::new(&(channel(local) + &mailed)).mistakes();
    assert_eq!(
        told[1],
        "collector.toml:2:76: `ca_file`: this channel never speaks TLS; remove it, or write `tls = \"starttls\"`"
    );
    for smtp in [
        "{ host = \"127.0.0.1\", port = 1025, tls = \"none\", from = \"vigie@example.org\" }",
        "{ host = \"mx.example\", tls = \"tls\", from = \"a+b@c.example\", user = \"vigie\", password_file = \"{secrets}/collector.toml\" }",
    ] {
        let folder = Folder::new(&(channel(smtp) + &mailed));
        if smtp.contains("password_file") {
            // A whole file is no password.
            assert!(folder.mistakes()[0].contains("does not hold a password"));
            let folder = folder.file("password", "s3cret\n");
            let text = channel(&smtp.replace("collector.toml", "password")) + &mailed;
            let shown = format!("{:?}", folder.file("collector.toml", &text).settings());
            assert!(!shown.contains("s3cret"));
        } else {
            assert!(folder.load().is_ok());
        }
    }
}
