//! What the suites in network namespaces do alike with `witness_lab::internet`: a name server in it, the parts of a
//! configuration that tell of it, keys for relays, and a look whether anything is left of it.

#![allow(dead_code, reason = "each suite that includes this file uses a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use witness_lab::internet::{self, DNS, Internet};
use witness_lab::nameserver::{KEY_NAME, KEY_SECRET, Kind, NameServer, Spec};
use witness_lab::netns::Network;
use witness_lab::process::which;

/// How long anything may take that should happen. Most of it takes seconds; a busy machine is no failure.
const BOUND: Duration = Duration::from_secs(90);
const NAP: Duration = Duration::from_millis(150);

/// Asks until there is an answer, at most for about [`BOUND`].
pub(crate) fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..BOUND.as_millis() / NAP.as_millis() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(NAP);
    }
    None
}

/// Why there can be no such tests here.
pub(crate) fn available() -> Result<(), String> {
    internet::available()?;
    if !Kind::Knot.available() {
        return Err("knotd is not installed (Debian package knot)".to_owned());
    }
    which("dig").map(drop).ok_or_else(|| "dig is not installed (Debian package bind9-dnsutils)".to_owned())
}

/// Tests of one process take turns: each has enough to do to a machine.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Knot where the name server belongs, with these lines in its zone; the records of `owners` may be edited.
pub(crate) fn name_server(network: &Network, zone: &str, lines: &[String], owners: &[&str]) -> NameServer {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let namespace = network.namespace("dns").unwrap();
    let spec = Spec {
        listen: Some(DNS),
        prefix: ["ip", "netns", "exec", namespace].map(str::to_owned).into(),
        ..Spec::new(zone, &lines, owners)
    };
    NameServer::start(Kind::Knot, &spec).unwrap()
}

/// The registrar `knot` of a configuration in this folder, and the key that it needs.
pub(crate) fn registrar(folder: &Path, timeout: &str) -> String {
    secret(&folder.join("tsig.key"), KEY_SECRET.as_bytes());
    format!(
        "
[registrars.knot]
kind = \"rfc2136\"
server = \"{}\"
key_name = \"{KEY_NAME}\"
key_file = \"tsig.key\"
timeout = \"{timeout}\"
refresh = \"2s\"
",
        DNS.ip()
    )
}

/// A file that only its owner can read.
pub(crate) fn secret(file: &Path, content: &[u8]) {
    fs::write(file, content).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// `anchors` of a configuration.
pub(crate) fn anchors() -> String {
    let anchors: Vec<String> = internet::ANCHORS.iter().map(|anchor| format!("\"{anchor}\"")).collect();
    format!("anchors = [{}]", anchors.join(", "))
}

/// The nodes of a configuration.
pub(crate) fn nodes(internet: &Internet) -> String {
    let of_node = |machine: &internet::Machine| {
        let (name, address, key) = (machine.name(), machine.address(), machine.sshd.fingerprint().unwrap());
        format!("\n[[nodes]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nssh_host_key = \"{key}\"\n")
    };
    internet.machines.iter().map(of_node).collect()
}

/// Has every node let in one key, which may connect to the others' service and do nothing else; the section of a
/// configuration that has it used.
pub(crate) fn relays(internet: &Internet) -> String {
    let machines = &internet.machines;
    let key = machines[0].sshd.client_key();
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    for machine in machines {
        let others = machines.iter().filter(|other| other.name() != machine.name());
        let targets: Vec<String> = others.map(|other| format!("permitopen=\"{}:443\"", other.address())).collect();
        let line = format!("restrict,port-forwarding,command=\"false\",{} {public}", targets.join(","));
        fs::write(machine.sshd.client_key().with_file_name("authorized_keys"), line).unwrap();
    }
    secret(&internet.folder().join("relay.key"), &fs::read(key).unwrap());
    format!("\n[relays]\nuser = \"{}\"\nkey_file = \"relay.key\"\n", machines[0].sshd.user())
}

/// No namespace of ours is left; a namespace goes when the last process in it has gone.
pub(crate) fn nothing_left() {
    let ours = format!("wl-{}-", std::process::id());
    let listed = std::process::Command::new("ip").args(["netns", "list"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.contains(&ours), "left behind:\n{listed}");
}
