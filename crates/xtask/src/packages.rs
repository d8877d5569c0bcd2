//! Debian packages: which are missing, and installing them without starting what they bring.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::machine::{Machine, has_openssl_headers, which};
use crate::succeeds;

/// Something a task needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The Debian package that has it.
    pub(crate) package: &'static str,
    /// How to tell that it is there, from whatever source.
    there: There,
    /// Services that the package enables for the next start of the machine, which nobody asked for.
    units: &'static [&'static str],
    /// What cannot be run without it.
    pub(crate) suites: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum There {
    Program(&'static str),
    OpensslHeaders,
    PythonVenv,
    /// A plugin of PowerDNS, whose folder depends on the architecture.
    PowerDnsBackend(&'static str),
}

const fn program(package: &'static str, program: &'static str, suites: &'static str) -> Need {
    Need { package, there: There::Program(program), units: &[], suites }
}

const fn server(
    package: &'static str,
    program: &'static str,
    units: &'static [&'static str],
    suites: &'static str,
) -> Need {
    Need { package, there: There::Program(program), units, suites }
}

/// For building anything.
pub(crate) const BUILD: &[Need] = &[
    program("gcc", "cc", "everything"),
    program("pkg-config", "pkg-config", "everything"),
    Need { package: "libssl-dev", there: There::OpensslHeaders, units: &[], suites: "everything" },
];

/// For the tests against real servers.
pub(crate) const TESTS: &[Need] = &[
    server("openssh-server", "sshd", &["ssh.service", "ssh.socket"], "ssh against sshd, end to end"),
    program("openssh-client", "ssh-keygen", "ssh against sshd, end to end"),
    server("knot", "knotd", &["knot.service"], "rfc2136 against knot, end to end"),
    program("knot-dnsutils", "kdig", "rfc2136 against knot"),
    server("bind9", "named", &["named.service", "bind9.service"], "rfc2136 against BIND"),
    program("bind9-dnsutils", "dig", "whatever asks with dig"),
    server("pdns-server", "pdns_server", &["pdns.service"], "rfc2136 against PowerDNS"),
    Need {
        package: "pdns-backend-sqlite3",
        there: There::PowerDnsBackend("libgsqlite3backend.so"),
        units: &[],
        suites: "rfc2136 against PowerDNS",
    },
    program("sqlite3", "sqlite3", "rfc2136 against PowerDNS"),
    program("iproute2", "ip", "end to end in network namespaces"),
    server("nftables", "nft", &["nftables.service"], "end to end in network namespaces"),
    program("iputils-ping", "ping", "networks of the lab"),
    program("curl", "curl", "the lab's internet, seen by curl"),
    server("keepalived", "keepalived", &["keepalived.service"], "a floating address by keepalived"),
    program("python3", "python3", "registrars driven by other people's clients"),
    program("e2fsprogs", "mkfs.ext4", "the edge on disks that are read-only or silent"),
    program("util-linux", "fsfreeze", "the edge on disks that are full, read-only or silent"),
];

/// For overload in real packets.
pub(crate) const OVERLOAD: &[Need] = &[
    server("openssh-server", "sshd", &["ssh.service", "ssh.socket"], "overload"),
    program("openssh-client", "ssh-keygen", "overload"),
    server("knot", "knotd", &["knot.service"], "overload"),
    program("bind9-dnsutils", "dig", "overload"),
    program("iproute2", "tc", "overload"),
    server("nftables", "nft", &["nftables.service"], "overload"),
];

/// For pages in a browser.
pub(crate) const BROWSER: &[Need] = &[
    program("chromium", "chromium", "pages in a browser"),
    program("chromium-driver", "chromedriver", "pages in a browser"),
];

/// For other people's programs against the origin.
pub(crate) const CLIENTS: &[Need] = &[
    program("curl", "curl", "clients of the origin"),
    program("wget", "wget", "clients of the origin"),
    Need { package: "python3-venv", there: There::PythonVenv, units: &[], suites: "clients of the origin" },
    program("nodejs", "node", "clients of the origin"),
    program("npm", "npm", "clients of the origin"),
    server(
        "clamav-daemon",
        "clamd",
        &["clamav-daemon.service", "clamav-daemon.socket", "clamav-freshclam.service"],
        "clamd beside the origin",
    ),
];

/// For the benchmarks: those we compare with, and what they are pointed at.
pub(crate) const BENCH: &[Need] = &[
    server(
        "prometheus-blackbox-exporter",
        "prometheus-blackbox-exporter",
        &["prometheus-blackbox-exporter.service"],
        "https and ping beside blackbox_exporter",
    ),
    program("fping", "fping", "ping beside fping"),
    server("haproxy", "haproxy", &["haproxy.service"], "the paced schedule beside haproxy"),
    server("nginx-light", "nginx", &["nginx.service"], "https targets"),
    server("openssh-server", "sshd", &["ssh.service", "ssh.socket"], "ssh targets"),
    program("openssh-client", "ssh-keygen", "ssh targets"),
];

/// For the edge's benchmark: those it is compared with, and who asks them.
pub(crate) const EDGE_BENCH: &[Need] = &[
    server("nginx-light", "nginx", &["nginx.service"], "the edge beside nginx"),
    server("varnish", "varnishd", &["varnish.service", "varnishncsa.service"], "the edge beside Varnish"),
    program("wrk", "wrk", "the edge's hits"),
    program("util-linux", "taskset", "servers and clients on cores of their own"),
];

impl Need {
    fn is_there(&self) -> bool {
        match self.there {
            There::Program(program) => which(program).is_some(),
            There::OpensslHeaders => has_openssl_headers(),
            There::PythonVenv => succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])),
            There::PowerDnsBackend(plugin) => {
                // Debian has a folder per architecture; other systems have one.
                let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
                folders.chain(["/usr/lib".into(), "/usr/lib64".into()]).any(|at| at.join("pdns").join(plugin).is_file())
            }
        }
    }
}

