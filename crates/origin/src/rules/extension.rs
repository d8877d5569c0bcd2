//! Names as uploaders give them.

/// Of a name, in bytes.
const LONGEST: usize = 255;

/// What is kept of a name: its last part, without what could break or mislead where it is shown.
#[must_use]
pub fn clean(raw: &[u8]) -> String {
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text.to_owned(),
        // What is not UTF-8 is Latin-1, mostly.
        Err(_) => raw.iter().map(|&byte| char::from(byte)).collect(),
    };
    // What follows a NUL does not count for many others: then it must not count here either.
    let text = text.split('\0').next().unwrap_or_default();
    let base = text.rsplit(['/', '\\']).next().unwrap_or_default();
    let misleads = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut kept: String = base.chars().filter(|c| !misleads(*c)).collect();
    while kept.len() > LONGEST {
        shorten(&mut kept);
    }
    kept
}

/// Takes away a character before the extension, so that what it is can still be seen.
fn shorten(name: &mut String) {
    let stem = name.rfind('.').filter(|dot| *dot > 0 && name.len() - dot <= 40).unwrap_or(name.len());
    let last = name[..stem].char_indices().next_back().map_or(0, |(at, _)| at);
    name.remove(last);
}

/// Everything that stands behind a dot, in small letters and without spaces around: `A.Tar.GZ .` has `tar` and `gz`.
#[must_use]
pub fn extensions(name: &str) -> Vec<String> {
    let trimmed = |part: &str| {
        let part = part.split([';', ':', '\0']).next().unwrap_or_default();
        part.trim_matches(|c: char| c.is_whitespace() || c.is_control()).to_lowercase()
    };
    name.split('.').skip(1).map(trimmed).filter(|part| !part.is_empty()).collect()
}
