//! The programs beside us, and our own as users run it, each driven the way it is made to be driven.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use witness_lab::ports;
use witness_lab::process::Guard;

use crate::measure::{Figures, cpu_of, cpu_of_children, peak_of, stopwatch, wait_until};
use crate::targets::{BODY, HOST, Targets, address};

/// Probes that blackbox_exporter is asked for at once.
const AT_ONCE: usize = 64;
/// How long the paced schedules are watched.
const WATCHED: Duration = Duration::from_secs(20);

/// A running blackbox_exporter.
pub(crate) struct Blackbox {
    guard: Guard,
    at: SocketAddr,
}

impl Blackbox {
    pub(crate) fn start(targets: &Targets) -> Result<Self, String> {
        let config = targets.folder().join("blackbox.yml");
        let text = format!(
            "modules:
  https:
    prober: http
    timeout: 8s
    http:
      valid_status_codes: [200]
      fail_if_body_not_matches_regexp: ['{BODY}']
      follow_redirects: false
      preferred_ip_protocol: ip4
      headers: {{ Host: {HOST} }}
      tls_config: {{ ca_file: {}, server_name: {HOST} }}
  icmp:
    prober: icmp
    timeout: 2s
    icmp: {{ preferred_ip_protocol: ip4 }}
",
            targets.ca_file().display()
        );
        fs::write(&config, text).map_err(|error| format!("failed to write blackbox.yml: {error}"))?;
        let at = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let guard = Guard::start(
            Command::new("prometheus-blackbox-exporter")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--web.listen-address={at}"))
                .arg("--log.level=error")
                .stderr(Stdio::null())
                .stdout(Stdio::null()),
        )
        .map_err(|error| format!("failed to start blackbox_exporter: {error}"))?;
        if !wait_until(Duration::from_secs(10), || TcpStream::connect(at).is_ok()) {
            return Err("blackbox_exporter does not listen".to_owned());
        }
        Ok(Self { guard, at })
    }

    pub(crate) fn sweep(&self, module: &str, count: usize, targets: &Targets) -> Result<Figures, String> {
        let (next, good) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let before = cpu_of(self.guard.pid())?;
        let started = stopwatch();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    let mut connection = None;
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        let target = match module {
                            "icmp" => address(n).to_string(),
                            _ => format!("https://{}:{}/", address(n), targets.https_port),
                        };
                        if self
                            .ask(&mut connection, module, &target)
                            .is_some_and(|text| text.contains("probe_success 1"))
                        {
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        Ok(Figures {
            probes: count,
            good: good.into_inner(),
            wall_s: started.elapsed().as_secs_f64(),
            cpu_s: cpu_of(self.guard.pid())? - before,
            peak_mb: peak_of(self.guard.pid()),
        })
    }

    /// One request on a connection that is kept.
    fn ask(&self, connection: &mut Option<TcpStream>, module: &str, target: &str) -> Option<String> {
        if connection.is_none() {
            *connection = TcpStream::connect(self.at).ok();
        }
        let stream = connection.as_mut()?;
        let query = format!("GET /probe?module={module}&target={target} HTTP/1.1\r\nHost: blackbox\r\n\r\n");
        stream.write_all(query.as_bytes()).ok()?;
        let mut answer = Vec::new();
        let mut piece = [0; 16384];
        loop {
            let read = stream.read(&mut piece).ok()?;
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                if read == 0 {
                    return None;
                }
                continue;
            };
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let whole = match length {
                Some(length) => body.len() >= length,
                None => body.ends_with("0\r\n\r\n"),
            };
            if whole || read == 0 {
                return Some(body.to_owned());
            }
        }
    }
}

