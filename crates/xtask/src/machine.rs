//! What this machine is and may.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::succeeds;

/// What was found out at the start.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Whether packages may be installed: root, apt-get, and nobody forbade it.
    pub(crate) installs: bool,
    /// Why not, for the reports.
    pub(crate) why_not: &'static str,
    /// Whether this is a CI run as root, in which everything that can be installed must be there.
    pub(crate) strict: bool,
}

impl Machine {
    pub(crate) fn look(no_install: bool) -> Self {
        let root = is_root();
        let why_not = if no_install {
            "--no-install was given"
        } else if !root {
            "only root can install packages"
        } else if which("apt-get").is_none() {
            "this system has no apt-get"
        } else {
            ""
        };
        let ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        Self { installs: why_not.is_empty(), why_not, strict: ci && root && !no_install }
    }
}

/// Where a program is; system folders are looked into even if they are not on the `PATH`.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(Into::into))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Whether OpenSSL's headers are there, which the SSH library is built with.
pub(crate) fn has_openssl_headers() -> bool {
    std::env::var_os("OPENSSL_DIR").is_some()
        || succeeds(Command::new("pkg-config").args(["--exists", "openssl"]))
        || (which("pkg-config").is_none() && Path::new("/usr/include/openssl/ssl.h").is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
