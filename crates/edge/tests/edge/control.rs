//! Health, shedding, and who may ask for them.

use std::time::Duration;

use witness_lab::process::wait_until_async;

use crate::client::{ask, get};
use crate::origin::body;
use crate::{MIB, Scene, TOKEN, start};

fn json(answer: &crate::client::Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_document_tells_all_to_those_who_may_see_it() {
    let scene = Scene::new().await;
    get(scene.at(), &format!("/{MIB}/a"), &[]).await;
    get(scene.at(), &format!("/{MIB}/a"), &[]).await;
    let counted = wait_until_async(Duration::from_secs(20), async || {
        json(&get(scene.edge.health(), "/.witness/health", &[]).await)["cache"]["hit_ratio_1m"] == 0.5
    });
    assert!(counted.await);
    let private = json(&get(scene.edge.health(), "/.witness/health", &[]).await);
    let keys: Vec<&str> = private.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "status",
        "node",
        "version",
        "uptime_s",
        "egress_bps",
        "capacity_bps",
        "active_connections",
        "shed_step",
        "sources",
        "cache",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&private["status"], &private["node"]), (&"ok".into(), &"e1".into()));
    assert_eq!(private["sources"]["s0"], "up");
    let public = json(&get(scene.at(), "/.witness/health", &[]).await);
    assert_eq!(public, serde_json::json!({"status": "ok"}));
    let bearer = format!("Bearer {TOKEN}");
    let known = json(&get(scene.at(), "/.witness/health", &[("authorization", &bearer)]).await);
    assert_eq!(known["capacity_bps"], 1_000_000_000);
    let metrics = get(scene.edge.health(), "/metrics", &[]).await;
    assert!(String::from_utf8(metrics.body).unwrap().contains("\nwitness_edge_hits_total 1\n"));
    assert_eq!(get(scene.at(), "/metrics", &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn shedding_is_set_by_the_token_alone_and_ends_by_itself() {
    let scene = Scene::new().await;
    let bearer = format!("Bearer {TOKEN}");
    for at in [scene.at(), scene.edge.health()] {
        let shed =
            async |fields: &[(&str, &str)], body: &str| ask(at, "PUT", "/.witness/shed", fields, body).await.status;
        let step = async || json(&get(scene.edge.health(), "/.witness/health", &[]).await)["shed_step"].clone();
        assert_eq!(shed(&[], "{\"step\":2,\"for_s\":300}").await, 401);
        assert_eq!(step().await, 0);
        assert_eq!(shed(&[("authorization", &bearer)], "{\"step\":2,\"for_s\":300}").await, 200);
        assert_eq!(step().await, 2);
        assert_eq!(shed(&[("authorization", &bearer)], "{\"step\":4,\"for_s\":300}").await, 400);
        assert_eq!(shed(&[("authorization", &bearer)], "{\"step\":2}").await, 400);
        assert_eq!(shed(&[("authorization", &bearer)], "{\"step\":3,\"for_s\":0}").await, 200);
        assert_eq!(step().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn referers_on_the_list_get_nothing() {
    let more = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\n";
    let origin = crate::Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let text = crate::configuration(folder.path(), "e1", &[&origin.url], more)
        .replace("rate_per_client = \"\"\n", "rate_per_client = \"\"\nblock_referers = [\"*.leech.example\"]\n");
    let config = witness_edge::config::Config::parse(&text, &folder.path().join("edge.toml")).unwrap();
    let edge = witness_edge::edge::Edge::start(&config).await.unwrap();
    let at = edge.http()[0];
    assert_eq!(get(at, "/10/a", &[("referer", "https://www.leech.example/page")]).await.status, 403);
    assert_eq!(get(at, "/10/a", &[("referer", "https://www.friend.example/page")]).await.status, 200);
    assert_eq!(origin.count(), 1);
}

/// Posts something to the health listener with the token.
async fn post(scene: &Scene, path: &str, body: &str) -> (u16, serde_json::Value) {
    let bearer = format!("Bearer {TOKEN}");
    let answer = ask(scene.edge.health(), "POST", path, &[("authorization", &bearer)], body).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surrogate_key_purges_all_that_has_it_and_nothing_else() {
    let scene = Scene::new().await;
    let put = async |target: &str, field: &str, keys: &str| {
        scene.origin.set(|manner| manner.fields.push((field.into(), keys.into())));
        let answer = get(scene.at(), target, &[]).await;
        // They are for caches.
        assert_eq!(
            (answer.status, answer.field("surrogate-key"), answer.field("cache-tag")),
            (200, "".into(), "".into())
        );
        scene.origin.set(|manner| drop(manner.fields.pop()));
    };
    put("/1000/a", "Surrogate-Key", "album-7 user-3").await;
    put("/1000/b", "Cache-Tag", "album-7,front").await;
    put("/1000/c", "Surrogate-Key", "album-70").await;
    scene.origin.set(|manner| manner.version = 2);
    let version = async |target: &str| {
        let got = get(scene.at(), target, &[]).await.body;
        (1..=3).find(|version| got == body(target, *version, 0..1000)).unwrap()
    };
    assert_eq!(
        post(&scene, "/.witness/purge", "{\"key\":\"album-7\"}").await,
        (200, serde_json::json!({"purged": true}))
    );
    assert_eq!([version("/1000/a").await, version("/1000/b").await, version("/1000/c").await], [2, 2, 1]);
    // What came after the purge stays, and another purge is of that, too.
    scene.origin.set(|manner| manner.version = 3);
    assert_eq!(version("/1000/a").await, 2);
    for wrong in ["{}", "{\"key\":\" \"}", "{\"key\":\"a\",\"url\":\"http://a/b\"}", "{\"key\":7}"] {
        assert_eq!(post(&scene, "/.witness/purge", wrong).await.0, 400, "{wrong}");
    }
    let unsigned = ask(scene.edge.health(), "POST", "/.witness/purge", &[], "{\"key\":\"album-70\"}").await;
    assert_eq!((unsigned.status, version("/1000/c").await), (401, 1));
    let metrics = String::from_utf8(get(scene.edge.health(), "/metrics", &[]).await.body).unwrap();
    assert!(metrics.contains("\nwitness_edge_purges_total 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_by_key_holds_after_a_restart_and_its_room_is_given_back() {
    let scene = Scene::new().await;
    let keyed = |keys: &str| {
        let keys = keys.to_owned();
        scene.origin.set(|manner| manner.fields.push(("Surrogate-Key".into(), keys)));
    };
    keyed("gone");
    get(scene.at(), "/70000/a", &[]).await;
    keyed("kept");
    scene.origin.set(|manner| drop(manner.fields.remove(1)));
    get(scene.at(), "/70000/b", &[]).await;
    assert_eq!(post(&scene, "/.witness/purge", "{\"key\":\"gone\"}").await.0, 200);
    let Scene { origin, edge, folder } = scene;
    edge.stop().await;
    let edge = start(folder.path(), "e1", &[&origin.url], "").await;
    origin.set(|manner| manner.version = 2);
    assert_eq!(get(edge.http()[0], "/70000/a", &[]).await.body, body("/70000/a", 2, 0..70_000));
    assert_eq!(get(edge.http()[0], "/70000/b", &[]).await.body, body("/70000/b", 1, 0..70_000));
    // What nobody asks for again leaves the disk as well.
    let bearer = format!("Bearer {TOKEN}");
    let purge =
        ask(edge.health(), "POST", "/.witness/purge", &[("authorization", &bearer)], "{\"key\":\"kept\"}").await;
    assert_eq!(purge.status, 200);
    let files = || {
        let folders = std::fs::read_dir(folder.path().join("cache")).unwrap();
        let files = folders.filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok());
        files.map(Iterator::count).sum::<usize>()
    };
    assert_eq!(files(), 2);
    edge.engine().sweep();
    assert_eq!(files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_of_what_is_being_asked_for_as_well() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| {
        manner.latency = Duration::from_millis(500);
        manner.fields.push(("Surrogate-Key".into(), "k".into()));
    });
    for (target, purge) in
        [("/1000/a", "{\"key\":\"k\"}"), ("/1000/b", "{\"url\":\"http://files.example.com/1000/b\"}")]
    {
        scene.origin.set(|manner| manner.version = 1);
        let before = scene.origin.count();
        let at = scene.at();
        let first = tokio::spawn(async move { get(at, target, &[]).await });
        assert!(wait_until_async(Duration::from_secs(20), async || scene.origin.count() > before).await);
        assert_eq!(post(&scene, "/.witness/purge", purge).await.0, 200);
        scene.origin.set(|manner| manner.version = 2);
        // Who asks after the purge does not get what was asked for before it.
        let after = get(at, target, &[]).await;
        assert!(after.body == body(target, 2, 0..1000), "{target}");
        first.await.unwrap();
        assert!(get(at, target, &[]).await.body == body(target, 2, 0..1000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inspecting_tells_which_slices_how_old_and_why() {
    let scene = Scene::new().await;
    let target = format!("/{}/film", 20 * MIB);
    let inspect = async |target: &str| {
        let body = format!("{{\"url\":\"https://files.example.com{target}\"}}");
        let (status, told) = post(&scene, "/.witness/inspect", &body).await;
        assert_eq!(status, 200);
        told
    };
    assert_eq!((inspect(&target).await["state"].clone(), scene.origin.count()), ("absent".into(), 0));
    scene.origin.set(|manner| manner.fields.push(("Surrogate-Key".into(), "films".into())));
    for range in ["bytes=0-2097151", "bytes=5242880-6291455"] {
        assert_eq!(get(scene.at(), &target, &[("range", range)]).await.status, 206);
    }
    let told = inspect(&target).await;
    let count = scene.origin.count();
    assert_eq!((&told["state"], &told["status"], &told["length"]), (&"fresh".into(), &200.into(), &(20 * MIB).into()));
    assert_eq!((&told["why"], &told["lifetime_s"]), (&"Cache-Control has max-age=3600".into(), &3600.into()));
    assert_eq!((&told["tags"][0], &told["etag"]), (&"films".into(), &"\"v1\"".into()));
    assert_eq!((&told["disk"]["slices"], &told["disk"]["slice_size"]), (&20.into(), &MIB.into()));
    let here = told["disk"]["which"].as_str().unwrap();
    assert!(here.starts_with("0-") && told["disk"]["slices_here"].as_u64().unwrap() >= 2, "{told}");
    assert!(told["age_s"].as_u64().unwrap() < 100);
    post(&scene, "/.witness/purge", "{\"key\":\"films\"}").await;
    assert_eq!(inspect(&target).await["state"], "purged");
    // To look has changed nothing.
    assert_eq!(scene.origin.count(), count);
    assert_eq!(post(&scene, "/.witness/inspect", "{\"url\":\"nothing\"}").await.0, 400);
    let unsigned = ask(scene.at(), "POST", "/.witness/inspect", &[], "{\"url\":\"http://a/b\"}").await;
    assert_eq!(unsigned.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_step_two_the_pages_that_most_goes_out_for_are_refused() {
    let scene = Scene::new().await;
    let from =
        async |referer: &str, size: u64| get(scene.at(), &format!("/{size}/a"), &[("referer", referer)]).await.status;
    for _ in 0..3 {
        assert_eq!(from("https://leech.example/page", 8 * MIB).await, 200);
        assert_eq!(from("https://files.example.com/own", 8 * MIB).await, 200);
    }
    assert_eq!(from("https://small.example/", 100_000).await, 200);
    let (status, top) = post(&scene, "/.witness/top", "").await;
    assert_eq!((status, &top["objects"][0]["name"]), (200, &format!("files.example.com/{}/a", 8 * MIB).into()));
    let names: Vec<&str> =
        top["referers"].as_array().unwrap().iter().map(|heavy| heavy["name"].as_str().unwrap()).collect();
    assert!(
        names.starts_with(&["files.example.com", "leech.example"])
            || names.starts_with(&["leech.example", "files.example.com"])
    );
    let shed = async |step: u8| {
        let bearer = format!("Bearer {TOKEN}");
        let body = format!("{{\"step\":{step},\"for_s\":300}}");
        ask(scene.edge.health(), "PUT", "/.witness/shed", &[("authorization", &bearer)], &body).await.status
    };
    shed(1).await;
    assert_eq!(from("https://leech.example/page", 10).await, 200);
    shed(2).await;
    let refused = get(scene.at(), "/10/a", &[("referer", "https://leech.example/other")]).await;
    assert_eq!((refused.status, refused.field("retry-after")), (429, "60".to_owned()));
    // Its own pages, others, and those without a page are served.
    for referer in ["https://files.example.com/own", "https://small.example/", "nonsense"] {
        assert_eq!(from(referer, 10).await, 200, "{referer}");
    }
    assert_eq!(get(scene.at(), "/10/a", &[]).await.status, 200);
    assert_eq!(post(&scene, "/.witness/top", "{\"count\":1}").await.1["refused_referers"][0], "leech.example");
    shed(0).await;
    assert_eq!(from("https://leech.example/page", 10).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_source_answers_and_nothing_stale_is_left_there_is_a_page() {
    let scene = Scene::new().await;
    assert_eq!(get(scene.at(), "/10/kept", &[]).await.status, 200);
    let page = async |target: &str| get(scene.at(), target, &[("accept", "text/html,*/*")]).await;
    for down in [None, Some(502), Some(503), Some(504)] {
        scene.origin.set(|manner| (manner.dead, manner.status) = (down.is_none(), down));
        scene.origin.set(|manner| manner.fields.clear());
        let splash = page("/10/a").await;
        let status = down.unwrap_or(503);
        assert_eq!((splash.status, splash.field("cache-control")), (status, "no-store".to_owned()), "{down:?}");
        assert!(splash.field("content-type").starts_with("text/html") && !splash.field("retry-after").is_empty());
        assert!(String::from_utf8(splash.body).unwrap().contains("Back soon"));
        let plain = get(scene.at(), "/10/a", &[("accept", "video/*")]).await;
        assert!(plain.status == status && plain.body.len() < 100, "{plain:?}");
        let head = ask(scene.at(), "HEAD", "/10/a", &[], "").await;
        assert_eq!((head.status, head.body.len()), (status, 0));
        assert_eq!(page("/10/kept").await.status, 200);
    }
    // What is broken for one request only is the source's to tell.
    scene.origin.set(|manner| (manner.dead, manner.status) = (false, Some(500)));
    assert_eq!(page("/10/a").await.status, 500);
}
