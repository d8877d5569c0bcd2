//! A real sshd.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use witness::model::Fingerprint;

/// Listens on 127.0.0.1 until dropped.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
    child: Child,
}

impl Sshd {
    /// Starts one with host keys of `kinds` and further lines of configuration. None, and a line about it, where there
    /// is no sshd.
    pub(crate) fn start(kinds: &[&str], more: &str) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            witness_lab::skip("ssh against a real sshd", "sshd is not installed (openssh-server)");
            return None;
        }
        // Root's sshd wants this directory.
        let _ = fs::create_dir_all("/run/sshd");
        let dir = TempDir::new().unwrap();
        let mut config = String::new();
        for kind in kinds {
            let key = dir.path().join(format!("host_{kind}"));
            keygen(kind, &key);
            config += &format!("HostKey {}\n", key.display());
        }
        let user_key = dir.path().join("user");
        keygen("ed25519", &user_key);
        fs::copy(user_key.with_extension("pub"), dir.path().join("authorized_keys")).unwrap();
        let port = super::net::closed_port();
        config += &format!(
            "ListenAddress 127.0.0.1:{port}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nMaxStartups 200\nLogLevel ERROR\nPrintMotd no\n{more}\n",
            dir.path().join("authorized_keys").display(),
        );
        let file = dir.path().join("sshd_config");
        fs::write(&file, config).unwrap();
        let child = Command::new(PROGRAM).args(["-D", "-e", "-f"]).arg(&file).stderr(Stdio::inherit()).spawn().unwrap();
        let sshd = Self { port, dir, child };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(sshd);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("sshd does not listen");
    }

    pub(crate) fn user_key(&self) -> PathBuf {
        self.dir.path().join("user")
    }

    /// The fingerprint of its host key of `kind`.
    pub(crate) fn fingerprint(&self, kind: &str) -> Fingerprint {
        fingerprint_of(&self.dir.path().join(format!("host_{kind}.pub")))
    }

    /// Its host key of `kind` as a line of `known_hosts`.
    pub(crate) fn known_host(&self, kind: &str) -> String {
        let key = fs::read_to_string(self.dir.path().join(format!("host_{kind}.pub"))).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn keygen(kind: &str, file: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", "test", "-f"])
        .arg(file)
        .args(if kind == "rsa" { &["-b", "2048"][..] } else { &[] })
        .status();
    assert!(made.unwrap().success());
}

/// As `ssh-keygen -l` tells it.
pub(crate) fn fingerprint_of(public: &Path) -> Fingerprint {
    let told = Command::new("ssh-keygen").arg("-lf").arg(public).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether whoever runs this test may log in at all.
pub(crate) fn may_log_in() -> bool {
    let told = Command::new("getent").args(["passwd", &user()]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let may = !["nologin", "false"].iter().any(|shell| told.trim().ends_with(shell));
    if !may {
        witness_lab::skip_machine("ssh login", &format!("{} has no shell to log in with", user()));
    }
    may
}

/// Who runs this test.
pub(crate) fn user() -> String {
    let told = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

const PROGRAM: &str = "/usr/sbin/sshd";
