//! The kinds of text that settings hold: durations, shares, addresses. Pure; each returns what is wrong and its mend.

use std::fmt;
use std::time::Duration;

use super::section::Complaint;
use crate::clock::whole_ms;

/// Longer is a typing error, and keeps sums of deadlines far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads `"100ms"`, `"30s"`, `"5m"`, `"26h"` or `"30d"`: a whole number and one unit.
///
/// # Errors
///
/// Says what is wrong with the text and what to write.
pub fn parse_duration(text: &str) -> Result<Duration, Complaint> {
    let mend =
        "write a whole number and a unit, such as \"100ms\", \"30s\", \"5m\", \"26h\" or \"30d\"";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let what = if number.is_empty() {
        format!("{text:?} is not a duration")
    } else if unit.is_empty() {
        format!("{text:?} has no unit")
    } else if let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) {
        let duration_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*unit_ms));
        match duration_ms.map(Duration::from_millis) {
            Some(duration) if duration <= DURATION_MAX => return Ok(duration),
            _ => {
                return Err(Complaint::new(
                    format!("{text:?} is longer than ten years"),
                    "write a shorter duration",
                ));
            }
        }
    } else {
        format!("{text:?} has the unknown unit {unit:?}")
    };
    Err(Complaint::new(what, mend))
}

/// A duration in the largest unit that holds it whole, as [`parse_duration`] reads it.
pub(super) fn shown_duration(duration: &Duration) -> String {
    let ms = whole_ms(*duration);
    let (unit, unit_ms) = UNITS
        .iter()
        .rev()
        .find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms))
        .unwrap_or(&UNITS[1]);
    format!("{}{unit}", ms / unit_ms)
}

/// A share between 0 % and 100 %, exact to a hundredth of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    hundredths: u16,
}

impl Percent {
    /// `percent` whole percents; more than 100 counts as 100.
    pub const fn whole(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self {
            hundredths: percent as u16 * 100,
        }
    }

