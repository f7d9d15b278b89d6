//! The two limits of one measured value, read from `warning = { … }` and `critical = { … }`, and how a value stands to
//! them. Reaching a limit counts as passing it, so that `100%` can be a limit.

use vigie_core::status::Status;
use vigie_platform::settings_file::{Field, Percent, Section};

/// From where on a value is worth a look, and from where on it is bad. Without either it is measured and never judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits<T> {
    warning: Option<T>,
    critical: Option<T>,
}

/// How a value stands, with the limit that it reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    /// Below every limit.
    Within,
    /// At or above this warning limit.
    Warning(T),
    /// At or above this critical limit.
    Critical(T),
}

/// A share as a fraction of two counts, so that no rounding stands between a value and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    part: u64,
    whole: u64,
}

impl<T: Copy + PartialOrd> Limits<T> {
    /// Both limits.
    pub(super) const fn new(warning: T, critical: T) -> Self {
        Self {
            warning: Some(warning),
            critical: Some(critical),
        }
    }

    /// `self` where at least one limit was written, else `default`. Half of a default never mixes with the
    /// administrator's other half.
    pub(super) fn or(self, default: Self) -> Self {
        if self.warning.is_none() && self.critical.is_none() {
            default
        } else {
            self
        }
    }

    /// How a value stands to which `reached` says whether it reaches a limit.
    pub(super) fn judge(&self, reached: impl Fn(T) -> bool) -> Verdict<T> {
        match (self.critical.filter(|limit| reached(*limit)), self.warning) {
            (Some(limit), _) => Verdict::Critical(limit),
            (None, Some(limit)) if reached(limit) => Verdict::Warning(limit),
            (None, _) => Verdict::Within,
        }
    }
}

impl<T: Copy> Verdict<T> {
    /// The status this verdict gives.
    pub(super) const fn status(&self) -> Status {
        match self {
            Self::Within => Status::Ok,
            Self::Warning(_) => Status::Warning,
            Self::Critical(_) => Status::Critical,
        }
    }

    /// The limit that was reached.
    pub(super) const fn limit(&self) -> Option<T> {
        match self {
            Self::Within => None,
            Self::Warning(limit) | Self::Critical(limit) => Some(*limit),
        }
    }
}

impl Share {
    /// `part` of `whole`; `None` of nothing. More than the whole counts as all of it.
    pub(super) fn of(part: u64, whole: u64) -> Option<Self> {
        (whole > 0).then(|| Self {
            part: part.min(whole),
            whole,
        })
    }

    /// In thousandths, cut: 949 is still below 95 %.
    pub(super) fn permille(self) -> u64 {
        let permille = u128::from(self.part) * 1_000 / u128::from(self.whole);
        u64::try_from(permille).unwrap_or(1_000)
    }

    /// Between 0.0 and 1.0.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of bytes needs no 64 bits"
    )]
    pub(super) fn ratio(self) -> f64 {
        self.part as f64 / self.whole as f64
    }

    /// Whether this share is `limit` or more, exactly.
    pub(super) fn reaches(self, limit: Percent) -> bool {
        u128::from(self.part) * 10_000 >= u128::from(self.whole) * u128::from(limit.hundredths())
    }

    /// How this share stands to `limits`.
    pub(super) fn judge(self, limits: Limits<Percent>) -> Verdict<Percent> {
        limits.judge(|limit| self.reaches(limit))
    }
}

/// A limit in thousandths, for the fact that names it.
pub(super) fn limit_permille(limit: Percent) -> u64 {
    u64::from(limit.hundredths()) / 10
}

/// Reads the limits of every key in `keys`, in their order; a warning above its critical limit is a mistake.
pub(super) fn read<'k, T: Copy + PartialOrd, const N: usize>(
    section: &Section<'_>,
    keys: [&'k str; N],
    one: impl for<'f> Fn(&'f Section<'f>, &'f str) -> Field<'f, T>,
) -> [Limits<T>; N] {
    let warning = section.sub("warning");
    let critical = section.sub("critical");
    keys.map(|key: &'k str| {
        let limits = Limits {
            warning: warning
                .as_ref()
                .and_then(|table| one(table, key).optional()),
            critical: critical
                .as_ref()
                .and_then(|table| one(table, key).optional()),
        };
        let are_swapped = matches!(limits, Limits { warning: Some(w), critical: Some(c) } if w > c);
        if are_swapped && let Some(table) = &warning {
            table.mistake(
                key,
                format!("`{key}`: the warning limit is above the critical one"),
                "write the lower of the two as the warning",
            );
        }
        limits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaching_a_limit_counts_and_nothing_is_rounded_up_to_it() {
        let limits = Limits::new(Percent::whole(85), Percent::whole(95));
        let table = [
            (0, Status::Ok, None),
            (849_999, Status::Ok, None),
            (850_000, Status::Warning, Some(850)),
            (949_999, Status::Warning, Some(850)),
            (950_000, Status::Critical, Some(950)),
            (2_000_000, Status::Critical, Some(950)),
        ];
        for (part, status, limit) in table {
            let verdict = Share::of(part, 1_000_000).map(|share| share.judge(limits));
            assert_eq!(verdict.map(|v| v.status()), Some(status), "{part}");
            assert_eq!(
                verdict.and_then(|v| v.limit()).map(limit_permille),
                limit,
                "{part}"
            );
        }
        assert_eq!(
            Share::of(949_999, 1_000_000).map(Share::permille),
            Some(949)
        );
        assert_eq!(Share::of(1, 0), None);
        let largest = Share::of(u64::MAX, u64::MAX);
        assert_eq!(
            largest.map(|s| (s.permille(), s.reaches(Percent::whole(100)))),
            Some((1_000, true))
        );
    }

    #[test]
    fn without_limits_nothing_is_bad() {
        let none = Limits {
            warning: None,
            critical: None,
        };
        assert_eq!(none.judge(|_: i32| true), Verdict::Within);
        let one = Limits {
            warning: None,
            critical: Some(3),
        };
        assert_eq!(one.judge(|limit| 2 >= limit), Verdict::Within);
        assert_eq!(one.judge(|limit| 3 >= limit), Verdict::Critical(3));
        assert_eq!(one.or(Limits::new(1, 2)), one);
        assert_eq!(none.or(Limits::new(1, 2)), Limits::new(1, 2));
    }
}
