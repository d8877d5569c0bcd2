//! What a file is by its first bytes, and what the same thing is called elsewhere.

use file_format::FileFormat;

/// By signature; nothing for text and for what has none.
pub(super) fn detect(head: &[u8]) -> Option<String> {
    let own = if head.starts_with(b"MZ") && !super::markup::is_text(head) {
        Some("application/x-dosexec")
    } else if head.starts_with(b"\x7fELF") {
        Some("application/x-executable")
    } else if head.starts_with(&[0xca, 0xfe, 0xba, 0xbe]) {
        Some("application/x-java-applet")
    } else {
        None
    };
    if let Some(own) = own {
        return Some(own.to_owned());
    }
    let format = FileFormat::from_bytes(head);
    if matches!(format, FileFormat::ArbitraryBinaryData | FileFormat::PlainText | FileFormat::Empty) {
        return None;
    }
    let kind = match format.media_type() {
        // Names that browsers know.
        "audio/vnd.wave" => "audio/wav",
        "video/avi" => "video/x-msvideo",
        kind => kind,
    };
    // Of text we know more ourselves, and two letters do not make a program of it.
    let is_text = kind.starts_with("text/") && kind != "text/rtf";
    let is_mistaken = head.starts_with(b"MZ");
    (!is_text && !is_mistaken).then(|| kind.to_owned())
}

/// The same thing by other names: what is blocked by one is blocked by all of them.
pub(super) fn aliases(kind: &str) -> &'static [&'static str] {
    const SETS: &[&[&str]] = &[
        &[
            "application/x-dosexec",
            "application/vnd.microsoft.portable-executable",
            "application/x-msdownload",
            "application/x-msdos-program",
            "application/x-ms-dos-executable",
        ],
        &["application/x-executable", "application/x-pie-executable", "application/x-sharedlib", "application/x-elf"],
        &["application/java-archive", "application/x-java-archive", "application/x-jar"],
        &["application/java", "application/java-vm", "application/x-java-applet", "application/x-java-vm"],
        &["application/msword", "application/x-ole-storage", "application/x-cfb", "application/CDFV2"],
        &["text/html", "application/xhtml+xml", "application/hta"],
        &["image/svg+xml", "image/svg"],
        &["text/xml", "application/xml"],
        &["text/javascript", "application/javascript", "application/x-javascript"],
    ];
    SETS.iter().find(|set| set.contains(&kind)).copied().unwrap_or_default()
}

/// What a text's extension says that it is.
pub(super) fn claimed(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "html" | "htm" | "shtml" | "mhtml" | "mht" | "hta" | "htc" => "text/html",
        "xhtml" | "xht" => "application/xhtml+xml",
        "svg" => "image/svg+xml",
        "xml" | "xsl" | "xslt" => "text/xml",
        "js" | "mjs" | "cjs" => "text/javascript",
        _ => return None,
    })
}
