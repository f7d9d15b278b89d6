//! Which of two Debian versions is newer (deb-version(7), "Sorting algorithm").
//!
//! Total for any text: what dpkg would refuse is still compared, by the same rules.

use std::cmp::Ordering;

/// `[epoch:]upstream[-revision]`, compared part by part.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    compare_part(a.epoch, b.epoch)
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'t> {
    epoch: &'t str,
    upstream: &'t str,
    revision: &'t str,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self {
            epoch,
            upstream,
            revision,
        }
    }
}

/// Runs of non-digits and runs of digits by turns. No digits are 0, so that an absent epoch or revision equals `0`.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (a_text, b_text);
        (a_text, a) = a.split_at(run_len(a, |byte| !byte.is_ascii_digit()));
        (b_text, b) = b.split_at(run_len(b, |byte| !byte.is_ascii_digit()));
        let (a_digits, b_digits);
        (a_digits, a) = a.split_at(run_len(a, |byte| byte.is_ascii_digit()));
        (b_digits, b) = b.split_at(run_len(b, |byte| byte.is_ascii_digit()));
        let order = compare_text(a_text, b_text).then_with(|| compare_number(a_digits, b_digits));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn run_len(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|byte| !belongs(*byte))
        .unwrap_or(bytes.len())
}

/// Tildes before the end, the end before letters, letters before everything else.
fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| rank(a.get(at)).cmp(&rank(b.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| run_len(digits, |digit| digit == b'0');
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_sort_as_deb_version_says() {
        let ascending = [
            "~~",
            "~~a",
            "~",
            "~1",
            "",
            "1~",
            "1~beta1",
            "1~rc1~git1",
            "1~rc1",
            "1.0",
            "1.0-1~bpo1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u1",
            "1.0-1.1",
            "1.0-2",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1.2",
            "1.10",
            "2",
            "1:0",
            "1:1-1",
            "2:0~",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn different_texts_may_be_equal_versions() {
        for (a, b) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.0-", "1.0"),
            ("1.01", "1.1"),
            ("1.0-00", "1.0-0"),
            ("1.", "1.0"),
            ("00000000000000000000001", "1"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
        let long = "9".repeat(40);
        assert_eq!(compare(&long, "1"), Ordering::Greater);
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("[0-2a~+.:-]{0,8}", 3)) {
            let [a, b, c] = [&texts[0], &texts[1], &texts[2]];
            prop_assert_eq!(compare(a, a), Ordering::Equal);
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }

        #[test]
        fn any_text_is_compared(a in ".{0,12}", b in ".{0,12}") {
            let _any = compare(&a, &b);
        }
    }

    /// The same question to dpkg itself.
    #[test]
    fn dpkg_agrees() {
        let versions = [
            "1.0",
            "1.0-0",
            "1.0~rc1-1",
            "1.0-1+b2",
            "1:0.9",
            "2.36-9+deb12u10",
            "2.36-9+deb12u9",
            "1.0a",
            "1.0+",
            "1.0.",
        ];
        for a in versions {
            for b in versions {
                let is_less = Command::new("/usr/bin/dpkg")
                    .args(["--compare-versions", a, "lt", b])
                    .status()
                    .unwrap()
                    .success();
                assert_eq!(compare(a, b).is_lt(), is_less, "{a} {b}");
            }
        }
    }
}
