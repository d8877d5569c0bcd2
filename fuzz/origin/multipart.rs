//! Whatever somebody sends as a form: it is read to its end or refused, and however it is cut into pieces it says the
//! same.

use witness_origin::upload::multipart::{Event, Parser, boundary};

/// What a form says, up to where it is refused: parts and their content.
fn read(bytes: &[u8], piece: usize) -> Vec<(String, Option<Vec<u8>>, Vec<u8>, bool)> {
    let mut parts: Vec<(String, Option<Vec<u8>>, Vec<u8>, bool)> = Vec::new();
    let mut parser = Parser::new(b"b").expect("it is a boundary");
    let mut rest = bytes.chunks(piece.max(1));
    loop {
        match parser.next() {
            Err(_) | Ok(Some(Event::End)) => return parts,
            Ok(None) => match rest.next() {
                Some(bytes) => parser.feed(bytes),
                None => {
                    assert!(parser.end().is_err(), "it wants more after its end");
                    return parts;
                }
            },
            Ok(Some(Event::Part(found))) => {
                let _ = found.is_for_files();
                parts.push((found.name, found.filename, Vec::new(), false));
            }
            Ok(Some(Event::Data(data))) => {
                let last = parts.last_mut().expect("content belongs to a part");
                assert!(!last.3, "content behind the end of a part");
                last.2.extend_from_slice(&data);
            }
            Ok(Some(Event::PartEnd)) => parts.last_mut().expect("a part ends that began").3 = true,
        }
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let (&first, form) = bytes.split_first().unwrap_or((&0, &[]));
    let (whole, pieces) = (read(form, usize::MAX), read(form, usize::from(first % 17) + 1));
    // Where it is refused, the last part may have come in more or in less.
    let ended = |parts: &[(String, Option<Vec<u8>>, Vec<u8>, bool)]| {
        parts.iter().filter(|part| part.3).cloned().collect::<Vec<_>>()
    };
    let (whole, pieces) = (ended(&whole), ended(&pieces));
    let both = whole.len().min(pieces.len());
    assert_eq!(whole[..both], pieces[..both], "it depends on how it comes");
    if let Ok(found) = boundary(form) {
        assert!(!found.is_empty() && found.len() <= 70);
    }
}
