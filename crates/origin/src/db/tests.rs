use std::time::Duration;

use super::links::{Found, Publication, Published, Removal};
use super::*;
use crate::model::{Link, Md5, NameMaker, Sha1, Sha256, Time, Token, Why};

const NOW: Time = Time(1_795_256_158_000);

fn open() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("meta.db")).unwrap();
    (folder, db)
}

fn upload(content: u8) -> Publication {
    Publication {
        sha256: Sha256([content; 32]),
        sha1: Sha1([content; 20]),
        md5: Md5([content; 16]),
        size: 5,
        kind: "text/plain".to_owned(),
        original: "a.txt".to_owned(),
        address: None,
        expires: None,
        max_views: None,
        shared: true,
        token: Some(Token::random()),
    }
}

async fn publish(db: &Db, upload: &Publication) -> (Link, bool) {
    let upload = upload.clone();
    let names = NameMaker::new(8, Vec::new());
    match db.write(move |db| links::publish(db, &upload, &names, NOW)).await.unwrap() {
        Published::Named { link, again } => (link, again),
        Published::Banned { reason } => panic!("{reason}"),
    }
}

async fn lookup(db: &Db, link: &Link, now: Time) -> Option<Found> {
    let name = link.name.clone();
    db.read(move |db| links::lookup(db, &name, now)).await.unwrap()
}

