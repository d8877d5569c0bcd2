//! The program, killed at any moment: whatever it finds afterwards, it serves nothing that is wrong.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until_async};

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{TOKEN, configuration};

/// How many there are unless `WITNESS_EDGE_KILL_SEEDS` says otherwise.
const SEEDS: u64 = 20;
/// The most that the cache may take.
const CAP: u64 = 16 << 20;

/// Where a debug build can be told to die, and how often it may come there at most before: with an object half made,
/// with a slice written and not vouched for, with an eviction half done, around each write of the index.
const POINTS: [(&str, u64); 9] = [
    ("created", 20),
    ("renamed", 20),
    ("written", 60),
    ("summed", 60),
    ("filled", 60),
    ("unsummed", 30),
    ("journaled", 150),
    ("snapshot", 1),
    ("snapshot-named", 1),
];

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
    pub(crate) health: SocketAddr,
}

impl Program {
    async fn start(folder: &std::path::Path, origin: &Origin) -> Self {
        Self::start_to_die(folder, origin, None).await.expect("it does not listen")
    }

    /// `None`: it died before it listened.
    async fn start_to_die(folder: &std::path::Path, origin: &Origin, point: Option<&str>) -> Option<Self> {
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
        if let Some(point) = point {
            command.env("WITNESS_EDGE_CRASH_AT", point);
        }
        let mut process = Guard::start(&mut command).unwrap();
        let mut up = false;
        for _ in 0..6000 {
            up = tokio::net::TcpStream::connect(at).await.is_ok();
            if up || !process.is_running() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        up.then_some(Self { process, at, health: SocketAddr::from(([127, 0, 0, 1], health)) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_every_byte_is_right() {
    let origin = Origin::start().await;
    let sizes = [10, 70_000, 262_144, 600_000, 3_000_000, 9_000_000];
    let folder = tempfile::tempdir().unwrap();
    let seeds = std::env::var("WITNESS_EDGE_KILL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let first: u64 = std::env::var("WITNESS_EDGE_KILL_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0);
    let (mut died, mut killed) = (0_u64, 0_u64);
    for seed in first..first + seeds {
        let mut numbers = Numbers::new(seed + 1);
        // At a certain place, or at any moment.
        let (name, most) = POINTS[usize::try_from(numbers.below(POINTS.len() as u64)).unwrap()];
        let point = (numbers.below(3) > 0).then(|| format!("{name}:{}", 1 + numbers.below(most)));
        let Some(mut program) = Program::start_to_die(folder.path(), &origin, point.as_deref()).await else {
            assert!(point.is_some(), "seed {seed}: it does not listen");
            died += 1;
            continue;
        };
        let at = program.at;
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let mut numbers = Numbers::new(seed * 100 + client + 7);
                tokio::spawn(async move {
                    for _ in 0..40 {
                        let size = sizes[numbers.below(6) as usize];
                        let target = format!("/{size}/{}", numbers.below(4));
                        if numbers.below(12) == 0 {
                            let purge = purge(at, target.clone());
                            if tokio::spawn(purge).await.is_err() {
                                return;
                            }
                        }
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
        if point.is_some() {
            // It comes there in its own time, if at all.
            for _ in 0..100 {
                if !program.process.is_running() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if program.process.is_running() {
            killed += 1;
        } else {
            died += 1;
        }
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
    println!("{died} died where they were told to, {killed} were killed");
    // And all that is on the disk is known, or the cap would not hold.
    let holds = wait_until_async(Duration::from_secs(60), async || {
        let text = String::from_utf8(get(program.health, "/metrics", &[]).await.body).unwrap();
        let known = text.lines().find_map(|line| line.strip_prefix("witness_edge_cache_bytes ")?.parse::<u64>().ok());
        let (known, real) = (known.unwrap(), on_disk(&folder.path().join("cache")));
        known <= CAP && real <= known + (64 << 10)
    });
    assert!(holds.await, "the files take {} bytes", on_disk(&folder.path().join("cache")));
}

/// What the objects' files take.
fn on_disk(cache: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let folders = std::fs::read_dir(cache).unwrap().filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok());
    // One may go while it is looked at.
    folders.flatten().filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

async fn purge(at: SocketAddr, target: String) {
    let bearer = format!("Bearer {TOKEN}");
    let text = format!("{{\"url\":\"http://files.example.com{target}\"}}");
    crate::client::ask(at, "POST", "/.witness/purge", &[("authorization", &bearer)], &text).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_program_purges_inspects_and_tells_what_goes_out() {
    let origin = Origin::start().await;
    origin.set(|manner| manner.fields.push(("Surrogate-Key".into(), "album-7".into())));
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &origin).await;
    let run = |arguments: &[&str]| {
        let path = folder.path().join("edge.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness-edge"));
        let output = command.args(arguments).arg("--config").arg(path).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!told.contains(TOKEN), "{told}");
        (output.status.code(), told)
    };
    let url = "http://files.example.com/300000/a";
    get(program.at, "/300000/a", &[("referer", "https://page.example/x")]).await;
    let (code, told) = run(&["inspect", url]);
    assert_eq!(code, Some(0), "{told}");
    for line in ["state", "fresh", "Cache-Control has max-age=3600", "album-7", "disk.slices here"] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let (code, told) = run(&["inspect", url, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["disk"]["which"]), (Some(0), &"0-1".into()), "{told}");
    let (code, told) = run(&["top", "--count", "3"]);
    assert!(code == Some(0) && told.contains("files.example.com/300000/a") && told.contains("page.example"), "{told}");
    assert_eq!(run(&["purge", "--key", "album-7"]), (Some(0), "all with this key is purged\n".to_owned()));
    assert!(run(&["inspect", url]).1.contains("purged"));
    get(program.at, "/300000/a", &[]).await;
    assert_eq!(run(&["purge", url]), (Some(0), "purged\n".to_owned()));
    assert_eq!(run(&["purge", "--fleet", url]).0, Some(0));
    assert_eq!(run(&["purge"]).0, Some(2));
    assert_eq!(run(&["purge", url, "--key", "a"]).0, Some(2));
    assert_eq!(run(&["purge", "not-a-url"]).0, Some(1));
    assert_eq!(run(&["inspect", url, "--header", "nonsense"]).0, Some(2));
    assert_eq!(origin.count(), 2);
    drop(program);
    assert_eq!(run(&["top"]).0, Some(1));
}
