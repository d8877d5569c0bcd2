//! Settings, nodes, and tests that need a process of their own.

pub(crate) mod net;
pub(crate) mod pki;
pub(crate) mod sshd;
pub(crate) mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use witness::model::{
    HttpsProbe, Name, Node, Observation, Outcome, OwnFault, PingProbe, ProbeKind, ProbeSettings, Round, SshLevel,
    SshProbe, StatusRange,
};
use witness::probe::Prober;

/// The service that the tests ask for.
pub(crate) const HOST: &str = "files.example.com";

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn https_settings(port: u16, ca_file: PathBuf) -> HttpsProbe {
    HttpsProbe {
        url: format!("https://{HOST}:{port}/health"),
        method: "GET".to_owned(),
        headers: Vec::new(),
        expect_status: vec![StatusRange { from: 200, to: 299 }],
        expect_body: None,
        body_limit: 65_536,
        ca_file: Some(ca_file),
        token: None,
        redirects: 0,
        tls12: true,
        warn_certificate_days: 14,
        connect_timeout: ms(4000),
        timeout: ms(8000),
    }
}

pub(crate) fn ping_settings(count: u16) -> PingProbe {
    PingProbe { count, spacing: ms(20), timeout: ms(2000), size: 56 }
}

pub(crate) fn ssh_settings(port: u16, level: SshLevel) -> SshProbe {
    SshProbe { port, level, known_hosts: None, login: None, timeout: ms(8000) }
}

pub(crate) fn only_https(https: HttpsProbe) -> ProbeSettings {
    ProbeSettings { https: Some(https), ..ProbeSettings::default() }
}

pub(crate) fn only_ping(ping: PingProbe) -> ProbeSettings {
    ProbeSettings { ping: Some(ping), ..ProbeSettings::default() }
}

pub(crate) fn only_ssh(ssh: SshProbe) -> ProbeSettings {
    ProbeSettings { ssh: Some(ssh), ..ProbeSettings::default() }
}

pub(crate) fn node(addresses: &[&str]) -> Node {
    node_at(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

pub(crate) fn node_at(addresses: Vec<IpAddr>) -> Node {
    Node { id: Name::new("slice1").unwrap(), addresses, site: None, capacity_bps: None, ssh_host_key: None }
}

/// One round of a node at 127.0.0.1.
pub(crate) async fn round(settings: ProbeSettings) -> Round {
    look(&Prober::new(settings).unwrap(), &node(&["127.0.0.1"])).await
}

/// A round of `node`. Where this machine is so busy that a probe calls itself starved, another.
pub(crate) async fn look(prober: &Prober, node: &Node) -> Round {
    for _ in 0..9 {
        let round = prober.round(node).await;
        let starved = Outcome::Inconclusive(OwnFault::Starved);
        if round.observations.iter().all(|seen| seen.outcome != starved) {
            return round;
        }
        eprintln!("this machine is busy: looking again");
    }
    prober.round(node).await
}

/// The only observation of a round of a node at 127.0.0.1.
pub(crate) async fn see(settings: ProbeSettings) -> Observation {
    only(round(settings).await)
}

pub(crate) fn only(mut round: Round) -> Observation {
    assert_eq!(round.observations.len(), 1, "{round:?}");
    round.observations.remove(0)
}

/// How the probe of `kind` ended, as output shows it.
pub(crate) fn ending(round: &Round, kind: ProbeKind) -> String {
    let seen: Vec<_> = round.observations.iter().filter(|seen| seen.probe == kind).collect();
    assert_eq!(seen.len(), 1, "{round:?}");
    seen[0].outcome.to_string()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this is the process that [`child`] started.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A command that runs this one test in a process of its own, behind `wrapper`.
pub(crate) fn child(test: &str, wrapper: &[&str]) -> Command {
    let mut words = wrapper.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
    words.push(std::env::current_exe().unwrap().into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command
}

/// Runs it, and fails as it fails.
pub(crate) fn pass(mut command: Command) {
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    for line in said.lines().filter(|line| line.starts_with("measured:")) {
        eprintln!("{line}");
    }
}

/// Bytes of memory in use by this process.
pub(crate) fn resident() -> u64 {
    let told = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

const CHILD: &str = "WITNESS_PROBE_TEST_CHILD";
