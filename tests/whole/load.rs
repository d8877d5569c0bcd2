//! What nodes carry, from their health documents to the rule and the ledger.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use witness::ledger::Reader;
use witness::model::{LoadSource, Name};
use witness_lab::dnsserver::Zone;
use witness_lab::node::{Health, Mode, Node, NodeConfig};
use witness_lab::ports;
use witness_lab::process::wait_until;
use witness_lab::tls::Authority;

use crate::Daemon;

const TOKEN: &str = "not-a-real-token";

fn addresses() -> Vec<Ipv4Addr> {
    (1..=3).map(|number| Ipv4Addr::new(127, 0, 0, 60 + number)).collect()
}

/// Three edges that tell the whole document to those who have the token, and a configuration that has it.
fn stage(folder: &Path) -> Vec<Node> {
    let authority = Authority::new().unwrap();
    let identity = authority.identity(&["files.example.com"]).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    fs::write(folder.join("token"), format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut zone = Zone::new("example.com");
    zone.put("files", 60, addresses().into_iter().map(IpAddr::V4));
    fs::write(folder.join("zone.json"), serde_json::to_string(&zone).unwrap()).unwrap();
    let port = loop {
        let port = ports::free();
        if addresses().iter().all(|address| ports::is_free(SocketAddr::from((*address, port)))) {
            break port;
        }
    };
    let mut text = format!(
        "[witness]\nanchors = []\ninterval = \"1s\"\nfast_interval = \"1s\"\nonce_deadline = \"9s\"\n\n[policy]\nwarmup_rounds = 0\n\n[probes.https]\n\
         url = \"https://files.example.com:{port}/.witness/health\"\nca_file = \"ca.pem\"\ntoken_file = \"token\"\n\n\
         [[pools]]\nzone = \"example.com\"\nrecords = [\"files\"]\nregistrar = \"it\"\n\n\
         [registrars.it]\nkind = \"mock\"\nfile = \"zone.json\"\n"
    );
    let mut nodes = Vec::new();
    for (address, number) in addresses().into_iter().zip(1..) {
        let mut config = NodeConfig::new(&format!("edge{number}"), (address, port).into(), identity.clone());
        config.token = Some(TOKEN.to_owned());
        nodes.push(Node::start(config).unwrap());
        text.push_str(&format!("\n[[nodes]]\nname = \"slice{number}\"\naddresses = [\"{address}\"]\n"));
    }
    fs::write(folder.join("witness.toml"), text).unwrap();
    nodes
}

fn once(folder: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness"));
    let output = command.current_dir(folder).args(["once", "--json"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!format!("{output:?}").contains(TOKEN), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_an_edge_says_is_judged_by_and_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = stage(folder.path());
    for node in &nodes {
        node.set_health(Health { egress_bps: 992_000_000, shed_step: 1, ..Health::of("edge") });
    }
    nodes[1].set(Mode::BadBody).unwrap();
    once(folder.path(), &[]);
    let asked = nodes[0].seen().requests;
    assert_eq!(asked[0].headers["authorization"], format!("Bearer {TOKEN}"));

    let reader = Reader::open(&folder.path().join("witness.db")).unwrap();
    let told = reader.view().last_loads(None).unwrap();
    let summary: Vec<_> = told.iter().map(|one| (one.node.as_str(), one.source, one.tx_bps, one.shed_step)).collect();
    let expected = ["slice1", "slice3"].map(|node| (node, LoadSource::Health, Some(992_000_000), Some(1)));
    assert_eq!(summary, expected, "a page that is no document is no figure");
    let judged = once(folder.path(), &[]);
    assert_eq!(judged["fleet"], "normal", "of one node nothing is known: {judged}");
    let standings: Vec<_> = judged["nodes"].as_array().unwrap().iter().map(|node| &node["standing"]).collect();
    assert_eq!(standings, ["serving"; 3], "and that costs it nothing: {judged}");

    // Now all three tell that they carry all they can, which nothing but the figures shows.
    nodes[1].set(Mode::Healthy).unwrap();
    let judged = once(folder.path(), &["--dry-run"]);
    assert_eq!(judged["fleet"], "overload", "{judged}");
    for node in &nodes {
        node.set_health(Health { egress_bps: 100_000_000, ..Health::of("edge") });
    }
    assert_eq!(once(folder.path(), &["--dry-run"])["fleet"], "normal");
}

/// A node_exporter on loopback that has sent 1 MB more each time it is read, as long as the test runs.
fn exporter() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (stream, turn) in listener.incoming().zip(1..) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = format!("node_load1 0.5\nnode_network_transmit_bytes_total{{device=\"eth0\"}} {turn}000000\n");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

#[test]
fn a_node_exporter_is_read_by_once_and_by_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = stage(folder.path());
    // It has no edge, and its exporter tells instead.
    nodes[2].set(Mode::BadBody).unwrap();
    let file = folder.path().join("witness.toml");
    let text = format!("{}metrics_url = \"http://{}/metrics\"\n", fs::read_to_string(&file).unwrap(), exporter());
    fs::write(&file, text).unwrap();
    once(folder.path(), &[]);
    let reader = Reader::open(&folder.path().join("witness.db")).unwrap();
    let newest = || {
        let told = reader.view().last_loads(Some(&Name::new("slice3").unwrap())).unwrap();
        assert!(told.len() == 1 && told[0].source == LoadSource::Metrics, "{told:?}");
        told[0].clone()
    };
    let first = newest();
    assert!(first.tx_bps.is_some_and(|bps| bps > 0) && first.load1_milli == Some(500), "{first:?}");
    let from = |node: &str| reader.view().last_loads(Some(&Name::new(node).unwrap())).unwrap()[0].at;
    let before = from("slice1");

    let mut daemon = Command::new(env!("CARGO_BIN_EXE_witness"));
    let _daemon = Daemon(daemon.current_dir(folder.path()).arg("run").spawn().unwrap());
    let goes_on = wait_until(Duration::from_secs(60), || {
        let newest = newest();
        newest.at > first.at && newest.tx_bps.is_some() && from("slice1") > before
    });
    assert!(goes_on, "the daemon tells nothing new");
    let status = Command::new(env!("CARGO_BIN_EXE_witness"))
        .current_dir(folder.path())
        .args(["status", "slice3", "--json"])
        .output()
        .unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["nodes"][0]["load"][0]["source"], "metrics", "{status}");
}
