//! The links by which people acknowledge from wherever they read a message: what one holds, who can make one, for how long.
//!
//! ```text
//! URL/a/TOKEN      TOKEN = base64url, without padding, of
//!                  version  1 byte, 1
//!                  expiry   4 bytes, big-endian: seconds since 1970
//!                  last     LEB128: the greatest [`Message::order`] of what it is about
//!                  count    1 byte: how many marks follow, at most [`MARKS_MAX`]
//!                  marks    4 bytes each ([`Mark`]); where there are none, LEB128: how far before `last` the span begins
//!                  to       text of the destination
//!                  tag      first 16 bytes of HMAC-SHA-256 over "vigie link v1\n" and all the bytes before
//! ```
//! Nothing about a link is stored: it says itself what it is about, and the tag says that this collector wrote it. A link
//! does as much as its message's reader may do and no more: say that somebody is on what that transmission said is on. It
//! is kept short, because text messages have 160 characters.
//!
//! A transmission about an alert or two names these, whatever else was told there before or since. One about more says
//! from which message to which it went, and is about the real alerts that were told of there within that span: a reminder
//! of an older one counts as that. Exercises are acknowledged by name only. A mark stands for the alert and its opening,
//! because the number of an alert that could not be written down may become another's; neither it nor anything else in a
//! link tells a stranger which alert it is.
//!
//! The key is 32 random bytes in `acknowledge.key`, mode 0600, made at the first start and never shown. Removing the file
//! and starting again makes every link void that was ever sent. On a full disk no key is made and the start fails.

use std::{
    fmt, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vigie_core::{digest::Digest, id::NAME_LEN_MAX, time::Wall};
use vigie_decide::{
    alert::{AlertKey, Message, Notification},
    destination::Destination,
};
use vigie_platform::{
    atomic_file::{self, ReplaceError},
    disk::RealDisk,
    random,
};

/// The path under which tokens stand.
pub const PATH: &str = "/a/";

/// The longest token read, in characters: the longest destination (two names and a slash) with all that goes with it.
pub const TOKEN_LEN_MAX: usize =
    (1 + 4 + 10 + 1 + 10 + 2 * NAME_LEN_MAX + 1 + TAG_LEN).div_ceil(3) * 4;

/// How many alerts a link names. With more it would leave a text message no room for what has happened.
pub const MARKS_MAX: usize = 2;

/// Bytes of a mark. It is looked for only among what is open and was told to the link's own destination.
const MARK_LEN: usize = 4;

/// The key's file in the data folder.
const KEY_FILE: &str = "acknowledge.key";

/// Bytes of the key: as many as the hash has (RFC 2104 section 3).
const KEY_LEN: usize = 32;

/// Only the collector's account.
const KEY_MODE: u32 = 0o600;

/// Bytes kept of the tag: 128 bits (RFC 2104 section 5 asks for at least half of the hash).
const TAG_LEN: usize = 16;

/// The version of the token's form.
const VERSION: u8 = 1;

/// What the tag is over, before the token's own bytes: no other use of the key could ever sign the same.
const CONTEXT: &[u8] = b"vigie link v1\n";

/// Makes and reads links. Its `Debug` does not show the key.
pub struct Links {
    key: hmac::Key,
    url: String,
    lasts_ms: i64,
}

/// Why there is no key for links.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
    /// The file cannot be read.
    #[error("cannot read the key of acknowledgement links {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Other accounts can read it, and so make links.
    #[error(
        "{path} can be read by other accounts (mode {mode:03o}); remove it, and a new one is made"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else. It is not replaced: whoever put it there should know.
    #[error("{path} does not hold a key of {KEY_LEN} bytes; remove it, and a new one is made")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system makes no key for acknowledgement links")]
    Generate,
    /// The key cannot be kept.
    #[error("cannot keep the key of acknowledgement links")]
    Keep {
        /// Why; names the file.
        #[source]
        source: ReplaceError,
    },
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Where its transmission went.
    pub to: Destination,
    /// The greatest [`Message::order`] of what it is about.
    pub last: u64,
    /// What it is about.
    pub about: About,
}

/// What a link is about, of what is still open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// These alerts.
    Alerts(Vec<Mark>),
    /// Every real alert that its destination was told of from the message of this order to the last.
    Since(u64),
}

/// One opening of one alert: the first bytes of a digest over both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; MARK_LEN]);

