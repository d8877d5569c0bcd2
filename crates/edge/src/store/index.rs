//! What is stored, in memory: 40 bytes an object in a slab, eight of the queue, some eight of the table of keys, and
//! four bits a slice. No input or output, no clock: the store tells it the time.

use hashbrown::HashTable;

use super::file::Layout;
use super::key::Key;
use super::queue::{Ghosts, Item, Queues};

/// Present; wanted zero to three times since it was last looked at; in the main queue.
const PRESENT: u8 = 1;
const WANTED: u8 = 0b0110;
const MAIN: u8 = 0b1000;

/// What is new has this part of the room, and what was wanted again the rest. It is less than usual because what comes
/// into a fuller cache was asked for before already.
const SMALL_SHARE: u64 = 40;
/// How full the cache must be before objects have to be asked for more than once.
const CHOOSY_PERCENT: u64 = 70;

/// Up to how many slices have their bits in the entry itself.
const INLINE: u32 = 16;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    length: u64,
    /// Four bits for each of up to 16 slices, else a place in `wide`.
    bits: u64,
    /// When it was last asked for, in seconds since 1970.
    pub(super) seen: u32,
    /// 24 bits of the generation, five of the slice's size, two of the layout's class; zero when the slot is free.
    flags: u32,
}

impl Entry {
    pub(super) fn layout(&self) -> Layout {
        let byte = |value: u32| u8::try_from(value).expect("masked to a few bits");
        Layout { class: byte(self.flags & 3), slice_log2: byte(self.flags >> 2 & 31), length: self.length }
    }

    pub(super) fn generation(&self) -> u32 {
        self.flags >> 8
    }

    pub(super) fn flags(&self) -> u32 {
        self.flags
    }
}

/// 24 bits that tell one generation from another.
pub(super) fn generation_of(seed: u64) -> u32 {
    u32::try_from(seed >> 40).expect("24 bits are left")
}

/// What was made room with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evicted {
    pub(super) key: Key,
    pub(super) generation: u32,
    pub(super) slice: u32,
    /// Nothing of the object is left.
    pub(super) last: bool,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    free: Vec<u32>,
    table: HashTable<u32>,
    wide: Vec<Box<[u8]>>,
    wide_free: Vec<u32>,
    queues: Queues,
    /// Slices that left the small queue, as many as there are slices.
    ghosts: Ghosts,
    /// Objects that were asked for and are not stored.
    asked: Ghosts,
    small_bytes: u64,
    main_bytes: u64,
    head_bytes: u64,
    slices: u64,
}

impl Index {
    pub(super) fn with_capacity(objects: usize) -> Self {
        Self { entries: Vec::with_capacity(objects), table: HashTable::with_capacity(objects), ..Self::default() }
    }

