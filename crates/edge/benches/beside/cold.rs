//! What is not in the cache yet: how soon the first byte comes, at what pace the rest, and what the origin is asked.

use std::net::SocketAddr;

use crate::client::{Answer, get};
use crate::hits::wanted;
use crate::measure::{median, milliseconds, print, stopwatch, verdict};
use crate::origin::{Origin, body};
use crate::peers::{self, Filling, Folder, Server};

const MIB: u64 = 1 << 20;
/// The origin's pace on one connection.
const PACE: u64 = 32 * MIB;

pub(crate) fn bench(origin: &Origin, only: &[String], runs: usize) -> Result<(), String> {
    if !["cold seek", "cold sequential", "cold crowd"].into_iter().any(|name| wanted(name, only)) {
        return Ok(());
    }
    let folder = Folder::new()?;
    let servers = [
        peers::edge(&folder, origin.at, "cold")?,
        peers::nginx(&folder, origin.at, Filling::Whole)?,
        peers::nginx(&folder, origin.at, Filling::Slices)?,
        peers::varnish(&folder, origin.at)?,
    ];
    if wanted("cold seek", only) {
        seek(origin, &servers, runs)?;
    }
    if wanted("cold sequential", only) {
        sequential(origin, &servers, runs)?;
    }
    if wanted("cold crowd", only) {
        crowd(origin, &servers, runs)?;
    }
    Ok(())
}

/// 64 KiB at 86 % of an object of 256 MiB that nobody has asked for.
fn seek(origin: &Origin, servers: &[Server], runs: usize) -> Result<(), String> {
    let size = 256 * MIB;
    let start = size / 100 * 86;
    let mut rows = Vec::new();
    for server in servers {
        let (mut firsts, mut again) = (Vec::new(), 0);
        // Where the front has to come first, one run is a matter of eight seconds and tells enough.
        let runs = if server.name == "witness-edge" || server.name.contains("slices") { runs } else { 1 };
        for run in 0..runs {
            let target = format!("/{size}/pace={PACE},seek{run}");
            let range = Some((start, start + (64 << 10)));
            let answer = whole(get(server.http, &target, range)?, 206, start, 64 << 10, server)?;
            firsts.push(milliseconds(answer.first));
            // The slice comes to its end.
            std::thread::sleep(std::time::Duration::from_millis(500));
            let before = origin.asked();
            whole(get(server.http, &target, range)?, 206, start, 64 << 10, server)?;
            again += origin.asked() - before;
        }
        let (first, cached) = (median(firsts), again == 0);
        let aim = if server.name == servers[0].name {
            verdict("first byte <= 25 ms, then cached", first <= 25.0 && cached)
        } else {
            String::new()
        };
        let kept = if cached { "yes" } else { "no" };
        rows.push(vec![server.name.to_owned(), format!("{first:.1}"), kept.to_owned(), aim]);
    }
    print(
        "Cold seek: 64 KiB at 86 % of 256 MiB, origin at 32 MiB/s.",
        &["server", "first byte ms", "cached then", "aim"],
        &rows,
    );
    Ok(())
}

/// 64 MiB from the front, of an origin that takes 50 ms to answer, beside the same from the origin itself.
fn sequential(origin: &Origin, servers: &[Server], runs: usize) -> Result<(), String> {
    let size = 64 * MIB;
    let take = |at: SocketAddr, name: &str, run: usize| -> Result<f64, String> {
        let target = format!("/{size}/pace={},wait=50,{name}{run}", 2 * PACE);
        let answer = get(at, &target, None)?;
        if answer.body.len() as u64 != size {
            return Err(format!("{name} gave {} bytes", answer.body.len()));
        }
        Ok(64.0 / answer.last.as_secs_f64())
    };
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); servers.len()];
    let mut direct = Vec::new();
    for run in 0..runs {
        direct.push(take(origin.at, "direct", run)?);
        for (server, paces) in servers.iter().zip(&mut all) {
            paces.push(take(server.http, "sequential", run)?);
        }
    }
    let mut rows = vec![vec![
        "the origin itself".to_owned(),
        format!("{:.1}", median(direct.clone())),
        String::new(),
        String::new(),
    ]];
    for (server, paces) in servers.iter().zip(&all) {
        let share = crate::measure::ratio(paces, &direct);
        let aim = if server.name == servers[0].name { verdict(">= 0.95", share >= 0.95) } else { String::new() };
        rows.push(vec![server.name.to_owned(), format!("{:.1}", median(paces.clone())), format!("{share:.2}"), aim]);
    }
    print(
        "Cold sequential: 64 MiB, origin at 64 MiB/s, 50 ms before each answer.",
        &["server", "MiB/s", "of the origin's pace", "aim"],
        &rows,
    );
    Ok(())
}

/// Twenty clients that want the same 8 MiB; then one more, when half of it is there.
fn crowd(origin: &Origin, servers: &[Server], runs: usize) -> Result<(), String> {
    let size = 8 * MIB;
    let ideal = 1000.0 * size as f64 / PACE as f64;
    let mut rows = Vec::new();
    for server in servers {
        let (mut fetches, mut slowest, mut joiners) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..runs {
            let target = format!("/{size}/pace={PACE},crowd{run}");
            let before = origin.asked();
            let began = stopwatch();
            let (last, joiner) = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| get(server.http, &target, None))).collect();
                std::thread::sleep(std::time::Duration::from_millis(125));
                let joiner = get(server.http, &target, None);
                let mut last = 0.0_f64;
                for client in clients {
                    let answer = client.join().map_err(|_| "a client panicked".to_owned())??;
                    whole(answer, 200, 0, size, server)?;
                    last = last.max(milliseconds(began.elapsed()));
                }
                Ok::<_, String>((last, joiner?))
            })?;
            fetches.push((origin.asked() - before) as f64);
            slowest.push(last);
            joiners.push(milliseconds(joiner.first));
        }
        let (fetches, slowest, joiner) = (median(fetches), median(slowest), median(joiners));
        let aim = if server.name == servers[0].name {
            let reached = fetches <= 1.0 && slowest <= 1.1 * ideal && joiner <= 5.0;
            verdict("1 fetch, all <= 1.1 of the ideal, joiner <= 5 ms", reached)
        } else {
            String::new()
        };
        rows.push(vec![
            server.name.to_owned(),
            format!("{fetches:.0}"),
            format!("{slowest:.0}"),
            format!("{:.2}", slowest / ideal),
            format!("{joiner:.1}"),
            aim,
        ]);
    }
    print(
        "Cold crowd: 20 clients on 8 MiB, origin at 32 MiB/s (ideal: 250 ms), another one after 125 ms.",
        &["server", "fetches", "all done ms", "of the ideal", "joiner's first byte ms", "aim"],
        &rows,
    );
    Ok(())
}

/// The answer, if it is what it should be.
fn whole(answer: Answer, status: u16, start: u64, length: u64, server: &Server) -> Result<Answer, String> {
    // Generating all of it takes longer than getting it: the ends tell enough.
    let ends = [0, length - 4096];
    let right = answer.body.len() as u64 == length
        && ends.iter().all(|at| {
            let place = usize::try_from(*at).unwrap_or(0);
            answer.body[place..place + 4096] == body(start + at, 4096)
        });
    if answer.status == status && right {
        Ok(answer)
    } else {
        Err(format!("{} answered {} with {} bytes", server.name, answer.status, answer.body.len()))
    }
}
