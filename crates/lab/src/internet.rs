//! What the end-to-end tests are run in: nodes with an address each, real sshds, anchors in other networks, a place
//! for the name server and one for the witness, all in network namespaces.
//!
//! ```text
//!   witness  203.0.113.10        dns      198.51.100.53
//!   n1       192.0.2.11          anchor1  198.51.100.1
//!   n2       192.0.2.12          anchor2  203.0.113.1
//!   ...                          anchor3  192.0.2.200
//! ```
//!
//! Nodes serve HTTPS on 443 for `files.example.com` and SSH on 22, as processes of their own that can be killed;
//! anchors accept connections on 443. Nothing runs in `dns` and `witness`: tests put there what they are about.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::netns::{self, Narrow, Network};
use crate::node::{Mode, Node, NodeConfig};
use crate::process::{Guard, node_program, wait_until};
use crate::sshd::{self, Sshd, SshdConfig};
use crate::tls::Authority;

/// The name that the nodes' certificates are for.
pub const HOST: &str = "files.example.com";

/// Where a name server belongs.
pub const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 53)), 53);

/// Where the anchors are.
pub const ANCHORS: [SocketAddr; 3] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 443),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 443),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200)), 443),
];

/// How long a process may take to do as it is told; generous, a busy machine is no failure.
const BOUND: Duration = Duration::from_secs(20);

/// Whether all of this can be made here, or why not.
///
/// # Errors
///
/// With the reason, in words for [`crate::skip()`].
pub fn available() -> Result<(), String> {
    netns::available()?;
    sshd::available()
}

/// The whole; dropping it ends and removes everything.
#[derive(Debug)]
pub struct Internet {
    /// The nodes, `n1` first.
    pub machines: Vec<Machine>,
    /// Who signed the nodes' certificates.
    pub authority: Authority,
    _anchors: Vec<Node>,
    /// The network: links to cut, firewalls to close.
    pub network: Network,
    folder: TempDir,
}

impl Internet {
    /// Starts this many nodes, 80 at most, all healthy, and the anchors.
    ///
    /// # Errors
    ///
    /// When anything cannot be started; ask [`available`] before.
    pub fn start(nodes: u8) -> io::Result<Self> {
        Self::begin(nodes, None)
    }

    /// The same, with every node behind such a link; nodes tell what they really send in their health documents.
    ///
    /// # Errors
    ///
    /// As [`Internet::start`]; ask [`netns::can_narrow`], too.
    pub fn behind(nodes: u8, link: &Narrow) -> io::Result<Self> {
        Self::begin(nodes, Some(link))
    }

    fn begin(nodes: u8, link: Option<&Narrow>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("witness-internet-").tempdir()?;
        let mut network = Network::new().map_err(io::Error::other)?;
        let mut add = |name: &str, address: IpAddr| network.add(name, &[address]).map_err(io::Error::other);
        add("witness", Ipv4Addr::new(203, 0, 113, 10).into())?;
        add("dns", DNS.ip())?;
        for (anchor, number) in ANCHORS.iter().zip(1..) {
            add(&format!("anchor{number}"), anchor.ip())?;
        }
        let addresses: Vec<IpAddr> = (1..=nodes.min(80)).map(|n| Ipv4Addr::new(192, 0, 2, 10 + n).into()).collect();
        for (address, number) in addresses.iter().zip(1..) {
            add(&format!("n{number}"), *address)?;
        }
        if let Some(link) = link {
            for number in 1..=addresses.len() {
                network.narrow(&format!("n{number}"), link).map_err(io::Error::other)?;
            }
        }

        let authority = Authority::new().map_err(io::Error::other)?;
        let identity = authority.identity(&[HOST]).map_err(io::Error::other)?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        identity.good.write(folder.path(), "good")?;
        if let Some(expired) = &identity.expired {
            expired.write(folder.path(), "expired")?;
        }
        let mut anchors = Vec::new();
        for (address, number) in ANCHORS.iter().zip(1..) {
            let name = format!("anchor{number}");
            let mut config = NodeConfig::new(&name, *address, identity.good.clone());
            config.netns = Some(network.path(&name).map_err(io::Error::other)?);
            anchors.push(Node::start(config)?);
        }
        let machines = addresses
            .iter()
            .zip(1..)
            .map(|(address, number)| Machine::start(&network, folder.path(), &format!("n{number}"), *address, link))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { machines, authority, _anchors: anchors, network, folder })
    }

    /// The certificate for a `ca_file`.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A folder that goes with the network, for configurations and ledgers.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// One node: a process that serves HTTPS, and a real sshd.
