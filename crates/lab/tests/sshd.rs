//! A real sshd lets its user in, keeps its key over a restart, and ends with its handle.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use witness_lab::netns::{self, Network};
use witness_lab::process::which;
use witness_lab::sshd::{self, Sshd, SshdConfig};

fn ready() -> bool {
    if let Err(reason) = sshd::available() {
        witness_lab::skip("sshd of the lab", &reason);
        return false;
    }
    true
}

fn log_in(server: &Sshd, known_hosts: &str) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let known = folder.path().join("known_hosts");
    std::fs::write(&known, known_hosts).unwrap();
    Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none"])
        .args(["-o", "ConnectTimeout=10", "-o"])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .arg("-i")
        .arg(server.client_key())
        .arg("-p")
        .arg(server.address().port().to_string())
        .arg(format!("{}@{}", server.user(), server.address().ip()))
        .arg("echo in; exit 3")
        .output()
        .unwrap()
}

#[test]
fn lets_its_user_in_and_can_change_its_key() {
    if !ready() {
        return;
    }
    if which("ssh").is_none() {
        return witness_lab::skip("sshd of the lab", "ssh is not installed (Debian package openssh-client)");
    }
    let mut server = Sshd::start(SshdConfig::new((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
    let known = server.known_hosts_line().unwrap();
    let fingerprint = server.fingerprint().unwrap();
    assert!(fingerprint.starts_with("SHA256:") && fingerprint.len() == 50, "{fingerprint}");
    let output = log_in(&server, &known);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"in\n".as_slice()), "{}", server.log());

    server.restart().unwrap();
    assert_eq!(server.fingerprint().unwrap(), fingerprint);
    server.restart_with_new_host_key().unwrap();
    assert_ne!(server.fingerprint().unwrap(), fingerprint);
    assert_eq!(log_in(&server, &known).status.code(), Some(255), "the key has changed");

    let address = server.address();
    server.stop();
    assert!(TcpStream::connect(address).is_err());
    server.restart().unwrap();
    assert!(TcpStream::connect(address).is_ok());
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn says_what_sshd_did_not_like() {
    if !ready() {
        return;
    }
    let mut config = SshdConfig::new((Ipv4Addr::LOCALHOST, 0).into());
    config.lines.push("NoSuchKeyword yes".to_owned());
    let error = Sshd::start(config).unwrap_err();
    assert!(error.to_string().contains("NoSuchKeyword"), "{error}");
}

#[test]
fn lives_in_a_host_of_a_network() {
    if !ready() {
        return;
    }
    if let Err(reason) = netns::available() {
        return witness_lab::skip("networks of the lab", &reason);
    }
    let mut network = Network::new().unwrap();
    network.add("witness", &["192.0.2.1".parse().unwrap()]).unwrap();
    network.add("n1", &["192.0.2.11".parse().unwrap()]).unwrap();
    let mut config = SshdConfig::new("192.0.2.11:22".parse().unwrap());
    config.namespace = Some(network.namespace("n1").unwrap().to_owned());
    let mut server = Sshd::start(config).unwrap();
    let scan = || network.exec("witness", "ssh-keyscan", &["-T", "5", "192.0.2.11"]).unwrap().stdout;
    let key = server.known_hosts_line().unwrap();
    let key = key.split(' ').next_back().unwrap().to_owned();
    assert!(String::from_utf8(scan()).unwrap().contains(&key));
    server.stop();
    assert!(scan().is_empty());
    server.restart().unwrap();
    assert!(String::from_utf8(scan()).unwrap().contains(&key));
}