async fn release(db: &Db, link: &Link, upload: &Publication) -> Removal {
    let (name, token) = (link.name.clone(), upload.token.clone().unwrap());
    db.write(move |db| links::release(db, &name, &token, NOW)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_uploads_share_a_name_until_the_last_one_is_taken_back() {
    let (_folder, db) = open();
    let (first, second) = (upload(1), upload(1));
    let (link, again) = publish(&db, &first).await;
    assert!(!again);
    assert_eq!(publish(&db, &second).await, (link.clone(), true));
    assert_eq!(release(&db, &link, &first).await, Removal::Released);
    assert!(matches!(lookup(&db, &link, NOW).await, Some(Found::File(..))));
    assert_eq!(release(&db, &link, &first).await, Removal::Unknown);
    assert_eq!(release(&db, &link, &second).await, Removal::Removed);
    assert_eq!(lookup(&db, &link, NOW).await, Some(Found::Gone(Why::Deleted)));
    assert_eq!(db.read(|db| links::doomed(db, 10)).await.unwrap(), [Sha256([1; 32])]);
    // Uploaded again, it is new, and not doomed any more.
    let (other, again) = publish(&db, &first).await;
    assert!(!again && other.name != link.name);
    assert_eq!(db.read(|db| links::doomed(db, 10)).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_its_own_is_not_shared() {
    let (_folder, db) = open();
    let own = Publication { shared: false, max_views: Some(1), ..upload(1) };
    let (seen_once, _) = publish(&db, &own).await;
    let (shared, again) = publish(&db, &upload(1)).await;
    assert!(!again);
    assert!(!publish(&db, &Publication { token: Some(Token::random()), ..own }).await.1);
    let view = async |link: &Link| {
        let name = link.name.clone();
        db.write(move |db| links::view(db, &name, NOW)).await.unwrap()
    };
    assert!(view(&seen_once).await);
    assert!(!view(&seen_once).await);
    assert_eq!(lookup(&db, &seen_once, NOW).await, Some(Found::Gone(Why::Seen)));
    assert!(matches!(lookup(&db, &shared, NOW).await, Some(Found::File(..))));
    assert_eq!(db.read(|db| links::doomed(db, 10)).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_gone_before_it_is_removed() {
    let (_folder, db) = open();
    let later = NOW.after(Duration::from_secs(10));
    let (link, _) = publish(&db, &Publication { expires: Some(later), ..upload(1) }).await;
    assert!(matches!(lookup(&db, &link, NOW).await, Some(Found::File(..))));
    assert_eq!(lookup(&db, &link, later).await, Some(Found::Gone(Why::Expired)));
    assert_eq!(db.write(move |db| links::expire(db, NOW, 10)).await.unwrap(), 0);
    // An equal upload makes it last longer.
    let longer = NOW.after(Duration::from_secs(20));
    assert!(publish(&db, &Publication { expires: Some(longer), ..upload(1) }).await.1);
    assert_eq!(db.write(move |db| links::expire(db, later, 10)).await.unwrap(), 0);
    assert_eq!(db.write(move |db| links::expire(db, longer, 10)).await.unwrap(), 1);
    assert_eq!(db.read(links::totals).await.unwrap(), (0, 0, 0));
    assert_eq!(db.write(move |db| links::forget(db, longer.after(Duration::from_secs(1)), 10)).await.unwrap(), 1);
    assert_eq!(lookup(&db, &link, NOW).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_leaves_the_others_alone() {
    let (_folder, db) = open();
    let mut waiting = Vec::new();
    for number in 0..60_u8 {
        let db = db.clone();
        waiting.push(tokio::spawn(async move {
            let names = NameMaker::new(8, Vec::new());
            db.write(move |db| {
                links::publish(db, &upload(number), &names, NOW)?;
                match number % 3 {
                    0 => Ok(()),
                    1 => Err(DbError::Other("it fails".to_owned())),
                    _ => panic!("it panics, on purpose"),
                }
            })
            .await
        }));
    }
    for (number, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(waiting.await.unwrap().is_ok(), number % 3 == 0);
    }
    assert_eq!(db.read(links::totals).await.unwrap(), (20, 100, 20));
    let (commits, jobs) = db.commits();
    assert!(commits <= jobs && jobs == 60, "{commits} {jobs}");
    db.close();
    assert!(matches!(db.write(|_| Ok(())).await, Err(DbError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_banned_is_neither_taken_nor_shown() {
    let (_folder, db) = open();
    let (link, _) = publish(&db, &upload(1)).await;
    let later = NOW.after(Duration::from_secs(60));
    for length in [16, 20, 32] {
        let hash = vec![1; length];
        let banned = hash.clone();
        db.write(move |db| bans::add(db, &banned, "spam", Some(later), NOW)).await.unwrap();
        assert_eq!(lookup(&db, &link, NOW).await, Some(Found::Banned), "{length}");
        let names = NameMaker::new(8, Vec::new());
        let again = db.write(move |db| links::publish(db, &upload(1), &names, NOW)).await.unwrap();
        assert_eq!(again, Published::Banned { reason: "spam".to_owned() });
        // When its time is over, it is as if it were not there.
        assert!(matches!(lookup(&db, &link, later).await, Some(Found::File(..))), "{length}");
        assert!(db.write(move |db| bans::remove(db, &hash, NOW)).await.unwrap());
        assert!(matches!(lookup(&db, &link, NOW).await, Some(Found::File(..))), "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_are_told_of_bans_and_removals_since_they_are_known() {
    let (_folder, db) = open();
    let url = "http://192.0.2.10:9054";
    let due = async || db.read(move |db| purges::due(db, url)).await.unwrap();
    let told = async |seq: Option<i64>| db.write(move |db| purges::told(db, url, seq.unwrap())).await.unwrap();
    let (early, _) = publish(&db, &upload(9)).await;
    db.write(move |db| links::remove(db, &early.name, Why::Operator, NOW)).await.unwrap();
    assert_eq!(due().await, purges::Due::default(), "nobody knows it");
    db.write(move |db| purges::begin(db, url)).await.unwrap();
    assert_eq!(due().await, purges::Due::default());
    for content in 1..=5 {
        publish(&db, &upload(content)).await;
    }
    let found = due().await;
    assert!(found.keys.is_empty() && found.told.is_some(), "uploads are nothing to be told of: {found:?}");
    told(found.told).await;
    // By whatever hash, and content that nobody has here.
    for hash in [vec![2; 16], vec![3; 20], vec![4; 32], vec![8; 32], vec![7; 20]] {
        db.write(move |db| bans::add(db, &hash, "spam", None, NOW)).await.unwrap();
    }
    let taken_back = publish(&db, &upload(6)).await.0;
    db.write(move |db| links::remove(db, &taken_back.name, Why::Deleted, NOW)).await.unwrap();
    let seen = publish(&db, &upload(7 + 3)).await.0;
    db.write(move |db| links::remove(db, &seen.name, Why::Seen, NOW)).await.unwrap();
    let found = due().await;
    assert_eq!(found.keys, [2, 3, 4, 8, 6].map(|content| Sha256([content; 32])));
    assert_eq!(db.read(purges::waiting).await.unwrap(), [(url.to_owned(), 6)]);
    // Until it is said that it was told, it is due.
    assert_eq!(due().await, found);
    told(found.told).await;
    assert_eq!(due().await, purges::Due::default());
    // Beginning again changes nothing.
    db.write(move |db| purges::begin(db, url)).await.unwrap();
    db.write(|db| bans::add(db, &[5; 32], "spam", None, NOW)).await.unwrap();
    assert_eq!(due().await.keys, [Sha256([5; 32])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_in_parts_are_counted_and_end_once() {
    let (_folder, db) = open();
    let begin = async |number: u8, owner: u8| {
        let upload = resumable::Upload {
            hash: Sha256([number; 32]),
            length: None,
            received: 0,
            metadata: String::new(),
            original: "a.txt".to_owned(),
            lasts: Some(Duration::from_secs(5)),
            max_views: None,
            owner: [owner; 16],
            address: None,
            expires: NOW,
            name: None,
        };
        let row = upload.clone();
        let begun = db.write(move |db| resumable::begin(db, &row, 2, 3)).await.unwrap();
        if begun == resumable::Begun::Yes {
            assert_eq!(db.read(move |db| resumable::get(db, &upload.hash)).await.unwrap().unwrap(), upload);
        }
        begun == resumable::Begun::Yes
    };
    assert!(begin(1, 1).await && begin(2, 1).await);
    assert!(!begin(3, 1).await, "one has two at most");
    assert!(begin(4, 2).await);
    assert!(!begin(5, 3).await, "all have three at most");
    let (first, later) = (Sha256([1; 32]), NOW.after(Duration::from_secs(1)));
    assert!(db.write(move |db| resumable::set_length(db, &first, 7)).await.unwrap());
    assert!(!db.write(move |db| resumable::set_length(db, &first, 8)).await.unwrap());
    assert!(db.write(move |db| resumable::received(db, &first, 7, later)).await.unwrap());
    assert!(db.read(move |db| resumable::get(db, &first)).await.unwrap().unwrap().is_complete());
    let (link, _) = publish(&db, &upload(1)).await;
    let name = link.name.clone();
    assert!(db.write(move |db| resumable::finish(db, &first, &name)).await.unwrap());
    assert!(!db.write(move |db| resumable::finish(db, &first, &link.name)).await.unwrap());
    assert!(!db.write(move |db| resumable::received(db, &first, 9, later)).await.unwrap());
    assert!(begin(6, 1).await, "what is finished does not count");
    let over = db.read(|db| resumable::over(db, NOW, 10)).await.unwrap();
    assert_eq!(over, [2, 4, 6].map(|number| Sha256([number; 32])));
    assert!(db.write(move |db| resumable::forget(db, &first)).await.unwrap());
    assert!(!db.write(move |db| resumable::forget(db, &first)).await.unwrap());
}

#[test]
fn only_what_is_ours_and_not_newer_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(Db::open(&path), Err(DbError::Foreign(_))));
    let path = folder.path().join("newer.db");
    Db::open(&path).unwrap().close();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", SCHEMA + 1).unwrap();
    assert!(matches!(Db::open(&path), Err(DbError::Newer { .. })));
}
