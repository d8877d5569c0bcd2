//! Keeps the tree as it was meant: arrows between modules, files that can be read in a sitting, nothing that belongs
//! to one person's machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod arrows;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines a source file may have. What is longer is two things.
const LONGEST: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is in the repository, or would be after `git add`: relative paths.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).unwrap();
            let mut files: Vec<PathBuf> = names.split('\0').filter(|name| !name.is_empty()).map(Into::into).collect();
            // Removed, and not yet told to git.
            files.retain(|file| root().join(file).is_file());
            files
        }
        // Without git or outside a clone, as in a released archive.
        _ => walk(root()),
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != ".git" {
            files.extend(walk(&path));
        } else if path.is_file() {
            files.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    files
}

/// The text files among them, with their text.
fn texts() -> Vec<(PathBuf, String)> {
    let read = |file: PathBuf| std::fs::read_to_string(root().join(&file)).ok().map(|text| (file, text));
    files().into_iter().filter_map(read).collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn no_arrow_between_modules_points_the_wrong_way() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in texts() {
        if path.starts_with("src") && is_rust(&path) {
            seen += 1;
            wrong.extend(arrows::wrong(&path, &text));
        }
    }
    assert!(seen > 20, "only {seen} files of src/ were found");
    assert!(wrong.is_empty(), "\n{}\nThe table is in tests/tidy/arrows.rs, with reasons.", wrong.join("\n"));
}

#[test]
fn files_can_be_read_in_a_sitting() {
    let long: Vec<String> = texts()
        .into_iter()
        .filter(|(path, _)| is_rust(path))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{} has {lines} lines, and {LONGEST} are enough", path.display()))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn nothing_belongs_to_one_machine_or_is_left_to_do() {
    // In pieces, or this file would be found out itself.
    let homes = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let undone = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!(")];
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let at = || format!("{}:{}", path.display(), number + 1);
            // A path begins where no other path can go on.
            let names_a_home = |home: &&&str| {
                line.match_indices(*home).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|c| !c.is_alphanumeric() && !".-_$}~/*".contains(c))
                })
            };
            if let Some(home) = homes.iter().find(names_a_home) {
                wrong.push(format!("{}: {home} is a place on somebody's machine", at()));
            }
            if is_rust(&path)
                && let Some(word) = undone.iter().find(|word| line.contains(**word))
            {
                wrong.push(format!("{}: {word}) is not finished", at()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
