//! Two edges with one address between them, which Debian's keepalived gives to the one that is well. In network
//! namespaces, with the example of the documentation.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use witness_lab::netns::{self, Segment};
use witness_lab::process::{Guard, wait_until, which};

const SUITE: &str = "a floating address by keepalived";
const EDGE: &str = env!("CARGO_BIN_EXE_witness-edge");
const TOKEN: &str = "a token of the fleet";
/// The example's.
const FLOATING: &str = "192.0.2.100";
const GENEROUS: Duration = Duration::from_secs(60);

fn missing() -> Option<String> {
    if let Err(reason) = netns::available() {
        return Some(reason);
    }
    [("keepalived", "keepalived"), ("curl", "curl"), ("python3", "python3")]
        .into_iter()
        .find(|(program, _)| which(program).is_none())
        .map(|(program, package)| format!("{program} is not installed (Debian package {package})"))
}

struct Node {
    name: &'static str,
    folder: PathBuf,
    edge: Guard,
    _keepalived: Guard,
}

fn start_edge(segment: &Segment, name: &str, folder: &Path) -> Guard {
    let mut command = segment.command(name, EDGE).unwrap();
    command.args(["run", "--config"]).arg(folder.join("edge.toml")).stderr(Stdio::null());
    Guard::start(&mut command).unwrap()
}

fn node(segment: &Segment, root: &Path, name: &'static str, priority: &str) -> Node {
    let folder = root.join(name);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    std::fs::set_permissions(folder.join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[node]\nname = \"{name}\"\nfleet = \"fleet.example\"\ntoken_file = \"token\"\n\
         [listen]\nhttp = [\"0.0.0.0:80\"]\n[cache]\ndirectory = \"cache\"\nmin_free = \"0B\"\nmax_size = \"100MB\"\n\
         [[sources]]\nname = \"home\"\nurls = [\"http://192.0.2.9:8000\"]\n"
    );
    std::fs::write(folder.join("edge.toml"), config).unwrap();
    let edge = start_edge(segment, name, &folder);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/keepalived.conf");
    let mut text = std::fs::read_to_string(example).unwrap();
    for (from, to) in [
        ("/usr/local/bin/witness-edge", EDGE),
        ("/etc/witness/edge.toml", folder.join("edge.toml").to_str().unwrap()),
        ("script_user witness-edge", "script_user root"),
        // It wants folders that nobody but root can write to, and these are a test's.
        ("enable_script_security", ""),
        ("priority 150", priority),
        ("interval 2", "interval 1"),
    ] {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, to);
    }
    std::fs::write(folder.join("keepalived.conf"), text).unwrap();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut command = segment.command(name, "keepalived").unwrap();
    command.args(["--vrrp", "--dont-fork", "--log-console", "--no-syslog", "--use-file", &at("keepalived.conf")]);
    command.args(["--pid", &at("keepalived.pid"), "--vrrp_pid", &at("vrrp.pid")]);
    let log = std::fs::File::create(folder.join("keepalived.log")).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let keepalived = Guard::start(&mut command).unwrap();
    Node { name, folder, edge, _keepalived: keepalived }
}

/// What the client gets at the floating address.
fn fetch(segment: &Segment, path: &str) -> Vec<u8> {
    let mut command = segment.command("client", "curl").unwrap();
    command.args(["--silent", "--fail", "--max-time", "2", "--header", &format!("Authorization: Bearer {TOKEN}")]);
    command.arg(format!("http://{FLOATING}{path}")).output().unwrap().stdout
}

/// Whether this node answers there.
fn is_at(segment: &Segment, name: &str) -> bool {
    String::from_utf8_lossy(&fetch(segment, "/.witness/health")).contains(&format!("\"node\":\"{name}\""))
}

fn logs(nodes: &[&Node]) -> String {
    let read = |node: &&Node| std::fs::read_to_string(node.folder.join("keepalived.log")).unwrap_or_default();
    nodes.iter().map(read).collect::<Vec<_>>().join("\n---\n")
}

#[test]
fn the_address_goes_to_the_edge_that_is_well() {
    if let Some(reason) = missing() {
        return witness_lab::skip(SUITE, &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut segment = Segment::new().unwrap();
    for (name, address) in
        [("a", "192.0.2.1/24"), ("b", "192.0.2.2/24"), ("client", "192.0.2.3/24"), ("origin", "192.0.2.9/24")]
    {
        segment.add(name, address).unwrap();
    }
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let film: Vec<u8> = (0..2_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(files.join("film"), &film).unwrap();
    let mut origin = segment.command("origin", "python3").unwrap();
    origin.args(["-m", "http.server", "8000", "--directory"]).arg(&files).stdout(Stdio::null()).stderr(Stdio::null());
    let _origin = Guard::start(&mut origin).unwrap();
    let mut a = node(&segment, folder.path(), "a", "priority 150");
    let b = node(&segment, folder.path(), "b", "priority 100");
    assert!(wait_until(GENEROUS, || is_at(&segment, "a")), "{}", logs(&[&a, &b]));
    assert!(wait_until(GENEROUS, || fetch(&segment, "/film") == film), "what a serves is not the file");
    // Its program dies, its machine does not.
    a.edge.kill();
    assert!(wait_until(GENEROUS, || is_at(&segment, "b")), "{}", logs(&[&a, &b]));
    assert!(fetch(&segment, "/film") == film, "what b serves is not the file");
    // It comes back, and is the one with the higher priority.
    a.edge = start_edge(&segment, a.name, &a.folder);
    assert!(wait_until(GENEROUS, || is_at(&segment, "a")), "{}", logs(&[&a, &b]));
    // While it drains, new clients come to the other one.
    a.edge.signal(Signal::TERM);
    assert!(wait_until(GENEROUS, || is_at(&segment, "b")), "{}", logs(&[&a, &b]));
}
