//! A disk with no room.

use witness_lab::process::is_root;
use witness_lab::skip::skip;

use crate::client::get;
use crate::{Scene, form, path, post, start, upload};

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_nothing_is_taken_and_everything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let origin = start(folder.path(), "").await;
    let file = upload(origin.listen(), "a.txt", b"there").await;
    origin.stop().await;
    let origin = start(folder.path(), "[store]\ndirectory = \"store\"\nmin_free = \"1000TB\"\n").await;
    for target in ["/upload.php", "/upload.php?output=text"] {
        let answer = post(origin.listen(), target, &form("b.txt", b"more")).await;
        assert_eq!(answer.status, 507);
        assert!(answer.text().contains("There is no room for this file"));
    }
    assert_eq!(get(origin.listen(), &path(&file["url"]), &[]).await.text(), "there");
    assert_eq!(get(origin.listen(), "/.witness/health", &[]).await.json()["status"], "busy");
    origin.stop().await;
}

/// A disk of its own, so small that it is full soon.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m,nr_inodes=20000");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_gets_full_refuses_loses_nothing_and_recovers() {
    if !is_root() {
        return skip("a full disk", "mounting a small disk needs root");
    }
    let Some(small) = Small::mount(24) else {
        return witness_lab::skip::skip_machine("a full disk", "a tmpfs cannot be mounted here");
    };
    let origin = start(small.0.path(), "[store]\ndirectory = \"store\"\nmin_free = \"2MB\"\n").await;
    let at = origin.listen();
    let mut kept = Vec::new();
    let mut refused = 0;
    // Some say how long they are, and some are together more than there is.
    for round in 0..8_u8 {
        let uploads: Vec<_> = (0..4_u8)
            .map(|number| {
                let content = vec![round * 4 + number; 1_500_000];
                tokio::spawn(async move { (post(at, "/upload.php", &form("a.bin", &content)).await, content) })
            })
            .collect();
        for upload in uploads {
            let (answer, content) = upload.await.unwrap();
            match answer.status {
                200 => kept.push((answer.json()["files"][0].clone(), content)),
                507 => refused += 1,
                other => panic!("{other}: {}", answer.text()),
            }
        }
    }
    assert!(refused > 0 && !kept.is_empty(), "{refused} refused, {} kept", kept.len());
    assert_eq!(crate::files(&small.0.path().join("store").join("incoming")), [""; 0]);
    assert_eq!(origin.store().room().1, 0, "nothing stays set aside");
    for (file, content) in &kept {
        let got = get(at, &path(&file["url"]), &[]).await;
        assert!(got.status == 200 && got.body == *content);
    }
    // What is taken back makes room again.
    for (file, _) in &kept {
        assert_eq!(crate::client::ask(at, "POST", &path(&file["delete_url"]), &[], "").await.status, 200);
    }
    let again = witness_lab::process::wait_until_async(std::time::Duration::from_secs(60), async || {
        post(at, "/upload.php", &form("a.bin", &[7; 1_500_000])).await.status == 200
    });
    assert!(again.await);
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_asked_for_before_anything_is_sent() {
    let scene = Scene::with("[store]\ndirectory = \"store\"\nmin_free = \"1000TB\"\n").await;
    let head = "POST /upload.php HTTP/1.1\r\nHost: files.example.com\r\nContent-Type: multipart/form-data; boundary=x\r\n\
                Content-Length: 1000000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    let answer = crate::client::raw(scene.at(), head.as_bytes(), false).await;
    assert_eq!(answer.status, 507, "it was told to go on: {}", answer.text());
}
