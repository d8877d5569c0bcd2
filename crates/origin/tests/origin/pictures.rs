//! Pictures, and what cameras wrote in them.

use witness_origin::clock;
use witness_origin::db::bans;
use witness_origin::model::Sha256;

use crate::client::get;
use crate::{Scene, form, path, post, upload};

const JPEG: &[u8] = include_bytes!("../../fixtures/pictures/exif.jpg");
const PNG: &[u8] = include_bytes!("../../fixtures/pictures/exif.png");
const WEBP: &[u8] = include_bytes!("../../fixtures/pictures/exif.webp");

fn has_secret(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|six| six == b"SECRET")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_camera_wrote_is_not_published() {
    let scene = Scene::with("[upload]\nmax_size = \"4MiB\"\nstrip_exif = true\n").await;
    for (name, kind, bytes) in
        [("a.jpg", "image/jpeg", JPEG), ("a.png", "image/png", PNG), ("a.webp", "image/webp", WEBP)]
    {
        let file = upload(scene.at(), name, bytes).await;
        let got = get(scene.at(), &path(&file["url"]), &[]).await;
        assert_eq!((got.status, got.field("content-type").as_str()), (200, kind));
        assert!(has_secret(bytes) && !has_secret(&got.body), "{name}");
        assert_eq!(file["size"].as_u64(), Some(got.body.len() as u64), "what is told is what is there");
        // What came is equal to what came before; and to what is kept of it.
        assert_eq!(upload(scene.at(), name, bytes).await["url"], file["url"]);
        assert_eq!(upload(scene.at(), name, &got.body).await["url"], file["url"]);
    }
    let other = upload(scene.at(), "a.txt", b"SECRET text").await;
    assert_eq!(get(scene.at(), &path(&other["url"]), &[]).await.text(), "SECRET text");
    assert_eq!(scene.files("incoming"), [""; 0]);
    assert_eq!(scene.files("objects").len(), 4);
    assert_eq!(scene.origin.store().room().1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_of_what_came_counts_for_what_would_be_kept_of_it() {
    let scene = Scene::with("[upload]\nmax_size = \"4MiB\"\nstrip_exif = true\n").await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, JPEG);
    let sha256 = Sha256(digest.as_ref().try_into().unwrap());
    scene.origin.db().write(move |db| bans::add(db, &sha256.0, "spam", None, clock::now())).await.unwrap();
    assert_eq!(post(scene.at(), "/upload.php", &form("a.jpg", JPEG)).await.status, 451);
    assert_eq!(scene.files("objects"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_picture_is_refused_or_kept_as_it_is() {
    let refusing = Scene::with("[upload]\nmax_size = \"4MiB\"\nstrip_exif = true\n").await;
    let keeping = Scene::with("[upload]\nmax_size = \"4MiB\"\nstrip_exif = true\nstrip_failure = \"keep\"\n").await;
    for (name, bytes) in [("a.jpg", JPEG), ("a.png", PNG), ("a.webp", WEBP)] {
        let mut damaged = bytes[..bytes.len() / 2].to_vec();
        damaged.extend_from_slice(b"SECRET tail");
        let answer = post(refusing.at(), "/upload.php", &form(name, &damaged)).await;
        assert_eq!(
            (answer.status, answer.json()["description"].as_str()),
            (415, Some("This picture is damaged")),
            "{name}"
        );
        let file = upload(keeping.at(), name, &damaged).await;
        assert_eq!(get(keeping.at(), &path(&file["url"]), &[]).await.body, damaged, "{name}");
    }
    assert_eq!((refusing.files("objects").len(), refusing.files("incoming").len()), (0, 0));
    assert_eq!(keeping.origin.metrics().unstrippable_files.get(), 3);
}