/// `fping -C 1`, `interval` ms between two echoes.
pub(crate) fn fping(count: usize, interval: &str) -> Result<Figures, String> {
    // The system counts the time of children in steps of 10 ms: small sweeps are made so often that this does not matter.
    let times = (10_000 / count).max(1);
    let list: String = (0..count).map(|n| format!("{}\n", address(n))).collect();
    let mut all = Figures { probes: count, good: count, ..Figures::default() };
    let before = cpu_of_children();
    for _ in 0..times {
        let started = stopwatch();
        let mut child = Command::new("fping")
            .args(["-C", "1", "-q", "-i", interval, "-t", "2000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("failed to start fping: {error}"))?;
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(list.as_bytes()).map_err(|error| format!("failed to tell fping: {error}"))?;
        drop(stdin);
        let output = child.wait_with_output().map_err(|error| format!("failed to wait for fping: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let lost = text.lines().filter(|line| line.trim_end().ends_with('-')).count();
        all.good = all.good.min(count - lost.min(count));
        all.wall_s += started.elapsed().as_secs_f64() / times as f64;
    }
    all.cpu_s = (cpu_of_children() - before) / times as f64;
    Ok(all)
}

/// `ssh-keyscan`, one process for all.
pub(crate) fn keyscan(count: usize, targets: &Targets) -> Result<Figures, String> {
    let list: String = (0..count).map(|n| format!("{}\n", address(n))).collect();
    let file = targets.folder().join("keyscan");
    fs::write(&file, list).map_err(|error| format!("failed to write a list: {error}"))?;
    let before = cpu_of_children();
    let started = stopwatch();
    let output = Command::new("ssh-keyscan")
        .args(["-T", "10", "-t", "ed25519", "-p", &targets.ssh_port.to_string(), "-f"])
        .arg(&file)
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("failed to run ssh-keyscan: {error}"))?;
    let good = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("ssh-ed25519")).count();
    Ok(Figures {
        probes: count,
        good,
        wall_s: started.elapsed().as_secs_f64(),
        cpu_s: cpu_of_children() - before,
        peak_mb: 0.0,
    })
}

/// haproxy with check-ssl, every server once a second. By default it resumes TLS sessions, which saves it the certificate
/// and hides an expired one; with `whole` handshakes it does what we do.
pub(crate) fn haproxy(targets: &Targets, count: usize, whole: bool) -> Result<Figures, String> {
    let reuse = if whole { "no-ssl-reuse" } else { "" };
    let file = targets.folder().join("haproxy.cfg");
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n  ca-base {}\ndefaults\n  mode http\n  timeout connect 4s\n  timeout client 8s\n  \
         timeout server 8s\nfrontend none\n  bind 127.0.0.1:{}\nbackend nodes\n  option httpchk\n  http-check send meth GET uri / ver HTTP/1.1 hdr Host {HOST}\n  \
         http-check expect rstring {}\n",
        targets.folder().display(),
        ports::free(),
        BODY.replace(' ', "\\ ")
    );
    for n in 0..count {
        text.push_str(&format!(
            "  server n{n} {}:{} check check-ssl verify required ca-file ca.pem check-sni {HOST} verifyhost {HOST} inter 1s {reuse}\n",
            address(n),
            targets.https_port
        ));
    }
    fs::write(&file, text).map_err(|error| format!("failed to write haproxy.cfg: {error}"))?;
    let guard = Guard::start(
        Command::new("haproxy").arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).stdout(Stdio::null()),
    )
    .map_err(|error| format!("failed to start haproxy: {error}"))?;
    watched(guard, targets)
}

/// `witness run` over as many nodes, each once a second, with a ledger, a pool and a registrar.
pub(crate) fn witness_run(targets: &Targets, count: usize) -> Result<Figures, String> {
    let config = witness_config(targets, count, "1s", "run")?;
    let guard = Guard::start(
        Command::new(program()?).arg("-c").arg(config).arg("run").stderr(Stdio::inherit()).stdout(Stdio::null()),
    )
    .map_err(|error| format!("failed to start witness: {error}"))?;
    watched(guard, targets)
}

/// The CPU time of a running schedule, for each probe that arrived.
fn watched(mut guard: Guard, targets: &Targets) -> Result<Figures, String> {
    // Starting up is not what is measured.
    std::thread::sleep(Duration::from_secs(5));
    if !guard.is_running() {
        return Err("it ended at once; look at its configuration".to_owned());
    }
    let pid = guard.pid();
    let (before, asked) = (cpu_of(pid)?, targets.requests()?);
    let started = stopwatch();
    std::thread::sleep(WATCHED);
    let wall_s = started.elapsed().as_secs_f64();
    let cpu_s = cpu_of(pid)? - before;
    let probes = targets.requests()? - asked;
    Ok(Figures { probes, good: probes, wall_s, cpu_s, peak_mb: peak_of(pid) })
}

