//! EXIF, which is a TIFF without a picture: how the picture is turned, and nothing else.

/// What is looked at.
pub(super) const MOST: usize = 64 << 10;
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// How the picture is turned, from 2 to 8; nothing where it is not, or that cannot be read.
pub(super) fn orientation(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let two = *exif.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let long = |at: usize| {
        let four = *exif.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    for entry in 0..usize::from(short(directory)?) {
        let at = directory.checked_add(2 + entry * 12)?;
        if short(at)? == ORIENTATION {
            let turn = (short(at + 2)? == SHORT && long(at + 4)? == 1).then(|| short(at + 8))??;
            return u8::try_from(turn).ok().filter(|turn| (2..=8).contains(turn));
        }
    }
    None
}

/// The shortest that says so.
pub(super) fn minimal(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    exif
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_read_and_written_in_either_order() {
        for turn in 2..=8 {
            assert_eq!(orientation(&minimal(turn)), Some(turn));
            let with_prefix = [b"Exif\0\0".as_slice(), &minimal(turn)].concat();
            assert_eq!(orientation(&with_prefix), Some(turn));
        }
        for none in [0, 1, 9, 200] {
            assert_eq!(orientation(&minimal(none)), None);
        }
        let big = b"MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x04Cam\0\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        assert_eq!(orientation(big), Some(6));
        for length in 0..big.len() - 6 {
            assert_eq!(orientation(&big[..length]), None, "{length}");
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), None);
    }
}
