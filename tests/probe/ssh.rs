//! The ssh probe, against a real sshd and against servers that are not.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use witness::clock::Stopwatch;
use witness::model::{Fault, Fingerprint, Observation, Outcome, OwnFault, SshLevel, SshLogin, SshProbe, Stage};
use witness::probe::Prober;

use crate::support::net::{Full, Manners, Server, closed_port};
use crate::support::sshd::{Sshd, fingerprint_of, keygen, may_log_in, user};
use crate::support::{child, is_child, look, ms, node, node_at, only, only_ssh, pass, resident, see, ssh_settings};

const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

async fn with_pin(settings: SshProbe, pin: Fingerprint) -> Observation {
    let mut node = node(&["127.0.0.1"]);
    node.ssh_host_key = Some(pin);
    only(look(&Prober::new(only_ssh(settings)).unwrap(), &node).await)
}

fn note(seen: &Observation) -> &str {
    seen.measured.note.as_deref().unwrap_or_default()
}

pub(crate) fn login(sshd: &Sshd, command: &str) -> SshProbe {
    let login = SshLogin { user: user(), key_file: Some(sshd.user_key()), command: command.to_owned() };
    SshProbe { login: Some(login), ..ssh_settings(sshd.port, SshLevel::Login) }
}

#[tokio::test]
async fn a_banner_is_read() {
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let seen = see(only_ssh(ssh_settings(sshd.port, SshLevel::Banner))).await;
    assert_eq!(seen.outcome, Outcome::Passed, "{seen:?}");
    assert!(note(&seen).starts_with("SSH-2.0-OpenSSH"), "{seen:?}");
    assert!(seen.measured.connect_us.is_some() && seen.measured.first_byte_us.is_some(), "{seen:?}");
}

#[tokio::test]
async fn a_pinned_key_of_any_kind_passes() {
    let Some(sshd) = Sshd::start(&KINDS, "") else { return };
    for kind in KINDS {
        let seen = with_pin(ssh_settings(sshd.port, SshLevel::Handshake), sshd.fingerprint(kind)).await;
        assert_eq!(seen.outcome, Outcome::Passed, "{kind}: {seen:?}");
        assert!(note(&seen).contains(&sshd.fingerprint(kind).to_string()), "{kind}: {seen:?}");
        assert!(seen.measured.secure_us > seen.measured.first_byte_us, "{seen:?}");
    }
}

#[tokio::test]
async fn another_key_than_the_pinned_is_a_fault_with_both_named() {
    for kinds in [&KINDS[..1], &KINDS[..]] {
        let Some(sshd) = Sshd::start(kinds, "") else { return };
        let pin = Fingerprint([7; 32]);
        let seen = with_pin(ssh_settings(sshd.port, SshLevel::Handshake), pin).await;
        assert_eq!(seen.outcome, Outcome::Failed(Fault::HostKey), "{seen:?}");
        assert!(note(&seen).contains(&pin.to_string()), "{seen:?}");
        assert!(note(&seen).contains(&sshd.fingerprint("ed25519").to_string()), "{seen:?}");
        assert!(seen.is_sign_of_life());
    }
}

#[tokio::test]
async fn known_hosts_are_believed() {
    let Some(sshd) = Sshd::start(&KINDS, "") else { return };
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("known_hosts");
    let check = async |lines: String, expected: Outcome, says: &str| {
        fs::write(&file, lines).unwrap();
        let settings = SshProbe { known_hosts: Some(file.clone()), ..ssh_settings(sshd.port, SshLevel::Handshake) };
        let seen = see(only_ssh(settings)).await;
        assert_eq!(seen.outcome, expected, "{seen:?}");
        assert!(note(&seen).contains(says), "{seen:?}");
    };
    for kind in KINDS {
        check(sshd.known_host(kind), Outcome::Passed, &sshd.fingerprint(kind).to_string()).await;
    }
    // As OpenSSH hashes it.
    fs::write(&file, sshd.known_host("rsa")).unwrap();
    assert!(Command::new("ssh-keygen").arg("-Hqf").arg(&file).output().unwrap().status.success());
    let hashed = fs::read_to_string(&file).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    check(hashed, Outcome::Passed, &sshd.fingerprint("rsa").to_string()).await;

    check(String::new(), Outcome::Passed, "not in known_hosts").await;
    let other = dir.path().join("other");
    keygen("ed25519", &other);
    let line = format!("[127.0.0.1]:{} {}", sshd.port, fs::read_to_string(other.with_extension("pub")).unwrap());
    let other = fingerprint_of(&other.with_extension("pub"));
    check(line, Outcome::Failed(Fault::HostKey), &other.to_string()).await;
    let revoked = format!("@revoked {}", sshd.known_host("ed25519"));
    check(revoked, Outcome::Failed(Fault::HostKey), "revoked").await;
}