impl Mark {
    /// The mark of this opening.
    #[must_use]
    pub fn of(alert: &AlertKey, opening: u64) -> Self {
        let (node, check, object) = (alert.node(), alert.check(), alert.object());
        let said = format!("vigie mark v1\n{node}\n{check}\n{object}\n{opening}");
        let mut mark = [0; MARK_LEN];
        mark.copy_from_slice(&Digest::of(said.as_bytes()).0[..MARK_LEN]);
        Self(mark)
    }
}

impl About {
    /// What is to be said of these messages of one transmission, each about an alert that is on, and the greatest of their
    /// orders.
    fn of(messages: &[&Message]) -> (Self, u64) {
        let mut marks: Vec<Mark> = Vec::new();
        for telling in messages.iter().filter_map(|message| message.telling()) {
            let mark = Mark::of(&telling.alert, telling.opening);
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
        let is_real = |telling: &Notification| !telling.alert.is_exercise();
        let real = messages
            .iter()
            .filter(|message| message.telling().is_some_and(is_real));
        let orders = real.map(|message| message.order);
        if marks.len() > MARKS_MAX
            && let (Some(first), Some(last)) = (orders.clone().min(), orders.max())
        {
            return (Self::Since(first), last);
        }
        marks.truncate(MARKS_MAX);
        let last = messages.iter().map(|message| message.order).max();
        (Self::Alerts(marks), last.unwrap_or_default())
    }
}

/// Why a link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefused {
    /// This collector did not write it, or not so.
    #[error("not a link of this collector")]
    Forged,
    /// It was good once.
    #[error("the link has expired")]
    Expired,
}

impl Links {
    /// Takes up the key in `data_dir`, or makes one. Links begin with `url` and are good for `lasts`.
    ///
    /// # Errors
    /// When there is no key and none can be kept, or the file holds something else or is open to others.
    pub fn open(data_dir: &Path, url: &str, lasts: Duration) -> Result<Self, LinkKeyError> {
        let path = data_dir.join(KEY_FILE);
        let unread = |source| LinkKeyError::Read {
            path: path.clone(),
            source,
        };
        let key = match atomic_file::read(&RealDisk, &path, KEY_LEN) {
            Ok(Some(key)) if key.len() == KEY_LEN => {
                let mode = std::fs::metadata(&path).map_err(unread)?.mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(LinkKeyError::Mode { path, mode });
                }
                key
            }
            Ok(Some(_)) => return Err(LinkKeyError::NotAKey { path }),
            Err(source) if source.kind() == io::ErrorKind::FileTooLarge => {
                return Err(LinkKeyError::NotAKey { path });
            }
            Err(source) => return Err(unread(source)),
            Ok(None) => {
                let mut key = vec![0; KEY_LEN];
                random::fill(&mut key).map_err(|_| LinkKeyError::Generate)?;
                atomic_file::replace(&RealDisk, &path, &key, KEY_MODE)
                    .map_err(|source| LinkKeyError::Keep { source })?;
                key
            }
        };
        Ok(Self::new(&key, url, lasts))
    }

    fn new(key: &[u8], url: &str, lasts: Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            url: url.trim_end_matches('/').to_owned(),
            lasts_ms: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// The link of a transmission to `to`, written at `now`: those of its messages that say of an alert that it is on.
    #[must_use]
    pub fn link(&self, to: &Destination, messages: &[&Message], now: Wall) -> String {
        let (about, last) = About::of(messages);
        self.write(
            &Linked {
                to: to.clone(),
                last,
                about,
            },
            now,
        )
    }

    fn write(&self, linked: &Linked, now: Wall) -> String {
        let Linked { to, last, about } = linked;
        let expiry_s = now.plus_ms(self.lasts_ms).0.div_euclid(1_000);
        // A clock outside 1970 to 2106 is wrong; its links end at that range's end.
        let expiry_s = u32::try_from(expiry_s).unwrap_or(if expiry_s < 0 { 0 } else { u32::MAX });
        let mut bytes = vec![VERSION];
        bytes.extend(expiry_s.to_be_bytes());
        write_leb128(*last, &mut bytes);
        match about {
            About::Alerts(marks) => {
                bytes.push(u8::try_from(marks.len()).unwrap_or_default());
                bytes.extend(marks.iter().flat_map(|Mark(mark)| mark));
            }
            About::Since(first) => {
                bytes.push(0);
                write_leb128(last.saturating_sub(*first), &mut bytes);
            }
        }
        bytes.extend(to.to_string().as_bytes());
        let tag = self.tag(&bytes);
        bytes.extend(tag);
        format!("{}{PATH}{}", self.url, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What a token says, if this collector wrote it and it is still good. Costs one hash, whatever the text is.
    ///
    /// # Errors
    /// See [`LinkRefused`].
    pub fn read(&self, token: &str, now: Wall) -> Result<Linked, LinkRefused> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(LinkRefused::Forged);
        }
        // Strict: padding, other alphabets and spare bits that are not zero are refused.
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| LinkRefused::Forged)?;
        let (said, tag) = bytes
            .len()
            .checked_sub(TAG_LEN)
            .map(|len| bytes.split_at(len))
            .ok_or(LinkRefused::Forged)?;
        constant_time::verify_slices_are_equal(&self.tag(said), tag)
            .map_err(|_| LinkRefused::Forged)?;
        let (linked, expiry_s) = parse(said).ok_or(LinkRefused::Forged)?;
        if now.0 >= i64::from(expiry_s) * 1_000 {
            return Err(LinkRefused::Expired);
        }
        Ok(linked)
    }

    fn tag(&self, bytes: &[u8]) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(CONTEXT);
        context.update(bytes);
        let whole = context.sign();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&whole.as_ref()[..TAG_LEN]);
        tag
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("url", &self.url)
            .field("lasts_ms", &self.lasts_ms)
            .finish_non_exhaustive()
    }
}

