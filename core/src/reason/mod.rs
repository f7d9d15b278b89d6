//! Why a status is what it is: a closed list of codes, the facts each may carry, and what each says to a person.
//!
//! A family's codes stand in one file beside its messages (`<family>.rs`, `<family>.fr.ftl`, `<family>.en.ftl`). The
//! agent sends code and facts; only the collector turns them into words ([`message`]). Tests hold the three together:
//! every code has both messages, and a message uses only facts that its code declares.

pub mod availability;
pub mod host;
pub mod message;
pub mod vigie;

use std::fmt;

use crate::status::Family;

/// The type a fact must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactType {
    /// A whole number within ±(2^53 - 1).
    Integer,
    /// Several whole numbers.
    Integers,
    /// A word of a closed list in our code.
    Word,
    /// An instant, RFC 3339 in UTC.
    Time,
    /// One character.
    CodePoint,
    /// A SHA-256.
    Digest,
    /// A configured name, unit, mount point, public name or pseudonym.
    Name,
    /// Several names.
    Names,
}

/// What a reason is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct ReasonSpec {
    /// The code, such as `http.status`. Never reused for another meaning.
    pub code: &'static str,
    /// The family it belongs to.
    pub family: Family,
    /// The facts it may carry.
    pub facts: &'static [(&'static str, FactType)],
    /// What it means, from its documentation.
    pub meaning: &'static str,
}

/// One code of the closed list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(&'static ReasonSpec);

impl Reason {
    /// Every reason of every family.
    pub fn all() -> impl Iterator<Item = Self> {
        [availability::ALL, host::ALL, vigie::ALL]
            .into_iter()
            .flatten()
            .copied()
    }

    /// The reason with this code, if this version knows it.
    #[must_use]
    pub fn find(code: &str) -> Option<Self> {
        Self::all().find(|reason| reason.code() == code)
    }

    /// The code, such as `http.status`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.0.code
    }

    /// Its whole declaration.
    #[must_use]
    pub const fn spec(self) -> &'static ReasonSpec {
        self.0
    }

    /// The declared type of fact `key`.
    #[must_use]
    pub fn fact_type(self, key: &str) -> Option<FactType> {
        let (_, fact_type) = self.0.facts.iter().find(|(declared, _)| *declared == key)?;
        Some(*fact_type)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

/// Declares a family's reasons: a constant each, and `ALL`.
macro_rules! reasons {
    ($family:ident; $($(#[doc = $doc:literal])+ $name:ident = $code:literal { $($fact:literal: $fact_type:ident),* $(,)? })*) => {
        $(
            $(#[doc = $doc])+
            pub const $name: $crate::reason::Reason = $crate::reason::Reason(&$crate::reason::ReasonSpec {
                code: $code,
                family: $crate::status::Family::$family,
                facts: &[$(($fact, $crate::reason::FactType::$fact_type)),*],
                meaning: concat!($($doc),+),
            });
        )*

        /// Every reason of this family.
        pub const ALL: &[$crate::reason::Reason] = &[$($name),*];
    };
}
pub(crate) use reasons;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_written_alike() {
        let mut seen = BTreeSet::new();
        for reason in Reason::all() {
            assert!(seen.insert(reason.code()), "{reason} stands twice");
            assert!(
                reason.code().contains('.')
                    && reason
                        .code()
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'),
                "{reason}"
            );
            assert_eq!(Reason::find(reason.code()), Some(reason));
        }
    }
}
