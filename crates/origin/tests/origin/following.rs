//! One that follows, and takes over.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use witness_lab::process::wait_until_async;
use witness_origin::config::Config;
use witness_origin::follow::follower::Follower;
use witness_origin::follow::promote::{Because, PromoteError, promote};
use witness_origin::follow::standing::{self, Role};
use witness_origin::origin::Origin;

use crate::client::{ask, get};
use crate::tiering::{becomes, bytes, sha256};
use crate::{Scene, configuration, form, path, post, upload};

const LIMIT: Duration = Duration::from_secs(60);

fn token(folder: &Path) -> String {
    let path = folder.join("token");
    std::fs::write(&path, "a token that both know\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn writer(more: &str) -> (Scene, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path());
    (Scene::with(&format!("[replicate]\ntoken_file = \"{token}\"\n{more}")).await, folder)
}

fn following(writer: &Scene, token: &Path, more: &str) -> String {
    format!(
        "[follow]\nurl = \"http://{}\"\ntoken_file = \"{}\"\nevery = \"50ms\"\n{more}",
        writer.origin.admin(),
        token.join("token").display()
    )
}

async fn level(one: &Origin, other: &Origin) {
    let rows = async |origin: &Origin| {
        let read = origin.db().read(|db| {
            let mut all: Vec<String> = Vec::new();
            for sql in [
                "SELECT name || coalesce(object, '') || views || coalesce(why, '') FROM links ORDER BY name",
                "SELECT id || hex(sha256) || size FROM objects ORDER BY id",
                "SELECT id || name || coalesce(hex(token), '') FROM claims ORDER BY id",
                "SELECT hex(hash) FROM bans ORDER BY hash",
                "SELECT seq || what FROM changes ORDER BY seq",
            ] {
                let mut statement = db.prepare(sql)?;
                all.extend(statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?);
            }
            Ok(all)
        });
        read.await.unwrap()
    };
    let same = wait_until_async(LIMIT, async || rows(one).await == rows(other).await).await;
    assert!(same, "{:?}\n{:?}", rows(one).await, rows(other).await);
}

async fn role(origin: &Origin) -> Role {
    origin.db().read(standing::read).await.unwrap().role
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_what_the_other_has_and_takes_nothing() {
    let (writer, token) = writer("").await;
    let before = upload(writer.at(), "a.bin", &bytes(200, 40_000)).await;
    let follower = Scene::with(&following(&writer, token.path(), "")).await;
    level(&writer.origin, &follower.origin).await;
    let after = upload(writer.at(), "b.bin", &bytes(201, 40_000)).await;
    level(&writer.origin, &follower.origin).await;
    assert!(get(follower.at(), &path(&before["url"]), &[]).await.body == bytes(200, 40_000));
    assert!(get(follower.at(), &path(&after["url"]), &[]).await.body == bytes(201, 40_000));
    let refused = post(follower.at(), "/upload.php", &form("c.bin", b"something")).await;
    assert_eq!((refused.status, refused.json()["success"].as_bool()), (503, Some(false)));
    let delete = path(&before["delete_url"]);
    assert_eq!(ask(follower.at(), "POST", &delete, &[], "").await.status, 503);
    assert_eq!(get(follower.at(), &path(&before["url"]), &[]).await.status, 200);
    assert_eq!(ask(writer.at(), "POST", &delete, &[], "").await.status, 200);
    level(&writer.origin, &follower.origin).await;
    assert_eq!(get(follower.at(), &path(&before["url"]), &[]).await.status, 410);
    // Its file goes, too.
    let is_gone = async || follower.files("objects").len() == 1;
    assert!(wait_until_async(LIMIT, is_gone).await, "{:?}", follower.files("objects"));
    // Nobody else is told anything.
    for target in ["/replicate/standing", "/replicate/journal", "/replicate/copy", "/replicate/objects/x"] {
        assert_eq!(get(writer.origin.admin(), target, &[("Authorization", "Bearer another")]).await.status, 401);
        assert_eq!(get(writer.at(), target, &[]).await.status, 404);
    }
    let metrics = get(follower.origin.admin(), "/metrics", &[]).await.text();
    assert!(
        metrics.contains("witness_origin_writes 0\n") && metrics.contains("witness_origin_follow_lines_behind 0\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_far_behind_takes_a_copy() {
    let (writer, token) = writer("").await;
    let first = upload(writer.at(), "a.bin", &bytes(210, 1000)).await;
    let more = following(&writer, token.path(), "");
    let follower = Scene::with(&more).await;
    level(&writer.origin, &follower.origin).await;
    let Scene { origin, folder } = follower;
    origin.stop().await;
    ask(writer.at(), "POST", &path(&first["delete_url"]), &[], "").await;
    let second = upload(writer.at(), "b.bin", &bytes(211, 1000)).await;
    let forgotten = writer.origin.db().write(|db| Ok(db.execute("DELETE FROM journal", [])?)).await.unwrap();
    assert!(forgotten > 0);
    let origin = crate::start(folder.path(), &more).await;
    level(&writer.origin, &origin).await;
    assert_eq!(get(origin.listen(), &path(&first["url"]), &[]).await.status, 410);
    assert!(get(origin.listen(), &path(&second["url"]), &[]).await.body == bytes(211, 1000));
    origin.stop().await;
}

/// Parses what a scene was started with.
fn parsed(scene: &Scene, more: &str) -> Config {
    Config::parse(&configuration(scene.folder.path(), more), &scene.folder.path().join("origin.toml")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_over_and_the_other_one_stops() {
    let (writer, token) = writer("").await;
    let more = following(&writer, token.path(), "");
    let follower = Scene::with(&more).await;
    let file = upload(writer.at(), "a.bin", &bytes(220, 1000)).await;
    level(&writer.origin, &follower.origin).await;
    let settings = parsed(&follower, &more).follow.unwrap();
    let asks = Follower::to_ask(&settings, follower.origin.db()).unwrap();
    let (epoch, because) = promote(follower.origin.db(), Some(&asks), None, false).await.unwrap();
    assert_eq!((epoch, because), (2, Because::ItAgreed));
    assert_eq!(role(&writer.origin).await, Role::Fenced);
    assert_eq!(post(writer.at(), "/upload.php", &form("b.bin", b"b")).await.status, 503);
    upload(follower.at(), "c.bin", b"c").await;
    assert!(get(follower.at(), &path(&file["url"]), &[]).await.body == bytes(220, 1000));
    assert!(matches!(promote(follower.origin.db(), Some(&asks), None, false).await, Err(PromoteError::Writes(2))));
    // Fenced it stays, also when it is started again.
    let Scene { origin, folder } = writer;
    origin.stop().await;
    let origin = crate::start(folder.path(), "").await;
    assert_eq!(post(origin.listen(), "/upload.php", &form("b.bin", b"b")).await.status, 503);
    assert_eq!(get(origin.listen(), &path(&file["url"]), &[]).await.status, 200);
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_take_over_at_once_one_does() {
    let (writer, token) = writer("").await;
    let more = following(&writer, token.path(), "");
    let (one, two) = (Scene::with(&more).await, Scene::with(&more).await);
    upload(writer.at(), "a.bin", &bytes(225, 1000)).await;
    level(&writer.origin, &one.origin).await;
    level(&writer.origin, &two.origin).await;
    let asks = |scene: &Scene| Follower::to_ask(&parsed(scene, &more).follow.unwrap(), scene.origin.db()).unwrap();
    let (ask_one, ask_two) = (asks(&one), asks(&two));
    let (first, second) = tokio::join!(
        promote(one.origin.db(), Some(&ask_one), None, false),
        promote(two.origin.db(), Some(&ask_two), None, false)
    );
    let roles = [role(&writer.origin).await, role(&one.origin).await, role(&two.origin).await];
    assert_eq!(roles.iter().filter(|role| **role == Role::Writes).count(), 1, "{roles:?} {first:?} {second:?}");
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_other_ones_word_a_person_has_to_say_so() {
    let (writer, token) = writer("").await;
    let more = following(&writer, token.path(), "");
    let follower = Scene::with(&more).await;
    let admin = writer.origin.admin();
    upload(writer.at(), "a.bin", &bytes(230, 1000)).await;
    level(&writer.origin, &follower.origin).await;
    let Scene { origin, folder } = writer;
    origin.stop().await;
    let settings = parsed(&follower, &more).follow.unwrap();
    let asks = Follower::to_ask(&settings, follower.origin.db()).unwrap();
    let refused = promote(follower.origin.db(), Some(&asks), None, false).await;
    assert!(matches!(refused, Err(PromoteError::Unknown(_))), "{refused:?}");
    assert_eq!(role(&follower.origin).await, Role::Follows);
    assert_eq!(promote(follower.origin.db(), Some(&asks), None, true).await.unwrap(), (2, Because::APersonSaysSo));
    // When the other one is back where it was, it is told.
    let back = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"{admin}\"\nfiles_url = \"https://files.example.com\"\n[replicate]\ntoken_file = \"{}\"\n",
        token.path().join("token").display()
    );
    let origin = crate::start(folder.path(), &back).await;
    assert!(wait_until_async(LIMIT, async || role(&origin).await == Role::Fenced).await);
    assert_eq!(post(origin.listen(), "/upload.php", &form("b.bin", b"b")).await.status, 503);
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_same_tier_the_other_one_needs_not_be_reached() {
    let shared = tempfile::tempdir().unwrap();
    let tier = format!("[tier]\ndirectory = \"{}\"\n", shared.path().display());
    let (writer, token) = writer(&tier).await;
    let opens = async || post(writer.at(), "/upload.php", &form("a.bin", b"a")).await.status == 200;
    assert!(wait_until_async(LIMIT, opens).await, "it may not write before it has seen its epoch");
    let file = upload(writer.at(), "b.bin", &bytes(240, 1000)).await;
    becomes(writer.origin.db(), sha256(&file), "both").await;
    let more = following(&writer, token.path(), &tier);
    let follower = Scene::with(&more).await;
    level(&writer.origin, &follower.origin).await;
    // Nothing reaches the other one, and it goes on, for it reaches the tier.
    let bucket = witness_origin::tier::bucket::Bucket::directory(shared.path()).unwrap();
    let taking = promote(follower.origin.db(), None, Some(&bucket), false);
    let watching = async {
        let stops = async || post(writer.at(), "/upload.php", &form("c.bin", b"c")).await.status == 503;
        let stopped = wait_until_async(LIMIT, stops).await;
        // The new one does not write before the old one has stopped.
        (stopped, role(&follower.origin).await)
    };
    let (taken, (stopped, then)) = tokio::join!(taking, watching);
    assert_eq!(taken.unwrap(), (2, Because::ItsLeaseIsOver));
    assert!(stopped);
    assert_eq!(then, Role::Follows);
    assert_eq!(role(&writer.origin).await, Role::Fenced);
    let opens = async || post(follower.at(), "/upload.php", &form("d.bin", b"d")).await.status == 200;
    assert!(wait_until_async(LIMIT, opens).await);
    assert!(get(follower.at(), &path(&file["url"]), &[]).await.body == bytes(240, 1000));
}
