//! Health, shedding, and who may ask for them.

use std::time::Duration;

use witness_lab::process::wait_until_async;

use crate::client::{ask, get};
use crate::{MIB, Scene, TOKEN};

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
