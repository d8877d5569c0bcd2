//! Backups: what was backed up comes back, row by row and byte by byte, whatever happens in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use rusqlite::types::Value;

use crate::client::{ask, get};
use crate::tiering::{becomes, bytes, sha256};
use crate::{Scene, configuration, files, path, upload};

/// All rows that a backup has to have, by table.
fn rows(database: &Path) -> BTreeMap<String, Vec<String>> {
    let db = rusqlite::Connection::open(database).unwrap();
    let mut found = BTreeMap::new();
    for table in ["bans", "changes", "claims", "links", "objects"] {
        let mut columns =
            db.prepare("SELECT name FROM pragma_table_info(?1) WHERE name <> 'place' ORDER BY name").unwrap();
        let columns: Vec<String> = columns.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut statement = db.prepare(&format!("SELECT {} FROM {table}", columns.join(", "))).unwrap();
        let one = |row: &rusqlite::Row<'_>| {
            let values: Result<Vec<Value>, _> = (0..columns.len()).map(|at| row.get(at)).collect();
            values.map(|values| format!("{values:?}"))
        };
        let mut all: Vec<String> = statement.query_map([], one).unwrap().map(Result::unwrap).collect();
        all.sort();
        found.insert(table.to_owned(), all);
    }
    found
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    run_with(folder, arguments, None)
}

