//! How much somebody does at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Group;

/// What everybody does at once.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<Group, u32>>);

/// One thing that somebody does, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    counts: Arc<Counts>,
    group: Group,
}

impl Counts {
    /// Counts one more, unless there are `most` already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, group: Group, most: u32) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(group).or_default();
        // One that was not there before is below any limit.
        if *count >= most.max(1) {
            return None;
        }
        *count += 1;
        Some(Counted { counts: self.clone(), group })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.group) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_allowed_and_nothing_is_left() {
        let counts = Arc::new(Counts::default());
        let one = Group::of("192.0.2.1".parse().unwrap());
        let other = Group::of("192.0.2.2".parse().unwrap());
        let (first, second) = (counts.enter(one, 2), counts.enter(one, 2));
        assert!(first.is_some() && second.is_some() && counts.enter(one, 2).is_none());
        assert!(counts.enter(other, 2).is_some());
        drop(first);
        assert!(counts.enter(one, 2).is_some());
        drop(second);
        assert!(counts.0.lock().unwrap().is_empty());
    }
}
