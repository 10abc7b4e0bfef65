//! A set of sequences that is nearly gapless: one bit each, in pages, so that an absurd number costs one page.

use std::collections::BTreeMap;

const PAGE_WORDS: usize = 512;
const PAGE_BITS: u64 = 64 * PAGE_WORDS as u64;

/// Sequences that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pages: BTreeMap<u64, Box<[u64; PAGE_WORDS]>>,
}

impl Seen {
    /// Adds a sequence and returns whether it was not there yet.
    pub(crate) fn insert(&mut self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        let page = self.pages.entry(sequence / PAGE_BITS);
        let page = page.or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let is_new = page[word] & bit == 0;
        page[word] |= bit;
        is_new
    }

    fn contains(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        let page = self.pages.get(&(sequence / PAGE_BITS));
        page.is_some_and(|page| page[word] & bit != 0)
    }

    /// Returns the sequences below `end` that are not there, in order.
    pub(crate) fn missing_below(&self, end: u64) -> impl Iterator<Item = u64> {
        (0..end).filter(|&sequence| !self.contains(sequence))
    }

    /// Returns how many sequences there are from `start` on.
    pub(crate) fn count_from(&self, start: u64) -> u64 {
        let mut count = 0;
        for (number, page) in self.pages.range(start / PAGE_BITS..) {
            let first = number * PAGE_BITS;
            count += if first >= start {
                page.iter().map(|word| u64::from(word.count_ones())).sum()
            } else {
                let rest = start..first.saturating_add(PAGE_BITS);
                rest.filter(|&sequence| self.contains(sequence)).count() as u64
            };
        }
        count
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let bit = sequence % PAGE_BITS;
    let word = usize::try_from(bit / 64).expect("a page has few words");
    (word, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions_are_known_across_pages() {
        let mut seen = Seen::default();
        let gaps = [0, 63, 64, PAGE_BITS - 1, PAGE_BITS, 3 * PAGE_BITS + 5];
        for sequence in (0..4 * PAGE_BITS).filter(|sequence| !gaps.contains(sequence)) {
            assert!(seen.insert(sequence));
        }
        assert!(!seen.insert(7));
        let missing: Vec<u64> = seen.missing_below(4 * PAGE_BITS).collect();
        assert_eq!(missing, gaps);
        assert_eq!(seen.count_from(4 * PAGE_BITS - 10), 10);
        assert_eq!(seen.count_from(0), 4 * PAGE_BITS - 6);
    }

    #[test]
    fn an_absurd_sequence_costs_one_page() {
        let mut seen = Seen::default();
        assert!(seen.insert(u64::MAX));
        assert!(!seen.insert(u64::MAX));
        assert_eq!(seen.pages.len(), 1);
        assert_eq!(seen.count_from(0), 1);
    }
}
