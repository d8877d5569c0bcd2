//! Whatever a picture's container has in it: it is taken apart whole or not at all, and what is kept of it is kept the
//! second time as well.

use witness_origin::screen::strip::{Malformed, Piece, plan};

const KINDS: [&str; 3] = ["image/jpeg", "image/png", "image/webp"];

fn strip(kind: &str, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
    let read_at = |buffer: &mut [u8], place: u64| {
        let rest = &bytes[at(place)..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    };
    let plan = plan(kind, bytes.len() as u64, &read_at).expect("this kind is taken apart")?;
    let mut kept = Vec::new();
    for piece in plan.pieces() {
        match piece {
            Piece::Old(range) => {
                assert!(range.start < range.end && range.end <= bytes.len() as u64, "{range:?}");
                kept.extend(&bytes[at(range.start)..at(range.end)]);
            }
            Piece::New(bytes) => kept.extend(bytes),
        }
    }
    Ok(kept)
}

pub(crate) fn run(bytes: &[u8]) {
    for kind in KINDS {
        if let Ok(kept) = strip(kind, bytes) {
            assert!(kept.len() <= bytes.len() + 64);
            assert_eq!(strip(kind, &kept).as_ref(), Ok(&kept), "a second time changes something");
        }
    }
}