/// What is still missing after everything was tried.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    needs: Vec<Need>,
    /// Whether apt was asked and did not have them.
    pub(crate) not_to_be_had: BTreeSet<&'static str>,
}

impl Missing {
    /// Says what it means for the suites.
    pub(crate) fn tell(&self, machine: &Machine) {
        for need in &self.needs {
            let why =
                if self.not_to_be_had.contains(need.package) { "apt-get does not get it" } else { machine.why_not };
            eprintln!("xtask: without {} ({why}) this is left out: {}", need.package, need.suites);
        }
        if !self.needs.is_empty() && !machine.installs {
            let packages: Vec<&str> = self.needs.iter().map(|need| need.package).collect();
            eprintln!("xtask: on Debian, `apt-get install {}` as root would help", packages.join(" "));
        }
    }

    pub(crate) fn has(&self, package: &str) -> bool {
        self.needs.iter().any(|need| need.package == package)
    }
}

/// Installs what is missing of `needs`, where that is possible, and returns what is missing still.
pub(crate) fn provide(machine: &Machine, needs: &[Need]) -> Missing {
    let absent = || needs.iter().copied().filter(|need| !need.is_there()).collect::<Vec<_>>();
    let wanted = absent();
    if wanted.is_empty() || !machine.installs {
        return Missing { needs: wanted, not_to_be_had: BTreeSet::new() };
    }
    let packages: BTreeSet<&str> = wanted.iter().map(|need| need.package).collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    eprintln!("xtask: installing {}", packages.join(" "));
    let quiet = Quiet::begin();
    // Without its lists apt-get finds nothing; with old ones it asks for files that have gone.
    let had_lists = has_lists();
    if !had_lists {
        update();
    }
    if !install(&packages) {
        if had_lists {
            update();
        }
        if !install(&packages) {
            // One that is not to be had should not cost the others.
            for package in &packages {
                install(&[package]);
            }
        }
    }
    drop(quiet);
    let left = absent();
    for need in wanted.iter().filter(|need| need.is_there()) {
        for unit in need.units {
            // They would start with the machine the next time.
            let _ = succeeds(Command::new("systemctl").args(["disable", "--quiet", unit]));
        }
    }
    let not_to_be_had = left.iter().map(|need| need.package).collect();
    Missing { needs: left, not_to_be_had }
}

fn install(packages: &[&str]) -> bool {
    let mut command = apt_get();
    command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
    command.status().is_ok_and(|status| status.success())
}

fn update() {
    let _ = apt_get().args(["update", "--quiet"]).status();
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
    // Standard output is for what the task itself has to say.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    command
}

fn has_lists() -> bool {
    let lists = fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
    lists.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

const NOTHING_STARTS: &str =
    "#!/bin/sh\n# Left by `cargo xtask`, which was interrupted; it may be removed.\nexit 101\n";

/// While it lives, installing a package starts no service: Debian asks `policy-rc.d` before it does. A machine's own
/// policy stays as it is.
struct Quiet {
    ours: bool,
}

impl Quiet {
    fn begin() -> Self {
        let policy = Path::new(POLICY);
        // One that an interrupted run of ours has left is ours to remove.
        let ours = fs::read_to_string(policy).map_or(!policy.exists(), |text| text == NOTHING_STARTS);
        if ours {
            let written = fs::write(policy, NOTHING_STARTS)
                .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)));
            if let Err(error) = written {
                eprintln!("xtask: {POLICY} could not be written ({error}), so installed services may start");
            }
        }
        Self { ours }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
