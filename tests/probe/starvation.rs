//! A process that does not run must not blame the nodes.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use witness::model::{ProbeKind, ProbeSettings, SshLevel, SshProbe};
use witness::probe::Prober;

use crate::support::net::{Manners, Server, closed_port};
use crate::support::pki::Authority;
use crate::support::{child, ending, https_settings, is_child, ms, node, ssh_settings};

fn settings(ca: &Authority, port: u16) -> ProbeSettings {
    let mut https = https_settings(port, ca.file());
    https.timeout = ms(1500);
    let ssh = SshProbe { timeout: ms(1500), ..ssh_settings(port, SshLevel::Handshake) };
    ProbeSettings { https: Some(https), ssh: Some(ssh), ..ProbeSettings::default() }
}

/// How the probes of a server end while the thread that everything runs on is taken away for `span`.
async fn blocked(port: u16, span: Duration) -> (String, String) {
    let ca = Authority::new();
    let prober = Prober::new(settings(&ca, port)).unwrap();
    let home = node(&["127.0.0.1"]);
    let hog = async {
        tokio::time::sleep(ms(300)).await;
        std::thread::sleep(span);
    };
    let (round, ()) = tokio::join!(prober.round(&home), hog);
    (ending(&round, ProbeKind::Https), ending(&round, ProbeKind::Ssh))
}

#[tokio::test]
async fn timeouts_of_a_blocked_runtime_are_inconclusive() {
    let server = Server::start(Manners::Silent);
    for span in [700, 3000] {
        let (https, ssh) = blocked(server.port, ms(span)).await;
        assert_eq!((https.as_str(), ssh.as_str()), ("inconclusive:starved", "inconclusive:starved"), "{span} ms");
    }
}

#[tokio::test]
async fn answers_are_believed_however_late() {
    let (https, ssh) = blocked(closed_port(), ms(700)).await;
    assert_eq!((https.as_str(), ssh.as_str()), ("refused", "refused"));
}

/// The process is stopped from outside while its probes wait: everything in it, the threads for ssh too, stands still.
#[test]
fn a_stopped_process_convicts_nobody() {
    let test = "starvation::a_stopped_process_convicts_nobody";
    if is_child() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(async {
            let ca = Authority::new();
            let silent = Server::start(Manners::Silent);
            let hung = Server::start(Manners::Say("SSH-2.0-hung\r\n"));
            let mut settings = settings(&ca, silent.port);
            settings.ssh.as_mut().unwrap().port = hung.port;
            let prober = Prober::new(settings).unwrap();
            let home = node(&["127.0.0.1"]);
            let say = async {
                tokio::time::sleep(ms(300)).await;
                println!("\nprobing");
            };
            let (round, ()) = tokio::join!(prober.round(&home), say);
            assert_eq!(ending(&round, ProbeKind::Https), "inconclusive:starved", "{round:?}");
            assert_eq!(ending(&round, ProbeKind::Ssh), "inconclusive:starved", "{round:?}");
            // And when it runs again, silence is silence.
            let round = prober.round(&home).await;
            assert!(!ending(&round, ProbeKind::Https).is_empty());
        });
    }
    let mut stopped = child(test, &[]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let pid = Pid::from_child(&stopped);
    let mut lines = BufReader::new(stopped.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "probing"), "the child ended early");
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(ms(3000));
    kill_process(pid, Signal::CONT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(stopped.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("1 passed")), "{rest:?}");
}
