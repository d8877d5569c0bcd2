//! The access log.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use witness_lab::process::{Guard, wait_until_async};

use crate::client::{ask, get};
use crate::origin::Origin;
use crate::{MIB, Scene, configuration};

const GENEROUS: Duration = Duration::from_secs(60);

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn has_lines(path: &Path, count: usize) -> bool {
    wait_until_async(GENEROUS, async || lines(path).len() >= count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_a_line() {
    let scene = Scene::with("[access_log]\nfile = \"access.log\"\n").await;
    let path = scene.folder.path().join("access.log");
    get(scene.at(), "/1000/a", &[("referer", "https://example.com/\"page"), ("user-agent", "player \"1\"")]).await;
    get(scene.at(), "/1000/a", &[("range", "bytes=0-9")]).await;
    ask(scene.at(), "HEAD", "/1000/a", &[], "").await;
    get(scene.at(), "/missing", &[]).await;
    assert!(has_lines(&path, 4).await);
    let found = lines(&path);
    let without_time: Vec<String> = found
        .iter()
        .map(|line| {
            let (before, rest) = line.split_once('[').unwrap();
            let (time, after) = rest.split_once(']').unwrap();
            assert!(time.len() == 26 && time.ends_with(" +0000"), "{time}");
            format!("{before}[]{after}")
        })
        .collect();
    let expected = [
        r#"127.0.0.1 - - [] "GET /1000/a HTTP/1.1" 200 1000 "https://example.com/\"page" "player \"1\"""#,
        r#"127.0.0.1 - - [] "GET /1000/a HTTP/1.1" 206 10 "-" "-""#,
        r#"127.0.0.1 - - [] "HEAD /1000/a HTTP/1.1" 200 0 "-" "-""#,
        r#"127.0.0.1 - - [] "GET /missing HTTP/1.1" 404 9 "-" "-""#,
    ];
    assert_eq!(without_time, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_tells_what_the_cache_did_and_whether_the_client_stayed() {
    let scene = Scene::with("[access_log]\nfile = \"access.log\"\nformat = \"json\"\n").await;
    let path = scene.folder.path().join("access.log");
    get(scene.at(), "/1000/a", &[]).await;
    get(scene.at(), "/1000/a", &[]).await;
    let mut stream = TcpStream::connect(scene.at()).await.unwrap();
    let request = format!("GET /{}/film HTTP/1.1\r\nHost: files.example.com\r\n\r\n", 64 * MIB);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stream);
    ask(scene.at(), "POST", "/1000/a", &[], "body").await;
    assert!(has_lines(&path, 4).await);
    let mut found: Vec<serde_json::Value> =
        lines(&path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Whoever left is noticed in its own time.
    found.sort_by_key(|line| line["time"].as_str().unwrap().to_owned());
    let told: Vec<_> =
        found.iter().map(|line| (line["cache"].as_str().unwrap(), line["complete"].as_bool().unwrap())).collect();
    assert_eq!(told, [("miss", true), ("hit", true), ("miss", false), ("pass", true)]);
    assert!(found[2]["bytes"].as_u64().unwrap() < 64 * MIB);
    assert_eq!((&found[0]["host"], &found[0]["scheme"]), (&"files.example.com".into(), &"http".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_opened_again_when_it_is_told() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
    let more = format!(
        "[listen]\nhttp = [\"{at}\"]\nhealth_listen = \"127.0.0.1:{}\"\n[access_log]\nfile = \"access.log\"\n",
        witness_lab::ports::free()
    );
    std::fs::write(folder.path().join("edge.toml"), configuration(folder.path(), "e1", &[&origin.url], &more)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-edge"));
    command.args(["run", "--config"]).arg(folder.path().join("edge.toml")).stderr(Stdio::null());
    let mut program = Guard::start(&mut command).unwrap();
    assert!(wait_until_async(GENEROUS, async || TcpStream::connect(at).await.is_ok()).await);
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    get(at, "/10/a", &[]).await;
    assert!(has_lines(&path, 1).await);
    std::fs::rename(&path, &moved).unwrap();
    get(at, "/10/b", &[]).await;
    assert!(has_lines(&moved, 2).await, "it still has the file open");
    program.signal(Signal::HUP);
    assert!(wait_until_async(GENEROUS, async || path.exists()).await);
    get(at, "/10/c", &[]).await;
    assert!(has_lines(&path, 1).await);
    assert!(lines(&path)[0].contains("/10/c") && lines(&moved).len() == 2);
    // The last lines are written before it ends.
    for number in 0..50 {
        get(at, &format!("/10/{number}"), &[]).await;
    }
    program.signal(Signal::TERM);
    assert!(program.wait(GENEROUS).unwrap().success());
    assert_eq!(lines(&path).len(), 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_to_the_standard_output_when_nobody_reads_that_it_serves_on() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
    let more = format!(
        "[listen]\nhttp = [\"{at}\"]\nhealth_listen = \"127.0.0.1:{}\"\n[access_log]\nfile = \"stdout\"\n",
        witness_lab::ports::free()
    );
    std::fs::write(folder.path().join("edge.toml"), configuration(folder.path(), "e1", &[&origin.url], &more)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-edge"));
    command.args(["run", "--config"]).arg(folder.path().join("edge.toml")).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut program = Guard::start(&mut command).unwrap();
    assert!(wait_until_async(GENEROUS, async || TcpStream::connect(at).await.is_ok()).await);
    // More than a pipe holds.
    let agent = "x".repeat(2000);
    for _ in 0..60 {
        assert_eq!(get(at, "/10/a", &[("user-agent", &agent)]).await.status, 200);
    }
    program.signal(Signal::TERM);
    // It waits for its last lines, but not for ever.
    assert!(program.wait(GENEROUS).unwrap().success());
    let mut output = program.child().stdout.take().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut output, &mut text).unwrap();
    assert!(text.starts_with("127.0.0.1 - - [") && text.lines().count() >= 10, "{}", text.len());
}
