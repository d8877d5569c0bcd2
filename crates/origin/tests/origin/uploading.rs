//! Ways to upload, and what is answered.

use crate::client::{ask, get};
use crate::{BOUNDARY, Scene, form, many, path, post, start, upload, upload_to};

#[tokio::test(flavor = "multi_thread")]
async fn many_files_are_all_stored_in_every_format() {
    let scene = Scene::new().await;
    let files = many(&[
        ("files[]", "a.txt", b"one"),
        ("files[1]", "b.txt", b"two"),
        ("file", "c", b"three"),
        ("file[]", "d.x", b""),
    ]);
    let answer = post(scene.at(), "/upload.php", &files).await.json();
    assert_eq!(answer["success"], true);
    let told = answer["files"].as_array().unwrap();
    let sizes: Vec<u64> = told.iter().map(|file| file["size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [3, 3, 5, 0]);
    for (file, content) in told.iter().zip(["one", "two", "three", ""]) {
        let got = get(scene.at(), &path(&file["url"]), &[]).await;
        assert_eq!((got.status, got.text().as_str()), (200, content));
        let keys: Vec<&str> = file.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["delete_url", "dupe", "filename", "hash", "name", "sha256", "size", "url"]);
    }
    let urls: Vec<&str> = told.iter().map(|file| file["url"].as_str().unwrap()).collect();
    let text = post(scene.at(), "/upload?output=text", &files).await;
    assert_eq!(text.text(), urls.iter().map(|url| format!("{url}\n")).collect::<String>());
    let html = post(scene.at(), "/upload.php?output=html", &files).await;
    assert_eq!(html.text(), urls.iter().map(|url| format!("<a href=\"{url}\">{url}</a><br>")).collect::<String>());
    let csv = post(scene.at(), "/upload.php?output=csv", &files).await.text();
    assert_eq!(csv.lines().count(), 5);
    assert!(
        csv.lines()
            .nth(1)
            .unwrap()
            .starts_with(&format!("\"a.txt\",\"{}\",\"fe05bcdcdc4928012781a5f1a2a77cbb5398e106\",\"3\"", urls[0]))
    );
    assert_eq!(scene.files("objects").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_files_of_a_request_are_stored_or_none() {
    let scene = Scene::new().await;
    let big = vec![b'x'; 5 << 20];
    for (files, status) in [
        (many(&[("files[]", "a.txt", b"one"), ("files[]", "b.exe", b"two")]), 415),
        (many(&[("files[]", "a.txt", b"one"), ("files[]", "b.txt", b"<html>two")]), 415),
        (many(&[("files[]", "a.txt", b"one"), ("files[]", "b.txt", &big)]), 413),
        (many(&[("x", "a.txt", b"one")]), 400),
        (many(&[]), 400),
    ] {
        let answer = post(scene.at(), "/upload.php", &files).await;
        assert_eq!((answer.status, answer.json()["errorcode"].as_u64()), (status, Some(u64::from(status))));
    }
    assert_eq!(scene.files("objects"), [""; 0]);
    assert_eq!(scene.files("incoming"), [""; 0]);
    // A field in which nothing was chosen is no file, and does not matter beside one.
    let answer = post(scene.at(), "/upload.php", &many(&[("files[]", "", b""), ("files[]", "a.txt", b"one")])).await;
    assert_eq!(answer.json()["files"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_be_put_by_its_name() {
    let scene = Scene::new().await;
    let answer = ask(scene.at(), "PUT", "/some%20picture.PNG", &[], "what it has").await;
    assert_eq!(answer.status, 201);
    let url = answer.text();
    assert!(url.starts_with("https://files.example.com/") && url.ends_with(".PNG\n"), "{url}");
    assert_eq!(answer.field("location"), url.trim());
    let got = get(scene.at(), answer.field("location").strip_prefix("https://files.example.com").unwrap(), &[]).await;
    assert_eq!((got.status, got.text().as_str()), (200, "what it has"));
    let delete = answer.field("x-url-delete");
    let deleted = ask(scene.at(), "DELETE", delete.strip_prefix("https://files.example.com").unwrap(), &[], "").await;
    assert_eq!(deleted.status, 200);
    let json =
        ask(scene.at(), "PUT", "/a.txt?output=json", &[("max-days", "1"), ("max-downloads", "2")], "x").await.json();
    assert!(json["files"][0]["expires"].is_string());
    let refused = ask(scene.at(), "PUT", "/a.exe", &[], "x").await;
    assert_eq!((refused.status, refused.text().as_str()), (415, "ERROR: (415) Filetype not allowed."));
    assert_eq!(ask(scene.at(), "PUT", "/..%2f..%2fetc%2fpasswd", &[], "x").await.status, 201);
    assert_eq!(scene.folder.path().join("store").read_dir().unwrap().count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_answers_in_its_own_dialect() {
    let scene = Scene::with(
        "[compat]\npaths = [\"/upload.php\", { path = \"/v1/upload.php\", json = \"compact\", url = \"bare\", extras = false }, \
         { path = \"/old\", status = \"always-200\" }]\n",
    )
    .await;
    let old = post(scene.at(), "/v1/upload.php", &form("a/b.txt", b"one")).await.text();
    let name = old.split("\"url\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        old,
        format!(
            "{{\"success\":true,\"error\":null,\"files\":[{{\"hash\":\"fe05bcdcdc4928012781a5f1a2a77cbb5398e106\",\
             \"name\":\"b.txt\",\"url\":\"{name}\",\"size\":3}}]}}"
        )
    );
    assert_eq!(get(scene.at(), &format!("/{name}"), &[]).await.text(), "one");
    let error = post(scene.at(), "/v1/upload.php", &form("a.exe", b"one")).await;
    assert_eq!(
        error.text(),
        "{\"success\":false,\"error\":\"Filetype not allowed.\",\"errorcode\":415,\"description\":\"Filetype not allowed.\"}"
    );
    let error = post(scene.at(), "/old", &form("a.exe", b"one")).await;
    assert_eq!((error.status, error.json()["errorcode"].as_u64()), (200, Some(415)));
    assert_eq!(post(scene.at(), "/upload", &form("a.txt", b"one")).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_upload_gets_the_same_url_or_one_of_its_own() {
    let same = Scene::new().await;
    let first = upload(same.at(), "a.txt", b"equal").await;
    let second = upload(same.at(), "b.md", b"equal").await;
    assert_eq!((&second["url"], &second["name"], &second["dupe"]), (&first["url"], &"b.md".into(), &true.into()));
    assert_ne!(first["delete_url"], second["delete_url"]);
    // Whoever asks for an end gets one of their own.
    let ending = upload_to(same.at(), "/upload.php?expires=1h", "a.txt", b"equal").await;
    assert!(ending["url"] != first["url"] && ending["expires"].is_string());
    assert_eq!(same.files("objects").len(), 1);
    let own = Scene::with("[store]\ndirectory = \"store\"\nmin_free = \"0B\"\ndedupe = \"storage-only\"\n").await;
    let first = upload(own.at(), "a.txt", b"equal").await;
    let second = upload(own.at(), "a.txt", b"equal").await;
    assert_ne!(first["url"], second["url"]);
    assert_eq!((&first["dupe"], &second["dupe"]), (&false.into(), &false.into()));
    assert_eq!(own.files("objects").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_come_in_fields_too_and_those_not_understood_are_refused() {
    let scene = Scene::new().await;
    let with = |field: &str, value: &str| {
        let mut text =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n").into_bytes();
        text.extend(form("a.txt", b"x"));
        text
    };
    let answer = post(scene.at(), "/upload.php", &with("expires", "12h")).await;
    assert!(answer.json()["files"][0]["expires"].is_string(), "{}", answer.text());
    assert_eq!(post(scene.at(), "/upload.php", &with("unknown", "12h")).await.status, 200);
    for (field, value) in [("expires", "soon"), ("max_views", "0"), ("oneshot", &"x".repeat(300))] {
        assert_eq!(post(scene.at(), "/upload.php", &with(field, value)).await.status, 400, "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_restart() {
    let scene = Scene::new().await;
    let file = upload(scene.at(), "a.txt", b"to stay").await;
    let Scene { origin, folder } = scene;
    origin.stop().await;
    // All of it is in the file: the log is empty.
    assert!(!folder.path().join("store").join("meta.db-wal").exists());
    let origin = start(folder.path(), "").await;
    assert_eq!(get(origin.listen(), &path(&file["url"]), &[]).await.text(), "to stay");
    assert_eq!(upload(origin.listen(), "a.txt", b"to stay").await["url"], file["url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_can_read_what_is_taken() {
    let scene = Scene::new().await;
    let info = get(scene.at(), "/info.json", &[]).await.json();
    assert_eq!((&info["base_url"], &info["max_size"]), (&"https://files.example.com/".into(), &(4 << 20).into()));
    assert!(info["forbidden_ext"].as_array().unwrap().contains(&"exe".into()));
    let sharex = get(scene.at(), "/sharex.sxcu", &[]).await;
    assert!(sharex.field("content-disposition").ends_with(".sxcu\""));
    let sharex = sharex.json();
    assert_eq!(
        (&sharex["RequestURL"], &sharex["FileFormName"]),
        (&"https://files.example.com/upload.php".into(), &"files[]".into())
    );
    assert!(get(scene.at(), "/", &[]).await.text().contains("<form method=\"post\""));
    let typed = post(scene.at(), "/", &form("a.txt", b"x")).await.text();
    assert!(typed.starts_with("https://files.example.com/") && typed.lines().count() == 1, "{typed}");
    let health = get(scene.at(), "/.witness/health", &[]).await.json();
    assert_eq!(health, serde_json::json!({"status": "ok"}));
    let admin = scene.origin.admin();
    assert!(get(admin, "/.witness/health", &[]).await.json()["disk"]["free_bytes"].as_u64().unwrap() > 0);
    let metrics = get(admin, "/metrics", &[]).await.text();
    assert!(
        metrics.contains("\nwitness_origin_uploads_total 1\n") && metrics.contains("\nwitness_origin_objects 1\n"),
        "{metrics}"
    );
    assert_eq!(get(scene.at(), "/metrics", &[]).await.status, 404);
}
