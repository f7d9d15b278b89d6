//! The body that an HTTP gateway is sent: text with places to fill in.
//!
//! ```text
//! {"to":"{to}","text":"{text}"}     places: {to} {text} {title} {number} {key}; any other {word} is a mistake
//! ```
//! A value is escaped for what the body is, so that no text of an alert can become anything but text there: in JSON as the
//! inside of a string, in a form percent-encoded, in XML as character data. Whether a template is JSON once it is filled in
//! is tried when the settings are read, with values that need escaping; a place outside quotes is found then.

use std::fmt::Write as _;

use vigie_platform::settings_file::Complaint;

/// The longest template, in bytes.
const TEMPLATE_LEN_MAX: usize = 4 * 1024;

/// What may stand in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// `to` of the contact.
    To,
    /// What is said.
    Text,
    /// The same in one line.
    Title,
    /// The alert's number; 0 for a digest.
    Number,
    /// The idempotency key.
    Key,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 5] = [
        ("to", Self::To),
        ("text", Self::Text),
        ("title", Self::Title),
        ("number", Self::Number),
        ("key", Self::Key),
    ];

    /// A value of the kind that is filled in, as hard to escape as one can be.
    const fn hardest(self) -> &'static str {
        match self {
            Self::To | Self::Text | Self::Title => "a\"\\\n\u{1}{é} & <b>+=%",
            Self::Number => "1841",
            Self::Key => "0f",
        }
    }
}

/// How values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Inside a JSON string (RFC 8259 §7).
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Character data and quoted attribute values of XML 1.0.
    Xml,
    /// As they are.
    Plain,
}

impl Encoding {
    /// That of a media type.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::Json,
            "application/x-www-form-urlencoded" => Self::Form,
            "application/xml" | "text/xml" => Self::Xml,
            _ if essence.ends_with("+json") => Self::Json,
            _ if essence.ends_with("+xml") => Self::Xml,
            _ => Self::Plain,
        }
    }

    /// Appends `value` so that it can be nothing but text.
    fn push(self, body: &mut String, value: &str) {
        match self {
            Self::Plain => body.push_str(value),
            Self::Json => {
                for character in value.chars() {
                    match character {
                        '"' => body.push_str("\\\""),
                        '\\' => body.push_str("\\\\"),
                        '\n' => body.push_str("\\n"),
                        // Control characters, and the two line separators that are none in JSON but in JavaScript.
                        '\0'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                            let _infallible = write!(body, "\\u{:04x}", u32::from(character));
                        }
                        _ => body.push(character),
                    }
                }
            }
            Self::Form => {
                for byte in value.bytes() {
                    match byte {
                        b' ' => body.push('+'),
                        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                            body.push(char::from(byte))
                        }
                        _ => {
                            let _infallible = write!(body, "%{byte:02X}");
                        }
                    }
                }
            }
            Self::Xml => {
                for character in value.chars() {
                    match character {
                        '&' => body.push_str("&amp;"),
                        '<' => body.push_str("&lt;"),
                        '>' => body.push_str("&gt;"),
                        '"' => body.push_str("&quot;"),
                        '\'' => body.push_str("&#39;"),
                        '\n' => body.push_str("&#10;"),
                        // No document may hold the others, not even escaped (XML 1.0 §2.2).
                        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => body.push(' '),
                        _ => body.push(character),
                    }
                }
            }
        }
    }
}