    /// Hundredths of a percent, 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.hundredths
    }

    /// The share between 0.0 and 1.0.
    pub fn ratio(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let wrong = || {
            Complaint::new(
                format!("{text:?} is not a percentage"),
                "write a number from 0 to 100 and `%`, such as \"85%\"",
            )
        };
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let are_digits = |text: &str, len_max: usize| {
            (1..=len_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !are_digits(whole, 3) || !are_digits(decimals, 2) {
            return Err(wrong());
        }
        let scale = if decimals.len() == 1 { 10 } else { 1 };
        let (whole, decimals): (u32, u32) = (
            whole.parse().map_err(|_| wrong())?,
            decimals.parse().map_err(|_| wrong())?,
        );
        match u16::try_from(whole * 100 + decimals * scale) {
            Ok(hundredths @ ..=10_000) => Ok(Self { hundredths }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hundredths / 100, self.hundredths % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

/// An address with a scheme and a host, free of user, password and token (RFC 3986, no fragment).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    text: String,
    scheme_len: usize,
    authority_end: usize,
    port: Option<u16>,
}

/// Words that name a secret when they stand in a query's key.
const SECRET_WORDS: [&str; 10] = [
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "apikey",
    "api_key",
    "api-key",
    "signature",
    "credential",
];

/// Whole query keys that carry a secret and are too short to look for inside others.
const SECRET_KEYS: [&str; 6] = ["key", "auth", "sig", "pass", "code", "jwt"];

impl Url {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_len]
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme_len + 3..self.authority_end]
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        split_authority(self.authority()).map_or("", |(host, _)| host)
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Path and query as written; empty if there are none.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.authority_end..]
    }

    /// Complaints never quote the address: it may hold the secret it is refused for.
    pub(super) fn parse(text: &str, schemes: &[&str]) -> Result<Self, Complaint> {
        let example = format!(
            "write an address such as \"{}://host.example/\"",
            schemes.first().unwrap_or(&"https")
        );
        let wrong = |what: &str| Complaint::new(what, example.clone());
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "the address holds blanks or characters other than ASCII",
            ));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("this is not an address with a scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            return Err(Complaint::new(
                "the address has a scheme that does not fit here",
                format!(
                    "begin it with {}",
                    schemes
                        .iter()
                        .map(|s| format!("{s}://"))
                        .collect::<Vec<_>>()
                        .join(" or ")
                ),
            ));
        }
        let authority_len = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_len);
        if authority.contains('@') {
            return Err(Complaint::new(
                "the address holds a user or a password",
                "remove it; secrets are in files of mode 0600, named by a key that ends in `_file`",
            ));
        }
        if tail.contains(['#', '\\']) {
            return Err(wrong("the address holds a fragment or a backslash"));
        }
        let query = tail.split_once('?').map_or("", |(_, query)| query);
        if query
            .split(['&', ';'])
            .any(|pair| looks_secret(pair.split('=').next().unwrap_or_default()))
        {
            return Err(Complaint::new(
                "the address seems to hold a token or a password in its query",
                "put the secret into a file of mode 0600, named by a key that ends in `_file`",
            ));
        }
        let (_, port) = split_authority(authority)
            .ok_or_else(|| wrong("the address has no valid host and port"))?;
        Ok(Self {
            scheme_len: scheme.len(),
            authority_end: scheme.len() + 3 + authority_len,
            port,
            text: format!("{scheme}://{rest}"),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a key's name says that its value is a secret.
pub(super) fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.contains(&key.as_str()) || SECRET_WORDS.iter().any(|word| key.contains(word))
}

fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (
            host,
            if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':')?)
            },
        )
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        (host, port)
    };
    match port {
        None => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .map(|port| (host, Some(port))),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        for (text, ms) in [
            ("100ms", 100),
            ("30s", 30_000),
            ("5m", 300_000),
            ("26h", 93_600_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(ms),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "30",
            "30 s",
            "-1s",
            "1.5h",
            "1h30m",
            "3w",
            "99999999999999999999s",
            "4000d",
            "１s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_are_exact_and_bounded() {
        for (text, hundredths) in [
            ("0%", 0),
            ("85%", 8_500),
            ("99.9%", 9_990),
            ("0.05%", 5),
            ("100%", 10_000),
        ] {
            let percent = Percent::parse(text).unwrap();
            assert_eq!(percent.hundredths(), hundredths, "{text}");
            assert_eq!(percent.to_string(), text);
        }
        for text in [
            "", "%", "85", "101%", "100.01%", "-1%", "1.%", ".5%", "1.234%", "85 %", "NaN%",
        ] {
            assert!(Percent::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let url = Url::parse("HTTPS://[2001:db8::1]:9443/a?b=c", &["http", "https"]).unwrap();
        assert_eq!(
            (url.scheme(), url.host(), url.port()),
            ("https", "2001:db8::1", Some(9443))
        );
        assert_eq!(url.path_and_query(), "/a?b=c");
        assert_eq!(url.as_str(), "https://[2001:db8::1]:9443/a?b=c");
        let url = Url::parse("https://portail.gradest.example", &["https"]).unwrap();
        assert_eq!(
            (url.authority(), url.port(), url.path_and_query()),
            ("portail.gradest.example", None, "")
        );
    }

    #[test]
    fn an_address_with_a_secret_is_refused_without_being_quoted() {
        for text in [
            "https://user:hunter2@host.example/",
            "https://hunter2@host.example",
            "https://host.example/x?token=hunter2",
            "https://host.example/x?a=b&X-Api-Key=hunter2",
            "https://host.example/x?sig=hunter2",
            "ftp://hunter2.example",
            "https://hunter2.example:99999",
            "https://host.example/#hunter2",
            "https:// hunter2",
            "hunter2",
            "https://",
            "https:///hunter2",
            "https://[::1/hunter2",
            "https://host.example:0/hunter2",
            "https://host.example\\@hunter2",
        ] {
            let complaint = Url::parse(text, &["https"]).unwrap_err();
            assert!(
                !format!("{complaint:?}").contains("hunter2"),
                "{text}: {complaint:?}"
            );
        }
        assert!(Url::parse("https://host.example/x?monkey=1&encode=2", &["https"]).is_ok());
    }

    proptest! {
        #[test]
        fn a_duration_shown_is_the_duration_read(ms in 0_u64..DURATION_MAX.as_millis() as u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&shown_duration(&duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = parse_duration(&text);
            let _ = Percent::parse(&text);
            let _ = Url::parse(&text, &["https"]);
            let _ = Url::parse(&format!("https://{text}"), &["https"]);
        }
    }
}
