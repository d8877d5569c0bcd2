//! A ledger that cannot be used: said clearly, and nothing is changed in the DNS without it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use witness_lab::process::is_root;

use crate::world::{Nodes, World, finish};

/// The third node is dead and due to go.
fn due(nodes: &Nodes) -> World {
    let world = World::new(nodes);
    for _ in 0..3 {
        world.run(&["once"]).is(0);
    }
    world
}

/// Whatever is tried, it fails with these words, and the zone stays.
#[track_caller]
fn refuses(world: &World, words: &[&str]) {
    let commands: [&[&str]; 5] = [
        &["once"],
        &["run"],
        &["withdraw", "slice1"],
        &["pin", "slice1", "out", "--for", "1h", "--reason", "test"],
        &["once", "--dry-run"],
    ];
    let before = world.zone();
    for command in commands {
        // A dry run needs no ledger that can be written.
        let ran = world.run(command);
        if command.last() == Some(&"--dry-run") && ran.code == Some(0) {
            assert_eq!(world.zone(), before);
            continue;
        }
        ran.is(1).says(words);
        assert_eq!(world.zone(), before, "{command:?}");
    }
}

/// Once it can be used again, what is due is done.
#[track_caller]
fn recovers(world: &World) {
    world.wait("it is out", || {
        world.run(&["once"]).is(0);
        world.members() == [1, 2, 4].into()
    });
    assert_eq!(world.writes(), 1);
    world.reader().view().integrity().unwrap();
}

#[test]
fn what_is_no_ledger() {
    let nodes = Nodes::with_a_dead_one();
    let template = due(&nodes);
    let file = |world: &World| world.path("witness.db");

    let world = template.copy();
    let kept = world.path("kept.db");
    // Whatever is in the log is brought into the file: a log beside another file would be taken for that file's.
    let ledger = Connection::open(file(&world)).unwrap();
    ledger.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    ledger.close().unwrap();
    fs::rename(file(&world), &kept).unwrap();
    fs::create_dir(file(&world)).unwrap();
    world.run(&["once"]).is(2).says(&["witness.database", "is a folder; write the path of a file"]);
    fs::remove_dir(file(&world)).unwrap();

    fs::write(file(&world), "name = \"home\"\n".repeat(400)).unwrap();
    refuses(&world, &["it is not an SQLite database", "left as it is"]);
    assert_eq!(fs::read_to_string(file(&world)).unwrap(), "name = \"home\"\n".repeat(400));
    fs::remove_file(file(&world)).unwrap();

    Connection::open(file(&world)).unwrap().execute_batch("CREATE TABLE bookmark (url TEXT)").unwrap();
    refuses(&world, &["not a ledger of witness"]);
    fs::remove_file(file(&world)).unwrap();

    fs::copy(&kept, file(&world)).unwrap();
    Connection::open(file(&world)).unwrap().pragma_update(None, "user_version", 999).unwrap();
    refuses(&world, &["is newer than", "run the newer version of witness"]);
    fs::remove_file(file(&world)).unwrap();

    let mut damaged = fs::read(&kept).unwrap();
    let pages = damaged.len() / 4096;
    for page in 1..pages {
        damaged[page * 4096..page * 4096 + 512].fill(0x5a);
    }
    fs::write(file(&world), &damaged).unwrap();
    refuses(&world, &["it is damaged", ".dump"]);
    fs::remove_file(file(&world)).unwrap();

    fs::rename(&kept, file(&world)).unwrap();
    recovers(&world);
}

#[test]
fn a_folder_that_is_not_there() {
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    world.edit_config(|text| text.replace("\"witness.db\"", "\"no/such/witness.db\""));
    let ran = world.run(&["once"]);
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    ran.says(&["no/such"]);
    assert_eq!(world.writes(), 0);
    world.edit_config(|text| text.replace("no/such/", ""));
    recovers(&world);
}

/// Root may write everywhere, so the program is run as nobody.
#[test]
fn what_this_user_may_not_write() {
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    let folder = world.path("").canonicalize().unwrap();
    let programs = tempfile::tempdir().unwrap();
    let program: PathBuf = programs.path().join("witness");
    fs::copy(env!("CARGO_BIN_EXE_witness"), &program).unwrap();
    fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).unwrap();
    let certificate = world.path("ca.pem");
    fs::copy(nodes.certificate(), &certificate).unwrap();
    world.edit_config(|text| text.replace(&nodes.certificate().display().to_string(), "ca.pem"));
    if is_root() {
        chown(&folder, Some(65534), Some(65534)).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            chown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
        }
    }
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).current_dir(&folder).env("WITNESS_CONFIG", folder.join("witness.toml"));
        command.env_remove("WITNESS_LOG").env_remove("WITNESS_CRASH_AT");
        if is_root() {
            command.uid(65534).gid(65534);
        }
        finish(&mut command)
    };
    let set = |on: &Path, mode| fs::set_permissions(on, Permissions::from_mode(mode)).unwrap();
    let database = folder.join("witness.db");
    for (on, mode, words) in [(&database, 0o400, "read-only"), (&database, 0o000, "permission denied")] {
        let was = fs::metadata(on).unwrap().permissions().mode();
        set(on, mode);
        for args in
            [&["once"][..], &["withdraw", "slice1"], &["pin", "slice1", "out", "--for", "1h", "--reason", "test"]]
        {
            println!("{mode:o} {} {args:?}", on.display());
            run(args).is(1).says(&[words, "witness.db"]);
        }
        set(on, was);
        assert_eq!(world.writes(), 0);
    }
    for _ in 0..20 {
        run(&["once"]).is(0);
        if world.members() == [1, 2, 4].into() {
            break;
        }
    }
    assert_eq!((world.writes(), world.members()), (1, [1, 2, 4].into()));
}

/// A small file system of its own; it goes with this value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(at).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk() {
    if !is_root() {
        return witness_lab::skip("a full disk under the program", "mounting a small file system needs root");
    }
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    let Some(disk) = Disk::mount(&world.path("disk")) else {
        return witness_lab::skip_machine("a full disk under the program", "no tmpfs can be mounted here");
    };
    fs::copy(world.path("witness.db"), disk.0.join("witness.db")).unwrap();
    world.edit_config(|text| text.replace("\"witness.db\"", "\"disk/witness.db\""));
    let ballast = disk.0.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let before = world.zone();
    for command in [&["once"][..], &["withdraw", "slice1"], &["run"]] {
        world.run(command).is(1).says(&["no space left", "free some space"]);
        assert_eq!(world.zone(), before, "{command:?}");
    }
    // A little room, so that it fills up at every other step of a tick: either nothing is written to the registrar, or it
    // is in the ledger that it was to be.
    for room in 1..40 {
        let file = fs::File::options().write(true).open(&ballast).unwrap();
        file.set_len(file.metadata().unwrap().len().saturating_sub(4096)).unwrap();
        let ran = world.run(&["once"]);
        assert!(matches!(ran.code, Some(0 | 1)), "{room}: {ran:?}");
        world.assert_zone_whole("a full disk");
        if world.writes() > 0 {
            break;
        }
    }
    fs::remove_file(&ballast).unwrap();
    for _ in 0..20 {
        world.run(&["once"]).is(0);
        if world.members() == [1, 2, 4].into() {
            break;
        }
    }
    let ledger = witness::ledger::Ledger::open(&disk.0.join("witness.db")).unwrap();
    ledger.view().integrity().unwrap();
    assert!(ledger.open_intents().unwrap().is_empty());
    assert_eq!((world.writes(), world.members()), (1, [1, 2, 4].into()));
}
