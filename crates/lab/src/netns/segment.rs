//! Hosts on one link, as in a rack: whoever takes an address tells the others by ARP.
//!
//! ```text
//!   host a ── eth0        eth0 ── host b
//!   host c ── eth0  switch        switch: a bridge; one port p0, p1, ... for each host
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

use super::{NetError, PREFIX, command_in, ip, number, remove, sweep};
use crate::process::Guard;

/// A link with its hosts; dropping it ends the processes in it and removes it.
#[derive(Debug)]
pub struct Segment {
    prefix: String,
    switch: String,
    hosts: BTreeMap<String, String>,
}

impl Segment {
    /// A switch without hosts. What dead processes have left behind of theirs is removed first.
    ///
    /// # Errors
    ///
    /// When namespaces cannot be made; ask [`super::available`] before.
    pub fn new() -> Result<Self, NetError> {
        sweep();
        let prefix = format!("{PREFIX}{}-{}-", std::process::id(), number());
        let switch = format!("{prefix}switch");
        ip(&["netns", "add", &switch])?;
        // From here on, dropping the value cleans up.
        let segment = Self { prefix, switch, hosts: BTreeMap::new() };
        // Without snooping, multicast goes to every port, as in a switch that knows nothing of it.
        ip(&["-n", &segment.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        ip(&["-n", &segment.switch, "link", "set", "br0", "up"])?;
        Ok(segment)
    }

    /// Adds a host with this address, such as `192.0.2.1/24`. Short names: letters and digits.
    ///
    /// # Errors
    ///
    /// When an `ip` command fails.
    pub fn add(&mut self, name: &str, address: &str) -> Result<(), NetError> {
        let (namespace, port) = (format!("{}{name}", self.prefix), format!("p{}", self.hosts.len()));
        ip(&["netns", "add", &namespace])?;
        self.hosts.insert(name.to_owned(), namespace.clone());
        let switch = self.switch.as_str();
        ip(&["link", "add", "eth0", "netns", &namespace, "type", "veth", "peer", "name", &port, "netns", switch])?;
        ip(&["-n", switch, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", &namespace, "address", "add", address, "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])
    }

    /// A command that will run inside a host; its process has the id of the program itself.
    ///
    /// # Errors
    ///
    /// When there is no such host.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command, NetError> {
        let namespace = self.hosts.get(host).ok_or_else(|| NetError::NoHost(host.to_owned()))?;
        Ok(command_in(namespace, program))
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
}

impl Drop for Segment {
    fn drop(&mut self) {
        for namespace in self.hosts.values() {
            remove(namespace);
        }
        remove(&self.switch);
    }
}
