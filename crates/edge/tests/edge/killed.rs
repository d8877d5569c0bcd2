//! The program, killed at any moment: whatever it finds afterwards, it serves nothing that is wrong.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until_async};

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{TOKEN, configuration};

const SEEDS: u64 = 24;

/// The same numbers for the same seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

pub(crate) struct Program {
    pub(crate) process: Guard,
    pub(crate) at: SocketAddr,
}

impl Program {
    async fn start(folder: &std::path::Path, origin: &Origin) -> Self {
        let at = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
        let health = witness_lab::ports::free();
        // So small that there are evictions all the time.
        let more = format!(
            "[listen]\nhttp = [\"{at}\"]\nhealth_listen = \"127.0.0.1:{health}\"\n\
             [cache]\ndirectory = \"cache\"\nmin_free = \"0B\"\nmax_size = \"16MiB\"\nslice_size = \"256KiB\"\n"
        );
        std::fs::write(folder.join("edge.toml"), configuration(folder, "e1", &[&origin.url], &more)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness-edge"));
        command.args(["run", "--config"]).arg(folder.join("edge.toml")).stderr(Stdio::null());
        let process = Guard::start(&mut command).unwrap();
        let up = wait_until_async(Duration::from_secs(60), async || tokio::net::TcpStream::connect(at).await.is_ok());
        assert!(up.await, "it does not listen");
        Self { process, at }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_every_byte_is_right() {
    let origin = Origin::start().await;
    let sizes = [10, 70_000, 262_144, 600_000, 3_000_000, 9_000_000];
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..SEEDS {
        let mut numbers = Numbers::new(seed + 1);
        let mut program = Program::start(folder.path(), &origin).await;
        let at = program.at;
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let mut numbers = Numbers::new(seed * 100 + client + 7);
                tokio::spawn(async move {
                    for _ in 0..40 {
                        let size = sizes[numbers.below(6) as usize];
                        let target = format!("/{size}/{}", numbers.below(4));
                        let start = numbers.below(size);
                        let end = start + 1 + numbers.below(size - start);
                        let range = format!("bytes={start}-{}", end - 1);
                        let Ok(answer) = tokio::spawn(async move {
                            let answer = get(at, &target, &[("range", &range)]).await;
                            (target, answer)
                        })
                        .await
                        else {
                            return;
                        };
                        let (target, answer) = answer;
                        if answer.status == 206 {
                            let got = answer.body.len() as u64;
                            assert!(
                                answer.body == body(&target, 1, start..start + got),
                                "seed {seed}: {target} at {start}"
                            );
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + numbers.below(400))).await;
        program.process.kill();
        for client in clients {
            client.await.unwrap();
        }
    }
    // And in the end everything can be had, from the cache or anew.
    let program = Program::start(folder.path(), &origin).await;
    for size in sizes {
        for name in 0..4 {
            let target = format!("/{size}/{name}");
            let answer = get(program.at, &target, &[]).await;
            assert!(answer.whole && answer.body == body(&target, 1, 0..size), "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_checks_tells_how_it_is_and_ends_when_it_is_told() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &str| {
        let path = folder.path().join("edge.toml");
        Command::new(env!("CARGO_BIN_EXE_witness-edge")).args([command, "--config"]).arg(path).output().unwrap()
    };
    assert_eq!(run("check").status.code(), Some(2));
    let mut program = Program::start(folder.path(), &origin).await;
    let checked = run("check");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let health = run("health");
    assert_eq!(health.status.code(), Some(0));
    assert!(String::from_utf8(health.stdout).unwrap().contains("\"status\":\"ok\""));
    get(program.at, "/1000/a", &[]).await;
    program.process.signal(rustix::process::Signal::TERM);
    let ended = program.process.wait(Duration::from_secs(60)).unwrap();
    assert!(ended.success());
    assert_eq!(run("health").status.code(), Some(1));
    assert!(folder.path().join("cache").join("clean").exists());
    let text = std::fs::read_to_string(folder.path().join("edge.toml")).unwrap();
    std::fs::write(folder.path().join("edge.toml"), text.replace("max_size", "max_siez")).unwrap();
    let checked = run("check");
    assert_eq!(checked.status.code(), Some(2));
    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(
        told.contains("edge.toml:13:1: cache.max_siez: there is no such key; did you mean \"max_size\"?"),
        "{told}"
    );
    assert!(!told.contains(TOKEN));
}