    /// What all of it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.small_bytes + self.main_bytes + self.head_bytes
    }

    pub(super) fn objects(&self) -> usize {
        self.table.len()
    }

    pub(super) fn slices(&self) -> u64 {
        self.slices
    }

    pub(super) fn find(&self, key: Key) -> Option<u32> {
        self.table.find(key.hash(), |slot| self.entries[*slot as usize].key == key).copied()
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    /// All objects, by their slots.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> + '_ {
        let slots = 0..u32::try_from(self.entries.len()).expect("slots have 32 bits");
        slots.filter(|slot| self.entries[*slot as usize].flags != 0)
    }

    /// The queues in their order, for the snapshot. The first is the small one.
    pub(super) fn queued(&self) -> [impl Iterator<Item = Item> + '_; 2] {
        [(&self.queues.small, 0), (&self.queues.main, MAIN)].map(|(queue, place)| {
            queue.iter().copied().filter(move |item| {
                self.nibble(item.slot, item.slice).is_some_and(|bits| bits & (PRESENT | MAIN) == PRESENT | place)
            })
        })
    }

    /// An object without slices, in place of another with its key.
    pub(super) fn put(&mut self, key: Key, layout: Layout, generation: u32, now: u32) -> u32 {
        let flags = generation << 8 | 1 << 7 | u32::from(layout.slice_log2) << 2 | u32::from(layout.class);
        self.put_raw(key, layout.length, flags, now)
    }

    pub(super) fn put_raw(&mut self, key: Key, length: u64, flags: u32, seen: u32) -> u32 {
        self.remove(key);
        let mut entry = Entry { key, length, bits: 0, seen, flags };
        let layout = entry.layout();
        self.head_bytes += layout.data();
        if layout.slices() > INLINE {
            let bits = vec![0; layout.slices().div_ceil(2) as usize].into_boxed_slice();
            let place = match self.wide_free.pop() {
                Some(place) => {
                    self.wide[place as usize] = bits;
                    place
                }
                None => {
                    self.wide.push(bits);
                    u32::try_from(self.wide.len() - 1).expect("places have 32 bits")
                }
            };
            entry.bits = u64::from(place);
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("slots have 32 bits")
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(key.hash(), slot, |slot| entries[*slot as usize].key.hash());
        slot
    }

    /// Forgets an object. Returns whether it was there.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        let Some(slot) = self.find(key) else { return false };
        let layout = self.entries[slot as usize].layout();
        for slice in 0..layout.slices() {
            self.clear(slot, slice);
        }
        self.head_bytes -= layout.data();
        if layout.slices() > INLINE {
            let place = self.entries[slot as usize].bits;
            self.wide[usize::try_from(place).expect("it is a place")] = Box::default();
            self.wide_free.push(u32::try_from(place).expect("places have 32 bits"));
        }
        let entries = &self.entries;
        if let Ok(found) = self.table.find_entry(key.hash(), |slot| entries[*slot as usize].key == key) {
            found.remove();
        }
        self.entries[slot as usize].flags = 0;
        self.free.push(slot);
        true
    }

    pub(super) fn is_present(&self, slot: u32, slice: u32) -> bool {
        self.nibble(slot, slice).is_some_and(|bits| bits & PRESENT != 0)
    }

    /// A slice has been stored.
    pub(super) fn fill(&mut self, slot: u32, slice: u32) {
        let print = slice_print(self.entries[slot as usize].key, slice);
        let main = self.ghosts.contains(print);
        self.fill_into(slot, slice, if main { MAIN } else { 0 });
    }

    /// As it was before a restart.
    pub(super) fn restore(&mut self, slot: u32, slice: u32, main: bool, wanted: u8) {
        if self.nibble(slot, slice).is_some() {
            self.fill_into(slot, slice, if main { MAIN } else { 0 } | (wanted << 1 & WANTED));
        }
    }

    fn fill_into(&mut self, slot: u32, slice: u32, place: u8) {
        match self.nibble(slot, slice) {
            Some(bits) if bits & PRESENT == 0 => {}
            _ => return,
        }
        let cost = self.entries[slot as usize].layout().slice_cost(slice);
        self.set_nibble(slot, slice, PRESENT | place);
        self.slices += 1;
        let item = Item { slot, slice };
        if place & MAIN != 0 {
            self.main_bytes += cost;
            self.queues.main.push_back(item);
        } else {
            self.small_bytes += cost;
            self.queues.small.push_back(item);
        }
        self.tidy_queues();
    }

    /// A slice is gone. Its item stays in the queue until it is its turn.
    pub(super) fn clear(&mut self, slot: u32, slice: u32) {
        let Some(bits) = self.nibble(slot, slice).filter(|bits| bits & PRESENT != 0) else { return };
        let cost = self.entries[slot as usize].layout().slice_cost(slice);
        if bits & MAIN != 0 {
            self.main_bytes -= cost;
        } else {
            self.small_bytes -= cost;
        }
        self.slices -= 1;
        self.set_nibble(slot, slice, 0);
    }

    /// Somebody wanted this slice.
    pub(super) fn touch(&mut self, slot: u32, slice: u32) {
        if let Some(bits) = self.nibble(slot, slice)
            && bits & PRESENT != 0
            && bits & WANTED != WANTED
        {
            self.set_nibble(slot, slice, bits + 0b0010);
        }
    }

    /// How often it was wanted, up to three.
    pub(super) fn wanted(&self, slot: u32, slice: u32) -> u8 {
        self.nibble(slot, slice).map_or(0, |bits| (bits & WANTED) >> 1)
    }

    pub(super) fn see(&mut self, slot: u32, now: u32) {
        self.entries[slot as usize].seen = now;
    }

    /// Whether an object that is not here is to be, when somebody asks for it now.
    pub(super) fn admits(&mut self, key: Key, max_size: u64, min_uses: u32) -> bool {
        min_uses < 2 || self.bytes() / 100 * 100 < max_size / 100 * CHOOSY_PERCENT || self.asked_before(key)
    }

    /// Whether this object was asked for lately, without being stored; from now on it was.
    pub(super) fn asked_before(&mut self, key: Key) -> bool {
        let before = self.asked.contains(key.hash());
        if !before {
            self.note_asked(key);
        }
        before
    }

    /// Chooses a slice to give up, and forgets it. What is `held` waits for another time.
    pub(super) fn evict(&mut self, held: impl Fn(Key, u32) -> bool) -> Option<Evicted> {
        let mut patience = self.queues.small.len() + self.queues.main.len();
        loop {
            let from_small = !self.queues.small.is_empty()
                && (self.queues.main.is_empty()
                    || self.small_bytes * SMALL_SHARE >= self.small_bytes + self.main_bytes);
            let queue = if from_small { &mut self.queues.small } else { &mut self.queues.main };
            let item = queue.pop_front()?;
            let place = if from_small { 0 } else { MAIN };
            let Some(bits) =
                self.nibble(item.slot, item.slice).filter(|bits| bits & (PRESENT | MAIN) == PRESENT | place)
            else {
                continue;
            };
            let entry = &self.entries[item.slot as usize];
            let (key, generation, layout) = (entry.key, entry.generation(), entry.layout());
            if bits & WANTED != 0 {
                if from_small {
                    let cost = layout.slice_cost(item.slice);
                    self.small_bytes -= cost;
                    self.main_bytes += cost;
                    self.set_nibble(item.slot, item.slice, PRESENT | MAIN);
                } else {
                    self.set_nibble(item.slot, item.slice, bits - 0b0010);
                }
                self.queues.main.push_back(item);
                continue;
            }
            if held(key, item.slice) {
                let queue = if from_small { &mut self.queues.small } else { &mut self.queues.main };
                queue.push_back(item);
                patience = patience.checked_sub(1)?;
                continue;
            }
            self.clear(item.slot, item.slice);
            if from_small {
                let capacity = usize::try_from(self.slices).unwrap_or(usize::MAX);
                self.ghosts.insert(slice_print(key, item.slice), capacity);
                self.note_asked(key);
            }
            let last = !(0..layout.slices()).any(|slice| self.is_present(item.slot, slice));
            if last {
                self.remove(key);
            }
            return Some(Evicted { key, generation, slice: item.slice, last });
        }
    }

    fn note_asked(&mut self, key: Key) {
        let capacity = self.objects().max(4096);
        self.asked.insert(key.hash(), capacity);
    }

    /// Items of slices that are gone would add up where objects are purged and never evicted.
    fn tidy_queues(&mut self) {
        let queued = self.queues.small.len() + self.queues.main.len();
        if queued as u64 > 2 * self.slices + 1024 {
            let [small, main] = self.queued().map(Iterator::collect);
            self.queues.small = small;
            self.queues.main = main;
        }
    }

    fn nibble(&self, slot: u32, slice: u32) -> Option<u8> {
        let entry = self.entries.get(slot as usize).filter(|entry| entry.flags != 0)?;
        let slices = entry.layout().slices();
        if slice >= slices {
            return None;
        }
        if slices <= INLINE {
            return Some(u8::try_from(entry.bits >> (4 * slice) & 15).expect("four bits"));
        }
        let byte = self.wide[usize::try_from(entry.bits).ok()?][slice as usize / 2];
        Some(if slice.is_multiple_of(2) { byte & 15 } else { byte >> 4 })
    }

    fn set_nibble(&mut self, slot: u32, slice: u32, bits: u8) {
        let entry = &mut self.entries[slot as usize];
        if entry.layout().slices() <= INLINE {
            let shift = 4 * slice;
            entry.bits = entry.bits & !(15 << shift) | u64::from(bits) << shift;
            return;
        }
        let place = usize::try_from(entry.bits).expect("it is a place");
        let byte = &mut self.wide[place][slice as usize / 2];
        *byte = if slice.is_multiple_of(2) { *byte & 0xf0 | bits } else { *byte & 15 | bits << 4 };
    }
}

fn slice_print(key: Key, slice: u32) -> u64 {
    key.hash() ^ (u64::from(slice) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
