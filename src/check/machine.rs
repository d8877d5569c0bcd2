//! What the configuration needs of this machine besides files.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::Finding;
use crate::config::Config;
use crate::model::{RegistrarKind, SshLevel, Time};

/// Nothing of this program is older: 2026-01-01T00:00:00Z.
const EARLIEST: Time = Time(1_767_225_600_000);
/// Nobody runs it later: 2100-01-01T00:00:00Z.
const LATEST: Time = Time(4_102_444_800_000);
/// Descriptors for the ledger, logs, the status page, registrars and whatever else.
const OWN_DESCRIPTORS: u64 = 64;

/// Whether the clock can be right: not before this program was written, nor before files of ours were.
pub(super) fn clock(now: Time, files: &[&Path]) -> Option<Finding> {
    let remedy = || "set the clock, and let chrony or systemd-timesyncd keep it".to_owned();
    if now < EARLIEST || now > LATEST {
        return Some(Finding::error("clock", format!("it says {now}, which cannot be"), remedy()));
    }
    let slack = Duration::from_secs(300);
    for file in files {
        let Ok(changed) = fs::metadata(file).and_then(|metadata| metadata.modified()) else { continue };
        let Ok(changed) = changed.duration_since(std::time::UNIX_EPOCH) else { continue };
        let changed = Time(0).plus(changed);
        if changed > now.plus(slack) {
            return Some(Finding::warning(
                "clock",
                format!("it says {now}, and {} was changed at {changed}: one of the two is wrong", file.display()),
                remedy(),
            ));
        }
    }
    // systemd-timesyncd's own mark, where it runs.
    let timesyncd = Path::new("/run/systemd/timesync");
    if timesyncd.is_dir() && !timesyncd.join("synchronized").exists() {
        return Some(Finding::warning(
            "clock",
            "systemd-timesyncd has not set it yet".to_owned(),
            "run: timedatectl timesync-status".to_owned(),
        ));
    }
    None
}

/// Whether we may send echoes, by opening the sockets that would.
pub(super) fn ping(config: &Config) -> Vec<Finding> {
    if config.probes.ping.is_none() {
        return Vec::new();
    }
    let addresses = || config.fleet.nodes.values().flat_map(|node| &node.addresses);
    let families = [
        ("IPv4", Domain::IPV4, Protocol::ICMPV4, addresses().any(IpAddr::is_ipv4)),
        ("IPv6", Domain::IPV6, Protocol::ICMPV6, addresses().any(IpAddr::is_ipv6)),
    ];
    let mut findings = Vec::new();
    for (family, domain, protocol, _) in families.into_iter().filter(|(.., wanted)| *wanted) {
        let open = |kind| Socket::new(domain, kind, Some(protocol)).map(drop);
        findings.push(match open(Type::DGRAM).or_else(|_| open(Type::RAW)) {
            Ok(()) => Finding::note("ping", format!("{family} echoes are permitted")),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let group = rustix::process::getegid().as_raw();
                Finding::error(
                    "ping",
                    format!("this machine permits no {family} echoes to group {group}, so the ping probe is unavailable"),
                    format!("run: sysctl -w net.ipv4.ping_group_range=\"{group} {group}\", or: setcap cap_net_raw+ep on the witness program"),
                )
            }
            Err(error) => Finding::error(
                "ping",
                format!("no socket for {family} echoes can be opened: {error}"),
                format!("switch {family} on here, or leave the nodes' {family} addresses out"),
            ),
        });
    }
    findings
}

/// Whether a round of every node at once has descriptors enough.
pub(super) fn descriptors(config: &Config) -> Option<Finding> {
    let limit = getrlimit(Resource::Nofile);
    enough_descriptors(wanted_descriptors(config), limit.current, limit.maximum)
}

/// One for each connection of a round of every node, and our own.
fn wanted_descriptors(config: &Config) -> u64 {
    let addresses: usize = config.fleet.nodes.values().map(|node| node.addresses.len()).sum();
    let connections = usize::from(config.probes.https.is_some()) + usize::from(config.probes.ssh.is_some());
    u64::try_from(addresses * connections + config.probes.anchors.len())
        .unwrap_or(u64::MAX)
        .saturating_add(OWN_DESCRIPTORS)
}

