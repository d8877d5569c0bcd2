//! Real file systems that are full, read-only or silent, each in a mount namespace of its own: storing stops, serving
//! never does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until_async};

use crate::client::{ask, get};
use crate::origin::{Origin, body};
use crate::{MIB, configuration};

const SUITE: &str = "the edge on disks that are full, read-only or silent";

/// The program, with a file system of its own where its cache is.
struct Mounted {
    /// Ended by its drop, after the disk is let go.
    process: Guard,
    at: SocketAddr,
    health: SocketAddr,
    place: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mounted {
    /// `mount` is what the shell does first, with the place in `$PLACE`. `None`: it cannot be done here.
    async fn start(origin: &Origin, mount: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            witness_lab::skip(SUITE, "mounting a small file system needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let script = |then: &str| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &format!("{mount} && {then}")]).env("PLACE", &place);
            command.current_dir(folder.path()).stderr(Stdio::null()).stdout(Stdio::null());
            command
        };
        if !script("true").status().is_ok_and(|status| status.success()) {
            witness_lab::skip_machine(SUITE, "such a file system cannot be mounted here");
            return None;
        }
        let port = || SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
        let (at, health) = (port(), port());
        let more = format!(
            "[listen]\nhttp = [\"{at}\"]\nhealth_listen = \"{health}\"\n\
             [cache]\ndirectory = \"place/cache\"\nmin_free = \"0B\"\nmax_size = \"1GB\"\n"
        );
        let config = folder.path().join("edge.toml");
        std::fs::write(&config, configuration(folder.path(), "e1", &[&origin.url], &more)).unwrap();
        let program = env!("CARGO_BIN_EXE_witness-edge");
        let run = format!("exec {program} run --config {}", config.display());
        let process = Guard::start(&mut script(&run)).unwrap();
        let mounted = Self { process, at, health, place, _folder: folder };
        mounted.wait().await;
        Some(mounted)
    }

    async fn wait(&self) {
        let up =
            wait_until_async(Duration::from_secs(60), async || tokio::net::TcpStream::connect(self.at).await.is_ok());
        assert!(up.await, "it does not listen");
    }

    /// Runs a command where the program is.
    fn inside(&self, command: &str) -> bool {
        let pid = self.process.pid().to_string();
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &pid, "-m", "sh", "-c", command]).env("PLACE", &self.place);
        enter.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(get(self.health, "/metrics", &[]).await.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("witness_edge_{name} ")));
        line.unwrap().parse().unwrap()
    }

    /// Whole, in part, cold and warm: all of it is right, and none of it is late.
    async fn serves(&self, names: std::ops::Range<u32>, size: u64) {
        for name in names {
            let target = format!("/{size}/{name}");
            let ask = async {
                let answer = get(self.at, &target, &[]).await;
                assert!(answer.status == 200 && answer.whole, "{target}: {}", answer.status);
                assert!(answer.body == body(&target, 1, 0..size), "{target}");
                let (start, end) = (size / 2 - 7, size / 2 + 77);
                let part = get(self.at, &target, &[("range", &format!("bytes={start}-{}", end - 1))]).await;
                assert!(part.status == 206 && part.body == body(&target, 1, start..end), "{target}");
            };
            tokio::time::timeout(Duration::from_secs(60), ask).await.expect("it does not answer");
        }
    }
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_fill_up_stops_nobody() {
    let origin = Origin::start().await;
    let mount = "mount -t tmpfs -o size=24m none $PLACE";
    let Some(mounted) = Mounted::start(&origin, mount).await else { return };
    mounted.serves(0..4, 3 * MIB).await;
    assert!(mounted.metric("cache_slices").await >= 12);
    // All that is left, to the last byte.
    assert!(!mounted.inside("cat /dev/zero > $PLACE/ballast"));
    mounted.serves(0..12, 3 * MIB).await;
    // Longer than the pause after which it is tried again.
    tokio::time::sleep(Duration::from_secs(6)).await;
    mounted.serves(12..16, 3 * MIB).await;
    assert!(mounted.metric("failed_writes_total").await + mounted.metric("evicted_slices_total").await > 0);
    let before = mounted.metric("cache_bytes").await;
    assert!(before < 24 * MIB);
    // Once there is room again, it is used.
    assert!(mounted.inside("rm $PLACE/ballast"));
    let stored = wait_until_async(Duration::from_secs(60), async || {
        mounted.serves(20..23, 3 * MIB).await;
        let slices = mounted.metric("cache_slices").await;
        mounted.metric("cache_paused").await == 0 && slices >= 9
    });
    assert!(stored.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_the_start_stops_nobody_either() {
    let origin = Origin::start().await;
    let mount = "mount -t tmpfs -o size=1m none $PLACE && { cat /dev/zero > $PLACE/ballast 2>/dev/null; true; }";
    let Some(mounted) = Mounted::start(&origin, mount).await else { return };
    mounted.serves(0..4, 2 * MIB).await;
    assert_eq!(mounted.metric("cache_slices").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_is_still_read() {
    let origin = Origin::start().await;
    if !has("mkfs.ext4") {
        return witness_lab::skip(SUITE, "mkfs.ext4 is not installed (e2fsprogs)");
    }
    let mount = "{ [ -e image ] || { truncate -s 128M image && mkfs.ext4 -q image; }; } \
                 && mount -o loop,errors=remount-ro image $PLACE";
    let Some(mounted) = Mounted::start(&origin, mount).await else { return };
    mounted.serves(0..4, 3 * MIB).await;
    let before = origin.count();
    // As when the kernel finds a mistake on it.
    let fails = "echo on purpose > /sys/fs/ext4/$(basename $(findmnt -n -o SOURCE $PLACE))/trigger_fs_error";
    if !mounted.inside(fails) || !mounted.inside("! touch $PLACE/new") {
        return witness_lab::skip_machine(SUITE, "this kernel does not let a file system fail on purpose");
    }
    mounted.serves(0..4, 3 * MIB).await;
    assert_eq!(origin.count(), before, "what is there is served from there");
    mounted.serves(4..8, 3 * MIB).await;
    mounted.serves(0..8, 3 * MIB).await;
    let bearer = format!("Bearer {}", crate::TOKEN);
    let text = format!("{{\"url\":\"http://files.example.com/{}/0\"}}", 3 * MIB);
    let fields = [("authorization", bearer.as_str())];
    assert_eq!(ask(mounted.health, "POST", "/.witness/purge", &fields, &text).await.status, 200);
    let before = origin.count();
    mounted.serves(0..1, 3 * MIB).await;
    assert!(origin.count() > before, "what is purged is gone even from a disk that keeps it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_read_only_at_the_start_is_read() {
    let origin = Origin::start().await;
    let mount = "mount -t tmpfs -o size=64m none $PLACE && mkdir -p $PLACE/cache && mount -o remount,ro $PLACE";
    let Some(mounted) = Mounted::start(&origin, mount).await else { return };
    mounted.serves(0..4, 3 * MIB).await;
    mounted.serves(0..4, 3 * MIB).await;
    assert_eq!(mounted.metric("cache_slices").await, 0);
}

/// Lets the disk go, whatever becomes of the test: until then nobody can end the program.
struct Frozen<'m>(&'m Mounted);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.inside("fsfreeze -u $PLACE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_and_says_nothing_stops_nobody() {
    let origin = Origin::start().await;
    if !has("mkfs.ext4") || !has("fsfreeze") {
        return witness_lab::skip(SUITE, "mkfs.ext4 or fsfreeze is not installed (e2fsprogs, util-linux)");
    }
    // A disk that was frozen by a test which is gone is let go by itself.
    let mount = "{ [ -e image ] || { truncate -s 128M image && mkfs.ext4 -q image; }; } && mount -o loop image $PLACE \
                 && { { sleep 100; fsfreeze -u $PLACE; } & true; }";
    let Some(mounted) = Mounted::start(&origin, mount).await else { return };
    mounted.serves(0..4, 3 * MIB).await;
    let before = origin.count();
    if !mounted.inside("fsfreeze -f $PLACE") {
        return witness_lab::skip_machine(SUITE, "this file system cannot be frozen");
    }
    let frozen = Frozen(&mounted);
    // What is there, what is not, and much at once of what is not.
    mounted.serves(0..4, 3 * MIB).await;
    assert_eq!(origin.count(), before, "what is there is served from there");
    mounted.serves(4..7, 3 * MIB).await;
    let clients: Vec<_> = (0..40_u32)
        .map(|name| {
            let at = mounted.at;
            tokio::spawn(async move {
                let target = format!("/{}/{name}", 2 * MIB);
                let answer = tokio::time::timeout(Duration::from_secs(60), get(at, &target, &[])).await;
                let answer = answer.expect("it does not answer");
                assert!(answer.whole && answer.body == body(&target, 1, 0..2 * MIB), "{target}");
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(mounted.metric("cache_paused").await, 1);
    mounted.serves(0..4, 3 * MIB).await;
    drop(frozen);
    // Then it goes on as if nothing had been.
    let stored = wait_until_async(Duration::from_secs(60), async || {
        mounted.serves(30..33, 3 * MIB).await;
        mounted.metric("cache_paused").await == 0 && mounted.metric("cache_slices").await >= 18
    });
    assert!(stored.await);
}
