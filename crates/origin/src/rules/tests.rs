use super::*;

fn judge(name: &str, bytes: &[u8]) -> Kinds {
    let read = |buffer: &mut [u8], at: u64| {
        let rest = bytes.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    };
    kinds(name, &bytes[..bytes.len().min(64 << 10)], bytes.len() as u64, &read)
}

fn is_blocked(name: &str, bytes: &[u8]) -> bool {
    let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let extensions = list(&["exe", "scr", "com", "bat", "vbs", "cmd", "msi", "jar", "js", "php"]);
    let kinds =
        list(&["application/x-dosexec", "application/java-archive", "text/html", "image/svg+xml", "application/java"]);
    blocked(name, &judge(name, bytes), &extensions, &kinds).is_some()
}

fn wide(text: &str, little: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

/// An archive with these names, each with nothing in it.
fn archive(names: &[&str]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        bytes.extend_from_slice(b"PK\x03\x04");
        bytes.extend_from_slice(&[0; 22]);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(name.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02");
        directory.extend_from_slice(&[0; 24]);
        directory.extend_from_slice(&length);
        directory.extend_from_slice(&[0; 16]);
        directory.extend_from_slice(name.as_bytes());
    }
    let length = u32::try_from(directory.len()).unwrap().to_le_bytes();
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(b"PK\x05\x06");
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&[0; 6]);
    bytes
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

#[test]
fn extensions_are_seen_however_they_are_written() {
    for name in [
        "a.exe",
        "a.EXE",
        "a.exe.",
        "a.exe ",
        "a.exe. .",
        "a. exe",
        "a.exe\0.txt",
        "a.exe;.txt",
        "shell.php;.txt",
        "a.exe:stream",
        "a.exe.txt",
        ".exe",
        "a.b.Js",
        "a.ex\u{0}e.exe",
        "\u{202e}txt.exe",
    ] {
        assert!(is_blocked(name, b"plain text"), "{name:?}");
    }
    for name in ["exe", "a.exes", "a.txt", "a", "", ".", "...", "executable.txt", "a.tar.gz"] {
        assert!(!is_blocked(name, b"plain text"), "{name:?}");
    }
    // The site a picture is of does not make it a program; nor does calling a program a picture help.
    assert!(!is_blocked("www.example.com.png", PNG));
    assert!(is_blocked("www.example.com.png", b"plain text"));
}

#[test]
fn pages_are_seen_however_they_begin() {
    let page = "<!DOCTYPE html><html><script>alert(1)</script></html>";
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
    let long = "x".repeat(300);
    let pages: Vec<(&str, Vec<u8>)> = vec![
        ("doctype", page.into()),
        ("upper case", page.to_uppercase().into()),
        ("with a mark", format!("\u{feff}{page}").into()),
        ("blank first", format!(" \r\n\t\x0c{page}").into()),
        ("comment first", format!("<!-- x --> <!-- y -->{page}").into()),
        ("late", format!("{long}{page}").into()),
        ("script alone", "<script>alert(1)</script>".into()),
        ("image that fails", "<img src=x onerror=alert(1)>".into()),
        ("frame", "<iframe src=\"javascript:alert(1)\"></iframe>".into()),
        ("body", "<body onload=alert(1)>".into()),
        ("wide", [vec![0xff, 0xfe], wide(page, true)].concat()),
        ("wide, other way", [vec![0xfe, 0xff], wide(page, false)].concat()),
        ("wide, without a mark", wide(page, true)),
        ("wide, other way, without a mark", wide(page, false)),
        ("xhtml", "<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\"/>".into()),
        ("drawing", svg.into()),
        ("drawing with a prolog", format!("<?xml version=\"1.0\"?>\n<!DOCTYPE svg PUBLIC \"x\" \"y\">\n{svg}").into()),
        ("drawing after a comment", format!("<!-- -->{svg}").into()),
        ("drawing with a prefix", "<s:svg xmlns:s=\"http://www.w3.org/2000/svg\"/>".into()),
        (
            "script in another name space",
            "<x:script xmlns:x=\"http://www.w3.org/1999/xhtml\">alert(1)</x:script>".into(),
        ),
    ];
    for (what, bytes) in &pages {
        assert!(is_blocked("a.txt", bytes), "{what}: {:?}", judge("a.txt", bytes));
    }
    for (name, text) in [("a.html", "no sign of anything"), ("a.svg", "text"), ("a.XHTML", "text"), ("a.htm", "")] {
        assert!(is_blocked(name, text.as_bytes()), "{name}");
    }
    for text in [
        "plain",
        "a < b and c > d",
        "{\"a\": \"<b>\"}",
        "#!/bin/sh\necho hello",
        "# Title\n\nSome <kbd>text</kbd>",
        "<abc>not a page</abc>",
        "<bar/>",
        "if (a <p && b> c)",
    ] {
        assert_eq!(judge("a.txt", text.as_bytes()).kind, "text/plain", "{text}");
        assert!(!is_blocked("a.txt", text.as_bytes()), "{text}");
    }
    assert_eq!(judge("a.txt", b"<?xml version=\"1.0\"?><note/>").kind, "text/xml");
}

#[test]
fn programs_are_seen_by_any_of_their_names() {
    let mut program = b"MZ\x90\0\x03\0\0\0".to_vec();
    program.resize(600, 0);
    assert!(is_blocked("a.txt", &program));
    assert!(judge("a", &program).all.iter().any(|kind| kind == "application/vnd.microsoft.portable-executable"));
    assert!(!is_blocked("a.txt", b"MZ is how it begins, and it is a text"));
    assert!(is_blocked("a.zip", &archive(&["META-INF/", "META-INF/MANIFEST.MF"])));
    assert!(is_blocked("a.zip", &archive(&["first.txt", "meta-inf/manifest.mf"])));
    assert!(!is_blocked("a.zip", &archive(&["mimetype", "META-INF/manifest.xml"])));
    // One whose manifest is far from its beginning, and one behind a picture.
    let many: Vec<String> = (0..4000).map(|number| format!("folder/file-{number}.class")).collect();
    let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
    names.push("META-INF/MANIFEST.MF");
    assert!(archive(&names).len() > 64 << 10);
    assert!(is_blocked("a.zip", &archive(&names)));
    assert!(is_blocked("a.png", &[PNG, &archive(&["META-INF/MANIFEST.MF"])].concat()));
    assert!(is_blocked("a.bin", &[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52, 0]));
    let android = archive(&["AndroidManifest.xml", "classes.dex"]);
    assert!(judge("a.apk", &android).all.iter().any(|kind| kind == "application/vnd.android.package-archive"));
}

#[test]
fn archives_that_lie_are_read_without_harm() {
    let mut bytes = archive(&["a", "b"]);
    let end = bytes.len() - 22;
    for value in [0, 1, 46, 0xffff_u32, 0xffff_ffff] {
        bytes[end + 12..end + 16].copy_from_slice(&value.to_le_bytes());
        judge("a.zip", &bytes);
    }
    for length in 0..bytes.len() {
        judge("a.zip", &bytes[..length]);
        judge("a.zip", &bytes[length..]);
    }
}

#[test]
fn pictures_that_are_something_else_as_well_are_pictures() {
    let tail = [PNG, b"<!DOCTYPE html><script>alert(1)</script>"].concat();
    assert_eq!(judge("a.png", &tail).kind, "image/png");
    assert_eq!(judge("a.gif", b"GIF89a/*<html><script>alert(1)</script>*/=1").kind, "image/gif");
    assert_eq!(judge("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0").kind, "image/jpeg");
    assert_eq!(judge("a.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n").kind, "application/pdf");
    assert_eq!(judge("a.bin", &[1, 2, 3, 4]).kind, "application/octet-stream");
    assert_eq!(judge("a.txt", b"").kind, "text/plain");
}

#[test]
fn names_are_cleaned() {
    let cases: [(&[u8], &str); 9] = [
        (b"../../tmp/evil.txt", "evil.txt"),
        (b"a\\b.txt", "b.txt"),
        (b"a.exe\0.txt", "a.exe"),
        (b"a\r\nX-Evil: 1.txt", "aX-Evil: 1.txt"),
        (b"na\xefve.txt", "na\u{ef}ve.txt"),
        ("a\u{202e}txt.exe".as_bytes(), "atxt.exe"),
        (b"<script>alert(1)</script>.txt", "script>.txt"),
        (b"/", ""),
        (b"a\"b.txt", "a\"b.txt"),
    ];
    for (raw, expected) in cases {
        assert_eq!(clean(raw), expected);
    }
    let long = clean(format!("{}.txt", "ä".repeat(300)).as_bytes());
    assert!(long.len() <= 255 && long.len() > 250 && long.ends_with("ä.txt"), "{long}");
}
