//! Rounds side by side, and rounds that are given up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use witness::model::{HttpsProbe, Outcome, ProbeSettings, SshLevel, SshProbe};
use witness::probe::Prober;

use crate::support::net::{Manners, Server, closed_port};
use crate::support::pki::Authority;
use crate::support::tls::{Script, TlsServer};
use crate::support::{HOST, https_settings, node, only, only_https, ssh_settings};

/// Whether `condition` comes to hold.
async fn comes(condition: impl Fn() -> bool) -> bool {
    for _ in 0..500 {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_round_that_is_dropped_leaves_no_connection_behind() {
    let ca = Authority::new();
    for manners in [Manners::Silent, Manners::Say("SSH-2.0-hung\r\n")] {
        let server = Server::start(manners);
        // So long that nothing ends by itself.
        let timeout = Duration::from_secs(120);
        let settings = ProbeSettings {
            https: Some(HttpsProbe { timeout, ..https_settings(server.port, ca.file()) }),
            ssh: Some(SshProbe { timeout, ..ssh_settings(server.port, SshLevel::Handshake) }),
            ..ProbeSettings::default()
        };
        let prober = Prober::new(settings).unwrap();
        let home = node(&["127.0.0.1"]);
        let mut round = Box::pin(prober.round(&home));
        let connected = comes(|| server.accepted.load(Ordering::SeqCst) == 2);
        tokio::select! {
            round = &mut round => panic!("over already: {round:?}"),
            connected = connected => assert!(connected),
        }
        // Let what they say be seen and the ssh session begin.
        let _ = tokio::time::timeout(Duration::from_millis(300), &mut round).await;
        drop(round);
        assert!(comes(|| server.ended.load(Ordering::SeqCst) == 2).await, "connections are left open");
    }
}

#[tokio::test]
async fn a_prober_that_is_dropped_ends_its_sessions() {
    let server = Server::start(Manners::Say("SSH-2.0-hung\r\n"));
    let ssh = SshProbe { timeout: Duration::from_secs(120), ..ssh_settings(server.port, SshLevel::Handshake) };
    let settings = ProbeSettings { ssh: Some(ssh), ..ProbeSettings::default() };
    let prober = Prober::new(settings).unwrap();
    let home = node(&["127.0.0.1"]);
    let _ = tokio::time::timeout(Duration::from_millis(500), prober.round(&home)).await;
    drop(prober);
    assert!(comes(|| server.ended.load(Ordering::SeqCst) == 1).await, "the session is left open");
}

#[tokio::test]
async fn a_slow_node_delays_no_other() {
    let ca = Authority::new();
    let server = TlsServer::start(ca.server(HOST, -1, 90), Script::answer("200 OK", ""));
    let silent = Server::start(Manners::Silent);
    let healthy = Prober::new(only_https(https_settings(server.port, ca.file()))).unwrap();
    let hung = Prober::new(only_https(https_settings(silent.port, ca.file()))).unwrap();
    let home = node(&["127.0.0.1"]);
    let mut slow = Box::pin(hung.round(&home));
    for _ in 0..5 {
        tokio::select! {
            biased;
            _ = &mut slow => panic!("the slow one was first"),
            round = healthy.round(&home) => assert_eq!(only(round).outcome, Outcome::Passed),
        }
    }
}

#[tokio::test]
async fn anchors_that_refuse_are_reached_and_silent_ones_are_not() {
    let reached = Server::start(Manners::Silent);
    let full = crate::support::net::Full::start().await;
    let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let ca = Authority::new();
    let mut https = https_settings(1, ca.file());
    https.connect_timeout = Duration::from_millis(500);
    let settings = ProbeSettings {
        https: Some(https),
        anchors: vec![at(reached.port), at(closed_port()), at(full.port)],
        ..ProbeSettings::default()
    };
    let seen = Prober::new(settings).unwrap().anchors().await.unwrap();
    assert_eq!((seen.ok, seen.of), (2, 3));
    assert!(Prober::new(ProbeSettings::default()).unwrap().anchors().await.is_none());
}
