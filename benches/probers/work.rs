//! Our own side of a sweep: this program again, as a process of its own that does nothing but probe.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use witness::model::{
    Fleet, HttpsProbe, Name, Node, Outcome, PingProbe, ProbeSettings, SshLevel, SshProbe, StatusRange,
};
use witness::probe::{Prober, sweep};

use crate::measure::{Figures, peak_of, stopwatch};
use crate::targets::{BODY, HOST, Targets, address};

/// Sweeps as told and reports on one line of stdout.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let [kind, count, port, ca, fingerprint] = arguments else { return ExitCode::FAILURE };
    let count: usize = count.parse().expect("a number");
    let settings = settings(kind, port.parse().expect("a port"), ca);
    let fleet = fleet(count, Some(fingerprint).filter(|text| !text.is_empty()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(async move {
        let prober = Arc::new(Prober::new(settings).expect("settings that work"));
        let pid = std::process::id();
        let before = witness::clock::cpu_time();
        let started = stopwatch();
        let (rounds, _) = sweep(&prober, fleet.nodes.into_values()).await;
        let wall_s = started.elapsed().as_secs_f64();
        let good = |round: &&witness::model::Round| round.observations.iter().all(|one| one.outcome == Outcome::Passed);
        let good_rounds = rounds.iter().filter(good).count();
        if let Some(bad) = rounds.iter().find(|round| !good(round)) {
            eprintln!("not good: {:?}", bad.observations);
        }
        Figures {
            probes: count,
            good: good_rounds,
            wall_s,
            cpu_s: (witness::clock::cpu_time() - before).as_secs_f64(),
            peak_mb: peak_of(pid),
        }
    });
    println!("{} {} {} {}", figures.good, figures.wall_s, figures.cpu_s, figures.peak_mb);
    ExitCode::SUCCESS
}

/// Runs a sweep in a process of its own.
pub(crate) fn run(what: &[&str], targets: &Targets) -> Result<Figures, String> {
    let program = std::env::current_exe().map_err(|error| format!("failed to find this program: {error}"))?;
    let port = if what[0] == "ssh" { targets.ssh_port } else { targets.https_port };
    let fingerprint = if what[0] == "ssh" { targets.fingerprint()? } else { String::new() };
    let output = Command::new(program)
        .arg("work")
        .args(what)
        .arg(port.to_string())
        .arg(targets.ca_file())
        .arg(fingerprint)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("failed to sweep: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [good, wall_s, cpu_s, peak_mb] = numbers[..] else { return Err(format!("the sweep said {text:?}")) };
    let probes = what[1].parse().map_err(|_| "a count".to_owned())?;
    Ok(Figures { probes, good: good as usize, wall_s, cpu_s, peak_mb })
}

fn settings(kind: &str, port: u16, ca: &str) -> ProbeSettings {
    let mut settings = ProbeSettings::default();
    match kind {
        "https" => {
            settings.https = Some(HttpsProbe {
                url: format!("https://{HOST}:{port}/"),
                method: "GET".to_owned(),
                headers: Vec::new(),
                expect_status: vec![StatusRange { from: 200, to: 299 }],
                expect_body: Some(regex::bytes::Regex::new(BODY).expect("a pattern")),
                body_limit: 65536,
                ca_file: Some(ca.into()),
                token: None,
                redirects: 0,
                tls12: true,
                warn_certificate_days: 14,
                connect_timeout: Duration::from_secs(4),
                timeout: Duration::from_secs(8),
            });
        }
        "ping" => {
            settings.ping = Some(PingProbe {
                count: 1,
                spacing: Duration::from_millis(200),
                timeout: Duration::from_secs(2),
                size: 56,
            });
        }
        _ => {
            settings.ssh = Some(SshProbe {
                port,
                level: SshLevel::Handshake,
                known_hosts: None,
                login: None,
                timeout: Duration::from_secs(10),
            });
        }
    }
    settings
}

fn fleet(count: usize, fingerprint: Option<&String>) -> Fleet {
    let nodes = (0..count).map(|n| {
        let id = Name::new(&format!("n{n}")).expect("a name");
        let ssh_host_key = fingerprint.map(|text| text.parse().expect("a fingerprint"));
        (id.clone(), Node { id, addresses: vec![address(n)], site: None, capacity_bps: None, ssh_host_key })
    });
    Fleet { nodes: nodes.collect(), pools: std::collections::BTreeMap::new() }
}
