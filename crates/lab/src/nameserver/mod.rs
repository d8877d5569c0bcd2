//! Real name servers, each with one zone that takes dynamic updates under one key.
//!
//! They are started from nothing in a folder of their own and are gone when dropped. Everything here blocks.

mod bind;
mod knot;
mod powerdns;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// The name of the key that may change the zone.
pub const KEY_NAME: &str = "witness-key";
/// Its secret, base64. It protects nothing: it is for servers on loopback and in test networks.
pub const KEY_SECRET: &str = "d2l0bmVzcyBsYWIga2V5LCBubyBzZWNyZXQgYXQgYWxsIQ==";

/// How long a server may take until it answers. A loaded machine is slow; one second is usual.
const PATIENCE: Duration = Duration::from_secs(30);
const NAP: Duration = Duration::from_millis(20);

/// The servers we can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `knotd`, Debian package knot.
    Knot,
    /// `named`, Debian package bind9.
    Bind,
    /// `pdns_server` with its SQLite back end, Debian packages pdns-server, pdns-backend-sqlite3 and sqlite3.
    PowerDns,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Knot, Self::Bind, Self::PowerDns];

    /// Whether what it needs is installed.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Knot => program("knotd").is_some(),
            Self::Bind => program("named").is_some(),
            Self::PowerDns => {
                program("pdns_server").is_some() && program("sqlite3").is_some() && powerdns::schema().is_some()
            }
        }
    }

    /// The Debian packages that it needs.
    #[must_use]
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Knot => &["knot"],
            Self::Bind => &["bind9"],
            Self::PowerDns => &["pdns-server", "pdns-backend-sqlite3", "sqlite3"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Knot => "knot",
            Self::Bind => "bind",
            Self::PowerDns => "powerdns",
        })
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The zone's name, without a final dot.
    pub zone: String,
    /// Its records as lines of a zone file, relative to the zone, without SOA and without the NS record that is added:
    /// `@ 60 IN A 192.0.2.11`.
    pub records: Vec<String>,
    /// Names in the zone whose A and AAAA sets the key may change, where the server can tell: `@`, `files`.
    pub owners: Vec<String>,
    /// Where to listen; none: a free port on 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// What goes before every command, such as `["ip", "netns", "exec", "NAME"]`. With it, `listen` must be given, and
    /// whether the server answers is asked through it too.
    pub prefix: Vec<String>,
    /// Which networks may send updates, where the server asks for it (PowerDNS): `127.0.0.0/8`.
    pub allow_from: Vec<String>,
}

impl Spec {
    /// A zone on loopback.
    #[must_use]
    pub fn new(zone: &str, records: &[&str], owners: &[&str]) -> Self {
        Self {
            zone: zone.to_owned(),
            records: records.iter().map(|&line| line.to_owned()).collect(),
            owners: owners.iter().map(|&owner| owner.to_owned()).collect(),
            listen: None,
            prefix: Vec::new(),
            allow_from: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        }
    }

