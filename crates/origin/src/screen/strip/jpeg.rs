//! JPEG: segments, and between some of them what the picture is made of.

use super::window::Window;
use super::{Malformed, Plan, tiff};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP1: u8 = 0xe1;

pub(super) fn plan(file: &mut Window<'_>) -> Result<Plan, Malformed> {
    if file.array(0)? != [0xff, SOI] {
        return Err(Malformed::new("it does not begin as a JPEG does"));
    }
    let mut plan = Plan::default();
    plan.keep(0..2);
    let (mut at, mut turn, mut has_picture, mut has_frame) = (2, None, false, false);
    // The fields of the file itself come first; what says how it is turned comes behind them.
    let mut fields_end = 0;
    loop {
        let marker_at = at;
        let marker = marker(file, &mut at)?;
        match marker {
            EOI if has_picture => {
                plan.keep(marker_at..at);
                break;
            }
            // Those that stand alone.
            0x01 | 0xd0..=0xd7 => return Err(Malformed::new("a mark is where none can be")),
            0x00 | SOI | EOI | 0x02..=0xbf => return Err(Malformed::new(format!("there is a segment {marker:02x}"))),
            _ => {}
        }
        let length = u64::from(u16::from_be_bytes(file.array(at)?));
        let end = at + length;
        if length < 2 || end > file.size() {
            return Err(Malformed::new("a segment is longer than the file"));
        }
        let head = file.bytes(at + 2, length - 2, 16)?;
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            has_frame = true;
        }
        if marker == APP1 && head.starts_with(b"Exif\0\0") && turn.is_none() {
            turn = tiff::orientation(&file.bytes(at + 2, length - 2, tiff::MOST)?);
        }
        let keeps = match marker {
            // JFIF, but not its small pictures.
            0xe0 => head.starts_with(b"JFIF\0"),
            // Colours, but not the pictures behind this one.
            0xe2 => head.starts_with(b"ICC_PROFILE\0"),
            // Whether there are three colours or four.
            0xee => head.starts_with(b"Adobe"),
            // Everything else that programs write, and comments.
            0xe1..=0xef | 0xfe => false,
            _ => true,
        };
        if keeps && marker == 0xe0 {
            match head.first_chunk::<12>() {
                Some(_) if length == 16 => plan.keep(marker_at..end),
                // With a small picture, which is left out.
                Some(fields) => plan.add([b"\xff\xe0\0\x10".as_slice(), fields, b"\0\0"].concat()),
                None => return Err(Malformed::new("its fields are too short")),
            }
            if fields_end == 0 {
                fields_end = end;
            }
        } else if keeps {
            plan.keep(marker_at..end);
        }
        at = end;
        if marker == SOS {
            if !has_frame {
                return Err(Malformed::new("its picture has no frame"));
            }
            has_picture = true;
            let picture_end = skip_picture(file, at)?;
            plan.keep(at..picture_end);
            at = picture_end;
        }
    }
    // What follows is another picture, or a film, or anything at all.
    Ok(match turn {
        Some(turn) => with_turn(plan, fields_end.max(2), turn),
        None => plan,
    })
}

/// The next mark, which may have any number of ff before it.
fn marker(file: &mut Window<'_>, at: &mut u64) -> Result<u8, Malformed> {
    let [first] = file.array(*at)?;
    if first != 0xff {
        return Err(Malformed::new("there is something between segments"));
    }
    loop {
        *at += 1;
        let [next] = file.array(*at)?;
        if next != 0xff {
            *at += 1;
            return Ok(next);
        }
    }
}

/// Where what a picture is made of ends: at a mark that is none of its own.
fn skip_picture(file: &mut Window<'_>, mut at: u64) -> Result<u64, Malformed> {
    loop {
        let piece = file.from(at)?;
        if piece.is_empty() {
            return Err(Malformed::new("its picture has no end"));
        }
        match memchr::memchr(0xff, piece) {
            None => at += piece.len() as u64,
            Some(skipped) => {
                at += skipped as u64;
                let [_, next] = file.array(at)?;
                match next {
                    0x00 | 0xd0..=0xd7 => at += 2,
                    // Filled up: the mark comes later.
                    0xff => at += 1,
                    _ => return Ok(at),
                }
            }
        }
    }
}

fn with_turn(plan: Plan, place: u64, turn: u8) -> Plan {
    let exif = [b"Exif\0\0".as_slice(), &tiff::minimal(turn)].concat();
    let length = u16::try_from(exif.len() + 2).expect("it is short");
    let mut segment = vec![0xff, APP1];
    segment.extend(length.to_be_bytes());
    segment.extend(exif);
    plan.with(place, segment)
}
