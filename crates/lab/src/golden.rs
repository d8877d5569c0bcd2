//! Files that tests compare with, and write again when they are asked to.

use std::path::Path;

/// Where this is set, [`check`] writes instead of comparing; `cargo xtask gen` and `cargo xtask bless` set it.
pub const BLESS: &str = "WITNESS_BLESS";

/// Wants the file at `path` to hold exactly `wanted`. When it does not, tells the first line that differs.
///
/// A missing file differs. Line ends are compared as they are.
///
/// ```no_run
/// let manual = "generated";
/// let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/manual.md");
/// if let Err(difference) = witness_lab::golden::check(&path, manual) {
///     panic!("{difference}");
/// }
/// ```
///
/// # Errors
///
/// With what to read and what to run.
pub fn check(path: &Path, wanted: &str) -> Result<(), String> {
    if std::env::var_os(BLESS).is_some() {
        return write(path, wanted);
    }
    compare(path, wanted)
}

fn write(path: &Path, wanted: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, wanted))
        .map_err(|error| format!("failed to write {}: {error}", path.display()))
}

fn compare(path: &Path, wanted: &str) -> Result<(), String> {
    let held = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read ({error}); `cargo xtask gen` writes it", path.display()))?;
    if held == wanted {
        return Ok(());
    }
    let same = held.lines().zip(wanted.lines()).take_while(|(held, wanted)| held == wanted).count();
    let line = |text: &str| text.lines().nth(same).map_or("(the end)".to_owned(), |line| format!("{line:?}"));
    Err(format!(
        "{} is stale from line {} on: it holds {}, wanted is {}; run `cargo xtask gen` (or `bless`) and read the \
         difference",
        path.display(),
        same + 1,
        line(&held),
        line(wanted)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_first_line_that_differs_and_writes_when_blessed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/text.md");
        assert!(compare(&path, "a\n").unwrap_err().contains("cannot be read"));
        write(&path, "a\nb\n").unwrap();
        assert_eq!(compare(&path, "a\nb\n"), Ok(()));
        let told = compare(&path, "a\nc\n").unwrap_err();
        assert!(told.contains("from line 2 on: it holds \"b\", wanted is \"c\""), "{told}");
        let told = compare(&path, "a\n").unwrap_err();
        assert!(told.contains("wanted is (the end)"), "{told}");
    }
}
