//! Commands that look, beside a running server.

use std::path::Path;
use std::process::Command;

use crate::program::Program;
use crate::{path, upload};

fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
    let output = command.args(words).arg("--config").arg(folder.join("origin.toml")).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_ask_is_told_beside_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), None).await;
    let told = |words: &[&str]| {
        let (code, out, err) = run(folder.path(), words);
        assert_eq!(code, Some(0), "{words:?}: {err}");
        out
    };
    let json = |words: &[&str]| -> serde_json::Value { serde_json::from_str(&told(words)).unwrap() };
    assert_eq!(told(&["list"]), "");
    assert_eq!(json(&["list", "--json"]), serde_json::json!([]));
    let file = upload(program.at, "a report.txt", b"something").await;
    upload(program.at, "a report.txt", b"something").await;
    let other = upload(program.at, "picture.bin", &[0; 3000]).await;
    let name = file["filename"].as_str().unwrap();
    let listed = told(&["list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(lines[0].starts_with("WHEN") && lines[0].contains("CALLED"), "{listed}");
    assert!(lines[2].contains(name) && lines[2].contains("9 B") && lines[2].contains("2 uploads"), "{listed}");
    let one = &json(&["list", "a rep", "--json"])[0];
    for (key, value) in [("name", name), ("original", "a report.txt"), ("sha256", file["sha256"].as_str().unwrap())] {
        assert_eq!(one[key], value, "{one}");
    }
    assert_eq!((&one["size"], &one["uploads"], &one["banned"]), (&9.into(), &2.into(), &false.into()));
    assert_eq!(told(&["list", "--urls", "--larger", "1KiB"]), format!("{}\n", other["url"].as_str().unwrap()));
    assert_eq!(told(&["list", "--since", "1h", "--kind", "text/", "--urls"]).lines().count(), 1);
    assert_eq!(told(&["list", "--until", "2020-01-01"]), "");
    assert_eq!(json(&["list", "127.0.0.1", "--json"]), serde_json::json!([]), "addresses are not kept unless wanted");
    let shown = told(&["show", file["url"].as_str().unwrap()]);
    assert!(shown.contains(file["sha256"].as_str().unwrap()), "{shown}");
    assert_eq!(json(&["show", name, "--json"])["claims"].as_array().unwrap().len(), 2);
    let stats = json(&["stats", "--json"]);
    assert_eq!((&stats["names"], &stats["bytes"], &stats["uploads"]["1d"]), (&2.into(), &3009.into(), &3.into()));
    assert!(told(&["stats"]).starts_with("names"));
    assert_eq!(json(&["top", "largest", "--json", "--limit", "1"])[0]["name"], other["filename"]);
    assert_eq!(json(&["top", "repeated", "--json"])[0], serde_json::json!({ "name": name, "uploads": 2 }));
    assert_eq!(json(&["top", "addresses", "--json"]), serde_json::json!([]));
    assert!(told(&["top", "kinds"]).contains("text/plain"));
    let (code, _, err) = run(folder.path(), &["top"]);
    assert!(code == Some(2) && err.contains("admin_token_file"), "{err}");
    told(&["ban", name, "--reason", "spam"]);
    assert_eq!(json(&["list", "--banned", "--json"])[0]["name"], name);
    assert_eq!(json(&["bans", "--json"])[0]["reason"], "spam");
    told(&["remove", &path(&file["url"])]);
    assert_eq!(json(&["show", name, "--json"])["gone"], "operator");
    assert_eq!(told(&["list", "--urls"]).lines().count(), 1);
    for (words, expected) in [
        (vec!["show", "unknown"], (Some(1), "there is no unknown")),
        (vec!["list", "--since", "soon"], (Some(2), "write it like 24h or 2026-11-21")),
        (vec!["list", "--larger", "10"], (Some(2), "needs its unit")),
    ] {
        let (code, _, err) = run(folder.path(), &words);
        assert!(code == expected.0 && err.contains(expected.1), "{words:?}: {err}");
    }
}

#[test]
fn a_terminal_obeys_no_uploader() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("origin.toml"), crate::configuration(folder.path(), "")).unwrap();
    let (code, _, err) = run(folder.path(), &["list"]);
    assert!(code == Some(1) && err.contains("it is made by the first run"), "{err}");
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    drop(witness_origin::db::Db::open(&store.join("meta.db")).unwrap());
    let db = rusqlite::Connection::open(store.join("meta.db")).unwrap();
    db.execute_batch(
        "INSERT INTO objects (sha256, sha1, md5, size, kind, created) VALUES (zeroblob(32), zeroblob(20), zeroblob(16), 1, 'text/plain', 0); \
         INSERT INTO links (name, object, original, created, shared) \
         VALUES ('a.txt', 1, 'a' || char(27) || '[2J' || char(8238) || char(10) || 'b', 0, 1);",
    )
    .unwrap();
    let (_, out, _) = run(folder.path(), &["list"]);
    assert!(!out.contains(['\u{1b}', '\u{202e}']) && out.lines().count() == 2, "{out:?}");
    let (_, out, _) = run(folder.path(), &["show", "a.txt"]);
    assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
}
