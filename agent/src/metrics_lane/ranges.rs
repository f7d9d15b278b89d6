//! A set of numbers that mostly stand in a row: which records are done with ahead of those that still wait.
//!
//! Bounded. At the bound the highest range is forgotten, because a record that is sent twice changes nothing at its
//! receiver, and one that is never sent is lost.

use std::collections::BTreeMap;

/// Ranges remembered. One arises for each time the receiver stopped and began to answer while a backlog was waiting.
const RANGES_MAX: usize = 512;

/// The set. Ranges never touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// First number to last number, both included.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// How many numbers are in the set.
    pub(super) fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum()
    }

    /// How many numbers from `first` to `last` are in the set.
    pub(super) fn count_within(&self, first: u64, last: u64) -> u64 {
        let mut count = 0;
        for (from, to) in &self.ranges {
            let (from, to) = ((*from).max(first), (*to).min(last));
            if from <= to {
                count += to - from + 1;
            }
        }
        count
    }

    /// The last number of the row that `number` stands in, if it is in the set.
    pub(super) fn end_of(&self, number: u64) -> Option<u64> {
        let (_, last) = self.ranges.range(..=number).next_back()?;
        (*last >= number).then_some(*last)
    }

    /// Adds the numbers from `first` to `last`; says how many of them are new.
    pub(super) fn insert(&mut self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let new = last - first + 1 - self.count_within(first, last);
        let (mut from, mut to) = (first, last);
        // Every range that overlaps or touches becomes a part of the new one.
        while let Some((other_from, other_to)) = self
            .ranges
            .range(..=to.saturating_add(1))
            .next_back()
            .map(|(from, to)| (*from, *to))
            && other_to.saturating_add(1) >= from
        {
            self.ranges.remove(&other_from);
            from = from.min(other_from);
            to = to.max(other_to);
        }
        self.ranges.insert(from, to);
        if self.ranges.len() > RANGES_MAX {
            self.ranges.pop_last();
        }
        new
    }

    /// Forgets every number up to `number`.
    pub(super) fn remove_up_to(&mut self, number: u64) {
        while let Some((first, last)) = self.ranges.first_key_value().map(|(f, l)| (*f, *l))
            && first <= number
        {
            self.ranges.remove(&first);
            if last > number {
                self.ranges.insert(number + 1, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_it_stands_for(steps in prop::collection::vec((0..60_u64, 0..4_u64, any::<bool>()), 0..80), within in (0..60_u64, 0..60_u64)) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (number, more, is_insert) in steps {
                if is_insert {
                    let new = (number..=number + more).filter(|number| model.insert(*number)).count();
                    prop_assert_eq!(ranges.insert(number, number + more), new as u64);
                } else if number % 7 == 0 {
                    ranges.remove_up_to(number);
                    model.retain(|other| *other > number);
                }
                prop_assert_eq!(ranges.len(), model.len() as u64);
            }
            for number in 0..70 {
                prop_assert_eq!(ranges.end_of(number).is_some(), model.contains(&number));
            }
            let count = (within.0..=within.1).filter(|number| model.contains(number)).count();
            prop_assert_eq!(ranges.count_within(within.0, within.1), count as u64);
        }
    }

    #[test]
    fn at_its_bound_it_forgets_the_highest_and_stays_bounded() {
        let mut ranges = Ranges::default();
        for number in 0..2 * RANGES_MAX as u64 {
            ranges.insert(number * 2, number * 2);
        }
        assert_eq!(ranges.ranges.len(), RANGES_MAX);
        assert_eq!(ranges.end_of(0), Some(0));
        assert_eq!(ranges.end_of(2 * RANGES_MAX as u64), None);
    }
}