/// A body with places to fill in. Its `Debug` shows no text: some gateways want their key in the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    encoding: Encoding,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Placeholder),
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Template(..)")
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When it has a place that nothing is known of, says nothing of the message, or is no JSON although it should be.
    pub fn parse(text: &str, encoding: Encoding) -> Result<Self, Complaint> {
        if text.len() > TEMPLATE_LEN_MAX {
            let what = format!("{} bytes are too many", text.len());
            let mend = format!("keep at most {TEMPLATE_LEN_MAX}");
            return Err(Complaint::new(what, mend));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            literal.push_str(before);
            let inside = &from[1..];
            let word_len = inside
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                .count();
            let is_place = word_len > 0 && inside[word_len..].starts_with('}');
            if !is_place {
                literal.push('{');
                rest = inside;
                continue;
            }
            let word = &inside[..word_len];
            let known = Placeholder::ALL.iter().find(|(name, _)| *name == word);
            let Some((_, placeholder)) = known else {
                let what = format!("nothing is known of the place `{{{word}}}`");
                let mend = "use {to}, {text}, {title}, {number} or {key}";
                return Err(Complaint::new(what, mend));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Value(*placeholder));
            rest = &inside[word_len + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let template = Self { encoding, parts };
        template.judge()?;
        Ok(template)
    }

    fn judge(&self) -> Result<(), Complaint> {
        let says =
            |part: &Part| matches!(part, Part::Value(Placeholder::Text | Placeholder::Title));
        if !self.parts.iter().any(says) {
            return Err(Complaint::new(
                "this body says nothing of the alert",
                "write {text} or {title} where the words belong",
            ));
        }
        let is_json = || {
            let filled = self.fill(|placeholder| placeholder.hardest().to_owned());
            serde_json::from_str::<serde_json::Value>(&filled).is_ok()
        };
        if self.encoding == Encoding::Json && !is_json() {
            return Err(Complaint::new(
                "this is not JSON once it is filled in",
                "put each of {to}, {text} and {title} between quotes, such as '{\"to\":\"{to}\",\"text\":\"{text}\"}'",
            ));
        }
        Ok(())
    }

    /// Whether it has a place for all that is said, and not only for a title.
    #[must_use]
    pub fn says_text(&self) -> bool {
        let is_text = |part: &Part| matches!(part, Part::Value(Placeholder::Text));
        self.parts.iter().any(is_text)
    }

    /// The body with what `value` gives for each place.
    #[must_use]
    pub fn fill(&self, value: impl Fn(Placeholder) -> String) -> String {
        let mut body = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => body.push_str(text),
                Part::Value(placeholder) => self.encoding.push(&mut body, &value(*placeholder)),
            }
        }
        body
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn braces_that_are_no_places_stay() {
        let body = r#"{"a":{},"b":{ "c": "{text}" },"d":"{","e":"{not-a-place}"}"#;
        let template = Template::parse(body, Encoding::Json).unwrap();
        let filled = template.fill(|_| "x".to_owned());
        assert_eq!(filled, body.replace("{text}", "x"));
    }

    #[test]
    fn a_media_type_says_how_values_are_escaped() {
        for (kind, encoding) in [
            ("application/json", Encoding::Json),
            ("Application/JSON; charset=utf-8", Encoding::Json),
            ("application/vnd.sms+json", Encoding::Json),
            ("application/x-www-form-urlencoded", Encoding::Form),
            ("text/xml; charset=utf-8", Encoding::Xml),
            ("application/soap+xml", Encoding::Xml),
            ("text/plain", Encoding::Plain),
        ] {
            assert_eq!(Encoding::of(kind), encoding, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn any_text_stays_itself_in_json(text in any::<String>(), to in any::<String>()) {
            let template = Template::parse(r#"{"to":"{to}","n":{number},"text":"{text}"}"#, Encoding::Json);
            let filled = template.unwrap().fill(|placeholder| match placeholder {
                Placeholder::To => to.clone(),
                Placeholder::Number => "1841".to_owned(),
                _ => text.clone(),
            });
            let read: Value = serde_json::from_str(&filled).unwrap();
            prop_assert_eq!(read.as_object().unwrap().len(), 3);
            prop_assert_eq!(&read["to"], &Value::from(to));
            prop_assert_eq!(&read["text"], &Value::from(text));
        }

        #[test]
        fn any_text_stays_one_value_of_a_form(text in any::<String>()) {
            let template = Template::parse("a={text}&b=c", Encoding::Form).unwrap();
            let filled = template.fill(|_| text.clone());
            let value = filled.strip_prefix("a=").and_then(|rest| rest.strip_suffix("&b=c")).unwrap();
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*-._+%".contains(&byte)));
            let url = reqwest::Url::parse(&format!("http://x.example/?{filled}")).unwrap();
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(&pairs, &[("a".to_owned(), text), ("b".to_owned(), "c".to_owned())]);
        }

        #[test]
        fn any_text_is_character_data_of_xml(text in any::<String>()) {
            let template = Template::parse("<m to=\"{to}\">{text}</m>", Encoding::Xml).unwrap();
            let filled = template.fill(|_| text.clone());
            let inside = filled.strip_prefix("<m to=\"").and_then(|rest| rest.strip_suffix("</m>")).unwrap();
            prop_assert_eq!(inside.matches(['<', '"']).count(), 1);
            let has_control = filled.chars().any(|character| character < ' ');
            prop_assert!(!has_control);
        }
    }
}
