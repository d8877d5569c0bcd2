//! May this be accepted? Pure functions over a file's name and bytes.
//!
//! A list of what is blocked defends nobody: what makes files harmless is how they are served. It keeps out what whoever
//! runs this does not want to keep.

mod extension;
mod markup;
mod signature;
mod zip;

pub use extension::{clean, extensions};
pub use zip::Zip;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// By its bytes, as it is served.
    pub kind: String,
    /// Every name by which it could be blocked.
    pub all: Vec<String>,
}

/// Where what cannot be seen at the beginning is read: so many bytes from there, or fewer at the end.
pub type ReadAt<'r> = &'r dyn Fn(&mut [u8], u64) -> std::io::Result<usize>;

/// Judges a file of `size` bytes by its name, its `head`, and whatever else has to be read.
#[must_use]
pub fn kinds(name: &str, head: &[u8], size: u64, read_at: ReadAt<'_>) -> Kinds {
    let by_signature = signature::detect(head);
    let text = markup::is_text(head);
    let by_markup = markup::detect(head);
    let kind = match (by_signature, by_markup) {
        // A picture that goes on as a page is a picture: that is how it is served.
        (Some(kind), _) if is_media(&kind) => kind,
        (_, Some(kind)) => kind.to_owned(),
        (Some(kind), None) => kind,
        (None, None) if text || size == 0 => "text/plain".to_owned(),
        (None, None) => "application/octet-stream".to_owned(),
    };
    let mut all = vec![kind.clone()];
    let mut add = |more: &[&str]| all.extend(more.iter().map(|&kind| kind.to_owned()));
    if let Some(zip) = zip::read(head, size, read_at) {
        add(&["application/zip"]);
        if zip.has_manifest {
            add(&["application/java-archive"]);
        }
        if zip.is_android {
            add(&["application/vnd.android.package-archive"]);
        }
    }
    // What calls itself a page is one, however late it begins.
    if text || size == 0 {
        let claimed = extensions(name).last().and_then(|last| signature::claimed(last));
        add(claimed.as_slice());
    }
    let aliases = all.iter().flat_map(|kind| signature::aliases(kind)).map(|&kind| kind.to_owned());
    let aliases: Vec<String> = aliases.filter(|alias| !all.contains(alias)).collect();
    all.extend(aliases);
    Kinds { kind, all }
}

/// Whether a browser shows it without running anything in it.
#[must_use]
pub fn is_media(kind: &str) -> bool {
    let (family, rest) = kind.split_once('/').unwrap_or_default();
    match family {
        "image" => rest != "svg+xml" && !rest.ends_with("+xml"),
        "audio" | "video" => true,
        _ => kind == "application/pdf",
    }
}

/// What is blocked about a file, if anything is. `extensions` and `mime` are in small letters.
#[must_use]
pub fn blocked(name: &str, kinds: &Kinds, blocked_extensions: &[String], blocked_kinds: &[String]) -> Option<String> {
    let is_blocked = |extension: &str| blocked_extensions.iter().any(|blocked| blocked == extension);
    let extensions = extensions(name);
    let (last, inner) = extensions.split_last().map_or((None, &[][..]), |(last, inner)| (Some(last), inner));
    if let Some(last) = last.filter(|last| is_blocked(last)) {
        return Some(format!("extension {last}"));
    }
    // `www.example.com.png` is a picture, if it is one.
    if !is_media(&kinds.kind)
        && let Some(inner) = inner.iter().find(|inner| is_blocked(inner))
    {
        return Some(format!("extension {inner}"));
    }
    let is_blocked = |kind: &&String| {
        blocked_kinds.iter().any(|blocked| {
            blocked.eq_ignore_ascii_case(kind)
                || blocked.strip_suffix('*').is_some_and(|family| family.ends_with('/') && kind.starts_with(family))
        })
    };
    kinds.all.iter().find(is_blocked).map(|kind| format!("kind {kind}"))
}

#[cfg(test)]
mod tests;
