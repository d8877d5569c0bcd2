//! A whole fleet on loopback: nodes with an address each, one zone that names them, a name server that answers from it.
//!
//! The zone is a JSON file that witness's mock registrar edits and the name server reads again, so that what the
//! registrar does is at once what `dig` shows. Linux only, where all of 127.0.0.0/8 is loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::dnsserver::{DnsServer, Source, Zone};
use crate::node::{Node, NodeConfig};
use crate::ports;
use crate::tls::Authority;

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Where `ca.pem` and `zone.json` go; it must exist.
    pub folder: PathBuf,
    /// How many nodes: `slice1` at 127.0.0.11, `slice2` at 127.0.0.12 and so on, 200 at most.
    pub nodes: u8,
    /// The zone, without a final dot.
    pub zone: String,
    /// The names in the zone that carry the nodes' addresses.
    pub records: Vec<String>,
    /// The name that the nodes' certificates are for.
    pub host: String,
    /// Seconds.
    pub ttl: u32,
    /// Whether each node has an SSH banner, too.
    pub ssh: bool,
}

impl FleetConfig {
    /// Four nodes behind `example.com` and `files.example.com`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            nodes: 4,
            zone: "example.com".to_owned(),
            records: vec!["@".to_owned(), "files".to_owned()],
            host: "files.example.com".to_owned(),
            ttl: 60,
            ssh: true,
        }
    }
}

/// A running fleet; dropping it stops everything and leaves the files.
#[derive(Debug)]
pub struct Fleet {
    /// The nodes, in order of their names.
    pub nodes: Vec<Node>,
    /// The name server.
    pub dns: DnsServer,
    /// Who signed the nodes' certificates.
    pub authority: Authority,
    https_port: u16,
    ssh_port: u16,
    folder: PathBuf,
}

impl Fleet {
    /// Starts everything; all nodes are healthy and in the zone.
    ///
    /// # Errors
    ///
    /// When a file cannot be written or an address cannot be bound.
    pub fn start(config: &FleetConfig) -> io::Result<Self> {
        let authority = Authority::new().map_err(io::Error::other)?;
        let identity = authority.identity(&[&config.host]).map_err(io::Error::other)?;
        let addresses: Vec<Ipv4Addr> = (1..=config.nodes.min(200)).map(|n| Ipv4Addr::new(127, 0, 0, 10 + n)).collect();
        let https_port = port_on_all(&addresses);
        let ssh_port = port_on_all(&addresses);
        let mut nodes = Vec::new();
        for (address, number) in addresses.iter().zip(1..) {
            let at = SocketAddr::from((*address, https_port));
            let mut node = NodeConfig::new(&format!("slice{number}"), at, identity.clone());
            node.ssh = config.ssh.then(|| SocketAddr::from((*address, ssh_port)));
            nodes.push(Node::start(node)?);
        }
        let mut zone = Zone::new(&config.zone);
        for owner in &config.records {
            zone.put(owner, config.ttl, addresses.iter().map(|address| IpAddr::V4(*address)));
        }
        std::fs::write(config.folder.join("ca.pem"), authority.pem())?;
        let zone_file = config.folder.join("zone.json");
        std::fs::write(&zone_file, serde_json::to_string_pretty(&zone).map_err(io::Error::other)?)?;
        let dns = DnsServer::start((Ipv4Addr::LOCALHOST, 0).into(), Source::File(zone_file))?;
        Ok(Self { nodes, dns, authority, https_port, ssh_port, folder: config.folder.clone() })
    }

    /// The port on which all nodes serve HTTPS.
    #[must_use]
    pub fn https_port(&self) -> u16 {
        self.https_port
    }

    /// The port of all nodes' SSH banners.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// The certificate for a `ca_file`.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The file for the mock registrar.
    #[must_use]
    pub fn zone_file(&self) -> PathBuf {
        self.folder.join("zone.json")
    }
}

fn port_on_all(addresses: &[Ipv4Addr]) -> u16 {
    loop {
        // Ends: `free` gives another port each time, and panics when there are no more.
        let port = ports::free();
        if addresses.iter().all(|address| ports::is_free(SocketAddr::from((*address, port)))) {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
    use std::time::Duration;

    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    #[test]
    fn serves_and_answers_and_two_fit_beside_each_other() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let fleets = folders.each_ref().map(|folder| Fleet::start(&FleetConfig::new(folder.path())).unwrap());
        for fleet in &fleets {
            let last = Ipv4Addr::new(127, 0, 0, 14);
            assert_eq!(fleet.nodes[3].address(), SocketAddr::from((last, fleet.https_port())));
            assert!(TcpStream::connect((last, fleet.https_port())).is_ok());
            assert!(TcpStream::connect((last, fleet.ssh_port())).is_ok());
            assert!(std::fs::read_to_string(fleet.ca_file()).unwrap().contains("BEGIN CERTIFICATE"));

            let mut query = Message::query();
            query.add_query(Query::query(Name::from_ascii("files.example.com.").unwrap(), RecordType::A));
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket.send_to(&query.to_vec().unwrap(), fleet.dns.address()).unwrap();
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(Message::from_vec(&buffer[..length]).unwrap().answers.len(), 4);
        }
        assert_ne!(fleets[0].https_port(), fleets[1].https_port());
    }
}
