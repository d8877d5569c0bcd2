//! What is probed: nginx for TLS, a real sshd, the kernel's own echo replies; all on 127.0.0.0/8.

use std::fs;
use std::io::{Read as _, Write as _};
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
    status_port: u16,
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
        let (https_port, status_port) = (ports::free(), ports::free());
        write("nginx.conf", &nginx_conf(at, https_port, status_port))?;
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
        Ok(Self { folder, https_port, ssh_port, status_port, _nginx: nginx, _sshd: sshd })
    }

    /// How many requests the web server has answered so far: what a prober really did.
    pub(crate) fn requests(&self) -> Result<usize, String> {
        let failed = |error: std::io::Error| format!("failed to ask nginx for its counts: {error}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.status_port)).map_err(failed)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(failed)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(failed)?;
        // The third number under `server accepts handled requests`.
        let counts = text.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1);
        let requests = counts.and_then(|counts| counts.split_ascii_whitespace().nth(2)?.parse().ok());
        requests.ok_or_else(|| format!("nginx said {text:?}"))
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

fn nginx_conf(at: &Path, port: u16, status: u16) -> String {
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
  server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}
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
