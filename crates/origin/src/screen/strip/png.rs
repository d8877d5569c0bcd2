//! PNG: chunks, each with a checksum.

use super::window::Window;
use super::{Malformed, Plan, tiff};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// What changes how it looks, of what need not be there.
const KEPT: [&[u8; 4]; 18] = [
    b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"mDCv", b"cLLI", b"cLLi", b"bKGD",
    b"hIST", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT",
];

pub(super) fn plan(file: &mut Window<'_>) -> Result<Plan, Malformed> {
    if file.array(0)? != SIGNATURE {
        return Err(Malformed::new("it does not begin as a PNG does"));
    }
    let mut plan = Plan::default();
    plan.keep(0..8);
    let (mut at, mut first_picture, mut turn) = (8, None, None);
    loop {
        let length = u64::from(u32::from_be_bytes(file.array(at)?));
        let kind: [u8; 4] = file.array(at + 4)?;
        let end = at + 12 + length;
        if length > i32::MAX as u64 || end > file.size() || !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(Malformed::new("a chunk is longer than the file, or has no name"));
        }
        if checksum(file, at + 4, length + 4)? != u32::from_be_bytes(file.array(end - 4)?) {
            return Err(Malformed::new("the checksum of a chunk is wrong"));
        }
        if (at == 8) != (&kind == b"IHDR") {
            return Err(Malformed::new("its head is not where it should be"));
        }
        let keeps = match &kind {
            b"IHDR" | b"PLTE" | b"IDAT" | b"IEND" => true,
            _ if kind[0].is_ascii_uppercase() => {
                return Err(Malformed::new(format!("nobody knows chunks {}", String::from_utf8_lossy(&kind))));
            }
            _ => KEPT.contains(&&kind),
        };
        if &kind == b"IDAT" && first_picture.is_none() {
            first_picture = Some(at);
        }
        if &kind == b"eXIf" && turn.is_none() {
            turn = tiff::orientation(&file.bytes(at + 8, length, tiff::MOST)?);
        }
        if keeps {
            plan.keep(at..end);
        }
        at = end;
        if &kind == b"IEND" {
            break;
        }
    }
    let Some(first_picture) = first_picture else { return Err(Malformed::new("there is no picture in it")) };
    Ok(match turn {
        Some(turn) => {
            let exif = tiff::minimal(turn);
            let mut chunk = u32::try_from(exif.len()).expect("it is short").to_be_bytes().to_vec();
            chunk.extend(b"eXIf");
            chunk.extend(exif);
            let sum = !crc(!0, &chunk[4..]);
            chunk.extend(sum.to_be_bytes());
            plan.with(first_picture, chunk)
        }
        None => plan,
    })
}

fn checksum(file: &mut Window<'_>, start: u64, length: u64) -> Result<u32, Malformed> {
    let (mut at, end, mut sum) = (start, start + length, !0);
    while at < end {
        let piece = file.from(at)?;
        if piece.is_empty() {
            return Err(Malformed::new("it ends too early"));
        }
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
        sum = crc(sum, &piece[..most]);
        at += most as u64;
    }
    Ok(!sum)
}

/// CRC-32, a byte at a time.
fn crc(mut sum: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        sum = TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8);
    }
    sum
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut sum, mut bit) = (at as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};