fn enough_descriptors(wanted: u64, soft: Option<u64>, hard: Option<u64>) -> Option<Finding> {
    let soft = soft.filter(|soft| *soft < wanted)?;
    let what = format!("a round of every node takes up to {wanted} descriptors, and {soft} are allowed");
    Some(if hard.is_none_or(|hard| hard >= wanted) {
        Finding::warning(
            "descriptors",
            what,
            format!("run: ulimit -n {wanted}, or write LimitNOFILE={wanted} into the systemd unit"),
        )
    } else {
        Finding::error(
            "descriptors",
            what,
            format!("write LimitNOFILE={wanted} into the systemd unit, or raise nofile in /etc/security/limits.conf"),
        )
    })
}

/// Whether there is a route to every node and anchor. Connecting a UDP socket asks the routing table and sends nothing.
pub(super) fn routes(config: &Config) -> Vec<Finding> {
    let nodes = config.fleet.nodes.values().flat_map(|node| {
        node.addresses.iter().map(move |address| (format!("node {}", node.id), SocketAddr::new(*address, 443)))
    });
    let anchors = config.probes.anchors.iter().map(|anchor| ("anchor".to_owned(), *anchor));
    let mut findings = Vec::new();
    for (subject, address) in nodes.chain(anchors) {
        let from =
            if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let routed = UdpSocket::bind((from, 0)).and_then(|socket| socket.connect(address));
        if let Err(error) = routed {
            let error = error.to_string();
            findings.push(Finding::warning(
                subject,
                format!(
                    "there is no way to {} from here: {}",
                    address.ip(),
                    error.split(" (os error").next().unwrap_or(&error).to_lowercase()
                ),
                "its probes will be inconclusive: give this machine a route, or leave the address out".to_owned(),
            ));
        }
    }
    // A machine without a network has this to say of everything, and once is enough.
    let many = findings.len();
    if many > 8 {
        findings.truncate(8);
        findings.push(Finding::warning(
            "routes",
            format!("there is no way to {} more addresses", many - 8),
            "look at this machine's network".to_owned(),
        ));
    }
    findings
}

/// Whether there are roots to trust.
pub(super) fn roots(config: &Config) -> Option<Finding> {
    let probe_needs_them = config.probes.https.as_ref().is_some_and(|https| https.ca_file.is_none());
    let api_needs_them =
        config.registrars.values().any(|registrar| matches!(registrar.kind, RegistrarKind::Namecheap(_)));
    if !probe_needs_them && !api_needs_them {
        return None;
    }
    rustls_native_certs::load_native_certs().certs.is_empty().then(|| {
        Finding::error(
            "certificates",
            "this machine has no roots to trust, so every certificate would be refused".to_owned(),
            "run: apt-get install ca-certificates, or write ca_file in [probes.https]".to_owned(),
        )
    })
}

/// Whether names can be looked up, where they have to be, and not by a node of ours.
pub(super) fn resolver(config: &Config) -> Vec<Finding> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    resolvers(&text, config)
}

fn resolvers(text: &str, config: &Config) -> Vec<Finding> {
    let named = config.registrars.values().any(|registrar| match &registrar.kind {
        RegistrarKind::Namecheap(settings) => {
            reqwest::Url::parse(&settings.endpoint).is_ok_and(|url| url.domain().is_some())
        }
        RegistrarKind::Rfc2136(_) | RegistrarKind::Mock(_) | RegistrarKind::Exec(_) => false,
    });
    let by_ns = config.fleet.pools.values().any(|pool| pool.nameservers.is_empty());
    if !named && !by_ns && config.notify.webhook_url.is_none() {
        return Vec::new();
    }
    let servers: BTreeSet<IpAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.split('%').next()?.parse().ok())
        .collect();
    if servers.is_empty() {
        return vec![Finding::warning(
            "resolver",
            "/etc/resolv.conf names no server, and the registrar, the zone's servers or the webhook have to be looked up".to_owned(),
            "write a line: nameserver ADDRESS".to_owned(),
        )];
    }
    let node_of = |address: &IpAddr| {
        config.fleet.nodes.values().find(|node| !address.is_loopback() && node.addresses.contains(address))
    };
    let ours: Vec<_> = servers.iter().filter_map(|address| Some((address, node_of(address)?))).collect();
    if let (true, Some((address, node))) = (ours.len() == servers.len(), ours.first()) {
        return vec![Finding::error(
            "resolver",
            format!(
                "/etc/resolv.conf names {address} alone, which is node {}: when it dies, the registrar cannot be found",
                node.id
            ),
            "add a resolver that is no node of the fleet".to_owned(),
        )];
    }
    Vec::new()
}