#[derive(Debug)]
pub struct Machine {
    name: String,
    address: IpAddr,
    namespace: String,
    folder: PathBuf,
    /// What it can send, bit/s, where that is less than its processes could.
    capacity: Option<u64>,
    web: Guard,
    /// Its sshd.
    pub sshd: Sshd,
}

impl Machine {
    fn start(
        network: &Network,
        certificates: &Path,
        name: &str,
        address: IpAddr,
        link: Option<&Narrow>,
    ) -> io::Result<Self> {
        let namespace = network.namespace(name).map_err(io::Error::other)?.to_owned();
        let folder = certificates.join(name);
        std::fs::create_dir(&folder)?;
        let mut sshd = SshdConfig::new(SocketAddr::new(address, 22));
        sshd.namespace = Some(namespace.clone());
        let sshd = Sshd::start(sshd)?;
        let capacity = link.map(|link| link.rate_bps);
        let web = launch(&namespace, &folder, name, address, capacity)?;
        Ok(Self { name: name.to_owned(), address, namespace, folder, capacity, web, sshd })
    }

    /// Its name, which is its host's in the network, too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Serves HTTPS so from now on.
    ///
    /// # Errors
    ///
    /// When the process has been killed, or does not know the mode.
    pub fn set(&self, mode: &Mode) -> io::Result<()> {
        let wanted = mode.to_string();
        let done = self.folder.join("mode.done");
        std::fs::write(self.folder.join("mode"), &wanted)?;
        if wait_until(BOUND, || std::fs::read_to_string(&done).is_ok_and(|mode| mode == wanted)) {
            return Ok(());
        }
        Err(io::Error::other(format!("{} does not take the mode {wanted}", self.name)))
    }

    /// Kills the process that serves HTTPS, as a crash would: the kernel refuses connections from now on.
    pub fn kill_web(&mut self) {
        self.web.kill();
    }

    /// Kills it and the sshd: the machine still answers pings.
    pub fn kill_all(&mut self) {
        self.kill_web();
        self.sshd.stop();
    }

    /// Starts what was killed; all is healthy again.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn restart(&mut self) -> io::Result<()> {
        self.web.kill();
        self.web = launch(&self.namespace, &self.folder, &self.name, self.address, self.capacity)?;
        self.sshd.restart()
    }
}

fn launch(namespace: &str, folder: &Path, name: &str, address: IpAddr, capacity: Option<u64>) -> io::Result<Guard> {
    for left in ["mode", "mode.done", "pid"] {
        let _ = std::fs::remove_file(folder.join(left));
    }
    let mut command = netns::command_in(namespace, node_program()?);
    command.current_dir(folder);
    command.args(["--name", name, "--listen", &SocketAddr::new(address, 443).to_string()]);
    command.args(["--cert", "../good.pem", "--key", "../good.key"]);
    command.args(["--expired-cert", "../expired.pem", "--expired-key", "../expired.key"]);
    command.args(["--mode-file", "mode", "--mode-done", "mode.done", "--pid-file", "pid"]);
    if let Some(capacity) = capacity {
        command.args(["--egress", "eth0", "--capacity", &capacity.to_string()]);
    }
    let mut guard = Guard::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    // The file is written once it listens.
    let pid = folder.join("pid");
    if wait_until(BOUND, || pid.is_file() || !guard.is_running()) && guard.is_running() {
        return Ok(guard);
    }
    Err(io::Error::other(format!("the HTTPS server of {name} does not start")))
}
