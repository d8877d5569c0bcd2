//! The configuration's file and the ledger's.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Access, NFS_SUPER_MAGIC, access, statfs, statvfs};

use super::Finding;
use crate::config::{Config, size_text};

/// Below this a ledger is soon full, bytes.
const LITTLE_ROOM: u64 = 256 << 20;

/// Whether others could change what witness does.
pub(super) fn configuration(config: &Config) -> Option<Finding> {
    let metadata = fs::metadata(&config.path).ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    let path = config.path.display();
    if mode & 0o022 != 0 {
        return Some(Finding::warning(
            "configuration",
            format!(
                "others than its owner can write {path} (mode {mode:04o}), and with it decide what is done to the DNS"
            ),
            format!("run: chmod go-w {path}"),
        ));
    }
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != ours {
        return Some(Finding::warning(
            "configuration",
            format!(
                "{path} belongs to user {}, who is neither root nor the one that runs witness ({ours})",
                metadata.uid()
            ),
            format!("run: chown root {path}"),
        ));
    }
    None
}

/// Whether the ledger can be written, and is one we understand.
pub(super) fn ledger(path: &Path, newest_schema: Option<u32>) -> Vec<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = Vec::new();
    let error = |what: String, remedy: String| Finding::error("ledger", what, remedy);
    // SQLite keeps files of its own beside the database.
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        findings.push(error(
            format!("no file can be made in {}", folder.display()),
            format!("run: chown USER {}, with the user that runs witness", folder.display()),
        ));
    }
    if path.exists() {
        if access(path, Access::READ_OK | Access::WRITE_OK).is_err() {
            findings.push(error(
                format!("{} cannot be written", path.display()),
                format!("run: chown USER {}, with the user that runs witness", path.display()),
            ));
        } else {
            findings.push(contents(path, newest_schema));
        }
    } else {
        findings.push(Finding::note("ledger", format!("{} will be made", path.display())));
    }
    if statfs(folder).is_ok_and(|found| found.f_type == NFS_SUPER_MAGIC) {
        findings.push(error(
            format!("{} is on a network file system, where SQLite's write-ahead log does not work", folder.display()),
            "write the path of a local disk at witness.database".to_owned(),
        ));
    }
    if let Ok(found) = statvfs(folder) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < LITTLE_ROOM {
            let free = size_text(free >> 20 << 20);
            findings.push(Finding::warning(
                "ledger",
                format!("{} has {free} left", folder.display()),
                "make room, or write a shorter retention_observations".to_owned(),
            ));
        }
    }
    findings
}

/// `user_version`, in the header that the first page of a database begins with.
fn version_of(page: &[u8]) -> u32 {
    u32::from_be_bytes([page[60], page[61], page[62], page[63]])
}

/// The header as the write-ahead log has it, where it has: what was last written is there, and not in the file yet.
///
/// The log begins with 32 bytes (page size at 8, salts at 16); then each frame has 24 (page number at 0, salts at 8) and a
/// page. A frame with other salts is left from before.
fn first_page_of_log(database: &Path) -> Option<Vec<u8>> {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    let mut log = std::io::BufReader::new(File::open(name).ok()?);
    let mut head = [0; 32];
    log.read_exact(&mut head).ok()?;
    let size = usize::try_from(u32::from_be_bytes([head[8], head[9], head[10], head[11]])).ok()?;
    let size = Some(if size == 1 { 65_536 } else { size }).filter(|size| (512..=65_536).contains(size))?;
    let mut found = None;
    let (mut frame, mut page) = ([0; 24], vec![0; size]);
    while log.read_exact(&mut frame).is_ok() && log.read_exact(&mut page).is_ok() && frame[8..16] == head[16..24] {
        if frame[..4] == [0, 0, 0, 1] {
            found = Some(page[..100].to_vec());
        }
    }
    found
}

/// Reads the version in the file's own header: no lock is taken and no log replayed.
fn contents(path: &Path, newest_schema: Option<u32>) -> Finding {
    let mut header = [0_u8; 100];
    let read = File::open(path).and_then(|mut file| {
        let mut filled = 0;
        while filled < header.len() {
            match file.read(&mut header[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
        Ok(filled)
    });
    let logged = first_page_of_log(path);
    let path = path.display();
    match read {
        Err(error) => {
            Finding::error("ledger", format!("{path} cannot be read: {error}"), "correct witness.database".to_owned())
        }
        Ok(0) => Finding::note("ledger", format!("{path} is empty and will be filled")),
        Ok(100) if header.starts_with(b"SQLite format 3\0") => {
            let version = version_of(logged.as_deref().unwrap_or(&header));
            match newest_schema {
                Some(newest) if version > newest => Finding::error(
                    "ledger",
                    format!("{path} has version {version}, and this witness knows {newest} at the most"),
                    "use the newer witness that wrote it, or another database".to_owned(),
                ),
                Some(newest) if version < newest => {
                    Finding::note("ledger", format!("{path} has version {version} and will be brought to {newest}"))
                }
                _ => Finding::note("ledger", format!("{path} has version {version}")),
            }
        }
        Ok(_) => Finding::error(
            "ledger",
            format!("{path} is no SQLite database"),
            "correct witness.database, or move the file away".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Severity;

    fn severities(findings: &[Finding]) -> Vec<Severity> {
        findings.iter().map(|finding| finding.severity).filter(|severity| *severity != Severity::Warning).collect()
    }

    #[test]
    fn ledgers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness.db");
        assert_eq!(severities(&ledger(&path, Some(3))), [Severity::Note]);
        fs::write(&path, "").unwrap();
        assert_eq!(severities(&ledger(&path, Some(3))), [Severity::Note]);
        fs::write(&path, "not a database").unwrap();
        assert_eq!(severities(&ledger(&path, Some(3))), [Severity::Error]);
        fs::remove_file(&path).unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute_batch("PRAGMA user_version = 4; CREATE TABLE t (x);").unwrap();
        drop(database);
        for (newest, severity, told) in [
            (Some(3), Severity::Error, "has version 4, and this witness knows 3 at the most"),
            (Some(4), Severity::Note, "has version 4"),
            (Some(5), Severity::Note, "will be brought to 5"),
            (None, Severity::Note, "has version 4"),
        ] {
            let findings = ledger(&path, newest);
            assert_eq!(findings[0].severity, severity);
            assert!(findings[0].what.ends_with(told), "{findings:?}");
        }
        let nowhere = folder.path().join("missing/witness.db");
        assert_eq!(ledger(&nowhere, None)[0].severity, Severity::Error);
    }
}
