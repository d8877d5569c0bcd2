use super::*;

fn layout(length: u64) -> Layout {
    Layout { class: 0, length, slice_log2: 20 }
}

fn key(number: u64) -> Key {
    Key::of(&number.to_string())
}

#[test]
fn an_entry_takes_forty_bytes() {
    assert_eq!(size_of::<Entry>(), 40);
}

#[test]
fn what_is_put_and_removed_adds_up_to_nothing() {
    let mut index = Index::default();
    for number in 0..100 {
        let slot = index.put(key(number), layout(number << 20), 1, 5);
        for slice in (0..u32::try_from(number).unwrap()).step_by(3) {
            index.fill(slot, slice);
            index.touch(slot, slice);
        }
    }
    assert!(index.bytes() > 0 && index.objects() == 100);
    for number in 0..100 {
        assert!(index.remove(key(number)));
    }
    assert_eq!((index.bytes(), index.objects(), index.slices()), (0, 0, 0));
    assert_eq!(index.evict(|_, _| false), None);
}

#[test]
fn bits_of_slices_do_not_touch_each_other() {
    for slices in [3_u32, 16, 17, 40] {
        let mut index = Index::default();
        let slot = index.put(key(1), layout(u64::from(slices) << 20), 1, 5);
        for slice in (0..slices).step_by(2) {
            index.fill(slot, slice);
            for _ in 0..5 {
                index.touch(slot, slice);
            }
        }
        for slice in 0..slices {
            assert_eq!(index.is_present(slot, slice), slice % 2 == 0);
            assert_eq!(index.wanted(slot, slice), if slice % 2 == 0 { 3 } else { 0 });
        }
        index.clear(slot, 0);
        assert!(!index.is_present(slot, 0) && index.is_present(slot, 2));
    }
}

#[test]
fn what_was_wanted_again_survives_a_scan() {
    let mut index = Index::default();
    for number in 0..20 {
        let slot = index.put(key(number), layout(1 << 20), 1, 5);
        index.fill(slot, 0);
        index.touch(slot, 0);
    }
    for number in 100..1000 {
        let slot = index.put(key(number), layout(1 << 20), 1, 5);
        index.fill(slot, 0);
        while index.slices() > 40 {
            index.evict(|_, _| false).unwrap();
        }
    }
    assert!((0..20).all(|number| index.find(key(number)).is_some()));
}

#[test]
fn what_comes_back_soon_is_a_second_use() {
    let mut index = Index::default();
    assert!(!index.asked_before(key(1)));
    assert!(index.asked_before(key(1)));
    assert!(!index.asked_before(key(2)));
}

/// Twelve points over the same requests to an LRU of the same size, as published for this distribution.
#[test]
fn of_a_skewed_catalogue_more_is_hit_than_by_an_lru() {
    let (objects, room, requests) = (20_000_u64, 200, 200_000);
    let weights: Vec<f64> = (1..=objects)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let mut state = 42_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 11) as f64 / (1_u64 << 53) as f64 * weights[weights.len() - 1];
        weights.partition_point(|sum| *sum < at) as u64
    };
    let mut index = Index::default();
    let mut lru: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
    let (mut hits, mut lru_hits) = (0, 0);
    for _ in 0..requests {
        let number = draw();
        match index.find(key(number)) {
            Some(slot) => {
                hits += 1;
                index.touch(slot, 0);
            }
            None => {
                let slot = index.put(key(number), layout(1 << 20), 1, 5);
                index.fill(slot, 0);
                while index.slices() > room {
                    index.evict(|_, _| false).unwrap();
                }
            }
        }
        match lru.iter().position(|known| *known == number) {
            Some(at) => {
                lru_hits += 1;
                lru.remove(at);
            }
            None if lru.len() as u64 == room => {
                lru.pop_back();
            }
            None => {}
        }
        lru.push_front(number);
    }
    let points = f64::from(hits - lru_hits) * 100.0 / f64::from(requests);
    assert!(points >= 10.0, "{hits} hits, {lru_hits} of an LRU: {points} points");
}
