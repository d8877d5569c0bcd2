//! Network namespaces: a small internet of this process's own, with a router in its middle and links to cut.
//!
//! ```text
//!   host n1 ── eth0        eth0 ── host witness
//!   host n2 ── eth0  hub   eth0 ── host dns        hub: a router; one port p0, p1, ... for each host
//!   host n3 ── eth0        eth0 ── host anchor1
//! ```
//!
//! Every host is a namespace with one interface `eth0`, an address of its own (any: all are routed) and a default
//! route to the hub. As on the internet, hosts are not on one link: a host that is gone is missed by the router, not by
//! an ARP request of ours. Needs root, `ip` and, for the firewalls, `nft`, for
//! narrow links `tc`.

mod firewall;
mod narrow;
mod segment;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use self::firewall::Hook;
pub use self::firewall::{Firewall, Traffic};
pub use self::narrow::{Narrow, NoNarrow, can_narrow};
pub use self::segment::Segment;
use crate::process::{self, Guard, is_root, wait_until, which};

/// Names of our namespaces begin so; the id of the process that made them follows.
const PREFIX: &str = "wl-";

/// Every port of the hub has this address, which is all that hosts know of it.
const GATEWAY_V4: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::1";

/// How long the kernel may take to notice that a link is up.
const SETTLED: Duration = Duration::from_secs(5);

/// The network could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A program could not be started.
    #[error("failed to run {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("failed to run `{command}`: {message}")]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote on its standard error.
        message: String,
    },
    /// There is no host of this name.
    #[error("failed to find a host called {0:?} in the network")]
    NoHost(String),
}

/// Whether namespaces can be made here, or why not.
///
/// # Errors
///
/// With the reason, in words for [`crate::skip()`].
pub fn available() -> Result<(), String> {
    if !is_root() {
        return Err("network namespaces need root".to_owned());
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        if which(program).is_none() {
            return Err(format!("{program} is not installed (Debian package {package})"));
        }
    }
    let probe = format!("{PREFIX}{}-{}-try", std::process::id(), number());
    let made = ip(&["netns", "add", &probe]);
    let _ = ip(&["netns", "delete", &probe]);
    made.map_err(|error| format!("this machine makes no network namespaces: {error}"))
}

/// One host's place in the network.
#[derive(Clone, Debug)]
struct Host {
    namespace: String,
    addresses: Vec<IpAddr>,
    /// The interface of the hub that leads to it.
    port: String,
}

/// A network; dropping it ends the processes in it and removes it.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hub: String,
    hosts: BTreeMap<String, Host>,
}

