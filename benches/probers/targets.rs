//! What is probed: nginx for TLS, a real sshd, the kernel's own echo replies; all on 127.0.0.0/8.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use witness_lab::ports;
use witness_lab::process::Guard;
use witness_lab::tls::{Authority, Validity};

use crate::measure::wait_until;

/// The name that every node serves.
pub(crate) const HOST: &str = "files.example.com";
/// What every node answers.
pub(crate) const BODY: &str = "all is well";

/// Running targets; dropping them stops them.
pub(crate) struct Targets {
    folder: TempDir,
    pub(crate) https_port: u16,
    pub(crate) ssh_port: u16,
    _nginx: Guard,
    _sshd: Guard,
}

impl Targets {
    pub(crate) fn start() -> Result<Self, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("failed to {what}: {error}");
        let folder = tempfile::tempdir().map_err(|error| failed("make a folder", &error))?;
        let at = folder.path();
        let authority = Authority::new().map_err(|error| failed("make certificates", &error))?;
        let leaf = authority.issue(&[HOST], Validity::Good).map_err(|error| failed("make certificates", &error))?;
        let write =
            |name: &str, text: &str| fs::write(at.join(name), text).map_err(|error| failed("write a file", &error));
        write("ca.pem", authority.pem())?;
        write("chain.pem", leaf.chain_pem())?;
        write("key.pem", leaf.key_pem())?;
        let https_port = ports::free();
        write("nginx.conf", &nginx_conf(at, https_port))?;
        let nginx = Guard::start(
            Command::new("nginx").arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf")).stderr(Stdio::null()),
        )
        .map_err(|error| failed("start nginx", &error))?;
        let ssh_port = ports::free();
        keygen(&at.join("host_ed25519"))?;
        write("sshd.conf", &sshd_conf(at, ssh_port))?;
        // sshd wants its privilege separation folder.
        let _ = fs::create_dir_all("/run/sshd");
        let sshd = Guard::start(
            Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(at.join("sshd.conf")).stderr(Stdio::null()),
        )
        .map_err(|error| failed("start sshd", &error))?;
        for port in [https_port, ssh_port] {
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            if !wait_until(Duration::from_secs(10), || TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok())
            {
                return Err(format!("nothing listens on {at}"));
            }
        }
        Ok(Self { folder, https_port, ssh_port, _nginx: nginx, _sshd: sshd })
    }

    /// Where files of the benchmark are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A PEM file with the authority that signed every node's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    /// The host key's fingerprint, as `ssh-keygen -lf` prints it.
    pub(crate) fn fingerprint(&self) -> Result<String, String> {
        let printed = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.folder().join("host_ed25519.pub"))
            .output()
            .map_err(|error| format!("failed to run ssh-keygen: {error}"))?;
        let text = String::from_utf8_lossy(&printed.stdout);
        text.split_ascii_whitespace().nth(1).map(str::to_owned).ok_or_else(|| "ssh-keygen printed nothing".to_owned())
    }
}

/// The address of node `n`.
pub(crate) fn address(n: usize) -> IpAddr {
    let n = u32::try_from(n).expect("few enough") + (127 << 24) + (1 << 16);
    IpAddr::V4(Ipv4Addr::from_bits(n))
}

fn nginx_conf(at: &Path, port: u16) -> String {
    let at = at.display();
    format!(
        "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx.log crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_timeout 5; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  server {{
    listen 0.0.0.0:{port} ssl backlog=16384; server_name {HOST};
    ssl_certificate {at}/chain.pem; ssl_certificate_key {at}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{ default_type text/plain; return 200 '{BODY}'; }}
  }}
}}
"
    )
}

fn sshd_conf(at: &Path, port: u16) -> String {
    let at = at.display();
    format!(
        "Port {port}\nListenAddress 0.0.0.0\nHostKey {at}/host_ed25519\nPidFile {at}/sshd.pid\nUsePAM no\n\
         MaxStartups 1000:30:2000\nLogLevel QUIET\nPasswordAuthentication no\nKexAlgorithms curve25519-sha256\n"
    )
}

fn keygen(at: &Path) -> Result<(), String> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(at)
        .status()
        .map_err(|error| format!("failed to run ssh-keygen: {error}"))?;
    if made.success() { Ok(()) } else { Err("ssh-keygen made no key".to_owned()) }
}
