use super::*;

macro_rules! pictures {
    ($($name:literal,)*) => {
        [$(($name, include_bytes!(concat!("../../../fixtures/pictures/", $name)).as_slice()),)*]
    };
}

const PICTURES: [(&str, &[u8]); 11] = pictures![
    "exif.jpg",
    "progressive.jpg",
    "plain.jpg",
    "cmyk.jpg",
    "exif.png",
    "plain.png",
    "animated.png",
    "exif.webp",
    "plain.webp",
    "lossless.webp",
    "animated.webp",
];

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        _ => "image/webp",
    }
}

fn strip(kind: &str, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let read_at = |buffer: &mut [u8], at: u64| {
        let rest = &bytes[usize::try_from(at).unwrap().min(bytes.len())..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    };
    let plan = plan(kind, bytes.len() as u64, &read_at).expect("this kind is taken apart")?;
    let mut kept = Vec::new();
    for piece in plan.pieces() {
        match piece {
            Piece::Old(range) => {
                kept.extend(&bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
            }
            Piece::New(bytes) => kept.extend(bytes),
        }
    }
    assert_eq!(plan.is_whole(bytes.len() as u64), plan.pieces().len() == 1 && kept == bytes);
    Ok(kept)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// Every byte of what a picture is made of.
fn picture(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let long = |at: usize, big: bool| {
        let four = *bytes[at..].first_chunk().unwrap();
        if big { u32::from_be_bytes(four) as usize } else { u32::from_le_bytes(four) as usize }
    };
    let mut found = Vec::new();
    match kind {
        // From its first scan to its end, of which there is one.
        "image/jpeg" => {
            let start = memchr::memmem::find(bytes, b"\xff\xda").unwrap();
            let end = start + memchr::memmem::find(&bytes[start..], b"\xff\xd9").unwrap();
            found.extend(&bytes[start..end + 2]);
        }
        "image/png" => {
            let mut at = 8;
            while at < bytes.len() {
                let (length, kind) = (long(at, true), &bytes[at + 4..at + 8]);
                if [b"IHDR", b"PLTE", b"IDAT", b"fdAT", b"fcTL", b"acTL", b"IEND"].iter().any(|known| *known == kind) {
                    found.extend(&bytes[at..at + 12 + length]);
                }
                at += 12 + length;
            }
        }
        _ => {
            let mut at = 12;
            while at < bytes.len() {
                let (length, kind) = (long(at + 4, false), &bytes[at..at + 4]);
                if [b"VP8 ", b"VP8L", b"ANMF", b"ANIM", b"ALPH"].iter().any(|known| *known == kind) {
                    found.extend(&bytes[at..at + 8 + length]);
                }
                at += 8 + length + length % 2;
            }
        }
    }
    found
}

#[test]
fn what_a_camera_wrote_is_gone_and_the_picture_is_the_same() {
    for (name, bytes) in PICTURES {
        let kind = kind(name);
        let kept = strip(kind, bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(has(bytes, b"SECRET"), !name.starts_with("plain"), "{name}");
        assert!(!has(&kept, b"SECRET") && !has(&kept, b"xmpmeta"), "{name}");
        assert_eq!(picture(kind, &kept), picture(kind, bytes), "{name}");
        assert_eq!(kept == bytes, name.starts_with("plain"), "{name}");
        // Colours and turn are a part of how it looks.
        let is_turned = ["exif.jpg", "progressive.jpg", "exif.png", "exif.webp", "animated.webp"].contains(&name);
        assert_eq!(has(&kept, &tiff::minimal(6)), is_turned, "{name}");
        for colours in [b"ICC_PROFILE\0".as_slice(), b"iCCP", b"ICCP"] {
            assert_eq!(has(&kept, colours), has(bytes, colours), "{name}");
        }
        assert_eq!(strip(kind, &kept).as_ref(), Ok(&kept), "{name}: a second time changes something");
    }
    let cmyk = strip("image/jpeg", PICTURES[3].1).unwrap();
    assert!(has(&cmyk, b"Adobe"), "its colours would be wrong");
    let (_, webp) = PICTURES[7];
    let kept = strip("image/webp", webp).unwrap();
    assert_eq!(u32::from_le_bytes(*kept[4..].first_chunk().unwrap()) as usize, kept.len() - 8);
    // There is EXIF, to say how it is turned, and colours; there is no XMP any more.
    assert_eq!((webp[20] & 0x2c, kept[20] & 0x2c), (0x2c, 0x28));
}

#[test]
fn small_pictures_inside_are_left_out() {
    let (_, plain) = PICTURES[2];
    // Its fields with a picture of 1 by 1 in them, and an extension with another one.
    let fields = [&plain[..2], b"\xff\xe0\0\x13", &plain[6..18], b"\x01\x01\xaa\xbb\xcc"].concat();
    let extension = b"\xff\xe0\0\x0aJFXX\0\x13\xdd\xee";
    let with = [&fields, extension.as_slice(), &plain[20..]].concat();
    assert_eq!(strip("image/jpeg", &with).as_deref(), Ok(plain));
}

#[test]
fn what_is_cut_off_is_malformed_and_never_half_a_picture() {
    for (name, bytes) in PICTURES {
        let kept = strip(kind(name), bytes).unwrap();
        for length in 0..bytes.len() {
            match strip(kind(name), &bytes[..length]) {
                Err(_) => {}
                // Only what is behind the picture is missing.
                Ok(short) => assert_eq!(short, kept, "{name} cut at {length}"),
            }
        }
        assert!(strip(kind(name), &bytes[..bytes.len() / 2]).is_err(), "{name}");
        for other in ["image/jpeg", "image/png", "image/webp"].into_iter().filter(|other| *other != kind(name)) {
            assert!(strip(other, bytes).is_err(), "{name} as {other}");
        }
    }
}

#[test]
fn what_is_damaged_is_malformed_or_stays_what_it_is() {
    for (name, bytes) in PICTURES {
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= change;
                if let Ok(kept) = strip(kind(name), &damaged) {
                    assert!(kept.len() <= damaged.len() + 64, "{name} {at} {change}");
                    assert_eq!(strip(kind(name), &kept).as_ref(), Ok(&kept), "{name} {at} {change}");
                }
            }
        }
    }
}

#[test]
fn other_kinds_are_left_alone() {
    let read_at = |_: &mut [u8], _: u64| panic!("it is not looked at");
    for kind in ["image/gif", "image/svg+xml", "text/plain", "application/octet-stream"] {
        assert!(plan(kind, 5, &read_at).is_none());
    }
}
