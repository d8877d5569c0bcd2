//! The built program: its commands, and how it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until_async};

use crate::client::get;
use crate::{configuration, form, path, post, upload};

/// A running one.
pub(crate) struct Program {
    pub(crate) process: Guard,
    pub(crate) at: SocketAddr,
}

impl Program {
    /// Starts it in `folder`, to die at a place if that is wanted.
    pub(crate) async fn start(folder: &Path, crash_at: Option<&str>) -> Self {
        Self::start_with(folder, "", crash_at).await
    }

    /// The same with `more` in its configuration.
    pub(crate) async fn start_with(folder: &Path, more: &str, crash_at: Option<&str>) -> Self {
        let crash: Vec<(&str, &str)> = crash_at.into_iter().map(|place| ("WITNESS_ORIGIN_CRASH_AT", place)).collect();
        Self::start_as(folder, more, &crash).await
    }

    /// The same with these variables.
    pub(crate) async fn start_as(folder: &Path, more: &str, variables: &[(&str, &str)]) -> Self {
        let at = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
        let admin = witness_lab::ports::free();
        let server = format!(
            "[server]\nlisten = \"{at}\"\nadmin_listen = \"127.0.0.1:{admin}\"\nfiles_url = \"https://files.example.com\"\n"
        );
        std::fs::write(folder.join("origin.toml"), configuration(folder, &(server + more))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
        command.args(["run", "--config"]).arg(folder.join("origin.toml")).stderr(Stdio::null());
        command.envs(variables.iter().copied());
        let process = Guard::start(&mut command).unwrap();
        let up = wait_until_async(Duration::from_secs(60), async || tokio::net::TcpStream::connect(at).await.is_ok());
        assert!(up.await, "it does not listen");
        Self { process, at }
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let path = folder.join("origin.toml");
    Command::new(env!("CARGO_BIN_EXE_witness-origin")).args(arguments).arg("--config").arg(path).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_checks_moderates_beside_the_server_and_ends_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| run(folder.path(), arguments);
    assert_eq!(command(&["check"]).status.code(), Some(2), "there is no configuration");
    let mut program = Program::start(folder.path(), None).await;
    let checked = command(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let health = command(&["health"]);
    assert_eq!(health.status.code(), Some(0));
    assert!(String::from_utf8(health.stdout).unwrap().contains("\"status\":\"ok\""));
    // A second one does not touch what the first one has.
    let second = command(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is in use by another process"));
    let file = upload(program.at, "a.txt", b"something").await;
    let target = path(&file["url"]);
    assert_eq!(command(&["ban", file["url"].as_str().unwrap(), "--reason", "spam"]).status.code(), Some(0));
    assert_eq!(get(program.at, &target, &[]).await.status, 451);
    let sha256 = file["sha256"].as_str().unwrap();
    let bans = String::from_utf8(command(&["bans"]).stdout).unwrap();
    assert!(bans.contains(&format!("{sha256}  spam")), "{bans}");
    assert_eq!(
        command(&["ban", "address", "192.0.2.0/24", "--reason", "floods", "--for", "7d"]).status.code(),
        Some(0)
    );
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    assert_eq!(command(&["ban", md5, "--reason", "empty"]).status.code(), Some(0));
    assert_eq!(post(program.at, "/upload.php", &form("b.txt", b"")).await.status, 451);
    let bans = String::from_utf8(command(&["bans"]).stdout).unwrap();
    assert!(bans.contains("192.0.2.0/24  floods  until 20") && bans.contains(&format!("{md5}  empty\n")), "{bans}");
    assert_eq!(command(&["unban", "address", "192.0.2.0/24"]).status.code(), Some(0));
    assert_eq!(command(&["unban", "address", "192.0.2.0/24"]).status.code(), Some(1));
    for bad in
        [&["ban", "address", "here", "--reason", "x"][..], &["ban", md5], &["ban", md5, "--reason", "x", "--for", "7"]]
    {
        assert_eq!(command(bad).status.code(), Some(2), "{bad:?}");
    }
    assert_eq!(command(&["unban", sha256]).status.code(), Some(0));
    assert_eq!(command(&["unban", sha256]).status.code(), Some(1));
    assert_eq!(get(program.at, &target, &[]).await.status, 200);
    assert_eq!(command(&["remove", &target]).status.code(), Some(0));
    assert_eq!(command(&["remove", &target]).status.code(), Some(1));
    assert_eq!(get(program.at, &target, &[]).await.status, 410);
    program.process.signal(rustix::process::Signal::TERM);
    assert!(program.process.wait(Duration::from_secs(60)).unwrap().success());
    assert_eq!(command(&["health"]).status.code(), Some(1));
    let text = std::fs::read_to_string(folder.path().join("origin.toml")).unwrap();
    std::fs::write(folder.path().join("origin.toml"), text.replace("min_free", "min_fere")).unwrap();
    let checked = command(&["check"]);
    assert_eq!(checked.status.code(), Some(2));
    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(told.contains("origin.toml:3: store.min_fere: there is no such key; did you mean \"min_free\"?"), "{told}");
}

#[test]
fn a_configuration_is_named_without_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let check = |store: &str| {
        let text = format!("[server]\nfiles_url = \"https://files.example.com\"\n\n[store]\ndirectory = \"{store}\"\n");
        std::fs::write(folder.path().join("origin.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
        command.args(["check", "--config", "origin.toml"]).current_dir(folder.path()).output().unwrap()
    };
    let checked = check("store");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let checked = check("nowhere/store");
    assert_eq!(checked.status.code(), Some(2));
    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(told.contains("store.directory: there is no nowhere;"), "{told}");
}