/// What signed bytes say, and when that ends. `None` for a form of another version.
fn parse(said: &[u8]) -> Option<(Linked, u32)> {
    let (version, rest) = said.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (expiry_s, mut rest) = rest.split_first_chunk()?;
    let last = read_leb128(&mut rest)?;
    let (count, mut rest) = rest.split_first()?;
    let about = if *count == 0 {
        About::Since(last.checked_sub(read_leb128(&mut rest)?)?)
    } else {
        let (marks, to) = rest.split_at_checked(usize::from(*count) * MARK_LEN)?;
        rest = to;
        let (marks, _) = marks.as_chunks();
        About::Alerts(marks.iter().copied().map(Mark).collect())
    };
    let to = std::str::from_utf8(rest).ok()?.parse().ok()?;
    let linked = Linked { to, last, about };
    Some((linked, u32::from_be_bytes(*expiry_s)))
}

fn write_leb128(mut number: u64, bytes: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        number |= low.checked_shl(shift).filter(|wide| wide >> shift == low)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{collections::HashSet, os::unix::fs::PermissionsExt as _};

    use proptest::prelude::*;

    use super::*;

    const NOW: Wall = Wall(1_795_374_271_207);
    const DAY: Duration = Duration::from_secs(86_400);

    fn links() -> Links {
        Links::new(&[7; KEY_LEN], "https://astreinte.gradest.example/", DAY)
    }

    fn to() -> Destination {
        "am/sms".parse().unwrap()
    }

    /// A link that names one alert, in a message of this order.
    fn one(links: &Links, to: &Destination, last: u64, now: Wall) -> String {
        let to = to.clone();
        let about = About::Alerts(vec![Mark([7; MARK_LEN])]);
        links.write(&Linked { to, last, about }, now)
    }

    fn token_of(link: &str) -> &str {
        link.strip_prefix("https://astreinte.gradest.example/a/")
            .unwrap()
    }

    #[test]
    fn a_link_fits_a_text_message_and_says_which_message_it_stood_in() {
        let links = links();
        for about in [
            About::Alerts(vec![Mark([7; MARK_LEN]); MARKS_MAX]),
            About::Since(1_234),
        ] {
            let last = 16_000;
            let linked = Linked {
                to: to(),
                last,
                about,
            };
            let link = links.write(&linked, NOW);
            assert!(link.len() <= 89, "{} {link}", link.len());
            assert_eq!(links.read(token_of(&link), NOW), Ok(linked));
        }
    }

    #[test]
    fn a_link_is_good_until_its_end_and_no_longer() {
        let links = links();
        let link = one(&links, &to(), 1, NOW);
        let end = Wall(NOW.0 / 1_000 * 1_000).plus_ms(86_400_000);
        assert!(links.read(token_of(&link), end.plus_ms(-1)).is_ok());
        assert_eq!(links.read(token_of(&link), end), Err(LinkRefused::Expired));
    }

    #[test]
    fn the_longest_destination_and_order_have_a_link_and_what_is_longer_is_not_read() {
        let links = links();
        let longest = format!("{}/{}", "a".repeat(NAME_LEN_MAX), "b".repeat(NAME_LEN_MAX));
        let longest: Destination = longest.parse().unwrap();
        for about in [
            About::Alerts(vec![Mark([7; MARK_LEN]); MARKS_MAX]),
            About::Since(0),
        ] {
            let (to, last) = (longest.clone(), u64::MAX);
            let linked = Linked { to, last, about };
            let link = links.write(&linked, NOW);
            assert_eq!(links.read(token_of(&link), NOW), Ok(linked));
        }
        let longer = "A".repeat(TOKEN_LEN_MAX + 1);
        assert_eq!(links.read(&longer, NOW), Err(LinkRefused::Forged));
    }

    #[test]
    fn clocks_far_off_make_links_and_no_panic() {
        let links = links();
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let link = one(&links, &to(), 0, Wall(at));
            let _ = links.read(token_of(&link), Wall(at));
        }
    }

    #[test]
    fn every_change_of_one_bit_is_refused_and_so_is_every_other_spelling() {
        let links = links();
        for order in [0, 127, 128, 16_384, u64::MAX] {
            let link = one(&links, &to(), order, NOW);
            let token = token_of(&link);
            for at in 0..token.len() {
                for bit in 0..7 {
                    let mut bytes = token.as_bytes().to_vec();
                    bytes[at] ^= 1 << bit;
                    let changed = String::from_utf8(bytes).unwrap();
                    let read = links.read(&changed, NOW);
                    assert_eq!(read, Err(LinkRefused::Forged), "{changed}");
                }
            }
            let mut raw = URL_SAFE_NO_PAD.decode(token).unwrap();
            for at in 0..raw.len() * 8 {
                raw[at / 8] ^= 1 << (at % 8);
                let changed = URL_SAFE_NO_PAD.encode(&raw);
                assert_eq!(links.read(&changed, NOW), Err(LinkRefused::Forged));
                raw[at / 8] ^= 1 << (at % 8);
            }
            for other in [
                format!("{token}="),
                format!(" {token}"),
                token[1..].to_owned(),
            ] {
                assert_eq!(links.read(&other, NOW), Err(LinkRefused::Forged));
            }
        }
    }

    #[test]
    fn another_collector_s_links_are_refused() {
        let other = Links::new(&[8; KEY_LEN], "https://astreinte.gradest.example", DAY);
        let link = one(&other, &to(), 1, NOW);
        assert_eq!(links().read(token_of(&link), NOW), Err(LinkRefused::Forged));
    }

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Links::open(dir.path(), "https://astreinte.gradest.example", DAY);
        let link = one(&open().unwrap(), &to(), 9, NOW);
        let path = dir.path().join(KEY_FILE);
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(open().unwrap().read(token_of(&link), NOW).is_ok());
        assert!(!format!("{:?}", open().unwrap()).contains("key"));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            open(),
            Err(LinkKeyError::Mode { mode: 0o640, .. })
        ));
        for wrong in [&b"short"[..], &[0; KEY_LEN + 1]] {
            std::fs::write(&path, wrong).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(open(), Err(LinkKeyError::NotAKey { .. })));
        }
        std::fs::remove_file(&path).unwrap();
        let renewed = open().unwrap();
        assert_eq!(renewed.read(token_of(&link), NOW), Err(LinkRefused::Forged));
    }

    #[test]
    fn no_two_messages_share_a_link() {
        let links = links();
        let made: HashSet<String> = (0..1_000)
            .flat_map(|order| {
                ["am/sms", "am/mail", "am"].map(|to| one(&links, &to.parse().unwrap(), order, NOW))
            })
            .collect();
        assert_eq!(made.len(), 3_000);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(last: u64, before: u64, marks in prop::collection::vec(any::<[u8; MARK_LEN]>(), 0..=MARKS_MAX), person in "[a-z0-9][a-z0-9._-]{0,62}", channel in "[a-z0-9][a-z0-9._-]{0,62}") {
            let to: Destination = format!("{person}/{channel}").parse().unwrap();
            let links = links();
            let about = if marks.is_empty() {
                About::Since(last.saturating_sub(before))
            } else {
                About::Alerts(marks.into_iter().map(Mark).collect())
            };
            let linked = Linked { to, last, about };
            let link = links.write(&linked, NOW);
            prop_assert_eq!(links.read(token_of(&link), NOW), Ok(linked));
        }

        #[test]
        fn no_text_is_read_as_a_link(text: String) {
            prop_assert_eq!(links().read(&text, NOW), Err(LinkRefused::Forged));
        }
    }
}
