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
    // Those that are started later may have been missed.
    let all_well = wait_until_async(Duration::from_secs(60), async || {
        missing > 0
            || fleet.edges.iter().all(|edge| {
                let (members, well, ..) = edge.engine().sibling_counts();
                well == members
            })
    });
    assert!(all_well.await);
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

const SEGMENT: u64 = witness_edge::source::SEGMENT;

/// Which requests an origin got for the body of something, by the segment they begin in.
fn segments(origin: &Origin) -> Vec<u64> {
    let start = |asked: &crate::origin::Asked| {
        let range =
            asked.field("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        range.unwrap_or(0_u64) / SEGMENT
    };
    origin.asked().iter().map(start).collect()
}

/// A file of whose three segments each edge owns one.
fn spread(fleet: &Fleet, size: u64) -> String {
    let is_spread = |target: &String| {
        let name = format!("files.example.com{target}");
        let mut owners = Vec::new();
        for segment in 0..3 {
            let offset = segment * SEGMENT;
            owners.extend(fleet.edges.iter().position(|edge| edge.engine().owner_of(&name, offset).is_none()));
        }
        owners.sort_unstable();
        owners == [0, 1, 2]
    };
    (0..1000).map(|number| format!("/{size}/film{number}")).find(is_spread).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_segment_of_a_long_file_is_fetched_once_for_the_whole_fleet() {
    let fleet = fleet(3, 0).await;
    let size = 2 * SEGMENT + 5 * MIB;
    let target = spread(&fleet, size);
    // All at once, at each edge, somewhere in each segment.
    let clients: Vec<_> = (0..24_u64)
        .map(|number| {
            let (at, target) = (fleet.edges[number as usize % 3].http()[0], target.clone());
            tokio::spawn(async move {
                let start = (number % 3) * SEGMENT + number % 2 * MIB + 17;
                let range = format!("bytes={start}-{}", start + 99_999);
                let answer = get(at, &target, &[("range", &range)]).await;
                assert_eq!((answer.status, answer.whole), (206, true), "{number}");
                assert!(answer.body == body(&target, 1, start..start + 100_000), "{number}");
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // And across a border, of which each side may be another's.
    for edge in &fleet.edges {
        let (start, end) = (SEGMENT - 1000, SEGMENT + 1000);
        let answer = get(edge.http()[0], &target, &[("range", &format!("bytes={start}-{}", end - 1))]).await;
        assert!(answer.whole && answer.body == body(&target, 1, start..end));
    }
    // What was read at its beginning is stored there, at one edge.
    for edge in &fleet.edges {
        for segment in 0..3 {
            let start = segment * SEGMENT + 17;
            let range = format!("bytes={start}-{}", start + 999);
            assert!(get(edge.http()[0], &target, &[("range", &range)]).await.whole);
        }
    }
    // Who asked the origin for something was its owner, and nobody brought what another had: each stream ends where
    // what is here or another's segment begins.
    let asked = fleet.origin.asked();
    for (asked, segment) in asked.iter().zip(segments(&fleet.origin)) {
        let name = format!("files.example.com{target}");
        let owner = fleet.edges.iter().position(|edge| edge.engine().owner_of(&name, segment * SEGMENT).is_none());
        let signed = asked.fields.iter().rfind(|(name, _)| name == "cdn-loop").map(|(_, value)| value.clone());
        assert_eq!(signed, owner.map(|owner| format!("fleet.example; node=e{owner}")), "{asked:?}");
    }
    let mut starts: Vec<_> = asked.iter().map(|asked| asked.field("range")).collect();
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts.len(), asked.len(), "{asked:?}");
    assert!(fleet.origin.sent() <= size / 4 * 5, "{} of {size}: {asked:?}", fleet.origin.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_long_file_comes_from_all_who_own_a_part_of_it() {
    let fleet = fleet(3, 0).await;
    let size = 2 * SEGMENT + 3 * MIB;
    let target = spread(&fleet, size);
    let clients: Vec<_> = fleet
        .edges
        .iter()
        .map(|edge| {
            let (at, target) = (edge.http()[0], target.clone());
            tokio::spawn(async move { get(at, &target, &[]).await })
        })
        .collect();
    let right = body(&target, 1, 0..size);
    for client in clients {
        let answer = client.await.unwrap();
        assert!(answer.whole && answer.body == right, "{} of {size}", answer.body.len());
    }
    let mut asked = segments(&fleet.origin);
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2], "{:?}", fleet.origin.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_disagree_about_who_owns_what_do_not_wait_for_each_other() {
    // Each believes that the other is the only one besides a third which is gone, and that it is not a member itself:
    // every object is the other's.
    let origin = Origin::start().await;
    let ports = [witness_lab::ports::free(), witness_lab::ports::free()];
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut edges = Vec::new();
    for (number, folder) in folders.iter().enumerate() {
        let more = format!(
            "[listen]\nhttp = [\"127.0.0.1:{}\"]\nhealth_listen = \"127.0.0.1:0\"\n\
             [siblings]\nmembers = [\"http://127.0.0.1:{}\"]\n",
            ports[number],
            ports[1 - number]
        );
        edges.push(start(folder.path(), &format!("e{number}"), &[&origin.url], &more).await);
    }
    origin.set(|manner| manner.latency = Duration::from_millis(200));
    for name in 0..3 {
        let target = format!("/{}/{name}", 2 * MIB);
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (at, target) = (edges[number % 2].http()[0], target.clone());
                tokio::spawn(async move {
                    let answer = tokio::time::timeout(Duration::from_secs(10), get(at, &target, &[])).await;
                    let answer = answer.expect("they wait for each other");
                    assert!(answer.whole && answer.body == body(&target, 1, 0..2 * MIB));
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    }
    // Whatever they believe, what came from a sibling went to none.
    let hops = |asked: &crate::origin::Asked| asked.fields.iter().filter(|(name, _)| name == "cdn-loop").count();
    assert!(origin.asked().iter().all(|asked| hops(asked) <= 2), "{:?}", origin.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_that_is_not_well_is_not_asked() {
    let fleet = fleet(2, 0).await;
    let at = fleet.edges[0].http()[0];
    let name = |number: usize| format!("files.example.com/1000/{number}");
    let theirs: Vec<usize> =
        (0..40).filter(|number| fleet.edges[0].engine().owner_of(&name(*number), 0).is_some()).collect();
    assert!(theirs.len() > 5, "{theirs:?}");
    // Its source is gone, which it finds out when it wants something of it, and tells in its health document.
    let mut edges = fleet.edges.into_iter();
    let (first, second) = (edges.next().unwrap(), edges.next().unwrap());
    let stopping = tokio::spawn(second.stop());
    let noticed =
        wait_until_async(Duration::from_secs(30), async || first.engine().owner_of(&name(theirs[0]), 0).is_none());
    assert!(noticed.await);
    for number in &theirs {
        assert_eq!(get(at, &format!("/1000/{number}"), &[]).await.status, 200);
    }
    let (members, well, _, _) = first.engine().sibling_counts();
    assert_eq!((members, well), (1, 0));
    stopping.await.unwrap();
}
