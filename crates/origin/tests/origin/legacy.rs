//! Older servers and folders, asked for names that are not known.

use crate::client::{ask, get};
use crate::{Scene, path, upload};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_that_has_it_is_believed_and_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.txt"), "from the folder").unwrap();
    std::fs::write(folder.path().join("secret"), "hidden").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.txt")).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let older = Scene::new().await;
    let there = upload(older.at(), "b.txt", b"from the server").await;
    let scene = Scene::with(&format!(
        "[[legacy]]\ndirectory = {:?}\n[[legacy]]\nurl = \"http://{}\"\n",
        folder.path(),
        older.at()
    ))
    .await;
    let first = get(scene.at(), "/old.txt", &[]).await;
    assert_eq!((first.status, first.text().as_str()), (200, "from the folder"));
    assert_eq!(first.field("x-content-type-options"), "nosniff");
    let target = path(&there["url"]);
    assert_eq!(get(scene.at(), &target, &[]).await.text(), "from the server");
    for missing in ["/link.txt", "/sub", "/nothing.txt", "/..%2fsecret", "/%2e%2e"] {
        assert_eq!(get(scene.at(), missing, &[]).await.status, 404, "{missing}");
    }
    // It is here now.
    std::fs::remove_file(folder.path().join("old.txt")).unwrap();
    assert_eq!(get(scene.at(), "/old.txt", &[]).await.text(), "from the folder");
    assert_eq!(scene.origin.metrics().legacy_imports.get(), 2);
    // What is removed here does not come back from there.
    let name = witness_origin::model::Name::new("old.txt").unwrap();
    std::fs::write(folder.path().join("old.txt"), "from the folder").unwrap();
    let now = witness_origin::clock::now();
    let why = witness_origin::model::Why::Operator;
    let removed = scene.origin.db().write(move |db| witness_origin::db::links::remove(db, &name, why, now)).await;
    assert!(removed.unwrap());
    assert_eq!(get(scene.at(), "/old.txt", &[]).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_want_the_same_have_it_taken_over_once() {
    let older = Scene::new().await;
    let there = upload(older.at(), "b.txt", b"from the server").await;
    let scene = Scene::with(&format!("[[legacy]]\nurl = \"http://{}\"\n", older.at())).await;
    let target = path(&there["url"]);
    let answers = futures_util::future::join_all((0..30).map(|_| get(scene.at(), &target, &[]))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "from the server"));
    assert_eq!(older.origin.metrics().downloads.get(), 1);
    // And what nobody has is asked for once.
    for _ in 0..5 {
        assert_eq!(get(scene.at(), "/nothing.txt", &[]).await.status, 404);
    }
    assert_eq!(older.origin.metrics().missed_downloads.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_name_each_other_end() {
    let ports = [witness_lab::ports::free(), witness_lab::ports::free()];
    let scene = async |own: usize, other: usize| {
        let (own, other) = (ports[own], ports[other]);
        let server = format!(
            "[server]\nlisten = \"127.0.0.1:{own}\"\nadmin_listen = \"127.0.0.1:0\"\nfiles_url = \"https://files.example.com\"\n"
        );
        Scene::with(&format!("{server}[[legacy]]\nurl = \"http://127.0.0.1:{other}\"\n")).await
    };
    let (one, two) = (scene(0, 1).await, scene(1, 0).await);
    assert_eq!(get(one.at(), "/nothing.txt", &[]).await.status, 404);
    assert_eq!(one.origin.metrics().missed_downloads.get(), 1);
    assert_eq!(two.origin.metrics().missed_downloads.get(), 1);
    let there = upload(two.at(), "b.txt", b"there").await;
    assert_eq!(get(one.at(), &path(&there["url"]), &[]).await.text(), "there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_not_taken_over() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(request.to_lowercase().contains("witness-origin-legacy: 1"));
            let answer = if request.starts_with("GET /page.png") {
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot found"
            } else if request.starts_with("GET /short.png") {
                "HTTP/1.1 200 OK\r\nContent-Length: 900\r\nConnection: close\r\n\r\nnot all"
            } else {
                "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let scene = Scene::with(&format!("[[legacy]]\nurl = \"http://{at}\"\n")).await;
    for name in ["/page.png", "/short.png", "/broken.png"] {
        assert_eq!(get(scene.at(), name, &[]).await.status, 404, "{name}");
        assert_eq!(ask(scene.at(), "HEAD", name, &[], "").await.status, 404, "{name}");
    }
    assert_eq!(scene.files("objects"), [""; 0]);
    assert_eq!(scene.files("incoming"), [""; 0]);
}
