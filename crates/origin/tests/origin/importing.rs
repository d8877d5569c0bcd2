//! Coming from pomf and Uguu: databases as they write them.

use std::path::Path;
use std::process::{Command, Output};

use rusqlite::Connection;

use crate::client::get;
use crate::{configuration, form, path, post, start, upload};

const SHA1_OF_ONE: &str = "fe05bcdcdc4928012781a5f1a2a77cbb5398e106"; // of "one"
/// What a Uguu has answered for this content: see `fixtures/pomf/uguu-1.9.8.jsonl`.
const XXH3: &str = "ca6d44c0d7bb07c6";
const ITS_CONTENT: &str = "uguu-1.9.8-1\n";

/// The tables of pomf 2.3, 2.8 and Uguu 1.9, as far as they have rows.
fn database(folder: &Path, dates: &str, more: &str) -> Connection {
    let db = Connection::open(folder.join("theirs.sq3")).unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE files (id INTEGER PRIMARY KEY AUTOINCREMENT, hash CHAR(40), originalname VARCHAR(255), \
         filename VARCHAR(30), size INTEGER, date {dates}, {more} ip CHAR(15)); \
         CREATE TABLE blacklist (id INTEGER PRIMARY KEY AUTOINCREMENT, hash CHAR(40), originalname VARCHAR(255), time INTEGER);"
    ))
    .unwrap();
    db
}

fn row(db: &Connection, hash: &str, original: &str, filename: &str, size: usize, date: &str) {
    let text = "INSERT INTO files (hash, originalname, filename, size, date, ip) VALUES (?, ?, ?, ?, ?, '192.0.2.7')";
    db.execute(text, (hash, original, filename, size, date)).unwrap();
}

