//! What is resident: with a million objects, and with a thousand clients that read slowly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use witness_edge::store::{Key, Meta, Options, Store};

use crate::client::get;
use crate::hits::wanted;
use crate::measure::{print, resident_of, stopwatch, verdict};
use crate::origin::Origin;
use crate::peers::{self, Folder};

const GIB: u64 = 1 << 30;
const OBJECTS: u64 = 1_000_000;
const CLIENTS: u64 = 1000;

pub(crate) fn bench(origin: &Origin, only: &[String], objects: Option<u64>) -> Result<(), String> {
    let mut rows = Vec::new();
    if wanted("memory of objects", only) {
        for clean in [true, false] {
            rows.push(many_objects(origin, objects.unwrap_or(OBJECTS), clean)?);
        }
    }
    for cold in [false, true] {
        for spread in [false, true] {
            if wanted("memory of clients", only) {
                rows.push(slow_clients(origin, cold, spread)?);
            }
        }
    }
    if !rows.is_empty() {
        print("Memory, in MB of a million bytes.", &["work", "resident", "peak", "ready after s", "aim"], &rows);
    }
    Ok(())
}

/// A cache of so many objects of 1 KiB, with files and all, opened after an orderly end or after a crash.
fn many_objects(origin: &Origin, objects: u64, clean: bool) -> Result<Vec<String>, String> {
    let folder = Folder::new()?;
    let failed = |error: std::io::Error| format!("failed to fill a cache: {error}");
    let store = Store::open(Options {
        directory: folder.path().join("million"),
        max_size: 20 * GIB,
        min_free: 0,
        inactive: Duration::from_secs(86_400),
        min_uses: 1,
        slice_size: 1 << 20,
    })
    .map_err(failed)?;
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let bytes = vec![7; 1024];
    let name = |number: u64| format!("files.example.com/1024/o{number}");
    for number in 0..objects {
        let headers = [("etag", "\"v1\""), ("content-type", "image/webp"), ("cache-control", "max-age=86400")];
        let meta = Meta {
            name: name(number),
            status: 200,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            requested: now,
            received: now,
            varies: Vec::new(),
            purges: 0,
        };
        let stored = store.create(Key::of(&name(number)), meta, 1024).map_err(failed)?;
        store.write_slice(&stored, 0, &bytes).map_err(failed)?;
    }
    store.close().map_err(failed)?;
    drop(store);
    if !clean {
        std::fs::remove_file(folder.path().join("million/clean")).map_err(failed)?;
    }
    let began = stopwatch();
    let edge = peers::edge(&folder, origin.at, "million")?;
    let answer = get(edge.http, &format!("/1024/o{}", objects / 2), None)?;
    let ready = began.elapsed().as_secs_f64();
    if answer.body != bytes {
        return Err("an object of the million is not what was stored".to_owned());
    }
    // Some are read, so that what is open counts as well.
    for number in (0..objects).step_by(usize::try_from(objects / 5000).unwrap_or(1).max(1)) {
        get(edge.http, &format!("/1024/o{number}"), None)?;
    }
    if !clean {
        // The folder is looked through meanwhile.
        std::thread::sleep(Duration::from_secs(20));
    }
    let (resident, peak) = resident_of(edge.pid());
    let name = if clean { "after an orderly end" } else { "after a crash" };
    Ok(vec![
        format!("{objects} objects of 1 KiB, {name}"),
        format!("{resident:.0}"),
        format!("{peak:.0}"),
        format!("{ready:.2}"),
        verdict("< 150 MB, first answer < 2 s", resident < 150.0 && ready < 2.0),
    ])
}

/// A thousand clients that take 16 KiB a second each of one object of 2 GiB, from its front or from as many places.
fn slow_clients(origin: &Origin, cold: bool, spread: bool) -> Result<Vec<String>, String> {
    let folder = Folder::new()?;
    let edge = peers::edge(&folder, origin.at, "slow")?;
    let size = 2 * GIB;
    let target = format!("/{size}/video");
    if !cold {
        // In pieces, as a whole would be held by this process.
        for start in (0..size).step_by(64 << 20) {
            for _ in 0..2 {
                get(edge.http, &target, Some((start, start + (64 << 20))))?;
            }
        }
    }
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let start = if spread { size / CLIENTS * number } else { 0 };
        clients.push(slow_client(edge.http, &target, start).map_err(|error| format!("a slow client: {error}"))?);
    }
    let mut buffer = vec![0; 16 << 10];
    let mut peak = 0.0_f64;
    let mut resident = 0.0;
    for _ in 0..15 {
        let began = stopwatch();
        for client in &mut clients {
            // Who gets nothing at the moment reads later.
            let _ = client.read(&mut buffer);
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
        let (now, most) = resident_of(edge.pid());
        resident = now;
        peak = peak.max(most);
    }
    let (cold, places) = (if cold { "cold" } else { "cached" }, if spread { "1000 places" } else { "its front" });
    Ok(vec![
        format!("1000 slow clients on 2 GiB, {cold}, from {places}"),
        format!("{resident:.0}"),
        format!("{peak:.0}"),
        String::new(),
        verdict("< 100 MB", resident < 100.0),
    ])
}

fn slow_client(at: SocketAddr, target: &str, start: u64) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: files.example.com\r\nRange: bytes={start}-\r\n\r\n")?;
    Ok(stream)
}