impl Network {
    /// An empty network: a hub alone. What dead processes have left behind of theirs is removed first.
    ///
    /// # Errors
    ///
    /// When namespaces cannot be made; ask [`available`] before.
    pub fn new() -> Result<Self, NetError> {
        sweep();
        let prefix = format!("{PREFIX}{}-{}-", std::process::id(), number());
        let hub = format!("{prefix}hub");
        ip(&["netns", "add", &hub])?;
        // From here on, dropping the value cleans up.
        let network = Self { prefix, hub, hosts: BTreeMap::new() };
        ip(&["-n", &network.hub, "link", "set", "lo", "up"])?;
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            // One answer to an unreachable destination a second and host would be too few for several probes.
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/icmp/ratelimit", "0"),
        ] {
            network.sysctl_in(&network.hub, key, value)?;
        }
        Ok(network)
    }

    /// Adds a host with these addresses. Short names: letters and digits.
    ///
    /// # Errors
    ///
    /// When an `ip` command fails: the name or an address is there already, say.
    pub fn add(&mut self, name: &str, addresses: &[IpAddr]) -> Result<(), NetError> {
        let namespace = format!("{}{name}", self.prefix);
        let port = format!("p{}", self.hosts.len());
        ip(&["netns", "add", &namespace])?;
        let host = Host { namespace, addresses: addresses.to_vec(), port };
        self.hosts.insert(name.to_owned(), host.clone());
        let (inside, hub) = (host.namespace.as_str(), self.hub.as_str());
        ip(&["link", "add", "eth0", "netns", inside, "type", "veth", "peer", "name", &host.port, "netns", hub])?;
        // Addresses are ours alone, so nobody needs to wait for the detection of duplicates.
        self.sysctl_in(inside, "ipv6/conf/all/accept_dad", "0")?;
        self.sysctl_in(inside, "ipv6/conf/eth0/accept_dad", "0")?;
        self.sysctl_in(hub, &format!("ipv6/conf/{}/accept_dad", host.port), "0")?;
        // Datagram sockets for ping, as desktop systems permit them to everybody.
        self.sysctl_in(inside, "ipv4/ping_group_range", "0 2147483647")?;
        ip(&["-n", inside, "link", "set", "lo", "up"])?;
        for address in addresses {
            ip(&["-n", inside, "address", "add", &whole(*address), "dev", "eth0", "nodad"])?;
        }
        self.plug_hub(&host)?;
        self.plug_host(&host)?;
        self.settle(&host);
        Ok(())
    }

    /// The names of the hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    /// A host's namespace, as `ip netns` calls it.
    ///
    /// # Errors
    ///
    /// When there is no such host.
    pub fn namespace(&self, host: &str) -> Result<&str, NetError> {
        self.host(host).map(|host| host.namespace.as_str())
    }

    /// The file of a host's namespace, which a thread can enter: [`crate::node::NodeConfig::netns`].
    ///
    /// # Errors
    ///
    /// When there is no such host.
    pub fn path(&self, host: &str) -> Result<PathBuf, NetError> {
        Ok(Path::new("/run/netns").join(self.namespace(host)?))
    }

    /// A command that will run inside a host; its process has the id of the program itself.
    ///
    /// # Errors
    ///
    /// When there is no such host.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command, NetError> {
        Ok(command_in(self.namespace(host)?, program))
    }

    /// Runs a program inside a host and waits for it. What it returns is not judged.
    ///
    /// # Errors
    ///
    /// When there is no such host or `ip` cannot be started.
    pub fn exec(&self, host: &str, program: &str, arguments: &[&str]) -> Result<Output, NetError> {
        let mut command = self.command(host, program)?;
        command.args(arguments).output().map_err(|source| NetError::Start { program: program.to_owned(), source })
    }

    /// Starts a program inside a host; it ends with the guard.
    ///
    /// # Errors
    ///
    /// When there is no such host or `ip` cannot be started.
    pub fn spawn(&self, host: &str, program: &str, arguments: &[&str]) -> Result<Guard, NetError> {
        let mut command = self.command(host, program)?;
        Guard::start(command.args(arguments)).map_err(|source| NetError::Start { program: program.to_owned(), source })
    }

    /// Takes the host's own interface down, as its administrator would: the host loses its routes with it.
    ///
    /// # Errors
    ///
    /// When there is no such host or `ip` fails.
    pub fn link_down(&self, host: &str) -> Result<(), NetError> {
        ip(&["-n", self.namespace(host)?, "link", "set", "eth0", "down"])
    }

    /// Undoes [`Network::link_down`].
    ///
    /// # Errors
    ///
    /// When there is no such host or `ip` fails.
    pub fn link_up(&self, host: &str) -> Result<(), NetError> {
        let host = self.host(host)?;
        self.plug_host(host)?;
        self.settle(host);
        Ok(())
    }

    /// Pulls the cable at the hub: the host keeps its routes, but has no carrier; the hub has no route to it.
    ///
    /// # Errors
    ///
    /// When there is no such host or `ip` fails.
    pub fn unplug(&self, host: &str) -> Result<(), NetError> {
        ip(&["-n", &self.hub, "link", "set", &self.host(host)?.port, "down"])
    }

    /// Undoes [`Network::unplug`].
    ///
    /// # Errors
    ///
    /// When there is no such host or `ip` fails.
    pub fn plug(&self, host: &str) -> Result<(), NetError> {
        let host = self.host(host)?;
        self.plug_hub(host)?;
        self.settle(host);
        Ok(())
    }

    /// Puts a rule into the host's own firewall, about packets that come in; rules add up until
    /// [`Network::open_firewall`].
    ///
    /// # Errors
    ///
    /// When there is no such host or `nft` fails.
    pub fn firewall(&self, host: &str, what: Traffic, how: Firewall) -> Result<(), NetError> {
        firewall::add(self.namespace(host)?, Hook::Input, "", what, how)
    }

    /// Removes the host's firewall.
    ///
    /// # Errors
    ///
    /// When there is no such host or `nft` fails.
    pub fn open_firewall(&self, host: &str) -> Result<(), NetError> {
        firewall::remove(self.namespace(host)?, Hook::Input)
    }

    /// Lets packets to the host vanish on the way, at the hub: no answer, no ICMP. The host does not notice.
    ///
    /// # Errors
    ///
    /// When there is no such host or `nft` fails.
    pub fn blackhole(&self, host: &str) -> Result<(), NetError> {
        self.on_the_way_to(host, Traffic::All, Firewall::Drop)
    }

    /// Puts a rule into the hub about what goes to a host: trouble of the path, such as [`Firewall::Lose`].
    ///
    /// # Errors
    ///
    /// When there is no such host or `nft` fails.
    pub fn on_the_way_to(&self, host: &str, what: Traffic, how: Firewall) -> Result<(), NetError> {
        let port = &self.host(host)?.port;
        firewall::add(&self.hub, Hook::Forward, &format!("oifname \"{port}\""), what, how)
    }

    /// Removes all rules of the hub.
    ///
    /// # Errors
    ///
    /// When `nft` fails.
    pub fn clear_the_way(&self) -> Result<(), NetError> {
        firewall::remove(&self.hub, Hook::Forward)
    }

    fn plug_hub(&self, host: &Host) -> Result<(), NetError> {
        let hub = self.hub.as_str();
        ip(&["-n", hub, "link", "set", &host.port, "up"])?;
        // What is there already is left as it is.
        ip(&["-n", hub, "address", "replace", &format!("{GATEWAY_V4}/32"), "dev", &host.port])?;
        ip(&["-n", hub, "address", "replace", &format!("{GATEWAY_V6}/64"), "dev", &host.port, "nodad"])?;
        for address in &host.addresses {
            ip(&["-n", hub, "route", "replace", &whole(*address), "dev", &host.port])?;
        }
        Ok(())
    }

    fn plug_host(&self, host: &Host) -> Result<(), NetError> {
        let inside = host.namespace.as_str();
        ip(&["-n", inside, "link", "set", "eth0", "up"])?;
        // Taking an interface down takes its IPv6 addresses along.
        for address in host.addresses.iter().filter(|address| address.is_ipv6()) {
            ip(&["-n", inside, "address", "replace", &whole(*address), "dev", "eth0", "nodad"])?;
        }
        ip(&["-n", inside, "route", "replace", GATEWAY_V4, "dev", "eth0"])?;
        ip(&["-n", inside, "route", "replace", "default", "via", GATEWAY_V4, "dev", "eth0"])?;
        ip(&["-n", inside, "-6", "route", "replace", "default", "via", GATEWAY_V6, "dev", "eth0"])
    }

    /// Waits until both ends of a cable have noticed that it is in: the kernel looks once a second, and until then what
    /// is sent is lost. The other end may be down by intention, so that it comes to nothing is no error.
    fn settle(&self, host: &Host) {
        let is_up = |namespace: &str, device: &str| {
            let shown = process::command("ip").args(["-n", namespace, "-o", "link", "show", device]).output();
            shown.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("state UP"))
        };
        wait_until(SETTLED, || is_up(&host.namespace, "eth0") && is_up(&self.hub, &host.port));
        // Who was looked for in vain is given up a moment later, with what is sent until then.
        for (namespace, device) in [(&host.namespace, "eth0"), (&self.hub, host.port.as_str())] {
            let _ = ip(&["-n", namespace, "neighbour", "flush", "dev", device]);
        }
    }

    fn sysctl_in(&self, namespace: &str, key: &str, value: &str) -> Result<(), NetError> {
        // The files under /proc/sys/net are those of whoever reads them, so the writer must be inside.
        let write = "[ ! -e \"$1\" ] || printf %s \"$2\" > \"$1\"";
        run(command_in(namespace, "sh")
            .args(["-c", write, "sh"])
            .args([format!("/proc/sys/net/{key}"), value.to_owned()]))
    }

    fn host(&self, name: &str) -> Result<&Host, NetError> {
        self.hosts.get(name).ok_or_else(|| NetError::NoHost(name.to_owned()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.values() {
            remove(&host.namespace);
        }
        remove(&self.hub);
    }
}

/// A command that will run inside the namespace of this name; its process has the id of the program itself.
pub fn command_in(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = process::command("ip");
    command.args(["netns", "exec", namespace]).arg(process::command(program).get_program());
    command
}

/// Removes the namespaces of processes that are gone: a test that was killed cannot clean up behind itself.
pub fn sweep() {
    let Ok(listed) = process::command("ip").args(["netns", "list"]).output() else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if let Some(owner) = owner
            && !Path::new(&format!("/proc/{owner}")).exists()
        {
            remove(name);
        }
    }
}

