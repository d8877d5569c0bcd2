//! WebP: chunks in a RIFF.

use super::window::Window;
use super::{Malformed, Piece, Plan, tiff};

/// In the head of those that have more than a picture.
const EXIF: u8 = 0x08;
const XMP: u8 = 0x04;

pub(super) fn plan(file: &mut Window<'_>) -> Result<Plan, Malformed> {
    let riff: [u8; 12] = file.array(0)?;
    if &riff[..4] != b"RIFF" || &riff[8..] != b"WEBP" {
        return Err(Malformed::new("it does not begin as a WebP does"));
    }
    let size = u64::from(u32::from_le_bytes([riff[4], riff[5], riff[6], riff[7]])) + 8;
    if size > file.size() {
        return Err(Malformed::new("it is longer than the file"));
    }
    let mut plan = Plan::default();
    let (mut at, mut head, mut has_picture, mut turn) = (12, None, false, None);
    while at < size {
        let kind: [u8; 4] = file.array(at)?;
        let length = u64::from(u32::from_le_bytes(file.array(at + 4)?));
        let end = at + 8 + length + length % 2;
        if at + 8 + length > size || end > file.size() {
            return Err(Malformed::new("a chunk is longer than the file"));
        }
        if at == 12 && !matches!(&kind, b"VP8X" | b"VP8 " | b"VP8L") {
            return Err(Malformed::new("its head is not where it should be"));
        }
        match &kind {
            b"VP8X" if at == 12 && length >= 10 => head = Some(file.array::<1>(at + 8)?[0]),
            b"VP8X" => return Err(Malformed::new("there is a head too many")),
            b"VP8 " | b"VP8L" | b"ANMF" => {
                has_picture = true;
                plan.keep(at..end);
            }
            b"ALPH" | b"ANIM" | b"ICCP" => plan.keep(at..end),
            b"EXIF" if turn.is_none() => turn = tiff::orientation(&file.bytes(at + 8, length, tiff::MOST)?),
            _ => {}
        }
        at = end;
    }
    if !has_picture {
        return Err(Malformed::new("there is no picture in it"));
    }
    // One without a head has nowhere to say how it is turned, and never could.
    let turn = turn.filter(|_| head.is_some());
    let mut first = Vec::new();
    if let Some(flags) = head {
        let flags = flags & !(EXIF | XMP) | if turn.is_some() { EXIF } else { 0 };
        first = file.array::<18>(12)?.to_vec();
        first[4..8].copy_from_slice(&10_u32.to_le_bytes());
        first[8] = flags;
    }
    let last = turn.map(|turn| {
        let exif = tiff::minimal(turn);
        [b"EXIF".as_slice(), &u32::try_from(exif.len()).expect("it is short").to_le_bytes(), &exif].concat()
    });
    let last = last.unwrap_or_default();
    let kept: u64 = plan.pieces().iter().map(length_of).sum();
    let all = 4 + first.len() as u64 + kept + last.len() as u64;
    let mut begin = b"RIFF".to_vec();
    begin.extend(u32::try_from(all).map_err(|_| Malformed::new("it is too long"))?.to_le_bytes());
    begin.extend(b"WEBP");
    begin.extend(first);
    let mut whole = Plan::default();
    // Where its beginning is the same, it is kept as it is.
    if file.bytes(0, begin.len() as u64, begin.len())? == begin {
        whole.keep(0..begin.len() as u64);
    } else {
        whole.add(begin);
    }
    for piece in plan.pieces() {
        match piece {
            Piece::Old(range) => whole.keep(range.clone()),
            Piece::New(bytes) => whole.add(bytes.clone()),
        }
    }
    if !last.is_empty() {
        whole.add(last);
    }
    Ok(whole)
}

fn length_of(piece: &Piece) -> u64 {
    match piece {
        Piece::Old(range) => range.end - range.start,
        Piece::New(bytes) => bytes.len() as u64,
    }
}
