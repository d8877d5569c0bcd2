//! What routers, firewalls and our own routing table say, in network namespaces of our own.
//!
//! ```text
//! home 10.77.0.2 ── 10.77.0.1 router ── 198.51.100.0/24 unreachable, 203.0.113.0/24 prohibited, 192.0.2.0/24 black hole
//! home has no way to 192.88.99.0/24 (unreachable) and may not go to 192.88.98.0/24 (prohibited)
//! ```

use std::process::Command;

use witness::model::{Observation, ProbeKind, ProbeSettings, SshLevel, SshProbe};
use witness::probe::Prober;

use crate::support::pki::Authority;
use crate::support::{
    child, ending, https_settings, is_child, is_root, look, ms, node, pass, ping_settings, ssh_settings,
};

/// Two namespaces, until dropped.
struct World {
    home: String,
    router: String,
}

impl World {
    fn make(name: &str) -> Self {
        let id = std::process::id();
        let world = Self { home: format!("w{id}{name}h"), router: format!("w{id}{name}r") };
        for namespace in [&world.home, &world.router] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        let (home, router) = (&world.home, &world.router);
        ip(&format!("-n {home} link add up0 type veth peer name down0 netns {router}"));
        ip(&format!("-n {home} addr add 10.77.0.2/24 dev up0"));
        ip(&format!("-n {router} addr add 10.77.0.1/24 dev down0"));
        ip(&format!("-n {home} link set up0 up"));
        ip(&format!("-n {router} link set down0 up"));
        ip(&format!("-n {home} route add default via 10.77.0.1"));
        ip(&format!("-n {home} route add unreachable 192.88.99.0/24"));
        ip(&format!("-n {home} route add prohibit 192.88.98.0/24"));
        ip(&format!("-n {router} route add unreachable 198.51.100.0/24"));
        ip(&format!("-n {router} route add prohibit 203.0.113.0/24"));
        ip(&format!("-n {router} route add blackhole 192.0.2.0/24"));
        sysctl(router, "net.ipv4.ip_forward=1");
        // Otherwise a router says so only once in a while.
        sysctl(router, "net.ipv4.icmp_ratelimit=0");
        world
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for namespace in [&self.home, &self.router] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sysctl(namespace: &str, setting: &str) {
    let (key, value) = setting.split_once('=').unwrap();
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    let written = Command::new("ip")
        .args(["netns", "exec", namespace, "sh", "-c", &format!("echo \"{value}\" > {path}")])
        .output()
        .unwrap();
    assert!(written.status.success(), "{setting}: {}", String::from_utf8_lossy(&written.stderr));
}

/// Runs the rest of `test` at home; whether this is that process.
fn at_home(test: &str, name: &str, change: impl FnOnce(&World)) -> bool {
    if is_child() {
        return true;
    }
    if !is_root() || Command::new("ip").arg("-V").output().is_err() {
        witness_lab::skip("probes in network namespaces", "root and iproute2 are needed");
        return false;
    }
    let world = World::make(name);
    change(&world);
    pass(child(test, &["ip", "netns", "exec", &world.home]));
    false
}

fn settings(ca: &Authority) -> ProbeSettings {
    let mut https = https_settings(443, ca.file());
    https.timeout = ms(1500);
    ProbeSettings {
        https: Some(https),
        ping: Some(ping_settings(2)),
        ssh: Some(SshProbe { timeout: ms(1500), ..ssh_settings(22, SshLevel::Banner) }),
        ..ProbeSettings::default()
    }
}

fn can_drop_rights() -> bool {
    let can = is_root() && ["ip", "setpriv"].iter().all(|program| Command::new(program).arg("-V").output().is_ok());
    if !can {
        witness_lab::skip("probes without rights", "root, iproute2 and setpriv (util-linux) are needed");
    }
    can
}

fn check(expected: &[(&str, [&str; 3])]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let prober = {
        let _entered = runtime.enter();
        Prober::new(settings(&Authority::new())).unwrap()
    };
    assert_eq!(prober.notices(), Vec::<String>::new());
    for (address, endings) in expected {
        let round = runtime.block_on(look(&prober, &node(&[address])));
        let seen = ProbeKind::ALL.map(|kind| ending(&round, kind));
        assert_eq!(seen, endings.map(str::to_owned), "{address}: {round:#?}");
    }
}

#[test]
fn a_raw_socket_hears_what_routers_say() {
    if !at_home("namespaces::a_raw_socket_hears_what_routers_say", "raw", |_| {}) {
        return;
    }
    check(&[
        ("127.0.0.1", ["refused", "passed", "refused"]),
        ("10.77.0.1", ["refused", "passed", "refused"]),
        ("198.51.100.1", ["unreachable", "unreachable", "unreachable"]),
        ("192.0.2.1", ["timeout:connect", "lost", "timeout:connect"]),
        ("192.88.99.1", ["inconclusive:no-route", "inconclusive:no-route", "inconclusive:no-route"]),
        ("192.88.98.1", ["inconclusive:firewall", "inconclusive:firewall", "inconclusive:firewall"]),
    ]);
}

/// Apart from the others, because a router says only so much at once.
#[test]
fn a_prohibition_by_a_router_is_no_trouble_of_ours() {
    if !at_home("namespaces::a_prohibition_by_a_router_is_no_trouble_of_ours", "ban", |_| {}) {
        return;
    }
    check(&[("203.0.113.1", ["unreachable", "unreachable", "unreachable"])]);
}

#[test]
fn a_datagram_socket_does_not_and_needs_no_privilege() {
    let permit = |world: &World| sysctl(&world.home, "net.ipv4.ping_group_range=0 2147483647");
    let test = "namespaces::a_datagram_socket_does_not_and_needs_no_privilege";
    if !at_home(test, "dgram", permit) {
        return;
    }
    check(&[
        ("10.77.0.1", ["refused", "passed", "refused"]),
        ("198.51.100.1", ["unreachable", "lost", "unreachable"]),
        ("192.88.99.1", ["inconclusive:no-route", "inconclusive:no-route", "inconclusive:no-route"]),
    ]);
}

#[test]
fn a_host_that_is_off_on_our_own_network_is_unreachable() {
    let slow = |world: &World| sysctl(&world.home, "net.ipv4.neigh.up0.retrans_time_ms=100");
    if !at_home("namespaces::a_host_that_is_off_on_our_own_network_is_unreachable", "arp", slow) {
        return;
    }
    check(&[("10.77.0.99", ["unreachable", "unreachable", "unreachable"])]);
}

#[test]
fn without_any_interface_everything_is_inconclusive() {
    let cut = |world: &World| {
        ip(&format!("-n {} link set up0 down", world.home));
    };
    if !at_home("namespaces::without_any_interface_everything_is_inconclusive", "cut", cut) {
        return;
    }
    check(&[("198.51.100.1", ["inconclusive:no-route", "inconclusive:no-route", "inconclusive:no-route"])]);
}

#[test]
fn without_privileges_ten_thousand_lose_nothing_either() {
    let test = "namespaces::without_privileges_ten_thousand_lose_nothing_either";
    if !is_child() {
        if !can_drop_rights() {
            return;
        }
        let world = World::make("plain");
        sysctl(&world.home, "net.ipv4.ping_group_range=0 2147483647");
        let mut wrapper = vec!["ip", "netns", "exec", &world.home];
        wrapper.extend(["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
        return pass(child(test, &wrapper));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(crate::ping::ten_thousand());
}

#[test]
fn a_process_without_rights_is_told_once_and_blames_nobody() {
    let test = "namespaces::a_process_without_rights_is_told_once_and_blames_nobody";
    if !is_child() {
        if !can_drop_rights() {
            return;
        }
        // Without CAP_NET_RAW and with the kernel's default for datagram sockets there is no way to ping.
        let world = World::make("bare");
        let wrapper = ["ip", "netns", "exec", &world.home, "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"];
        return pass(child(test, &wrapper));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let prober = Prober::new(ProbeSettings { ping: Some(ping_settings(1)), ..ProbeSettings::default() }).unwrap();
    let notices = prober.notices();
    assert!(notices.iter().any(|notice| notice.contains("ping_group_range")), "{notices:?}");
    let seen: Vec<Observation> = runtime.block_on(look(&prober, &node(&["127.0.0.1"]))).observations;
    assert_eq!(seen[0].outcome.to_string(), "inconclusive:unavailable", "{seen:?}");
}
