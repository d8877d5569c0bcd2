//! Having a node connect to another one, through a real sshd.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use witness::model::{AskOutcome, Fingerprint, RelaySettings};
use witness::probe::{Forwarder, Reach};

use crate::support::net::{Full, Manners, Server, closed_port};
use crate::support::sshd::{Sshd, fingerprint_of, keygen, may_log_in, user};
use crate::support::{ms, node};

fn settings(sshd: &Sshd, timeout: Duration) -> RelaySettings {
    RelaySettings { user: user(), key_file: sshd.user_key(), port: sshd.port, timeout, max: 3 }
}

/// What the node behind `settings`, which is to show `key`, makes of a port of this machine.
async fn through(settings: &RelaySettings, key: Option<Fingerprint>, port: u16) -> Reach {
    let mut relay = node(&["127.0.0.1"]);
    relay.ssh_host_key = key;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Forwarder::new(settings).unwrap().reach(&relay, Ipv4Addr::LOCALHOST.into(), target).await
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
    let settings = RelaySettings { user: user(), key_file: key, port: closed_port(), timeout: ms(20_000), max: 3 };
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
