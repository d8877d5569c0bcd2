//! The program, killed at every step of an upload and at any moment: what it has answered for is there, whole, and
//! nothing else can be asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use witness_origin::db::Db;
use witness_origin::model::Sha256;

use crate::client::{ask, get, parse};
use crate::program::Program;
use crate::{files, form, path, request};

const SEEDS: u64 = 12;

/// Uploads, and returns where it is if that was answered.
async fn try_upload(at: SocketAddr, name: &str, content: &[u8]) -> Option<String> {
    try_form(at, &form(name, content)).await
}

async fn try_form(at: SocketAddr, form: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    stream.write_all(&request("/upload.php", form)).await.ok()?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let answer = parse(&bytes, false);
    (answer.status == 200 && answer.whole).then(|| path(&answer.json()["files"][0]["url"]))
}

fn hash(content: &[u8]) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    Sha256(digest.as_ref().try_into().unwrap())
}

/// What must hold whatever happened: the database is sound, each object it knows is there and is what it is called,
/// each name stands for one, and nothing is left of what was being received.
fn check(folder: &Path, told: &str) {
    let store = folder.join("store");
    assert_eq!(files(&store.join("incoming")), [""; 0], "{told}");
    let db = rusqlite::Connection::open(store.join("meta.db")).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{told}");
    let lost: u64 = db
        .query_row(
            "SELECT count(*) FROM links WHERE removed IS NULL AND object NOT IN (SELECT id FROM objects)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(lost, 0, "{told}");
    let unclaimed: u64 = db
        .query_row(
            "SELECT count(*) FROM links WHERE removed IS NULL AND name NOT IN (SELECT name FROM claims)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(unclaimed, 0, "{told}");
    let mut query = db.prepare("SELECT sha256, size FROM objects").unwrap();
    let objects = query.query_map([], |row| Ok((Sha256(row.get(0)?), row.get::<_, u64>(1)?))).unwrap();
    for object in objects {
        let (sha256, size) = object.unwrap();
        let name = sha256.to_string();
        let content = std::fs::read(store.join("objects").join(&name[..2]).join(&name));
        let content = content.unwrap_or_else(|error| panic!("{told}: {name} is lost: {error}"));
        assert!(content.len() as u64 == size && hash(&content) == sha256, "{told}: {name} is damaged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_what_was_answered_is_there_and_nothing_is_half() {
    let places = ["received", "syncing", "synced", "placed", "folder-synced", "committing", "committed", "published"];
    let folder = tempfile::tempdir().unwrap();
    let mut kept = BTreeMap::new();
    for (at, place) in places.into_iter().enumerate() {
        // The third time: then two have got through, and are to stay.
        let mut program = Program::start(folder.path(), Some(&format!("{place}:3"))).await;
        for number in 0..3 {
            let content = format!("{place} {number} ").repeat(1000).into_bytes();
            match try_upload(program.at, "a.txt", &content).await {
                Some(target) => assert!(kept.insert(target, content).is_none()),
                None => assert_eq!(number, 2, "{place}: it died too early"),
            }
        }
        assert!(program.process.wait(Duration::from_secs(60)).is_some(), "{place}: it did not die");
        assert_eq!(kept.len(), (at + 1) * 2, "{place}");
        let program = Program::start(folder.path(), None).await;
        check(folder.path(), place);
        for (target, content) in &kept {
            let got = get(program.at, target, &[]).await;
            assert!(got.status == 200 && got.body == *content, "{place}: {target} {}", got.status);
        }
        // The same again: whether it had come through or not, it is one.
        let content = format!("{place} 2 ").repeat(1000).into_bytes();
        let target = try_upload(program.at, "a.txt", &content).await.unwrap();
        assert_eq!(try_upload(program.at, "b.txt", &content).await.as_ref(), Some(&target));
        drop(program);
        check(folder.path(), place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_of_a_removal_it_is_gone_or_there() {
    for place in ["committing", "committed", "burying", "buried"] {
        let folder = tempfile::tempdir().unwrap();
        let (target, delete, content) = {
            let program = Program::start(folder.path(), None).await;
            let file = crate::upload(program.at, "a.txt", b"to go").await;
            (path(&file["url"]), path(&file["delete_url"]), "to go")
        };
        let mut program = Program::start(folder.path(), Some(place)).await;
        let at = program.at;
        let _ = tokio::spawn(async move { ask(at, "POST", &delete, &[], "").await }).await;
        assert!(program.process.wait(Duration::from_secs(60)).is_some(), "{place}: it did not die");
        let program = Program::start(folder.path(), None).await;
        check(folder.path(), place);
        let got = get(program.at, &target, &[]).await;
        if got.status == 200 {
            assert_eq!((place, got.text().as_str()), ("committing", content));
        } else {
            assert_eq!(got.status, 410, "{place}");
            let store = folder.path().join("store");
            let gone =
                witness_lab::process::wait_until(Duration::from_secs(60), || files(&store.join("objects")).is_empty());
            assert!(gone, "{place}: the content is still there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_moment_what_was_answered_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut program = Program::start(folder.path(), None).await;
        let at = program.at;
        let clients: Vec<_> = (0..6_u64)
            .map(|client| {
                tokio::spawn(async move {
                    let mut kept = Vec::new();
                    for number in 0_u64.. {
                        // Some of it everybody sends, some nobody else; some is large.
                        let what = if number % 3 == 0 {
                            format!("{seed} {number} ")
                        } else {
                            format!("{seed} {client} {number} ")
                        };
                        let content = what.repeat(if number % 5 == 0 { 60_000 } else { 50 }).into_bytes();
                        match try_upload(at, "a.txt", &content).await {
                            Some(target) => kept.push((target, content)),
                            None => return kept,
                        }
                    }
                    kept
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(40 + seed * 53 % 400)).await;
        program.process.kill();
        for client in clients {
            kept.extend(client.await.unwrap());
        }
        let program = Program::start(folder.path(), None).await;
        check(folder.path(), &format!("seed {seed}"));
        for (target, content) in &kept {
            let got = get(program.at, target, &[]).await;
            assert!(got.status == 200 && got.body == *content, "seed {seed}: {target} {}", got.status);
        }
    }
    assert!(kept.len() > 50, "only {} came through", kept.len());
    // What the database says is what its own reader sees.
    let db = Db::open(&folder.path().join("store").join("meta.db")).unwrap();
    let (objects, _, names) = db.read(witness_origin::db::links::totals).await.unwrap();
    assert!(objects >= 50 && names >= objects);
}
