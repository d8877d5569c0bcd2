//! Files that are not what they should be, places that cannot be written, and room that runs out.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use witness::ledger::{Ledger, LedgerError, Reader};
use witness::model::{Memory, Time};

use crate::world::{child, child_argument, place, plan, tick, ticked};

fn refused(path: &Path) -> LedgerError {
    Ledger::open(path).expect_err("it cannot be opened")
}

#[test]
fn a_new_file_is_its_owners_alone() {
    let (_dir, path) = place();
    assert!(matches!(Reader::open(&path), Err(LedgerError::Missing { .. })));
    let mut ledger = Ledger::open(&path).unwrap();
    ticked(&mut ledger, 0..3);
    for file in ["", "-wal", "-shm"] {
        let mode = fs::metadata(format!("{}{file}", path.display())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    drop(ledger);
    assert!(!fs::exists(format!("{}-wal", path.display())).unwrap(), "the last to leave cleans up");
    assert_eq!(Reader::open(&path).unwrap().view().counts().unwrap().judgements, 3);
}

#[test]
fn a_directory_or_none() {
    let (dir, path) = place();
    let error = refused(dir.path());
    assert!(matches!(&error, LedgerError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("it is a directory; set `database` to a file in it"), "{error}");
    assert!(matches!(Reader::open(dir.path()), Err(LedgerError::Directory { .. })));

    let error = refused(&dir.path().join("no/such/witness.db"));
    assert!(matches!(&error, LedgerError::NoParent { parent, .. } if parent.ends_with("no/such")), "{error}");
    fs::write(&path, "").unwrap();
    let error = refused(&path.join("witness.db"));
    assert!(matches!(&error, LedgerError::NoParent { .. }), "{error}");
}

#[test]
fn another_file_is_left_as_it_is() {
    let (_dir, path) = place();
    for text in ["name = \"home\"\n".repeat(300), "SQLite".to_owned(), "\0".repeat(5000)] {
        fs::write(&path, &text).unwrap();
        let error = refused(&path);
        assert!(matches!(&error, LedgerError::NotADatabase { .. }), "{error}");
        assert!(matches!(Reader::open(&path), Err(LedgerError::NotADatabase { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn another_programs_database_is_left_as_it_is() {
    let (_dir, path) = place();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE bookmark (url TEXT)").unwrap();
    let before = fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(&error, LedgerError::Foreign { .. }), "{error}");
    assert!(matches!(Reader::open(&path), Err(LedgerError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_ledger_is_left_as_it_is() {
    let (_dir, path) = place();
    ticked(&mut Ledger::open(&path).unwrap(), 0..3);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let before = fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(&error, LedgerError::Newer { found: 999, .. }), "{error}");
    assert!(error.to_string().contains("run the newer version of witness"), "{error}");
    assert!(matches!(Reader::open(&path), Err(LedgerError::Newer { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn damage_is_told_and_not_overwritten() {
    let (_dir, path) = place();
    ticked(&mut Ledger::open(&path).unwrap(), 0..400);
    let size = fs::metadata(&path).unwrap().len();
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // The heads of the pages from the middle on, some of every table.
    for page in size / 4096 / 2..size / 4096 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0x5a; 512]).unwrap();
    }
    drop(file);
    let mut ledger = Ledger::open(&path).unwrap();
    let error = ledger.view().integrity().unwrap_err();
    assert!(matches!(&error, LedgerError::Corrupt { .. }), "{error}");
    let mut memory = Memory::default();
    let error = ledger.record_tick(&tick(400, 4, &mut memory)).unwrap_err();
    assert!(matches!(&error, LedgerError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("keep a copy of the file with its -wal file"), "{error}");
    assert!(!error.is_transient());

    // Even the first page.
    drop(ledger);
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(100)).unwrap();
    file.write_all(&[0xff; 2000]).unwrap();
    drop(file);
    assert!(matches!(refused(&path), LedgerError::Corrupt { .. }));
}

#[test]
fn a_file_cut_short_is_damage() {
    let (_dir, path) = place();
    ticked(&mut Ledger::open(&path).unwrap(), 0..400);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(fs::metadata(&path).unwrap().len() / 2).unwrap();
    let outcome = Ledger::open(&path).and_then(|ledger| ledger.view().integrity());
    assert!(matches!(outcome, Err(LedgerError::Corrupt { .. })), "{outcome:?}");
}

#[test]
fn a_torn_log_loses_only_its_end() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let before = ticked(&mut ledger, 0..5);
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let whole = fs::metadata(&wal).unwrap().len();
    ticked(&mut ledger, 5..6);
    // As a power cut would leave it: the last transaction is there by half.
    let (copy_dir, copy) = place();
    fs::copy(&path, &copy).unwrap();
    let mut log = Vec::new();
    fs::File::open(&wal).unwrap().read_to_end(&mut log).unwrap();
    let cut = usize::try_from(whole).unwrap() + (log.len() - usize::try_from(whole).unwrap()) / 2;
    fs::write(copy_dir.path().join("witness.db-wal"), &log[..cut]).unwrap();
    let restored = Ledger::open(&copy).unwrap();
    restored.view().integrity().unwrap();
    assert_eq!(restored.view().latest().unwrap().map(|latest| latest.id), before.last().copied());
    assert_eq!(restored.memory().unwrap().ticks_seen, 4);
}

#[test]
fn a_locked_file_is_waited_for_and_then_told() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut memory = Memory::default();
    let error = ledger.record_tick(&tick(0, 4, &mut memory)).unwrap_err();
    assert!(matches!(&error, LedgerError::Locked { .. }), "{error}");
    assert!(error.is_transient());
    other.execute_batch("ROLLBACK").unwrap();
    ledger.record_tick(&tick(0, 4, &mut memory)).unwrap();
}

/// Opens `PATH` and ticks; says what came of it. With uid 65534 where the parent is root.
#[test]
fn child_that_opens() {
    let Some(argument) = child_argument() else { return };
    let path = Path::new(&argument);
    let outcome = Ledger::open(path).and_then(|mut ledger| {
        let mut memory = ledger.memory()?;
        ledger.record_tick(&tick(i64::from(memory.ticks_seen) + 1, 4, &mut memory))
    });
    let reader = Reader::open(path).and_then(|reader| reader.view().counts());
    let kind = |error: &LedgerError| format!("{error:?}").split(' ').next().unwrap().to_owned();
    let words = outcome.as_ref().map_or_else(kind, |_| "fine".to_owned());
    let read = reader.as_ref().map_or_else(kind, |counts| counts.judgements.to_string());
    println!("\noutcome {words} {read}\n{outcome:?}");
}

/// What the child above says, run as nobody: for root, nothing is forbidden.
fn as_nobody(path: &Path) -> String {
    let root = rustix::process::getuid().is_root();
    let bin = tempfile::tempdir().unwrap();
    fs::set_permissions(bin.path(), Permissions::from_mode(0o755)).unwrap();
    let exe = bin.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let mut command = Command::new(&exe);
    command.args(["files::child_that_opens", "--exact", "--nocapture"]).env("LEDGER_CHILD", path);
    command.current_dir("/");
    if root {
        command.uid(65534).gid(65534);
    }
    outcome_of(&mut command)
}

fn outcome_of(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("outcome "));
    line.unwrap_or_else(|| panic!("no outcome in {text}")).to_owned()
}

#[test]
fn what_this_user_may_not() {
    let (dir, path) = place();
    ticked(&mut Ledger::open(&path).unwrap(), 0..3);
    let set = |on: &Path, mode| fs::set_permissions(on, Permissions::from_mode(mode)).unwrap();
    let chown = |on: &Path| std::os::unix::fs::chown(on, Some(65534), Some(65534));
    if rustix::process::getuid().is_root() {
        chown(dir.path()).unwrap();
        chown(&path).unwrap();
    }
    assert_eq!(as_nobody(&path), "fine 4", "all in order");
    // A file that may only be read: the reader reads it, SQLite makes its -shm beside it.
    set(&path, 0o400);
    assert_eq!(as_nobody(&path), "ReadOnly 4");
    set(&path, 0o000);
    assert_eq!(as_nobody(&path).split(' ').next(), Some("Permission"));
    set(&path, 0o600);
    set(dir.path(), 0o500);
    assert_eq!(as_nobody(&path).split(' ').next(), Some("ReadOnly"), "no log can be made beside it");
    set(dir.path(), 0o000);
    assert_eq!(as_nobody(&path).split(' ').next(), Some("Permission"));
    set(dir.path(), 0o500);
    assert_eq!(as_nobody(&dir.path().join("new.db")).split(' ').next(), Some("ReadOnly"), "nothing can be created");
    set(dir.path(), 0o700);
    assert_eq!(as_nobody(&path), "fine 5", "and nothing was lost");
}

#[test]
fn a_read_only_file_system() {
    let (dir, path) = place();
    ticked(&mut Ledger::open(&path).unwrap(), 0..3);
    let at = dir.path().display();
    let Some(mut command) = in_own_mounts(&format!("mount --bind {at} {at} && mount -o remount,bind,ro {at}"), &path)
    else {
        return;
    };
    assert_eq!(outcome_of(&mut command).split(' ').next(), Some("ReadOnly"));
}

#[test]
fn a_full_disk_loses_nothing_and_works_again() {
    let (dir, path) = place();
    let at = dir.path().display();
    let mount = format!("mount -t tmpfs -o size=1m none {at}");
    let Some(mut command) = in_own_mounts(&mount, &path) else { return };
    command.env("LEDGER_FILLS", "1");
    assert_eq!(outcome_of(&mut command), "filled");
}

/// Ticks until the disk is full, makes room, and goes on.
#[test]
fn child_that_fills() {
    if std::env::var("LEDGER_FILLS").is_err() {
        return;
    }
    let path = PathBuf::from(child_argument().unwrap());
    let ballast = path.with_file_name("ballast");
    fs::write(&ballast, vec![1; 300_000]).unwrap();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    let (mut good, mut intents) = (Vec::new(), Vec::new());
    let error = loop {
        let number = i64::try_from(good.len()).unwrap();
        match ledger.record_tick(&tick(number, 4, &mut memory)) {
            Ok(judgement) => good.push(judgement),
            Err(error) => break error,
        }
        match ledger.intend(good[good.len() - 1], Time(0), &plan(0)) {
            Ok(intent) => intents.push(intent),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, LedgerError::Full { .. }), "{error}");
    assert!(error.is_transient() && error.to_string().contains("free some space"), "{error}");
    for _ in 0..3 {
        assert!(matches!(ledger.record_tick(&tick(0, 4, &mut memory)), Err(LedgerError::Full { .. })));
    }
    assert_eq!(
        ledger.view().latest().unwrap().map(|latest| latest.id),
        good.last().copied(),
        "what was there is there"
    );
    assert_eq!(ledger.open_intents().unwrap().iter().map(|intent| intent.id).collect::<Vec<_>>(), intents);
    ledger.view().integrity().unwrap();

    fs::remove_file(&ballast).unwrap();
    let mut memory = ledger.memory().unwrap();
    let next = i64::from(memory.ticks_seen) + 1;
    let judgement = ledger.record_tick(&tick(next, 4, &mut memory)).unwrap();
    assert!(Some(&judgement) > good.last());
    drop(ledger);
    let ledger = Ledger::open(&path).unwrap();
    ledger.view().integrity().unwrap();
    assert_eq!(ledger.memory().unwrap(), memory);
    println!("\noutcome filled");
}

#[test]
fn a_failing_write_is_told_and_nothing_is_kept_by_halves() {
    let (_dir, path) = place();
    let before = ticked(&mut Ledger::open(&path).unwrap(), 0..3);
    // The system refuses any write beyond 1 MB into a file, which is neither a full disk nor a missing permission.
    let probe = child("files::child_that_hits_a_limit", "");
    let mut command = Command::new("sh");
    command
        .args(["-ec", "trap '' XFSZ\nulimit -f 1024\nexec \"$0\" files::child_that_hits_a_limit --exact --nocapture"]);
    command.arg(probe.get_program()).env("LEDGER_CHILD", &path).env("LEDGER_LIMIT", "1");
    let outcome = outcome_of(&mut command);
    let written: usize = outcome.strip_prefix("limited ").unwrap_or_else(|| panic!("{outcome}")).parse().unwrap();
    let ledger = Ledger::open(&path).unwrap();
    ledger.view().integrity().unwrap();
    assert_eq!(ledger.view().counts().unwrap().judgements, i64::try_from(before.len() + written).unwrap());
}

/// Ticks until the system refuses.
#[test]
fn child_that_hits_a_limit() {
    if std::env::var("LEDGER_LIMIT").is_err() {
        return;
    }
    let mut ledger = Ledger::open(Path::new(&child_argument().unwrap())).unwrap();
    let mut memory = ledger.memory().unwrap();
    let mut written = 0;
    let error = loop {
        match ledger.record_tick(&tick(i64::from(memory.ticks_seen) + 1, 40, &mut memory)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, LedgerError::Io { .. } | LedgerError::Full { .. }), "{error:?}");
    assert!(error.is_transient());
    println!("\noutcome limited {written}");
}

/// This binary's child in a mount namespace of its own, after `mount`; none, said aloud, where that is not allowed.
fn in_own_mounts(mount: &str, path: &Path) -> Option<Command> {
    let allowed = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !allowed.is_ok_and(|out| out.status.success()) {
        witness_lab::skip_machine("a ledger on a full or read-only disk", "this user may not make mount namespaces");
        return None;
    }
    let role = if mount.contains("tmpfs") { "files::child_that_fills" } else { "files::child_that_opens" };
    let probe = child(role, "");
    let exe = probe.get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-ec"]).arg(format!("{mount}\nexec \"$0\" {role} --exact --nocapture")).arg(exe);
    command.env("LEDGER_CHILD", path);
    Some(command)
}