/// Whether there is an SSH agent, where its keys are needed.
pub(super) fn agent(config: &Config) -> Option<Finding> {
    let ssh = config.probes.ssh.as_ref()?;
    let login = ssh.login.as_ref().filter(|_| ssh.level == SshLevel::Login)?;
    let there = std::env::var_os("SSH_AUTH_SOCK").is_some_and(|path| Path::new(&path).exists());
    (login.key_file.is_none() && !there).then(|| {
        Finding::error(
            "ssh",
            "level \"login\" has no key_file, and there is no SSH agent ($SSH_AUTH_SOCK)".to_owned(),
            "write key_file in [probes.ssh], or start an agent for the user that runs witness".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Severity;

    fn config(extra: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"
            [probes.https]
            [probes.ping]
            [probes.ssh]
            level = "banner"
            {extra}
            [[pools]]
            zone = "example.com"
            registrar = "try"
            [registrars.try]
            kind = "mock"
            file = "zone.json"
            [[nodes]]
            name = "one"
            addresses = ["192.0.2.11", "2001:db8::11"]
            [[nodes]]
            name = "two"
            addresses = ["192.0.2.12"]
            "#
        );
        let config = Config::parse(&text, &folder.path().join("witness.toml"), &|_| None).unwrap();
        (folder, config)
    }

    #[test]
    fn clocks() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let now = crate::clock::now();
        let severity = |now| clock(now, &[&file]).map(|finding| finding.severity);
        assert_eq!(severity(Time(0)), Some(Severity::Error));
        assert_eq!(severity(Time(i64::MAX)), Some(Severity::Error));
        assert_ne!(severity(now), Some(Severity::Error));
        let changed = clock(EARLIEST, &[&file]);
        if now > EARLIEST.plus(Duration::from_secs(300)) {
            assert!(changed.unwrap().what.contains("one of the two is wrong"));
        }
    }

    #[test]
    fn descriptor_limits() {
        let (_folder, config) = config("");
        // Three addresses, two connections each, and three anchors.
        assert_eq!(wanted_descriptors(&config), 9 + OWN_DESCRIPTORS);
        let severity = |soft, hard| enough_descriptors(100, soft, hard).map(|finding| finding.severity);
        assert_eq!(severity(Some(100), Some(100)), None);
        assert_eq!(severity(None, None), None);
        assert_eq!(severity(Some(99), Some(100)), Some(Severity::Warning));
        assert_eq!(severity(Some(99), None), Some(Severity::Warning));
        assert_eq!(severity(Some(50), Some(99)), Some(Severity::Error));
    }

    #[test]
    fn resolvers_that_would_die_with_a_node() {
        let (_folder, config) = config("");
        let of = |text| resolvers(text, &config).first().map(|finding| finding.severity);
        assert_eq!(of("nameserver 192.0.2.53\n"), None);
        assert_eq!(of("nameserver 127.0.0.53\noptions edns0\n"), None);
        assert_eq!(of("nameserver 192.0.2.11\n nameserver fe80::1%eth0\n"), None);
        assert_eq!(of("nameserver 192.0.2.11\nnameserver 2001:db8::11\n"), Some(Severity::Error));
        assert_eq!(of("# none\n"), Some(Severity::Warning));
        assert_eq!(of(""), Some(Severity::Warning));
    }

    #[test]
    fn this_machine_is_looked_at_in_full() {
        let (folder, mut config) = config("");
        let findings = super::super::check_machine(&config, Some(1));
        let of = |subject: &str| findings.iter().filter(|finding| finding.subject == subject).count();
        assert!(of("ledger") >= 1, "{findings:#?}");
        assert_eq!(of("ping"), 2, "{findings:#?}");
        for finding in &findings {
            assert_eq!(finding.remedy.is_none(), finding.severity == Severity::Note, "{finding:?}");
        }
        // The configuration was parsed from text and is no file.
        assert_eq!(of("configuration"), 0);
        fs::write(&config.path, "").unwrap();
        let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
        fs::set_permissions(&config.path, open).unwrap();
        config.witness.database = folder.path().to_path_buf();
        let findings = super::super::check_machine(&config, Some(1));
        assert!(findings.iter().any(|finding| finding.subject == "configuration" && finding.what.contains("0666")));
        assert!(findings.iter().any(|finding| finding.subject == "ledger" && finding.severity == Severity::Error));
    }
}
