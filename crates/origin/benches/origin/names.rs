//! Many names: how long one takes to be found, and the server to start.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use witness_origin::clock::{self, Stopwatch};
use witness_origin::db::{self, Db, links};
use witness_origin::model::Name;

use crate::Scale;
use crate::server::Server;

const LOOK_UPS: u64 = 50_000;

pub(crate) fn run(scale: Scale) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let path = store.join("meta.db");
    let since = Stopwatch::start();
    fill(&path, scale.names);
    let filled = since.elapsed().as_secs_f64();
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{} names, made in {filled:.0} s, in a database of {:.2} GB", scale.names, decimal(size) / 1e9);
    println!("| with {} names | median | p99 | most | aim |", scale.names);
    println!("|---|---|---|---|---|");
    let started = (0..5)
        .map(|_| {
            let since = Stopwatch::start();
            let server = Server::start(folder.path());
            let took = since.elapsed().as_secs_f64();
            drop(server);
            took
        })
        .collect::<Vec<_>>();
    row("start until it serves, s", started, 1.0, "< 2 s");
    let db = db::look(&path).unwrap();
    let now = clock::now();
    let found = (0..LOOK_UPS).map(|number| {
        let name = Name::new(&name(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % scale.names)).unwrap();
        let since = Stopwatch::start();
        assert!(links::lookup(&db, &name, now).unwrap().is_some(), "{name}");
        since.elapsed().as_secs_f64()
    });
    row("a name is found, ms", found.collect(), 1e3, "p99 < 1 ms");
    drop(db);
    let server = Server::start(folder.path());
    row("a name that is not there, over HTTP, ms", missing(&server), 1e3, "");
    for words in [
        &["list"][..],
        &["list", "192.0.2.7"],
        &["list", "00000010"],
        &["show", &name(7)],
        &["stats"],
        &["top", "largest"],
    ] {
        let took = (0..5).map(|_| command(folder.path(), words)).collect();
        row(&format!("`witness-origin {}`, s", words.join(" ")), took, 1.0, "");
    }
}

fn row(what: &str, mut values: Vec<f64>, worth: f64, aim: &str) {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values[(values.len() - 1) * share / 100] * worth;
    println!("| {what} | {:.3} | {:.3} | {:.3} | {aim} |", at(50), at(99), at(100));
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn decimal(number: u64) -> f64 {
    number as f64
}

fn name(number: u64) -> String {
    format!("{:010x}.txt", number * 400)
}

/// Rows as uploads make them, written in the order of their keys, their indexes afterwards.
fn fill(path: &Path, names: u64) {
    Db::open(path).unwrap().close();
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;").unwrap();
    let mut query = db
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let others: Vec<(String, String, String)> = rows.collect::<Result<_, _>>().unwrap();
    drop(query);
    for (kind, name, _) in &others {
        db.execute_batch(&format!("DROP {kind} {name}")).unwrap();
    }
    let numbers = format!("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {}) ", names - 1);
    let fill = [
        "INSERT INTO objects (id, sha256, sha1, md5, size, kind, created) \
         SELECT i + 1, unhex(printf('%016x', i * 65536)) || randomblob(24), randomblob(20), randomblob(16), abs(random()) % 1000000, \
         CASE i % 3 WHEN 0 THEN 'image/png' ELSE 'text/plain' END, 1600000000000 + i * 1000 FROM n",
        "INSERT INTO links (name, object, original, created, shared) \
         SELECT printf('%010x.txt', i * 400), i + 1, 'file ' || i || '.txt', 1600000000000 + i * 1000, 1 FROM n",
        "INSERT INTO claims (name, token, original, address, created) \
         SELECT printf('%010x.txt', i * 400), randomblob(32), 'file ' || i || '.txt', '192.0.2.' || (i % 250), \
         1600000000000 + i * 1000 FROM n",
    ];
    for text in fill {
        db.execute_batch(&format!("{};", text.replacen(") SELECT", &format!(") {numbers} SELECT"), 1))).unwrap();
    }
    for (_, _, text) in &others {
        db.execute_batch(text).unwrap();
    }
    db.execute_batch("UPDATE totals SET objects = (SELECT count(*) FROM objects), bytes = (SELECT sum(size) FROM objects), names = (SELECT count(*) FROM links)").unwrap();
}

/// How long the answer takes for names that are not there, on one connection.
fn missing(server: &Server) -> Vec<f64> {
    let mut stream = TcpStream::connect(server.at).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = vec![0; 4096];
    (0..LOOK_UPS / 10)
        .map(|number| {
            let since = Stopwatch::start();
            write!(stream, "HEAD /missing-{number}.txt HTTP/1.1\r\nHost: files.example.com\r\n\r\n").unwrap();
            let mut got = 0;
            while !answer[..got].ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut answer[got..]).unwrap();
                assert!(read > 0);
                got += read;
            }
            assert!(answer.starts_with(b"HTTP/1.1 404"));
            since.elapsed().as_secs_f64()
        })
        .collect()
}

fn command(folder: &Path, words: &[&str]) -> f64 {
    let since = Stopwatch::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
    command.args(words).arg("--config").arg(folder.join("origin.toml")).stdout(Stdio::null());
    assert!(command.status().unwrap().success(), "{words:?}");
    since.elapsed().as_secs_f64()
}