    /// The zone as a file.
    fn zone_file(&self) -> String {
        let mut text = format!(
            "$ORIGIN {zone}.\n$TTL 300\n@ 300 IN SOA ns1.{zone}. hostmaster.{zone}. 1 3600 600 86400 60\n\
             @ 300 IN NS ns1.{zone}.\nns1 300 IN A 127.0.0.1\n",
            zone = self.zone
        );
        for line in &self.records {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The owners as full names with a final dot.
    fn owner_names(&self) -> impl Iterator<Item = String> {
        self.owners.iter().map(
            |owner| {
                if owner == "@" { format!("{}.", self.zone) } else { format!("{owner}.{}.", self.zone) }
            },
        )
    }

    fn command(&self, program: &Path) -> Command {
        match self.prefix.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is not installed.
    #[error("{kind} is not installed: apt-get install {packages}")]
    NotInstalled { kind: Kind, packages: String },
    /// A file or a process.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// It ended, or it does not answer.
    #[error("{kind} does not answer at {address}; its log ends with: {log}")]
    Silent { kind: Kind, address: SocketAddr, log: String },
}

/// A server that answers. Killed when dropped.
#[derive(Debug)]
pub struct NameServer {
    kind: Kind,
    address: SocketAddr,
    zone: String,
    process: Child,
    folder: TempDir,
}

impl NameServer {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(kind: Kind, spec: &Spec) -> Result<Self, StartError> {
        if !kind.available() {
            return Err(StartError::NotInstalled { kind, packages: kind.packages().join(" ") });
        }
        // Somebody else may take a free port before the server does; then it ends, and another is tried.
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::start_once(kind, spec) {
                Err(StartError::Silent { log, .. }) if spec.listen.is_none() && tries < 3 && taken(&log) => {}
                ended => return ended,
            }
        }
    }

    fn start_once(kind: Kind, spec: &Spec) -> Result<Self, StartError> {
        let folder = TempDir::with_prefix(format!("witness-{kind}-")).map_err(io_error("a folder"))?;
        let address = match spec.listen {
            Some(address) => address,
            None => free_port().map_err(io_error("a free port"))?,
        };
        let mut command = match kind {
            Kind::Knot => knot::prepare(spec, address, folder.path())?,
            Kind::Bind => bind::prepare(spec, address, folder.path())?,
            Kind::PowerDns => powerdns::prepare(spec, address, folder.path())?,
        };
        let log = File::create(folder.path().join("log")).map_err(io_error("its log"))?;
        let also = log.try_clone().map_err(io_error("its log"))?;
        let process = command.stdin(Stdio::null()).stdout(log).stderr(also).spawn().map_err(io_error("starting it"))?;
        let mut server = Self { kind, address, zone: spec.zone.clone(), process, folder };
        server.wait(spec)?;
        Ok(server)
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its zone, without a final dot.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote so far, for a test that fails.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn wait(&mut self, spec: &Spec) -> Result<(), StartError> {
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            if matches!(self.process.try_wait(), Ok(Some(_))) || taken(&self.log()) {
                break;
            }
            let answers =
                if spec.prefix.is_empty() { answers(self.address, &self.zone) } else { self.answers_inside(spec) };
            if answers {
                return Ok(());
            }
            sleep(NAP);
            waited += NAP;
        }
        let log = self.log();
        let from = log.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
        Err(StartError::Silent { kind: self.kind, address: self.address, log: log[from..].to_owned() })
    }

    /// Asks through the prefix, with whichever of the tools there is; without one, time must do.
    fn answers_inside(&self, spec: &Spec) -> bool {
        let at = format!("@{}", self.address.ip());
        let port = self.address.port().to_string();
        for (name, patience) in [("kdig", "+retry=0"), ("dig", "+tries=1")] {
            let Some(tool) = program(name) else { continue };
            let tried = spec
                .command(&tool)
                .args([&at, "-p", &port, "+time=1", patience, "+short", &self.zone, "SOA"])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output();
            return tried.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"ns1."));
        }
        sleep(Duration::from_secs(2));
        true
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // It has nothing to save; and what has ended cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether it says that its port is somebody else's. Not all of them end then.
fn taken(log: &str) -> bool {
    log.to_lowercase().contains("in use")
}

/// A port that is free for UDP and TCP on 127.0.0.1.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> io::Result<SocketAddr> {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Whether the zone's SOA comes back, over UDP and over TCP.
fn answers(address: SocketAddr, zone: &str) -> bool {
    let mut question = vec![0x77, 0x31, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in zone.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or(63));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 6, 0, 1]);
    let good = |answer: &[u8]| {
        answer.len() > 12 && answer[..2] == question[..2] && answer[3] & 0x0f == 0 && answer[6..8] != [0, 0]
    };
    let udp = || -> io::Result<bool> {
        let here: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((here, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.connect(address)?;
        socket.send(&question)?;
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer)?;
        Ok(good(&answer[..length]))
    };
    let tcp = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let length = u16::try_from(question.len()).unwrap_or(0);
        stream.write_all(&[&length.to_be_bytes()[..], &question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(good(&answer))
    };
    udp().unwrap_or(false) && tcp().unwrap_or(false)
}

/// Where a program is; servers live in `sbin`, which users rarely have in their `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> StartError {
    let what = what.to_owned();
    move |source| StartError::Io { what, source }
}

fn write(path: &Path, text: &str) -> Result<(), StartError> {
    std::fs::write(path, text).map_err(io_error(&path.display().to_string()))
}

/// The program, which was found before.
fn found(kind: Kind, name: &str) -> Result<PathBuf, StartError> {
    program(name).ok_or_else(|| StartError::NotInstalled { kind, packages: kind.packages().join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network namespace, gone when dropped; none where we may not make one, which is said.
    struct Namespace(String);

    impl Namespace {
        fn new() -> Option<Self> {
            let name = format!("witness-ns-{}", std::process::id());
            let made = program("ip").is_some() && ip(&["netns", "add", &name]);
            if !made {
                crate::skip("a name server in a network namespace", "iproute2 and root are needed");
                return None;
            }
            let namespace = Self(name);
            assert!(ip(&["-n", &namespace.0, "link", "set", "lo", "up"]));
            Some(namespace)
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            ip(&["netns", "delete", &self.0]);
        }
    }

    fn ip(arguments: &[&str]) -> bool {
        let ran = Command::new("ip").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status();
        ran.is_ok_and(|status| status.success())
    }

    #[test]
    fn each_starts_inside_a_network_namespace() {
        let Some(namespace) = Namespace::new() else { return };
        for kind in Kind::ALL {
            if !kind.available() {
                eprintln!("SKIPPED: {kind} in a network namespace: apt-get install {}", kind.packages().join(" "));
                continue;
            }
            let address: SocketAddr = "127.0.0.1:53".parse().unwrap();
            let spec = Spec {
                listen: Some(address),
                prefix: ["ip", "netns", "exec", &namespace.0].map(str::to_owned).into(),
                ..Spec::new("example.com", &["@ 60 IN A 192.0.2.11"], &["@"])
            };
            let server = NameServer::start(kind, &spec).unwrap();
            let pid = server.pid();
            assert!(!answers(address, "example.com"), "{kind} answers outside too");
            drop(server);
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{kind} still runs");
        }
    }
}
