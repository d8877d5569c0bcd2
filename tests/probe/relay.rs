//! Having a node connect to another one, through a real sshd.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use witness::model::{AskOutcome, Fingerprint, Node, RelaySettings};
use witness::probe::{Forwarder, Reach};

use crate::support::net::{Full, Manners, Server, closed_port};
use crate::support::sshd::{Sshd, fingerprint_of, keygen, may_log_in, user};
use crate::support::{ms, node};

fn settings(sshd: &Sshd, timeout: Duration) -> RelaySettings {
    RelaySettings { user: user(), key_file: sshd.user_key(), port: sshd.port, timeout, max: 3, sessions: 1 }
}

/// What the node behind `settings`, which is to show `key`, makes of a port of this machine.
async fn through(settings: &RelaySettings, key: Option<Fingerprint>, port: u16) -> Reach {
    let mut relay = node(&["127.0.0.1"]);
    relay.ssh_host_key = key;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Forwarder::new(settings).unwrap().reach(&relay, Ipv4Addr::LOCALHOST.into(), target, None).await
}

fn relay_of(sshd: &Sshd) -> Node {
    let mut relay = node(&["127.0.0.1"]);
    relay.ssh_host_key = Some(sshd.fingerprint("ed25519"));
    relay
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Waits until it is so; generously, what is waited for takes seconds at the most.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(ms(100)).await;
    }
    panic!("waited in vain");
}

/// A real one, asked about `port`.
async fn ask(more: &str, port: u16) -> Option<Reach> {
    let sshd = Sshd::start(&["ed25519"], more).filter(|_| may_log_in())?;
    Some(through(&settings(&sshd, ms(20_000)), Some(sshd.fingerprint("ed25519")), port).await)
}

#[tokio::test]
async fn what_listens_is_reached() {
    let server = Server::start(Manners::Silent);
    let Some(reach) = ask("", server.port).await else { return };
    assert_eq!(reach.outcome, AskOutcome::Reached, "{reach:?}");
}

#[tokio::test]
async fn a_closed_port_and_no_way_look_alike() {
    let Some(reach) = ask("", closed_port()).await else { return };
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
    assert!(reach.note.contains("refused the connection, or there is no way"), "{reach:?}");
}

#[tokio::test]
async fn a_closed_port_is_worth_something_when_somebody_else_can_be_reached() {
    let Some(sshd) = Sshd::start(&["ed25519"], "").filter(|_| may_log_in()) else { return };
    let server = Server::start(Manners::Silent);
    let (forwarder, relay) = (Forwarder::new(&settings(&sshd, ms(20_000))).unwrap(), relay_of(&sshd));
    let at = Ipv4Addr::LOCALHOST.into();
    let target = local(closed_port());
    let reach = forwarder.reach(&relay, at, target, Some(local(server.port))).await;
    assert_eq!(reach.outcome, AskOutcome::Nothing, "{reach:?}");
    assert!(reach.note.contains("there is no way to it, while 127.0.0.1"), "{reach:?}");
    let reach = forwarder.reach(&relay, at, target, Some(local(closed_port()))).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "it reaches nobody: {reach:?}");
}

#[tokio::test]
async fn what_must_not_be_tried_is_never_worth_anything() {
    let server = Server::start(Manners::Silent);
    let more = format!("PermitOpen 127.0.0.1:{}", server.port);
    let Some(sshd) = Sshd::start(&["ed25519"], &more).filter(|_| may_log_in()) else { return };
    let forwarder = Forwarder::new(&settings(&sshd, ms(20_000))).unwrap();
    let (at, control) = (Ipv4Addr::LOCALHOST.into(), Some(local(server.port)));
    let reach = forwarder.reach(&relay_of(&sshd), at, local(closed_port()), control).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
}

#[tokio::test]
async fn a_session_that_is_kept_needs_no_further_login() {
    let Some(sshd) = Sshd::start(&["ed25519"], "").filter(|_| may_log_in()) else { return };
    let (server, full) = (Server::start(Manners::Silent), Full::start().await);
    let forwarder = Arc::new(Forwarder::new(&settings(&sshd, ms(4000))).unwrap());
    let (relay, at) = (relay_of(&sshd), Ipv4Addr::LOCALHOST.into());
    forwarder.keep(&relay, at);
    until(|| forwarder.ready(&relay.id) == 1).await;
    // From now on nobody is let in.
    fs::remove_file(sshd.dir.path().join("authorized_keys")).unwrap();
    for _ in 0..5 {
        let reach = forwarder.ask(&relay, at, local(server.port), None).await;
        assert_eq!(reach.outcome, AskOutcome::Reached, "{reach:?}");
        let reach = forwarder.ask(&relay, at, local(closed_port()), Some(local(server.port))).await;
        assert_eq!(reach.outcome, AskOutcome::Nothing, "{reach:?}");
        assert_eq!(forwarder.ready(&relay.id), 1);
    }
    // What is never answered keeps the session busy.
    let reach = forwarder.ask(&relay, at, local(full.port), None).await;
    assert_eq!(reach.outcome, AskOutcome::Nothing, "{reach:?}");
    assert_eq!(forwarder.ready(&relay.id), 0);
    let reach = forwarder.ask(&relay, at, local(server.port), None).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "it would need a login: {reach:?}");
    assert!(reach.note.contains("busy"), "{reach:?}");
}