fn run_with(folder: &Path, arguments: &[&str], crash_at: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
    command.args(arguments).arg("--config").arg(folder.join("origin.toml"));
    if let Some(place) = crash_at {
        command.env("WITNESS_ORIGIN_CRASH_AT", place);
    }
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn well(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// An origin whose backups are made when the test says so, with a directory as its tier.
async fn scene() -> Scene {
    let more = "[tier]\ndirectory = \"tier\"\n[backup]\nfull_every = \"52w\"\nincremental_every = \"52w\"\nverify_every = \"52w\"\n";
    let scene = Scene::with(more).await;
    std::fs::write(scene.folder.path().join("origin.toml"), configuration(scene.folder.path(), more)).unwrap();
    // The server's own first one.
    let there = async || well(scene.folder.path(), &["backup", "list"]).contains("full");
    assert!(witness_lab::process::wait_until_async(std::time::Duration::from_secs(60), there).await);
    scene
}

fn ids(folder: &Path) -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(&well(folder, &["backup", "list", "--json"])).unwrap();
    list["backups"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Does something to it that a seed picks.
async fn live(scene: &Scene, seed: u64, urls: &mut Vec<(String, String)>) {
    for step in 0..4_u64 {
        let pick = bytes(seed * 31 + step, 2);
        match pick[0] % 5 {
            0 | 1 => {
                let content = bytes(u64::from(pick[1]) % 7, 2000);
                let file = upload(scene.at(), &format!("n\u{e9} {}.bin", pick[1]), &content).await;
                urls.push((path(&file["url"]), path(&file["delete_url"])));
            }
            2 => {
                let file = crate::post(
                    scene.at(),
                    "/upload.php?max_views=2",
                    &crate::form("once.txt", &bytes(seed + 1000, 50)),
                )
                .await;
                get(scene.at(), &path(&file.json()["files"][0]["url"]), &[]).await;
            }
            3 if !urls.is_empty() => {
                let (_, delete) = urls.remove(usize::from(pick[1]) % urls.len());
                ask(scene.at(), "POST", &delete, &[], "").await;
            }
            _ => {
                let hash = [pick[1]; 32];
                let ban = scene.origin.db().write(move |db| {
                    db.execute(
                        "INSERT OR REPLACE INTO bans (hash, reason, created) VALUES (?1, 'x', ?2)",
                        (hash, i64::MAX),
                    )?;
                    Ok(())
                });
                ban.await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_backup_and_each_moment_comes_back_row_by_row() {
    let scene = scene().await;
    let folder = scene.folder.path();
    let database = folder.join("store/meta.db");
    let (mut urls, mut kept, mut moments) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..6 {
        live(&scene, round, &mut urls).await;
        // Between two moments of a millisecond each nothing is written.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let now = witness_origin::clock::now();
        let then = format!("{}.{:03}Z", now.rfc3339().trim_end_matches('Z'), now.0 % 1000);
        moments.push((then, rows(&database)));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        live(&scene, round + 100, &mut urls).await;
        let kind = if round == 3 { "--full" } else { "--incremental" };
        well(folder, &["backup", "run", kind]);
        kept.push((ids(folder).pop().unwrap(), rows(&database)));
    }
    // Before the full one, a segment of the same moment ends the chain.
    assert_eq!(ids(folder).len(), 8);
    for (number, (id, expected)) in kept.iter().enumerate() {
        let into = folder.join(format!("by-id-{number}"));
        well(folder, &["backup", "restore", "--backup", id, "--into", into.to_str().unwrap()]);
        assert_eq!(rows(&into.join("meta.db")), *expected, "{id}");
    }
    for (number, (then, expected)) in moments.iter().enumerate() {
        let into = folder.join(format!("by-time-{number}"));
        well(folder, &["backup", "restore", "--at", then, "--into", into.to_str().unwrap()]);
        assert_eq!(rows(&into.join("meta.db")), *expected, "{then}");
    }
    let before = run(folder, &["backup", "restore", "--at", "2020-01-01", "--into", "nowhere"]);
    assert_eq!(before.status.code(), Some(1));
    assert!(told(&before).contains("there is no backup as old as"), "{}", told(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_comes_back_from_the_tier() {
    let scene = scene().await;
    let folder = scene.folder.path();
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| bytes(seed + 50, 30_000)).collect();
    let mut targets = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        let file = upload(scene.at(), &format!("{number}.bin"), content).await;
        becomes(scene.origin.db(), sha256(&file), "both").await;
        targets.push(path(&file["url"]));
    }
    well(folder, &["backup", "run", "--incremental"]);
    let expected = rows(&folder.join("store/meta.db"));
    let Scene { origin, folder } = scene;
    origin.stop().await;
    let folder = folder.path();
    std::fs::remove_dir_all(folder.join("store")).unwrap();
    // A trial changes nothing.
    let trial = well(folder, &["backup", "restore", "--latest", "--in-place", "-n"]);
    assert!(trial.contains("would be put into"), "{trial}");
    assert!(!folder.join("store").exists());
    well(folder, &["backup", "restore", "--latest", "--in-place"]);
    assert_eq!(rows(&folder.join("store/meta.db")), expected);
    assert_eq!(files(&folder.join("store/objects")), [""; 0]);
    let more = std::fs::read_to_string(folder.join("origin.toml")).unwrap();
    let more = more.split_once("[tier]").map(|(_, rest)| format!("[tier]{rest}")).unwrap();
    let origin = crate::start(folder, &more).await;
    for (target, content) in targets.iter().zip(&contents) {
        assert!(get(origin.listen(), target, &[]).await.body == *content, "{target}");
    }
    origin.stop().await;
    // By name, by the beginning of a name, and all of it with its content.
    let name = targets[0].trim_start_matches('/');
    well(folder, &["backup", "restore", "--latest", "--name", name, "--into", folder.join("one").to_str().unwrap()]);
    assert!(std::fs::read(folder.join("one").join(name)).unwrap() == contents[0]);
    assert_eq!(files(&folder.join("one")).len(), 1);
    well(folder, &["backup", "restore", "--latest", "--prefix", "", "--into", folder.join("all").to_str().unwrap()]);
    assert_eq!(files(&folder.join("all")).len(), targets.len());
    well(folder, &["backup", "restore", "--latest", "--content", "--into", folder.join("copy").to_str().unwrap()]);
    assert_eq!(files(&folder.join("copy/objects")).len(), contents.len());
    // What is nowhere any more is told by its hash.
    std::fs::remove_dir_all(folder.join("tier/objects")).unwrap();
    std::fs::remove_dir_all(folder.join("store")).unwrap();
    let lost = run(folder, &["backup", "restore", "--latest", "--in-place"]);
    assert_eq!(lost.status.code(), Some(1));
    assert_eq!(told(&lost).matches("LOST: the content").count(), contents.len(), "{}", told(&lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_found_and_not_restored() {
    let scene = scene().await;
    let folder = scene.folder.path();
    let file = upload(scene.at(), "a.bin", &bytes(70, 5000)).await;
    becomes(scene.origin.db(), sha256(&file), "both").await;
    well(folder, &["backup", "run", "--incremental"]);
    let verified = well(folder, &["backup", "verify", "--share", "100"]);
    assert!(verified.contains("2 backups were read") && verified.contains("restored for trial"), "{verified}");
    assert!(verified.contains("1 were read"), "{verified}");
    assert_eq!(well(folder, &["backup", "violators"]), "BACKUP OK: nothing violates the policy\n");
    // One byte of the content in the tier, and then one of a segment.
    let object = folder.join("tier").join(witness_origin::tier::bucket::object_key(&sha256(&file)));
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    flip(&object);
    let output = run(folder, &["backup", "verify", "--share", "100"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains(&format!("WRONG: {}", sha256(&file))), "{}", told(&output));
    // It is sent again, for this disk has it still.
    becomes(scene.origin.db(), sha256(&file), "both").await;
    well(folder, &["backup", "verify", "--share", "100"]);
    let last = ids(folder).pop().unwrap();
    let segment = folder.join(format!("tier/meta/inc/{last}.jsonl.zst"));
    flip(&segment);
    let output = run(folder, &["backup", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["failures"][0][1].as_str().unwrap().contains("its SHA-256 is"), "{report}");
    let output = run(folder, &["backup", "violators"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).starts_with("BACKUP CRITICAL: "), "{}", told(&output));
    let json = run(folder, &["backup", "violators", "--json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap()["status"], "critical");
    let prometheus = run(folder, &["backup", "violators", "--prometheus"]);
    assert!(told(&prometheus).contains("{kind=\"verify-failed\",severity=\"critical\"} 2"), "{}", told(&prometheus));
    let into = folder.join("damaged");
    let output = run(folder, &["backup", "restore", "--latest", "--into", into.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!into.join("meta.db").exists());
    // Without its middle a chain ends.
    well(folder, &["backup", "run", "--incremental"]);
    std::fs::remove_file(folder.join(format!("tier/meta/inc/{last}.json"))).unwrap();
    let list = well(folder, &["backup", "list"]);
    assert!(list.contains("broken: segment 000001 is missing"), "{list}");
    // And is not built upon: the next one is a full one.
    assert!(well(folder, &["backup", "run", "-n"]).starts_with("a full backup would be made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_leaves_chains_that_can_be_restored() {
    let scene = scene().await;
    let folder = scene.folder.path();
    let mut urls = Vec::new();
    // A full one comes with a segment that ends the chain before it: that is the first of two.
    for (place, kind) in [
        ("backup-content", "--incremental"),
        ("backup-manifest", "--incremental"),
        ("backup-content", "--full"),
        ("backup-content:2", "--full"),
        ("backup-manifest:2", "--full"),
    ] {
        live(&scene, 7, &mut urls).await;
        let output = run_with(folder, &["backup", "run", kind], Some(place));
        assert_eq!(output.status.code(), None, "{}", told(&output));
        live(&scene, 8, &mut urls).await;
        well(folder, &["backup", "run", "--incremental"]);
        let expected = rows(&folder.join("store/meta.db"));
        let into = folder.join(format!("{place}{kind}"));
        well(folder, &["backup", "restore", "--latest", "--into", into.to_str().unwrap()]);
        assert_eq!(rows(&into.join("meta.db")), expected, "{place} {kind}");
    }
    let before = ids(folder);
    // Nothing is old enough yet; with rules that keep less, it is. Whoever dies over it leaves what the next one ends.
    assert!(well(folder, &["backup", "expunge"]).contains("nothing goes by 7d,7;30d,4"));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let trial = well(folder, &["backup", "expunge", "--retention", "1,1", "-n"]);
    assert!(trial.contains("would go: "), "{trial}");
    assert_eq!(ids(folder), before);
    let output = run_with(folder, &["backup", "expunge", "--retention", "1,1"], Some("expunged-manifest"));
    assert_eq!(output.status.code(), None);
    assert!(!well(folder, &["backup", "list"]).contains("broken"));
    assert_eq!(ids(folder).len(), before.len() - 1);
    well(folder, &["backup", "expunge", "--retention", "1,1"]);
    let left = ids(folder);
    assert!(left.len() < before.len() && left.last() == before.last(), "{left:?}");
    well(folder, &["backup", "restore", "--latest", "--into", folder.join("last").to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_stays_with_its_content() {
    let more = "[tier]\ndirectory = \"tier\"\nkeep_deleted = \"0s\"\n[backup]\nfull_every = \"52w\"\nincremental_every = \"52w\"\n";
    let scene = Scene::with(more).await;
    let folder = scene.folder.path();
    std::fs::write(folder.join("origin.toml"), configuration(folder, more)).unwrap();
    let content = bytes(90, 4000);
    let file = upload(scene.at(), "a.bin", &content).await;
    let other = upload(scene.at(), "b.bin", &bytes(91, 4000)).await;
    becomes(scene.origin.db(), sha256(&file), "both").await;
    well(folder, &["backup", "run", "--full"]);
    let id = ids(folder).pop().unwrap();
    assert!(well(folder, &["backup", "archive", &id, "-n"]).contains("would stay"));
    assert!(!well(folder, &["backup", "list"]).contains("archived"));
    assert!(
        well(folder, &["backup", "archive", &id, "--reason", "asked for"]).contains("and the 2 contents that it names")
    );
    assert!(well(folder, &["backup", "list"]).contains("archived"));
    let late = upload(scene.at(), "c.bin", &bytes(92, 4000)).await;
    becomes(scene.origin.db(), sha256(&late), "both").await;
    for file in [&file, &other, &late] {
        ask(scene.at(), "POST", &path(&file["delete_url"]), &[], "").await;
    }
    let limit = std::time::Duration::from_secs(60);
    let left = async || files(&folder.join("tier/objects")).len() == 2;
    assert!(witness_lab::process::wait_until_async(limit, left).await, "{:?}", files(&folder.join("tier/objects")));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    well(folder, &["backup", "run", "--full"]);
    well(folder, &["backup", "expunge", "--retention", "1,1"]);
    assert!(ids(folder).contains(&id));
    let name = path(&file["url"]);
    let name = name.trim_start_matches('/');
    well(
        folder,
        &["backup", "restore", "--backup", &id, "--name", name, "--into", folder.join("one").to_str().unwrap()],
    );
    assert!(std::fs::read(folder.join("one").join(name)).unwrap() == content);
    well(folder, &["backup", "archive", &id, "--undo"]);
    let gone = async || files(&folder.join("tier/objects")).is_empty();
    assert!(witness_lab::process::wait_until_async(limit, gone).await);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    well(folder, &["backup", "expunge", "--retention", "1,1"]);
    assert!(!ids(folder).contains(&id));
}
