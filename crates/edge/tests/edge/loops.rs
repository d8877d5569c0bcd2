//! Edges that lead to each other.

use std::process::Command;

use witness_edge::edge::Edge;

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{configuration, start};

/// Edges of which each has the URLs that `sources` gives for its number, and `siblings` as members.
async fn edges(
    count: usize,
    sources: impl Fn(usize, &[String]) -> Vec<String>,
    siblings: impl Fn(usize, &[String]) -> Vec<String>,
) -> (Vec<Edge>, Vec<tempfile::TempDir>) {
    let ports: Vec<u16> = (0..count).map(|_| witness_lab::ports::free()).collect();
    let urls: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    let (mut all, mut folders) = (Vec::new(), Vec::new());
    for (at, port) in ports.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let members: Vec<String> = siblings(at, &urls).iter().map(|url| format!("\"{url}\"")).collect();
        let more = format!(
            "[listen]\nhttp = [\"127.0.0.1:{port}\"]\nhealth_listen = \"127.0.0.1:0\"\n[siblings]\nmembers = [{}]\n",
            members.join(", ")
        );
        let own = sources(at, &urls);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        all.push(start(folder.path(), &format!("e{at}"), &own, &more).await);
        folders.push(folder);
    }
    (all, folders)
}

fn asked(edges: &[Edge]) -> u64 {
    edges.iter().map(|edge| edge.engine().source_counts().0).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_edges_in_a_ring_do_not_loop() {
    let next = |at: usize, urls: &[String]| vec![urls[(at + 1) % 3].clone()];
    let (edges, _folders) = edges(3, next, |_, _| Vec::new()).await;
    for (at, edge) in edges.iter().enumerate() {
        let answer = get(edge.http()[0], &format!("/10/{at}"), &[]).await;
        assert_eq!(answer.status, 508, "{answer:?}");
    }
    // Each request goes round once, and perhaps once more, as what may not be kept.
    assert!(asked(&edges) <= 3 * 6, "{}", asked(&edges));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_more_edges_than_hops_ends_early() {
    let next = |at: usize, urls: &[String]| vec![urls[(at + 1) % 6].clone()];
    let (edges, _folders) = edges(6, next, |_, _| Vec::new()).await;
    assert_eq!(get(edges[0].http()[0], "/10/a", &[]).await.status, 508);
    // It never came as far as the last one.
    assert_eq!(edges[5].engine().source_counts().0, 0);
    assert_eq!(edges[4].engine().source_counts().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_edges_believe_of_each_other_a_request_goes_from_one_to_one_other() {
    let origin = Origin::start().await;
    let url = origin.url.clone();
    // No two have the same list, and none is in its own.
    let views = |at: usize, urls: &[String]| match at {
        0 => vec![urls[1].clone()],
        1 => vec![urls[2].clone()],
        2 => vec![urls[3].clone(), urls[0].clone()],
        _ => vec![urls[0].clone(), urls[1].clone(), urls[2].clone()],
    };
    let (edges, _folders) = edges(4, |_, _| vec![url.clone()], views).await;
    for number in 0..12 {
        let target = format!("/1000/{number}");
        let answer = get(edges[number % 4].http()[0], &target, &[]).await;
        assert_eq!((answer.status, answer.body == body(&target, 1, 0..1000)), (200, true), "{answer:?}");
    }
    assert_eq!(origin.count(), 12);
    for asked in origin.asked() {
        let hops = asked.fields.iter().filter(|(name, _)| name == "cdn-loop").count();
        assert!((1..=2).contains(&hops), "{asked:?}");
    }
}

#[test]
fn an_edge_that_would_be_its_own_source_does_not_start_and_says_where_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let port = witness_lab::ports::free();
    let more = format!("[listen]\nhttp = [\"127.0.0.1:{port}\"]\nhealth_listen = \"127.0.0.1:0\"\n");
    let text = configuration(folder.path(), "e1", &["http://192.0.2.1", &format!("http://localhost:{port}")], &more);
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, &text).unwrap();
    let line = text.lines().position(|line| line.contains("localhost")).unwrap() + 1;
    for command in ["run", "check"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_witness-edge"));
        let output = program.args([command, "--config"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("{}:{line}:8: sources: http://localhost:{port}/ of \"s1\" is this edge itself", path.display());
        assert!(told.contains(&expected), "{told}\n{expected}");
    }
}