/// Ends the processes of a namespace, by their ids, and removes it.
fn remove(namespace: &str) {
    let pids = || {
        let listed = process::command("ip").args(["netns", "pids", namespace]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        // Ourselves are among them when a server's thread of ours is still inside.
        let own = std::process::id().to_string();
        listed.split_whitespace().filter(|pid| *pid != own).map(str::to_owned).collect::<Vec<_>>()
    };
    let left = pids();
    if !left.is_empty() {
        for pid in left.iter().filter_map(|pid| pid.parse().ok()) {
            process::signal(pid, Signal::KILL);
        }
        wait_until(SETTLED, || pids().is_empty());
    }
    let _ = ip(&["netns", "delete", namespace]);
}

/// Tells the networks of one process apart.
fn number() -> u32 {
    static MADE: AtomicU32 = AtomicU32::new(0);
    MADE.fetch_add(1, Ordering::Relaxed)
}

/// With the prefix length of one address alone.
fn whole(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn ip(arguments: &[&str]) -> Result<(), NetError> {
    run(process::command("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<(), NetError> {
    let output = command
        .output()
        .map_err(|source| NetError::Start { program: command.get_program().display().to_string(), source })?;
    judge(&output, || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    })
}

fn judge(output: &Output, command: impl FnOnce() -> String) -> Result<(), NetError> {
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetError::Failed {
        command: command(),
        message: if message.is_empty() { output.status.to_string() } else { message },
    })
}