fn import(folder: &Path, kind: &str, more: &[&str]) -> (Output, String) {
    std::fs::write(folder.join("origin.toml"), configuration(folder, "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
    command.args(["import", kind, "--database"]).arg(folder.join("theirs.sq3"));
    command.arg("--files").arg(folder.join("files")).args(more).arg("--config").arg(folder.join("origin.toml"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

fn sums(text: &str) -> serde_json::Value {
    let last = text.lines().rfind(|line| line.contains("\"dry_run\"")).unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(last).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pomf_goes_on_here_and_what_is_wrong_with_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let db = database(folder.path(), "DATE", "expire DATE, delid CHAR(40), user INTEGER, dir INTEGER,");
    for (name, content) in [
        ("aaaaaa.txt", "one"),
        ("bbbbbb.txt", "one"),
        ("cccccc.tar.gz", "another"),
        ("dddddd.txt", "changed"),
        ("eeeeee.txt", "old"),
        ("stray.txt", "nobody's"),
        ("info.json", "not ours"),
    ] {
        std::fs::write(files.join(name), content).unwrap();
    }
    row(&db, SHA1_OF_ONE, "First of <all>.txt", "aaaaaa.txt", 3, "2015-09-01");
    row(&db, SHA1_OF_ONE, "again.txt", "aaaaaa.txt", 3, "2016-09-01");
    row(&db, SHA1_OF_ONE, "b.txt", "bbbbbb.txt", 3, "2017-09-01");
    row(&db, "", "c.tar.gz", "cccccc.tar.gz", 7, "2018-09-01");
    row(&db, SHA1_OF_ONE, "d.txt", "dddddd.txt", 7, "2018-09-01");
    row(&db, SHA1_OF_ONE, "e.txt", "eeeeee.txt", 3, "2018-09-01");
    db.execute("UPDATE files SET expire = '2019-01-01' WHERE filename = 'eeeeee.txt'", []).unwrap();
    row(&db, SHA1_OF_ONE, "f.txt", "ffffff.txt", 3, "2018-09-01");
    row(&db, SHA1_OF_ONE, "g.txt", "../theirs.sq3", 3, "2018-09-01");
    row(&db, SHA1_OF_ONE, "h.txt", "info.json", 3, "2018-09-01");
    db.execute("INSERT INTO blacklist (hash, originalname) VALUES (?, 'bad.txt')", ["0a".repeat(20)]).unwrap();
    drop(db);

    let (output, text) = import(folder.path(), "pomf", &["-n", "--json"]);
    assert_eq!(output.status.code(), Some(1), "some URLs would not work: {text}");
    let told = sums(&text);
    assert_eq!((&told["taken"], &told["repeated"], &told["expired"]), (&4.into(), &1.into(), &1.into()), "{text}");
    assert_eq!(told["troubles"], serde_json::json!({ "missing": 1, "name": 2 }), "{text}");
    assert!(!folder.path().join("store").exists(), "a dry run writes nothing");

    let (_, text) = import(folder.path(), "pomf", &["--json"]);
    let told = sums(&text);
    assert_eq!((&told["taken"], &told["bans"], &told["unlisted"]), (&4.into(), &1.into(), &1.into()), "{text}");
    assert_eq!(told["troubles"], serde_json::json!({ "missing": 1, "name": 2, "differs": 1 }), "{text}");

    let origin = start(folder.path(), "").await;
    for (name, content) in
        [("aaaaaa.txt", "one"), ("bbbbbb.txt", "one"), ("cccccc.tar.gz", "another"), ("dddddd.txt", "changed")]
    {
        let answer = get(origin.listen(), &format!("/{name}"), &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, content), "{name}");
    }
    let first = get(origin.listen(), "/aaaaaa.txt", &[]).await;
    assert_eq!(first.field("last-modified"), "Tue, 01 Sep 2015 00:00:00 GMT");
    for name in ["eeeeee.txt", "ffffff.txt", "stray.txt"] {
        assert_eq!(get(origin.listen(), &format!("/{name}"), &[]).await.status, 404, "{name}");
    }
    // Whoever uploads the same again gets the oldest URL, as there.
    let again = upload(origin.listen(), "x.txt", b"one").await;
    assert_eq!((path(&again["url"]).as_str(), &again["dupe"]), ("/aaaaaa.txt", &true.into()));
    let running = import(folder.path(), "pomf", &[]);
    assert!(running.1.contains("is in use by another process"), "{}", running.1);
    origin.stop().await;

    // Again: nothing is brought twice, what was missing is there now, and another file's name is not taken.
    std::fs::write(files.join("ffffff.txt"), "one").unwrap();
    std::fs::write(files.join("cccccc.tar.gz"), "something longer").unwrap();
    let (_, text) = import(folder.path(), "pomf", &["--json", "--unlisted"]);
    let told = sums(&text);
    assert_eq!((&told["taken"], &told["known"]), (&2.into(), &3.into()), "{text}");
    assert_eq!(told["troubles"], serde_json::json!({ "conflict": 1, "name": 2 }), "{text}");
    let origin = start(folder.path(), "").await;
    assert_eq!(get(origin.listen(), "/stray.txt", &[]).await.text(), "nobody's");
    assert_eq!(get(origin.listen(), "/cccccc.tar.gz", &[]).await.text(), "another");
    let listed = crate::files(&folder.path().join("store/objects"));
    assert_eq!(listed.len(), 4, "equal content is kept once, and nothing without a row: {listed:?}");
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uguu_s_files_go_when_they_would_have_gone() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let db = database(folder.path(), "INTEGER", "");
    let now = witness_origin::clock::now().0 / 1000;
    for (name, content, age) in
        [("young.txt", ITS_CONTENT, 3600), ("old.txt", ITS_CONTENT, 9 * 3600), ("broken.txt", "uguu-1.9.8-2\n", 60)]
    {
        std::fs::write(files.join(name), content).unwrap();
        row(&db, XXH3, name, name, content.len(), &(now - age).to_string());
    }
    db.execute("INSERT INTO blacklist (hash, originalname) VALUES (?, 'bad.txt')", [XXH3]).unwrap();
    drop(db);
    let (output, text) = import(folder.path(), "uguu", &["--expire", "8h", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let told = sums(&text);
    assert_eq!((&told["taken"], &told["expired"]), (&2.into(), &1.into()), "{text}");
    assert_eq!(told["troubles"], serde_json::json!({ "ban": 1, "differs": 1 }), "{text}");
    assert!(text.contains("\"name\":\"broken.txt\",\"says\":\"its row has another hash\""), "{text}");
    let origin = start(folder.path(), "").await;
    let answer = get(origin.listen(), "/young.txt", &[]).await;
    let seconds: u64 = answer.field("cache-control").split('=').nth(1).unwrap().parse().unwrap();
    assert!((6 * 3600..=7 * 3600).contains(&seconds), "{seconds}");
    assert_eq!(post(origin.listen(), "/upload.php", &form("n.txt", b"new")).await.status, 200);
    origin.stop().await;
}

#[test]
fn what_is_no_database_of_theirs_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    std::fs::write(folder.path().join("theirs.sq3"), "-- MySQL dump 10.13\n").unwrap();
    let (output, text) = import(folder.path(), "pomf", &[]);
    assert!(output.status.code() == Some(1) && text.contains("docs/origin/from-pomf.md"), "{text}");
    std::fs::remove_file(folder.path().join("theirs.sq3")).unwrap();
    Connection::open(folder.path().join("theirs.sq3"))
        .unwrap()
        .execute_batch("CREATE TABLE files (id INTEGER)")
        .unwrap();
    let (output, text) = import(folder.path(), "uguu", &[]);
    assert!(output.status.code() == Some(1) && text.contains("there is no column hash"), "{text}");
}
