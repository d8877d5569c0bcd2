//! The admin page, and figures.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use crate::client::{Answer, ask, get};
use crate::{Scene, files, form, path, post, start, upload};

const TOKEN: &str = "a-token-of-these-tests";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// An origin that has an admin page.
async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
                  files_url = \"https://files.example.com\"\nadmin_token_file = \"token\"\n\
                  [upload]\nkeep_addresses = true\n";
    let origin = start(folder.path(), server).await;
    Scene { origin, folder }
}

struct Session {
    at: SocketAddr,
    cookie: String,
    form: String,
}

impl Session {
    async fn begin(at: SocketAddr) -> Self {
        let answer = ask(at, "POST", "/admin/login", &[FORM], &format!("token={TOKEN}")).await;
        assert_eq!((answer.status, answer.field("location").as_str()), (303, "/admin"));
        let cookie = answer.field("set-cookie").split(';').next().unwrap().to_owned();
        let page = get(at, "/admin", &[("cookie", &cookie)]).await.text();
        let form = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        Self { at, cookie, form }
    }

    async fn look(&self, target: &str) -> Answer {
        get(self.at, target, &[("cookie", &self.cookie)]).await
    }

    async fn act(&self, target: &str, fields: &str) -> Answer {
        let body = format!("form={}&{fields}", self.form);
        ask(self.at, "POST", target, &[FORM, ("cookie", &self.cookie)], &body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_or_does_anything_without_the_token() {
    let scene = Scene::new().await;
    let answer = get(scene.origin.admin(), "/admin", &[]).await;
    assert!(answer.status == 404 && answer.text().contains("admin_token_file"), "{}", answer.text());
    let scene = self::scene().await;
    let file = upload(scene.at(), "a.txt", b"something").await;
    let (at, name) = (scene.origin.admin(), file["filename"].as_str().unwrap());
    for target in ["/admin", "/admin/bans", "/admin/top", "/admin/top.json", &format!("/admin/show?name={name}")] {
        let answer = get(at, target, &[]).await;
        assert_eq!(answer.status, 401, "{target}");
        assert!(!answer.text().contains(name), "{target}");
        let answer = get(at, target, &[("authorization", "Bearer a-token-of-these-test")]).await;
        assert_eq!(answer.status, 401, "{target}");
        assert_eq!(get(at, target, &[("cookie", "witness_origin=guessed")]).await.status, 401, "{target}");
    }
    let wrong = ask(at, "POST", "/admin/login", &[FORM], "token=wrong").await;
    assert_eq!((wrong.status, wrong.field("set-cookie").as_str()), (403, ""));
    for target in ["/admin/remove", "/admin/ban", "/admin/unban", "/admin/logout"] {
        assert_eq!(ask(at, "POST", target, &[FORM], &format!("name={name}&reason=x")).await.status, 401, "{target}");
    }
    assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.status, 200);
    assert_eq!(get(scene.at(), "/admin", &[]).await.status, 404, "it is on the other listener alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_cannot_act_for_whoever_is_logged_in() {
    let scene = scene().await;
    let file = upload(scene.at(), "a.txt", b"something").await;
    let (at, name) = (scene.origin.admin(), file["filename"].as_str().unwrap());
    let session = Session::begin(at).await;
    let cookie = ("cookie", session.cookie.as_str());
    let right = format!("form={}&name={name}", session.form);
    let other = Session::begin(at).await;
    let cases: [(&[(&str, &str)], String); 5] = [
        (&[FORM, cookie], format!("name={name}")),
        (&[FORM, cookie], format!("form=&name={name}")),
        (&[FORM, cookie], format!("form={}&name={name}", other.form)),
        (&[FORM, cookie, ("origin", "https://evil.example.com")], right.clone()),
        (&[FORM, cookie, ("sec-fetch-site", "cross-site")], right.clone()),
    ];
    for (fields, body) in cases {
        assert_eq!(ask(at, "POST", "/admin/remove", fields, &body).await.status, 403, "{fields:?} {body}");
    }
    assert_eq!(get(at, &format!("/admin/remove?{right}"), &[cookie]).await.status, 404, "looking removes nothing");
    assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.status, 200);
    let origin = format!("http://{at}");
    let host = at.to_string();
    let fields = [FORM, cookie, ("origin", origin.as_str()), ("x-host", host.as_str())];
    // The client says another Host: this is what a page elsewhere would be.
    assert_eq!(ask(at, "POST", "/admin/remove", &fields, &right).await.status, 403);
    let fields = [FORM, cookie, ("origin", "http://files.example.com"), ("sec-fetch-site", "same-origin")];
    assert_eq!(ask(at, "POST", "/admin/remove", &fields, &right).await.status, 303);
    assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.status, 410);
    assert_eq!(session.act("/admin/logout", "").await.status, 303);
    assert_eq!(session.look("/admin").await.status, 401);
    assert_eq!(other.look("/admin").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_runs_it_finds_removes_and_bans() {
    let scene = scene().await;
    let one = upload(scene.at(), "<script>alert(1)<b>.txt", b"one").await;
    let two = upload(scene.at(), "two 'quoted'.txt", b"two").await;
    let session = Session::begin(scene.origin.admin()).await;
    let listed = session.look("/admin").await;
    assert!(listed.field("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(listed.field("cache-control"), "no-store");
    let (first, second) = (one["filename"].as_str().unwrap(), two["filename"].as_str().unwrap());
    let text = listed.text();
    assert!(text.contains(first) && text.contains(second), "{text}");
    assert!(
        !text.contains("<script>")
            && text.contains("two &#39;quoted&#39;.txt")
            && text.contains("&lt;script&gt;alert(1)"),
        "{text}"
    );
    let found = session.look(&format!("/admin?q={}", two["sha256"].as_str().unwrap())).await.text();
    assert!(found.contains(second) && !found.contains(first), "{found}");
    let found = session.look("/admin?q=%22%3E%3Cscript%3E").await;
    assert!(!found.text().contains("<script>") && found.text().contains("Nothing."));
    let shown = session.look(&format!("/admin/show?name={first}")).await.text();
    assert!(shown.contains(one["sha256"].as_str().unwrap()) && shown.contains("127.0.0.1"), "{shown}");
    let banned = session.act("/admin/ban", &format!("name={first}&name={second}&reason=spam+%26+worse")).await;
    assert_eq!((banned.status, banned.field("location").as_str()), (303, "/admin?done=banned&count=2"));
    assert!(session.look("/admin?done=banned&count=2").await.text().contains("2 contents are banned."));
    assert_eq!(get(scene.at(), &path(&one["url"]), &[]).await.status, 451);
    assert_eq!(post(scene.at(), "/upload.php", &form("b.txt", b"two")).await.status, 451);
    let bans = session.look("/admin/bans").await.text();
    assert_eq!(bans.matches("spam &amp; worse").count(), 2, "{bans}");
    assert_eq!(session.act("/admin/ban", &format!("name={first}")).await.status, 400, "without a reason");
    assert_eq!(session.act("/admin/ban", "hash=xyz&reason=x").await.status, 400);
    let unban = format!("back=bans&hash={}", one["sha256"].as_str().unwrap());
    let unbanned = session.act("/admin/unban", &unban).await;
    assert_eq!(unbanned.field("location"), "/admin/bans?done=unbanned&count=1");
    assert_eq!(get(scene.at(), &path(&one["url"]), &[]).await.text(), "one");
    let removed = session.act("/admin/remove", &format!("name={first}&name=unknown")).await;
    assert_eq!(removed.field("location"), "/admin?done=removed&count=1");
    assert_eq!(get(scene.at(), &path(&one["url"]), &[]).await.status, 410);
    let shown = session.look(&format!("/admin/show?name={first}")).await.text();
    assert!(shown.contains("operator"), "{shown}");
    assert_eq!(session.look("/admin/show?name=unknown").await.status, 404);
    // A program does the same, without a session.
    let bearer = format!("Bearer {TOKEN}");
    let fields = [FORM, ("authorization", bearer.as_str())];
    let body = format!("name={second}");
    assert_eq!(ask(scene.origin.admin(), "POST", "/admin/remove", &fields, &body).await.status, 303);
    assert_eq!(get(scene.at(), &path(&two["url"]), &[]).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_downloaded_most_is_told() {
    let scene = scene().await;
    let often = upload(scene.at(), "often.txt", b"often").await;
    let once = upload(scene.at(), "once.txt", b"once").await;
    for (file, times) in [(&often, 3), (&once, 1)] {
        for _ in 0..times {
            get(scene.at(), &path(&file["url"]), &[]).await;
        }
    }
    let bearer = format!("Bearer {TOKEN}");
    let told = get(scene.origin.admin(), "/admin/top.json?limit=1", &[("authorization", &bearer)]).await.json();
    assert_eq!(told["names"].as_array().unwrap().len(), 1);
    assert_eq!((&told["names"][0]["name"], &told["names"][0]["downloads"]), (&often["filename"], &3.into()));
    assert_eq!(told["names"][0]["bytes"], 15);
    let page = Session::begin(scene.origin.admin()).await.look("/admin/top").await.text();
    assert!(page.contains(once["filename"].as_str().unwrap()), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_tell_why_uploads_were_refused_and_how_long_commits_took() {
    let scene = scene().await;
    upload(scene.at(), "a.txt", b"something").await;
    assert_eq!(post(scene.at(), "/upload.php", &form("a.exe", b"x")).await.status, 415);
    assert_eq!(post(scene.at(), "/upload.php", &form("b.exe", b"x")).await.status, 415);
    assert_eq!(get(scene.at(), "/upload.php", &[]).await.status, 400);
    let figures = get(scene.origin.admin(), "/metrics", &[]).await.text();
    for line in [
        "witness_origin_refusals_total{reason=\"blocked\"} 2",
        "witness_origin_refusals_total{reason=\"no_file\"} 1",
        "witness_origin_uploads_total 1",
        "witness_origin_objects 1",
        "witness_origin_object_bytes 9",
        "witness_origin_names 1",
        "witness_origin_bans 0",
        "witness_origin_upload_seconds_count 1",
        "witness_origin_commit_seconds_count 1",
        "witness_origin_commit_seconds_bucket{le=\"+Inf\"} 1",
        "witness_origin_failed_commits_total 0",
    ] {
        assert!(figures.lines().any(|known| known == line), "{line} is not in\n{figures}");
    }
    // Each family has its explanation and its kind, once, and before its values.
    let mut families = std::collections::BTreeSet::new();
    for line in figures.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (family, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(families.insert(family.to_owned()), "{family} is there twice");
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
    }
    for line in figures.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(families.contains(family) || families.contains(name), "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
    assert!(files(&scene.folder.path().join("store/incoming")).is_empty());
}
