//! Text, and text that browsers take for pages.

/// How far into a text a page may begin.
const NEAR: usize = 4096;

/// What makes a page of a text when it comes first, as browsers look at it.
const FIRST: [&str; 17] = [
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
    "<img",
];
/// What makes a page of a text wherever it stands near the beginning.
const NEARBY: [&str; 6] = ["<!doctype html", "<html", "<head>", "<script", "<title>", "<body"];

/// Whether these bytes are text: UTF-8 or Latin-1 without what has no place in it, or UTF-16 with its mark.
pub(super) fn is_text(head: &[u8]) -> bool {
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    !head.is_empty() && !head.iter().any(|byte| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31))
}

/// What kind of page it is.
pub(super) fn detect(head: &[u8]) -> Option<&'static str> {
    let text = letters(head);
    let text = text.as_slice();
    let mut rest = skip_blank(text);
    let xml = rest.starts_with(b"<?xml") || rest.starts_with(b"<?");
    loop {
        rest = skip_blank(rest);
        let end = if rest.starts_with(b"<!--") {
            find(rest, b"-->").map(|at| at + 3)
        } else if rest.starts_with(b"<?") || rest.starts_with(b"<!") && !rest.starts_with(b"<!doctype html") {
            // Of an internal subset only its beginning is looked at: what follows has its own signs.
            find(rest, b">").map(|at| at + 1)
        } else {
            break;
        };
        match end {
            Some(end) => rest = &rest[end..],
            None => break,
        }
    }
    if let Some(element) = rest.strip_prefix(b"<") {
        let length = element.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b":-_".contains(byte)).count();
        let name = &element[..length];
        let local = name.rsplit(|byte| *byte == b':').next().unwrap_or_default();
        let tag = &element[..find(element, b">").unwrap_or(element.len())];
        if local == b"svg" || find(tag, b"http://www.w3.org/2000/svg").is_some() {
            return Some("image/svg+xml");
        }
        if find(tag, b"http://www.w3.org/1999/xhtml").is_some() || (xml && local == b"html") {
            return Some("application/xhtml+xml");
        }
        let ends = |sign: &&str| {
            let after = rest.get(sign.len());
            rest.starts_with(sign.as_bytes()) && after.is_none_or(|byte| b" \t\r\n\x0c>/".contains(byte))
        };
        if FIRST.iter().any(ends) {
            return Some("text/html");
        }
    }
    let near = &text[..text.len().min(NEAR)];
    if is_text(head) {
        if NEARBY.iter().any(|sign| find(near, sign.as_bytes()).is_some()) {
            return Some("text/html");
        }
        if find(near, b"<svg").is_some() {
            return Some("image/svg+xml");
        }
        if xml {
            return Some("text/xml");
        }
    }
    None
}

/// In small letters; UTF-16 as if it were ASCII.
fn letters(head: &[u8]) -> Vec<u8> {
    let head = head.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(head);
    let wide = |first: usize| head.iter().skip(first).step_by(2).map(u8::to_ascii_lowercase).collect();
    let is_wide = |blank: usize| head.len() >= 8 && head.iter().take(64).skip(blank).step_by(2).all(|byte| *byte == 0);
    match head {
        [0xff, 0xfe, ..] => head.iter().skip(2).step_by(2).map(u8::to_ascii_lowercase).collect(),
        [0xfe, 0xff, ..] => head.iter().skip(3).step_by(2).map(u8::to_ascii_lowercase).collect(),
        _ if is_wide(1) => wide(0),
        _ if is_wide(0) => wide(1),
        _ => head.to_ascii_lowercase(),
    }
}

fn skip_blank(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|byte| b" \t\r\n\x0c\0".contains(byte)).count();
    &text[blank..]
}

fn find(text: &[u8], sign: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, sign)
}