#[tokio::test]
async fn a_login_runs_the_command() {
    if !may_log_in() {
        return;
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    for (command, expected) in [
        ("true", Outcome::Passed),
        ("exit 3", Outcome::Failed(Fault::Exit(3))),
        ("head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2", Outcome::Passed),
        ("kill -TERM $$", Outcome::Failed(Fault::Exit(-1))),
    ] {
        let seen = see(only_ssh(login(&sshd, command))).await;
        assert_eq!(seen.outcome, expected, "{command}: {seen:?}");
    }
    let seen = see(only_ssh(SshProbe { timeout: ms(2000), ..login(&sshd, "sleep 10") })).await;
    assert_eq!(seen.outcome, Outcome::Failed(Fault::Timeout(Stage::Command)), "{seen:?}");
}

#[tokio::test]
async fn a_refused_login_is_told_from_a_second_factor() {
    if !may_log_in() {
        return;
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let other = sshd.dir.path().join("other");
    keygen("ed25519", &other);
    let mut settings = login(&sshd, "true");
    settings.login.as_mut().unwrap().key_file = Some(other);
    let seen = see(only_ssh(settings)).await;
    assert_eq!(seen.outcome, Outcome::Failed(Fault::Auth), "{seen:?}");
    assert!(!note(&seen).contains("second factor"), "{seen:?}");

    let two = "PasswordAuthentication yes\nAuthenticationMethods publickey,password";
    let Some(sshd) = Sshd::start(&["ed25519"], two) else { return };
    let seen = see(only_ssh(login(&sshd, "true"))).await;
    assert_eq!(seen.outcome, Outcome::Failed(Fault::Auth), "{seen:?}");
    assert!(note(&seen).contains("second factor") && note(&seen).contains("password"), "{seen:?}");
    let seen = see(only_ssh(ssh_settings(sshd.port, SshLevel::Handshake))).await;
    assert_eq!(seen.outcome, Outcome::Passed, "as far as the handshake it still passes: {seen:?}");

    let Some(sshd) = Sshd::start(&["ed25519"], "PubkeyAuthentication no\nPasswordAuthentication yes") else { return };
    let seen = see(only_ssh(login(&sshd, "true"))).await;
    assert_eq!(seen.outcome, Outcome::Failed(Fault::Auth), "{seen:?}");
    assert!(note(&seen).contains("takes no keys"), "{seen:?}");
}

/// An agent, until dropped.
struct Agent(std::process::Child);

impl Agent {
    fn start(socket: &Path, key: &Path) -> Option<Self> {
        let agent =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(socket).stdout(std::process::Stdio::null()).spawn();
        let agent = Self(
            agent
                .inspect_err(|_| witness_lab::skip("ssh login by agent", "ssh-agent is not installed (openssh-client)"))
                .ok()?,
        );
        for _ in 0..100 {
            let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", socket).status().unwrap();
            if added.success() {
                return Some(agent);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the agent takes no key");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agents_key_logs_in() {
    if !may_log_in() {
        return;
    }
    let test = "ssh::an_agents_key_logs_in";
    if !is_child() {
        let dir = TempDir::new().unwrap();
        let mut command = child(test, &[]);
        command.env("SSH_AUTH_SOCK", dir.path().join("agent"));
        return pass(command);
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let socket = PathBuf::from(std::env::var_os("SSH_AUTH_SOCK").unwrap());
    // Another key comes first, so that a refusal is gone through as well.
    let other = sshd.dir.path().join("other");
    keygen("ed25519", &other);
    let Some(_agent) = Agent::start(&socket, &other) else { return };
    let mut settings = login(&sshd, "true");
    settings.login.as_mut().unwrap().key_file = None;
    let look = || runtime().block_on(see(only_ssh(settings.clone())));
    let seen = look();
    assert_eq!(seen.outcome, Outcome::Failed(Fault::Auth), "the wrong key alone: {seen:?}");
    let added = Command::new("ssh-add").arg("-q").arg(sshd.user_key()).status().unwrap();
    assert!(added.success());
    let seen = look();
    assert_eq!(seen.outcome, Outcome::Passed, "{seen:?}");
}

#[test]
fn an_agent_that_never_answers_is_our_trouble_and_holds_nobody_up() {
    let test = "ssh::an_agent_that_never_answers_is_our_trouble_and_holds_nobody_up";
    if !is_child() {
        let dir = TempDir::new().unwrap();
        let mut command = child(test, &[]);
        command.env("SSH_AUTH_SOCK", dir.path().join("agent"));
        return pass(command);
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let _silent = UnixListener::bind(std::env::var_os("SSH_AUTH_SOCK").unwrap()).unwrap();
    let mut settings = login(&sshd, "true");
    settings.login.as_mut().unwrap().key_file = None;
    settings.timeout = ms(1500);
    runtime().block_on(async {
        let prober = Prober::new(only_ssh(settings)).unwrap();
        let home = node(&["127.0.0.1"]);
        // More than there are threads for the agent.
        for _ in 0..3 {
            let rounds = tokio::join!(prober.round(&home), prober.round(&home), prober.round(&home));
            for round in [rounds.0, rounds.1, rounds.2] {
                let seen = only(round);
                assert_eq!(seen.outcome, Outcome::Inconclusive(OwnFault::Unavailable), "{seen:?}");
                assert!(note(&seen).contains("agent"), "{seen:?}");
            }
        }
    });
}

#[tokio::test]
async fn servers_that_are_none() {
    let check = async |manners: Manners, level: SshLevel, expected: Outcome| {
        let server = Server::start(manners.clone());
        let seen = see(only_ssh(SshProbe { timeout: ms(1000), ..ssh_settings(server.port, level) })).await;
        assert_eq!(seen.outcome, expected, "{manners:?} at {level:?}: {seen:?}");
    };
    let failed = Outcome::Failed;
    for level in [SshLevel::Banner, SshLevel::Handshake] {
        check(Manners::Silent, level, failed(Fault::Timeout(Stage::Banner))).await;
        check(Manners::Say("SSH-2.0-"), level, failed(Fault::Timeout(Stage::Banner))).await;
        check(Manners::Say("HTTP/1.1 400 Bad Request\r\n"), level, failed(Fault::Protocol)).await;
        check(Manners::Say("SSH-1.5-old\r\n"), level, failed(Fault::Protocol)).await;
        check(Manners::Leave(""), level, failed(Fault::Reset)).await;
        check(Manners::Leave("Exceeded MaxStartups\r\n"), level, failed(Fault::Reset)).await;
        check(Manners::Reset, level, failed(Fault::Reset)).await;
    }
    check(Manners::Say("SSH-2.0-x\r\n"), SshLevel::Banner, Outcome::Passed).await;
    check(Manners::Say("Hello\r\nSSH-2.0-x\r\n"), SshLevel::Banner, Outcome::Passed).await;
    check(Manners::Say("SSH-2.0-x\r\n"), SshLevel::Handshake, failed(Fault::Timeout(Stage::Handshake))).await;
    check(Manners::Leave("SSH-2.0-x\r\n"), SshLevel::Handshake, failed(Fault::Reset)).await;
    check(Manners::Say("SSH-2.0-x\r\n\0\0\0\x0crubbish"), SshLevel::Handshake, failed(Fault::Protocol)).await;

    let seen = see(only_ssh(ssh_settings(closed_port(), SshLevel::Banner))).await;
    assert_eq!(seen.outcome, failed(Fault::Refused), "{seen:?}");
    let full = Full::start().await;
    let seen = see(only_ssh(SshProbe { timeout: ms(500), ..ssh_settings(full.port, SshLevel::Banner) })).await;
    assert_eq!(seen.outcome, failed(Fault::Timeout(Stage::Connect)), "{seen:?}");
}

/// A thousand servers that take connections and never speak, or speak once and hang, and a healthy one among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_hung_servers_are_done_in_one_timeout() {
    for (manners, stage) in [(Manners::Silent, Stage::Banner), (Manners::Say("SSH-2.0-hung\r\n"), Stage::Handshake)] {
        let server = Server::start(manners);
        let settings = SshProbe { timeout: ms(2000), ..ssh_settings(server.port, SshLevel::Handshake) };
        let prober = Arc::new(Prober::new(only_ssh(settings)).unwrap());
        let clock = Stopwatch::start();
        let rounds: Vec<_> = (0..1000_u32)
            .map(|nth| {
                let prober = Arc::clone(&prober);
                let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 3, 0, 1)) + nth);
                tokio::spawn(async move { only(prober.round(&node_at(vec![address.into()])).await) })
            })
            .collect();
        let mut outcomes = std::collections::BTreeMap::new();
        for round in rounds {
            *outcomes.entry(round.await.unwrap().outcome.to_string()).or_insert(0) += 1;
        }
        let took = clock.elapsed();
        eprintln!("measured: 1000 servers that hang at {} in {took:?}: {outcomes:?}", stage.name());
        // On a machine that is busy with something else they may be inconclusive; passed or otherwise failed, never.
        let expected = [format!("timeout:{}", stage.name()), "inconclusive:starved".to_owned()];
        assert!(outcomes.keys().all(|outcome| expected.contains(outcome)), "{outcomes:?}");
        assert!(took < Duration::from_secs(8), "one after another they would take 2000 s, 256 at once 8 s: {took:?}");
    }
}

/// The library gives nothing back when it would have to wait while it takes a session down, as it would for the end of a
/// command.
#[test]
fn sessions_that_are_cut_off_leave_no_memory_behind() {
    if !is_child() {
        return pass(child("ssh::sessions_that_are_cut_off_leave_no_memory_behind", &[]));
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "MaxSessions 100") else { return };
    runtime().block_on(async {
        let settings = SshProbe { timeout: ms(2500), ..login(&sshd, "sleep 10") };
        let prober = Arc::new(Prober::new(only_ssh(settings)).unwrap());
        let batch = async || {
            let rounds: Vec<_> = (0..20)
                .map(|_| {
                    let prober = Arc::clone(&prober);
                    tokio::spawn(async move { only(prober.round(&node(&["127.0.0.1"])).await) })
                })
                .collect();
            let mut at_command = 0;
            for round in rounds {
                let seen = round.await.unwrap();
                assert_ne!(seen.outcome, Outcome::Passed);
                at_command += u64::from(seen.outcome == Outcome::Failed(Fault::Timeout(Stage::Command)));
            }
            at_command
        };
        batch().await;
        let before = resident();
        let mut cut_off = 0;
        for _ in 0..3 {
            cut_off += batch().await;
        }
        let grown = resident().saturating_sub(before);
        eprintln!("measured: {grown} bytes more after {cut_off} more commands were cut off");
        assert!(grown < 400_000 + cut_off * SESSION / 2, "{grown} bytes more after {cut_off} more");
    });
}

/// What a session takes, bytes.
const SESSION: u64 = 82_000;

#[tokio::test]
async fn what_cannot_be_used_is_said_at_once() {
    let check = |settings: SshProbe, expected: &str| {
        let error = Prober::new(only_ssh(settings)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let nowhere = || Some(PathBuf::from("/nowhere/file"));
    check(ssh_settings(22, SshLevel::Login), "user and a command");
    check(SshProbe { known_hosts: nowhere(), ..ssh_settings(22, SshLevel::Banner) }, "known_hosts /nowhere/file");
    let login = SshLogin { user: "probe".to_owned(), key_file: nowhere(), command: "true".to_owned() };
    check(SshProbe { login: Some(login), ..ssh_settings(22, SshLevel::Login) }, "key_file /nowhere/file");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
