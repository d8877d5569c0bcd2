//! Whatever somebody asks a part of a body with, or a source says about one: only bytes that there are, and not more of
//! them than there are.

use witness_edge::http::{Ranges, parse_content_range, ranges};

pub fn run(bytes: &[u8]) {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let text = String::from_utf8_lossy(bytes.get(8..).unwrap_or_default());
    for field in [text.clone().into_owned(), format!("bytes={text}")] {
        for length in [length, length % 1000, 0] {
            match ranges(Some(&field), length) {
                Ranges::Whole | Ranges::Unsatisfiable => {}
                Ranges::Some(list) => {
                    assert!(!list.is_empty() && list.len() <= 16);
                    assert!(
                        list.iter().all(|range| range.start < range.end && range.end <= length),
                        "{field} {list:?}"
                    );
                    let all: u128 = list.iter().map(|range| u128::from(range.end - range.start)).sum();
                    assert!(list.len() == 1 || all <= u128::from(length), "{field} {list:?}");
                }
            }
        }
        if let Some((range, total)) = parse_content_range(&field) {
            assert!(range.start < range.end && total.is_none_or(|total| range.end <= total), "{field}");
        }
    }
}
