//! Secrets, from files that only their owner can read, or from the environment.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::raw::{Found, Reading, Secrets, Spot, Table};
use crate::model::Secret;

/// No key or token is longer, bytes.
const LONGEST: u64 = 64 * 1024;

/// The secret at `NAME_file` or `NAME_env` of `table`; none when there is neither, or when it is wrong.
pub(super) fn secret(table: &Table<'_>, name: &str) -> Option<Found<Secret>> {
    let (file_key, variable_key) = (format!("{name}_file"), format!("{name}_env"));
    let (file, variable) = (table.get(&file_key), table.get(&variable_key));
    let reading = table.reading;
    match (file, variable) {
        (None, None) => None,
        (Some(_), Some(second)) => {
            reading.error(&second.spot, format!("{file_key} is there too"), "keep one of the two");
            None
        }
        (Some(file), None) => {
            let text = file.text()?;
            let value = from_file(reading, &text.spot, &text.value)?;
            Some(Found { value, spot: text.spot })
        }
        (None, Some(variable)) => {
            let text = variable.text()?;
            let value = from_variable(reading, &text.spot, &text.value)?;
            Some(Found { value, spot: text.spot })
        }
    }
}

/// Reads a secret from the file at `path`, as written.
pub(super) fn from_file(reading: &Reading<'_>, spot: &Spot, path: &str) -> Option<Secret> {
    if reading.secrets == Secrets::Leave {
        return Some(Secret::new(""));
    }
    let full = private_file(reading, spot, path)?;
    match fs::read(&full) {
        Ok(bytes) => usable(reading, spot, String::from_utf8(bytes).ok().as_deref()),
        Err(error) => {
            reading.error(
                spot,
                format!("this file cannot be read: {}", plain(&error)),
                "make it readable for the user that runs witness",
            );
            None
        }
    }
}

/// The full path of a file of secrets that only its owner can read.
pub(super) fn private_file(reading: &Reading<'_>, spot: &Spot, path: &str) -> Option<std::path::PathBuf> {
    let full = reading.resolve(path);
    if reading.secrets == Secrets::Leave {
        return Some(full);
    }
    let metadata = match fs::metadata(&full) {
        Ok(metadata) => metadata,
        Err(_) if looks_like_a_secret(path) => {
            let spot = Spot { shown: Some("(hidden)".to_owned()), ..spot.clone() };
            reading.error(
                &spot,
                "there is no such file, and this looks like the secret itself",
                "put it into a file of mode 0600 and write the file's path here",
            );
            return None;
        }
        Err(error) => {
            let remedy = if error.kind() == std::io::ErrorKind::NotFound {
                format!("make it, or correct the path, which is relative to {}", reading.folder_name())
            } else {
                "make it readable for the user that runs witness".to_owned()
            };
            reading.error(spot, format!("{} cannot be read: {}", full.display(), plain(&error)), remedy);
            return None;
        }
    };
    if !metadata.is_file() {
        reading.error(spot, format!("{} is not a file", full.display()), "write the path of a file");
        return None;
    }
    let mode = metadata.permissions().mode() & 0o777;
    // A credential of systemd shows its access list in the bits of the group; the folder is closed to others.
    let credential =
        (reading.env)("CREDENTIALS_DIRECTORY").is_some_and(|folder| full.starts_with(folder)) && mode & 0o007 == 0;
    if mode & 0o077 != 0 && !credential {
        reading.error(
            spot,
            format!("others than its owner can use {} (mode {mode:04o})", full.display()),
            format!("run: chmod 600 {}", shell_word(&full)),
        );
        return None;
    }
    if metadata.size() > LONGEST {
        reading.error(
            spot,
            format!("{} has more than 64 KiB, which is no secret", full.display()),
            "write the path of the right file",
        );
        return None;
    }
    Some(full)
}

/// Reads a secret from the environment variable `name`.
pub(super) fn from_variable(reading: &Reading<'_>, spot: &Spot, name: &str) -> Option<Secret> {
    let is_name =
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name || (name.len() >= 20 && !name.contains('_') && looks_like_a_secret(name)) {
        let spot = Spot { shown: Some("(hidden)".to_owned()), ..spot.clone() };
        reading.error(
            &spot,
            "this is no name of an environment variable",
            "write the variable's name here, never the secret itself",
        );
        return None;
    }
    if reading.secrets == Secrets::Leave {
        return Some(Secret::new(""));
    }
    match (reading.env)(name) {
        Some(text) => usable(reading, spot, Some(&text)),
        None => {
            reading.error(
                spot,
                format!("the environment variable {name} is not set"),
                "set it for witness, or correct its name here",
            );
            None
        }
    }
}

fn usable(reading: &Reading<'_>, spot: &Spot, text: Option<&str>) -> Option<Secret> {
    let wrong = match text.map(str::trim) {
        None => "what is there is not text",
        Some("") => "what is there is empty",
        Some(text) if text.chars().any(char::is_control) => "what is there has several lines or control characters",
        Some(text) => return Some(Secret::new(text)),
    };
    reading.error(spot, wrong, "put the secret there, alone, on one line");
    None
}

/// Whether somebody may have written the secret where its place belongs.
fn looks_like_a_secret(text: &str) -> bool {
    text.len() >= 16
        && !text.contains(['/', '.', ' '])
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@%:,".contains(&b)) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// An I/O error without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}