#[tokio::test]
async fn a_session_whose_server_is_gone_is_not_kept() {
    let Some(sshd) = Sshd::start(&["ed25519"], "").filter(|_| may_log_in()) else { return };
    let server = Server::start(Manners::Silent);
    let (port, hang_up) = hanging_up(sshd.port).await;
    let settings = RelaySettings { port, ..settings(&sshd, ms(20_000)) };
    let forwarder = Arc::new(Forwarder::new(&settings).unwrap());
    let (relay, at) = (relay_of(&sshd), Ipv4Addr::LOCALHOST.into());
    forwarder.keep(&relay, at);
    until(|| forwarder.ready(&relay.id) == 1).await;
    forwarder.keep(&relay, at);
    assert_eq!(forwarder.ready(&relay.id), 1, "one is enough");
    let reach = forwarder.ask(&relay, at, local(server.port), None).await;
    assert_eq!(reach.outcome, AskOutcome::Reached, "{reach:?}");
    hang_up.abort();
    until(|| forwarder.ready(&relay.id) == 0).await;
}

#[tokio::test]
async fn what_is_forbidden_says_nothing() {
    let server = Server::start(Manners::Silent);
    for forbidding in ["AllowTcpForwarding no", "PermitOpen 127.0.0.1:1"] {
        let Some(reach) = ask(forbidding, server.port).await else { return };
        assert_eq!(reach.outcome, AskOutcome::Unknown, "{forbidding}: {reach:?}");
        assert!(reach.note.contains("permitopen"), "{forbidding}: {reach:?}");
    }
}

#[tokio::test]
async fn a_restricted_key_does_what_it_is_for_and_nothing_else() {
    let Some(sshd) = Sshd::start(&["ed25519"], "").filter(|_| may_log_in()) else { return };
    let (server, other) = (Server::start(Manners::Silent), Server::start(Manners::Silent));
    let keys = sshd.dir.path().join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    fs::write(
        &keys,
        format!("restrict,port-forwarding,command=\"false\",permitopen=\"127.0.0.1:{}\" {key}", server.port),
    )
    .unwrap();
    let settings = settings(&sshd, ms(20_000));
    let pin = Some(sshd.fingerprint("ed25519"));
    let reach = through(&settings, pin, server.port).await;
    assert_eq!(reach.outcome, AskOutcome::Reached, "{reach:?}");
    let reach = through(&settings, pin, other.port).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
}

#[tokio::test]
async fn who_does_not_answer_a_living_relay_is_silent() {
    let Some(sshd) = Sshd::start(&["ed25519"], "").filter(|_| may_log_in()) else { return };
    let full = Full::start().await;
    let reach = through(&settings(&sshd, ms(4000)), Some(sshd.fingerprint("ed25519")), full.port).await;
    assert_eq!(reach.outcome, AskOutcome::Nothing, "{reach:?}");
}

#[tokio::test]
async fn a_relay_that_falls_silent_itself_says_nothing() {
    let Some(sshd) = Sshd::start(&["ed25519"], "").filter(|_| may_log_in()) else { return };
    let full = Full::start().await;
    let port = falling_silent(sshd.port, ms(1500)).await;
    let settings = RelaySettings { port, ..settings(&sshd, ms(4000)) };
    let reach = through(&settings, Some(sshd.fingerprint("ed25519")), full.port).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
}

#[tokio::test]
async fn who_shows_another_host_key_is_not_logged_in_to() {
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let server = Server::start(Manners::Silent);
    let other = sshd.dir.path().join("other");
    keygen("ed25519", &other);
    let pin = fingerprint_of(&other.with_extension("pub"));
    let reach = through(&settings(&sshd, ms(20_000)), Some(pin), server.port).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
    assert!(reach.note.contains("pinned"), "{reach:?}");
    let reach = through(&settings(&sshd, ms(20_000)), None, server.port).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
    assert!(reach.note.contains("ssh_host_key"), "{reach:?}");
    assert_eq!(server.accepted.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_relay_that_is_not_there_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "a key; nobody is logged in to").unwrap();
    let pin = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let settings =
        RelaySettings { user: user(), key_file: key, port: closed_port(), timeout: ms(20_000), max: 3, sessions: 1 };
    let reach = through(&settings, Some(pin), closed_port()).await;
    assert_eq!(reach.outcome, AskOutcome::Unknown, "{reach:?}");
}

/// A way to the port of a server that swallows everything from a while after the first connection on.
async fn falling_silent(to: u16, after: Duration) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        let silence = tokio::time::sleep(after);
        tokio::pin!(silence);
        loop {
            tokio::select! {
                () = &mut silence => break,
                Ok(read @ 1..) = near.read(&mut up) => far.write_all(&up[..read]).await.unwrap(),
                Ok(read @ 1..) = far.read(&mut down) => near.write_all(&down[..read]).await.unwrap(),
                else => return,
            }
        }
        while near.read(&mut up).await.is_ok_and(|read| read > 0) {}
    });
    port
}

/// A way to the port of a server that ends when its task is aborted.
async fn hanging_up(to: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    (port, task)
}
