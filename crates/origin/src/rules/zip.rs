//! What is in an archive, as far as it decides what the archive is.

use super::ReadAt;

/// Of the directory at the end, in bytes.
const DIRECTORY: u64 = 4 << 20;
/// Where its end is looked for: the longest comment, and the record.
const TAIL: u64 = 65_535 + 22;

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zip {
    /// As programs for Java have.
    pub has_manifest: bool,
    /// As programs for Android have.
    pub is_android: bool,
}

/// Looks into the archive, if it is one: at the names at its beginning, and in the directory at its end. An archive may
/// begin anywhere, so that a picture can be one, too.
pub(super) fn read(head: &[u8], size: u64, read_at: ReadAt<'_>) -> Option<Zip> {
    let mut zip = Zip::default();
    let begins = head.starts_with(b"PK\x03\x04");
    if begins {
        locals(head, &mut zip);
    }
    let tail_at = size.saturating_sub(TAIL);
    let tail = part(tail_at, size - tail_at, read_at)?;
    let Some(end) = memchr::memmem::rfind(&tail, b"PK\x05\x06") else { return begins.then_some(zip) };
    if let Some(record) = tail.get(end..end + 22) {
        let length = u64::from(u32::from_le_bytes([record[12], record[13], record[14], record[15]]));
        // Where it says it begins is of no use when something stands before the archive: it ends at the record.
        let at = (tail_at + end as u64).saturating_sub(length);
        let directory = part(at, length.min(DIRECTORY), read_at)?;
        names(&directory, &mut zip);
    }
    Some(zip)
}

fn part(at: u64, length: u64, read_at: ReadAt<'_>) -> Option<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(length).ok()?];
    let read = read_at(&mut buffer, at).ok()?;
    buffer.truncate(read);
    Some(buffer)
}

/// Entries at the beginning, as long as they follow each other.
fn locals(head: &[u8], zip: &mut Zip) {
    let mut rest = head;
    while rest.starts_with(b"PK\x03\x04") && rest.len() >= 30 {
        let short = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
        let (name, extra) = (short(26), short(28));
        let packed = u32::from_le_bytes([rest[18], rest[19], rest[20], rest[21]]) as usize;
        let (Some(text), more) = (rest.get(30..30 + name), rest.get(30 + name..30 + name + extra)) else { return };
        note(text, zip);
        // The mark that tools for Java leave at the first entry.
        if more.is_some_and(|more| more.starts_with(&[0xfe, 0xca])) {
            zip.has_manifest = true;
        }
        match (30 + name + extra).checked_add(packed).and_then(|length| rest.get(length..)) {
            Some(next) if packed > 0 || short(6) & 8 == 0 => rest = next,
            _ => return,
        }
    }
}

fn names(mut directory: &[u8], zip: &mut Zip) {
    while directory.starts_with(b"PK\x01\x02") && directory.len() >= 46 {
        let short = |at: usize| usize::from(u16::from_le_bytes([directory[at], directory[at + 1]]));
        let (name, extra, comment) = (short(28), short(30), short(32));
        let Some(text) = directory.get(46..46 + name) else { return };
        note(text, zip);
        match directory.get(46 + name + extra + comment..) {
            Some(next) => directory = next,
            None => return,
        }
    }
}

fn note(name: &[u8], zip: &mut Zip) {
    zip.has_manifest |= name.eq_ignore_ascii_case(b"META-INF/MANIFEST.MF");
    zip.is_android |= name.eq_ignore_ascii_case(b"AndroidManifest.xml");
}
