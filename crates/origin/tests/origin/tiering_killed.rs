//! The program, killed at every step between the disk and the tier: each content that a row knows is in one of them,
//! whole, and can be asked for.

use std::path::Path;
use std::time::Duration;

use witness_origin::model::Sha256;
use witness_origin::tier::bucket::{object_key, sha256};

use crate::client::get;
use crate::program::Program;
use crate::tiering::bytes;
use crate::{files, path, upload};

/// Whatever is safe in the tier goes from the disk at once: more than one hundredth of any disk is in use.
const GREEDY: &str =
    "[tier]\ndirectory = \"tier\"\nhigh_watermark = \"1%\"\nlow_watermark = \"0%\"\nkeep_deleted = \"0s\"\n";
const LIMIT: Duration = Duration::from_secs(60);

/// No row without its content, here or in the tier; and where a row says that it is here, it is.
fn check(folder: &Path, told: &str) -> usize {
    let db = rusqlite::Connection::open(folder.join("store/meta.db")).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{told}");
    let mut query = db.prepare("SELECT sha256, size, place FROM objects").unwrap();
    let objects =
        query.query_map([], |row| Ok((Sha256(row.get(0)?), row.get::<_, u64>(1)?, row.get::<_, String>(2)?))).unwrap();
    let mut count = 0;
    for object in objects {
        let (wanted, size, place) = object.unwrap();
        let is_right =
            |path: &Path| std::fs::read(path).is_ok_and(|found| found.len() as u64 == size && sha256(&found) == wanted);
        let name = wanted.to_string();
        let here = is_right(&folder.join("store/objects").join(&name[..2]).join(&name));
        let there = is_right(&folder.join("tier").join(object_key(&wanted)));
        assert!(here || place == "remote", "{told}: {name} should be here");
        assert!(there || place == "local", "{told}: {name} should be in the tier");
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_no_row_is_without_its_content() {
    let places =
        ["tier-put", "tier-verified", "evicting", "evicted", "pulled", "pull-placed", "pull-noted", "legacy-placed"];
    let folder = tempfile::tempdir().unwrap();
    let older = folder.path().join("older");
    std::fs::create_dir(&older).unwrap();
    let more = format!("{GREEDY}[[legacy]]\ndirectory = {older:?}\n");
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for (at, place) in (0_u64..).zip(places) {
        let old = bytes(500 + at, 3000);
        std::fs::write(older.join(format!("old-{at}.bin")), &old).unwrap();
        let mut program = Program::start_with(folder.path(), &more, Some(place)).await;
        let content = bytes(400 + at, 60_000 + 1000 * usize::try_from(at).unwrap());
        // Answered or not: it dies at some time, perhaps on the way here.
        let address = program.at;
        let sent = content.clone();
        let uploaded = tokio::spawn(async move { path(&upload(address, "a.bin", &sent).await["url"]) }).await;
        if let Ok(target) = uploaded {
            kept.push((target, content));
        }
        let mut died = false;
        for _ in 0..200 {
            for (target, _) in &kept {
                let (address, target) = (program.at, target.clone());
                let _ = tokio::spawn(async move { get(address, &target, &[]).await }).await;
            }
            let (address, target) = (program.at, format!("/old-{at}.bin"));
            let _ = tokio::spawn(async move { get(address, &target, &[]).await }).await;
            if program.process.wait(Duration::from_millis(300)).is_some() {
                died = true;
                break;
            }
        }
        assert!(died, "{place}: it did not die");
        check(folder.path(), place);
        kept.push((format!("/old-{at}.bin"), old));
        let program = Program::start_with(folder.path(), &more, None).await;
        for (target, content) in &kept {
            let got = get(program.at, target, &[]).await;
            assert!(got.whole && got.status == 200 && got.body == *content, "{place}: {target} {}", got.status);
        }
        drop(program);
        assert!(check(folder.path(), place) >= kept.len(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_of_a_purge_it_may_be_uploaded_again() {
    for place in ["purging", "purged"] {
        let folder = tempfile::tempdir().unwrap();
        let content = bytes(600, 5000);
        let mut program = Program::start_with(folder.path(), GREEDY, Some(place)).await;
        let file = upload(program.at, "a.bin", &content).await;
        let objects = folder.path().join("tier/objects");
        let sent = || objects.is_dir() && files(&objects).iter().any(|name| *name == sha256(&content).to_string());
        assert!(witness_lab::process::wait_until(LIMIT, sent), "{place}: it is not sent");
        let delete = path(&file["delete_url"]);
        crate::client::ask(program.at, "POST", &delete, &[], "").await;
        assert!(program.process.wait(LIMIT).is_some(), "{place}: it did not die");
        let program = Program::start_with(folder.path(), GREEDY, None).await;
        let again = upload(program.at, "b.bin", &content).await;
        let target = path(&again["url"]);
        let is_safe = || {
            let path = folder.path().join("tier").join(object_key(&sha256(&content)));
            std::fs::read(path).is_ok_and(|found| found == content)
        };
        assert!(witness_lab::process::wait_until(LIMIT, is_safe), "{place}: it is not sent again");
        assert!(get(program.at, &target, &[]).await.body == content, "{place}");
        drop(program);
        check(folder.path(), place);
    }
}
