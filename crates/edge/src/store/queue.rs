//! In which order slices leave: S3-FIFO.
//!
//! What is new waits in a small queue and leaves it first, unless it was wanted again meanwhile; what was wanted again
//! moves to the main queue, where it stays as long as it is wanted once a round. What left the small queue is
//! remembered for a while as a ghost: when it comes back, it goes to the main queue at once. A look through a large
//! catalogue therefore does not wash out what everybody asks for.

use std::collections::VecDeque;

use hashbrown::HashTable;

/// A slice of an object, by the object's place in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) slot: u32,
    pub(super) slice: u32,
}

/// The two queues. What they hold may be gone already; whoever takes an item out looks.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) small: VecDeque<Item>,
    pub(super) main: VecDeque<Item>,
}

/// Remembers what was seen, first in, first out, four bytes each.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    order: VecDeque<u32>,
    table: HashTable<u32>,
}

impl Ghosts {
    /// Remembers `print`, and forgets the oldest beyond `capacity`.
    pub(super) fn insert(&mut self, print: u64, capacity: usize) {
        let print = short(print);
        if self.table.find(spread(print), |known| *known == print).is_none() {
            self.table.insert_unique(spread(print), print, |known| spread(*known));
            self.order.push_back(print);
        }
        while self.order.len() > capacity {
            let oldest = self.order.pop_front().expect("it is longer than something");
            if let Ok(entry) = self.table.find_entry(spread(oldest), |known| *known == oldest) {
                entry.remove();
            }
        }
    }

    /// Whether `print` was seen lately.
    pub(super) fn contains(&self, print: u64) -> bool {
        let print = short(print);
        self.table.find(spread(print), |known| *known == print).is_some()
    }
}

fn short(print: u64) -> u32 {
    u32::try_from(print >> 32).expect("32 bits are left")
}

fn spread(print: u32) -> u64 {
    u64::from(print).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ghosts_are_forgotten_in_their_order() {
        let mut ghosts = Ghosts::default();
        for print in 0..10_u64 {
            ghosts.insert(print << 32, 4);
        }
        let known: Vec<u64> = (0..10).filter(|print| ghosts.contains(print << 32)).collect();
        assert_eq!(known, [6, 7, 8, 9]);
    }
}
