//! The store's decisions without a disk: how much of a trace it would have answered.
//!
//! It is the store's own index that decides, with the same admission, the same queues and the same room for heads, so
//! that what is found here holds for the store.

use std::ops::Range;

use super::file::Layout;
use super::index::Index;
use super::key::Key;

/// See the module.
#[derive(Debug)]
pub struct Replay {
    index: Index,
    max_size: u64,
    min_uses: u32,
    slice_log2: u8,
}

impl Replay {
    /// An empty cache. `slice_size` is a power of two.
    #[must_use]
    pub fn new(max_size: u64, min_uses: u32, slice_size: u64) -> Self {
        let slice_log2 = u8::try_from(slice_size.trailing_zeros()).expect("at most 63");
        Self { index: Index::default(), max_size, min_uses, slice_log2 }
    }

    /// Somebody asks for these bytes of an object, none of which are beyond its length. Gives how many of them were
    /// here; the others are here from now on, if the store would have kept them.
    pub fn request(&mut self, key: Key, length: u64, bytes: Range<u64>) -> u64 {
        let slot = match self.index.find(key) {
            Some(slot) if self.index.entry(slot).layout().length == length => {
                self.index.see(slot, 0);
                slot
            }
            _ => {
                if !self.index.admits(key, self.max_size, self.min_uses) {
                    return 0;
                }
                // The smallest head; few need a larger one.
                let layout = Layout { class: 0, length, slice_log2: self.slice_log2 };
                if !self.make_room(layout.data()) {
                    return 0;
                }
                self.index.put(key, layout, 0, 0)
            }
        };
        let layout = self.index.entry(slot).layout();
        let mut here = 0;
        let slices = bytes.start >> self.slice_log2..bytes.end.div_ceil(layout.slice_size());
        for slice in slices {
            let number = u32::try_from(slice).expect("lengths are a u32 of slices");
            let start = slice << self.slice_log2;
            let of_it = bytes.end.min(start + layout.slice_length(number)) - bytes.start.max(start);
            // To make room may have cost the object itself.
            let Some(slot) = self.index.find(key) else { return here };
            if self.index.is_present(slot, number) {
                self.index.touch(slot, number);
                here += of_it;
            } else if self.make_room(layout.slice_cost(number))
                && let Some(slot) = self.index.find(key)
            {
                self.index.fill(slot, number);
            }
        }
        here
    }

    fn make_room(&mut self, cost: u64) -> bool {
        while self.index.bytes() + cost > self.max_size {
            if self.index.evict(|_, _| false).is_none() {
                return false;
            }
        }
        true
    }

    /// What it takes on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.index.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_is_here_and_never_more_than_fits() {
        let mut cache = Replay::new(10 << 20, 1, 1 << 20);
        let key = |number: u64| Key::of(&number.to_string());
        assert_eq!(cache.request(key(1), 3 << 20, 100..(2 << 20)), 0);
        assert_eq!(cache.request(key(1), 3 << 20, 0..3 << 20), 2 << 20);
        assert_eq!(cache.request(key(1), 3 << 20, 1000..2000), 1000);
        for number in 2..100 {
            cache.request(key(number), 3 << 20, 0..3 << 20);
            assert!(cache.bytes() <= 10 << 20);
        }
        // The looks through the catalogue have not washed out what was asked for twice.
        assert!(cache.request(key(1), 3 << 20, 1000..2000) > 0);
    }
}
