//! What nodes carry, asked over SSH in the session of a probe that logs in.

use std::time::Duration;

use witness::model::{LoadFigure, LoadSource, Outcome, ProbeSettings, SshLevel, SshProbe};
use witness::probe::Prober;

use crate::ssh::login;
use crate::support::sshd::{Sshd, may_log_in};
use crate::support::{look, node, only, only_ssh, ssh_settings};

/// A node that is asked every `seconds`.
fn prober(ssh: SshProbe, seconds: u64) -> Prober {
    Prober::new(ProbeSettings { load_every: Duration::from_secs(seconds), ..only_ssh(ssh) }).unwrap()
}

/// What a probe that passes learns.
async fn figures(prober: &Prober) -> Vec<LoadFigure> {
    let seen = only(look(prober, &node(&["127.0.0.1"])).await);
    assert_eq!(seen.outcome, Outcome::Passed, "{seen:?}");
    prober.loads()
}

fn processors() -> u32 {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    u32::try_from(told.lines().filter(|line| line.starts_with("processor")).count()).unwrap()
}

#[tokio::test]
async fn a_login_tells_what_the_machine_carries() {
    if !may_log_in() {
        return;
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let prober = prober(login(&sshd, "true"), 0);
    let first = figures(&prober).await;
    let [figure] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!((figure.source, figure.ncpu, figure.tx_bps), (LoadSource::Ssh, Some(processors()), None), "{figure:?}");
    assert!(figure.load1_milli.is_some(), "{figure:?}");
    tokio::time::sleep(Duration::from_millis(150)).await;
    let second = figures(&prober).await;
    let told = std::fs::read_to_string("/proc/net/dev").unwrap();
    let wired = told.lines().any(|line| line.trim_start().starts_with("eth"));
    assert!(!wired || second[0].tx_bps.is_some(), "with a second look there is a rate: {second:?}");
}

#[tokio::test]
async fn it_is_asked_once_an_interval() {
    if !may_log_in() {
        return;
    }
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    let prober = prober(login(&sshd, "true"), 3600);
    assert_eq!(figures(&prober).await.len(), 1);
    assert_eq!(figures(&prober).await, []);
}

#[tokio::test]
async fn who_is_not_logged_in_to_is_not_asked() {
    let Some(sshd) = Sshd::start(&["ed25519"], "") else { return };
    assert_eq!(figures(&prober(ssh_settings(sshd.port, SshLevel::Handshake), 0)).await, []);
}

#[tokio::test]
async fn what_it_does_instead_costs_nothing() {
    if !may_log_in() {
        return;
    }
    let probe = r#"[ "$SSH_ORIGINAL_COMMAND" = true ] && exit 0"#;
    for instead in ["echo this account does one thing", "exit 1", "kill $$", "yes | head -c 3000000", "sleep 600"] {
        let Some(sshd) = Sshd::start(&["ed25519"], &format!("ForceCommand {probe}; {instead}")) else { return };
        let prober = prober(login(&sshd, "true"), 0);
        assert_eq!(figures(&prober).await, [], "{instead}");
    }
}