/// One `witness once`.
pub(crate) fn witness_once(targets: &Targets, count: usize) -> Result<Figures, String> {
    let config = witness_config(targets, count, "10s", &format!("once{count}"))?;
    let started = stopwatch();
    let before = cpu_of_children();
    let mut guard = Guard::start(
        Command::new(program()?).arg("-c").arg(config).arg("once").stderr(Stdio::inherit()).stdout(Stdio::null()),
    )
    .map_err(|error| format!("failed to start witness: {error}"))?;
    let mut peak: f64 = 0.0;
    let bound = Duration::from_secs(120);
    let ended = wait_until(bound, || {
        peak = peak.max(peak_of(guard.pid()));
        !guard.is_running()
    });
    if !ended {
        return Err(format!("witness once did not end within {bound:?}"));
    }
    Ok(Figures {
        probes: count,
        good: count,
        wall_s: started.elapsed().as_secs_f64(),
        cpu_s: cpu_of_children() - before,
        peak_mb: peak,
    })
}

/// One `witness once` over four nodes, and how much longer it took than its slowest probe, ms.
pub(crate) fn witness_once_overhead(targets: &Targets) -> Result<(Figures, f64), String> {
    let config = targets.folder().join("once4").join("witness.toml");
    if !config.exists() {
        witness_config(targets, 4, "10s", "once4")?;
    }
    let program = program()?;
    let before = cpu_of_children();
    let started = stopwatch();
    let output = Command::new(program)
        .arg("-c")
        .arg(&config)
        .args(["once", "--json"])
        .output()
        .map_err(|error| format!("failed to start witness: {error}"))?;
    let wall_s = started.elapsed().as_secs_f64();
    let cpu_s = cpu_of_children() - before;
    if !output.status.success() {
        return Err(format!("witness once failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let status = Command::new(program)
        .arg("-c")
        .arg(&config)
        .args(["status", "--json"])
        .output()
        .map_err(|error| format!("failed to start witness: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_slice(&status.stdout).map_err(|error| format!("status said no JSON: {error}"))?;
    let nodes = value["nodes"].as_array().cloned().unwrap_or_default();
    let probes = nodes.iter().flat_map(|node| node["probes"].as_array().cloned().unwrap_or_default());
    let slowest = probes.filter_map(|probe| probe["measured"]["total_us"].as_f64()).fold(0.0, f64::max);
    let good = nodes.iter().filter(|node| node["verdict"] == "healthy").count();
    Ok((Figures { probes: 4, good, wall_s, cpu_s, peak_mb: 0.0 }, wall_s * 1000.0 - slowest / 1000.0))
}

/// The program as users run it.
fn program() -> Result<&'static str, String> {
    Ok(env!("CARGO_BIN_EXE_witness"))
}

fn witness_config(targets: &Targets, count: usize, interval: &str, name: &str) -> Result<std::path::PathBuf, String> {
    let folder = targets.folder().join(name);
    let failed = |error: std::io::Error| format!("failed to write a configuration: {error}");
    // A new one each time, so that every run begins with an empty ledger.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed)?;
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    let addresses: Vec<String> = (0..count).map(|n| format!("\"{}\"", address(n))).collect();
    let zone = format!(
        "{{\"zone\":\"example.com\",\"serial\":1,\"sets\":{{\"files A\":{{\"ttl\":60,\"addresses\":[{}]}}}},\"faults\":[]}}",
        addresses.join(",")
    );
    fs::write(folder.join("zone.json"), zone).map_err(failed)?;
    let mut text = format!(
        "[witness]\nname = \"bench\"\ndatabase = \"witness.db\"\ninterval = \"{interval}\"\nfast_interval = \"1s\"\n\
         anchors = []\n\n[probes.https]\nurl = \"https://{HOST}:{}/\"\nexpect_body = \"{BODY}\"\nca_file = \"{}\"\n\n\
         [[pools]]\nname = \"files\"\nzone = \"example.com\"\nrecords = [\"files\"]\nregistrar = \"file\"\n\
         nameservers = [\"127.0.0.1:9\"]\n\n[registrars.file]\nkind = \"mock\"\nfile = \"zone.json\"\nrefresh = \"1h\"\n",
        targets.https_port,
        targets.ca_file().display()
    );
    for n in 0..count {
        text.push_str(&format!("\n[[nodes]]\nname = \"n{n}\"\naddresses = [\"{}\"]\n", address(n)));
    }
    let file = folder.join("witness.toml");
    fs::write(&file, text).map_err(failed)?;
    Ok(file)
}
