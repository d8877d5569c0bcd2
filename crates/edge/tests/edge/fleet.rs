//! Several edges before one origin.

use std::time::Duration;

use witness_lab::process::wait_until_async;

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{MIB, start};

struct Fleet {
    origin: Origin,
    edges: Vec<witness_edge::edge::Edge>,
    _folders: Vec<tempfile::TempDir>,
}

/// Edges that know each other: all of the list is the same for all.
async fn fleet(count: usize, missing: usize) -> Fleet {
    let origin = Origin::start().await;
    let ports: Vec<u16> = (0..count + missing).map(|_| witness_lab::ports::free()).collect();
    let members: Vec<String> = ports.iter().map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
    let mut fleet = Fleet { origin, edges: Vec::new(), _folders: Vec::new() };
    for (number, port) in ports.iter().take(count).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let more = format!(
            "[listen]\nhttp = [\"127.0.0.1:{port}\"]\nhealth_listen = \"127.0.0.1:0\"\n[siblings]\nmembers = [{}]\n",
            members.join(", ")
        );
        fleet.edges.push(start(folder.path(), &format!("e{number}"), &[&fleet.origin.url], &more).await);
        fleet._folders.push(folder);
    }
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_fetched_once_for_the_whole_fleet() {
    let fleet = fleet(3, 0).await;
    fleet.origin.set(|manner| manner.latency = Duration::from_millis(50));
    for name in 0..6 {
        let target = format!("/{}/{name}", 2 * MIB);
        let clients: Vec<_> = fleet
            .edges
            .iter()
            .map(|edge| {
                let (at, target) = (edge.http()[0], target.clone());
                tokio::spawn(async move { get(at, &target, &[]).await })
            })
            .collect();
        for client in clients {
            let answer = client.await.unwrap();
            assert!(answer.whole && answer.body == body(&target, 1, 0..2 * MIB));
        }
    }
    assert_eq!(fleet.origin.count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sibling_keeps_is_kept_from_the_second_time_on() {
    let fleet = fleet(2, 0).await;
    let at: Vec<_> = fleet.edges.iter().map(|edge| edge.http()[0]).collect();
    for name in 0..4 {
        let target = format!("/{MIB}/{name}");
        for (number, at) in at.iter().enumerate() {
            // On a busy machine the second one may still get what came for the first one.
            let is_kept = async || {
                let answer = get(*at, &target, &[]).await;
                assert!(answer.body == body(&target, 1, 0..MIB));
                // Each that an answer came through has signed; the last one is the one that was asked.
                let signed = answer.field("cache-status");
                let last = signed.rsplit(", ").next().unwrap();
                assert!(last.starts_with(&format!("e{number}; ")), "{signed}");
                let metrics = get(fleet.edges[number].health(), "/metrics", &[]).await;
                let kept = format!("\nwitness_edge_cache_objects {}\n", name + 1);
                last.contains("; hit") && String::from_utf8_lossy(&metrics.body).contains(&kept)
            };
            assert!(wait_until_async(Duration::from_secs(30), is_kept).await, "e{number} does not keep {target}");
        }
    }
    assert_eq!(fleet.origin.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_that_are_gone_are_not_missed() {
    let fleet = fleet(1, 3).await;
    for name in 0..8 {
        let target = format!("/1000/{name}");
        let answer = get(fleet.edges[0].http()[0], &target, &[]).await;
        assert_eq!(answer.body, body(&target, 1, 0..1000));
    }
    assert_eq!(fleet.origin.count(), 8);
}
