//! What is in the cache: CPU per request and per byte.

use crate::client::{Requests, get};
use crate::measure::{median, print, ratio, verdict};
use crate::origin::Origin;
use crate::peers::{self, Filling, Folder, Server};

const MIB: u64 = 1 << 20;

struct Work {
    name: &'static str,
    secure: bool,
    connections: usize,
    requests: Requests,
    measure: Measure,
    aim: Option<f64>,
}

/// What is compared with nginx.
#[derive(Clone, Copy)]
enum Measure {
    /// CPU seconds a GB: less is better.
    PerByte,
    /// Requests a second of one core: more is better.
    PerRequest,
}

#[derive(Clone, Copy)]
struct Figures {
    requests_per_core: f64,
    cpu_per_gb: f64,
    rate: f64,
    busy: f64,
}

pub(crate) fn bench(origin: &Origin, only: &[String], runs: usize, seconds: u32) -> Result<(), String> {
    let works: Vec<Work> = works().into_iter().filter(|work| wanted(work.name, only)).collect();
    if works.is_empty() {
        return Ok(());
    }
    let folder = Folder::new()?;
    let servers = [
        peers::edge(&folder, origin.at, "cache")?,
        peers::nginx(&folder, origin.at, Filling::Whole)?,
        peers::varnish(&folder, origin.at)?,
    ];
    let mut rows = Vec::new();
    for work in &works {
        let taking_part: Vec<&Server> =
            servers.iter().filter(|server| !work.secure || server.https.is_some()).collect();
        for server in &taking_part {
            warm(server, &work.requests)?;
        }
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); taking_part.len()];
        for _ in 0..runs {
            for (server, figures) in taking_part.iter().zip(&mut all) {
                figures.push(measure(server, work, seconds, &folder)?);
            }
        }
        rows.extend(tell(work, &taking_part, &all));
    }
    print(
        "Hits: server on core 0, wrk on core 1.",
        &["work", "server", "requests/s of one core", "CPU s/GB", "requests/s", "core busy", "edge : peer", "aim"],
        &rows,
    );
    Ok(())
}

pub(crate) fn wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
}

fn works() -> Vec<Work> {
    use Measure::{PerByte, PerRequest};
    let whole = |size: u64, count: u64| Requests((0..count).map(|n| (format!("/{size}/o{n}"), None)).collect());
    // Every range of a 256 MiB object begins at a slice, in an order that jumps.
    let ranges = Requests(
        (0..256)
            .map(|n| n * 101 % 256 * MIB)
            .map(|start| (format!("/{}/video", 256 * MIB), Some((start, start + MIB))))
            .collect(),
    );
    let work = |name, secure, connections, requests: &Requests, measure, aim| Work {
        name,
        secure,
        connections,
        requests: requests.clone(),
        measure,
        aim,
    };
    let (tiny, small, large) = (whole(1024, 1000), whole(64 << 10, 200), whole(8 * MIB, 16));
    vec![
        work("TLS, 1 KiB", true, 32, &tiny, PerRequest, Some(1.4)),
        work("TLS, 64 KiB", true, 32, &small, PerByte, Some(0.75)),
        work("TLS, 1 MiB ranges", true, 8, &ranges, PerByte, Some(0.55)),
        work("TLS, 8 MiB", true, 8, &large, PerByte, Some(0.55)),
        work("plain, 1 KiB", false, 32, &tiny, PerRequest, Some(1.5)),
        work("plain, 64 KiB", false, 32, &small, PerByte, None),
        work("plain, 1 MiB ranges", false, 8, &ranges, PerByte, None),
        work("plain, 8 MiB", false, 8, &large, PerByte, Some(1.3)),
    ]
}

/// Each object once, so that it is there, and once more, so that it is there for good.
fn warm(server: &Server, requests: &Requests) -> Result<(), String> {
    let mut known = std::collections::BTreeSet::new();
    for (path, _) in requests.0.iter().filter(|(path, _)| known.insert(path.clone())) {
        for _ in 0..2 {
            let answer = get(server.http, path, None)?;
            if answer.status != 200 {
                return Err(format!("{} answered {} for {path}", server.name, answer.status));
            }
        }
    }
    Ok(())
}

fn measure(server: &Server, work: &Work, seconds: u32, folder: &Folder) -> Result<Figures, String> {
    let url = match server.https.filter(|_| work.secure) {
        Some(at) => format!("https://{at}/"),
        None => format!("http://{}/", server.http),
    };
    let before = server.cpu();
    let load = work.requests.send(&url, work.connections, seconds, folder.path())?;
    let cpu = server.cpu() - before;
    let wall = f64::from(seconds);
    Ok(Figures {
        requests_per_core: load.requests / cpu,
        cpu_per_gb: cpu / (load.bytes / 1e9),
        rate: load.requests / wall,
        busy: cpu / wall,
    })
}

fn tell(work: &Work, servers: &[&Server], all: &[Vec<Figures>]) -> Vec<Vec<String>> {
    let of = |figures: &[Figures], figure: fn(&Figures) -> f64| figures.iter().map(figure).collect::<Vec<f64>>();
    let compared: fn(&Figures) -> f64 = match work.measure {
        Measure::PerByte => |figures| figures.cpu_per_gb,
        Measure::PerRequest => |figures| figures.requests_per_core,
    };
    let ours = of(&all[0], compared);
    let mut rows = Vec::new();
    for (server, figures) in servers.iter().zip(all) {
        let shown = |figure, digits: usize| format!("{:.digits$}", median(of(figures, figure)));
        let (mut beside, mut aim) = (String::new(), String::new());
        if server.name != servers[0].name {
            let ratio = ratio(&ours, &of(figures, compared));
            beside = format!("{ratio:.2}");
            if let Some(wanted) = work.aim.filter(|_| server.name == "nginx") {
                aim = match work.measure {
                    Measure::PerByte => verdict(&format!("<= {wanted}"), ratio <= wanted),
                    Measure::PerRequest => verdict(&format!(">= {wanted}"), ratio >= wanted),
                };
            }
        }
        rows.push(vec![
            work.name.to_owned(),
            server.name.to_owned(),
            shown(|figures| figures.requests_per_core, 0),
            shown(|figures| figures.cpu_per_gb, 3),
            shown(|figures| figures.rate, 0),
            shown(|figures| figures.busy, 2),
            beside,
            aim,
        ]);
    }
    rows
}
