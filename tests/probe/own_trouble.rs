//! Trouble of our own, told by errno.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use witness::model::{ProbeKind, ProbeSettings, SshLevel};
use witness::probe::Prober;

use crate::support::net::{Manners, Server};
use crate::support::pki::Authority;
use crate::support::{child, ending, https_settings, is_child, node, pass, ssh_settings};

#[test]
fn without_descriptors_nobody_is_to_blame() {
    if !is_child() {
        return pass(child("own_trouble::without_descriptors_nobody_is_to_blame", &[]));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ca = Authority::new();
        let server = Server::start(Manners::Silent);
        let settings = ProbeSettings {
            https: Some(https_settings(server.port, ca.file())),
            ssh: Some(ssh_settings(server.port, SshLevel::Handshake)),
            anchors: vec![([127, 0, 0, 1], server.port).into()],
            ..ProbeSettings::default()
        };
        let prober = Prober::new(settings).unwrap();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        let round = prober.round(&node(&["127.0.0.1"])).await;
        assert_eq!(ending(&round, ProbeKind::Https), "inconclusive:resources", "{round:?}");
        assert_eq!(ending(&round, ProbeKind::Ssh), "inconclusive:resources", "{round:?}");
        assert!(!round.conclusive() && !round.failed());
        assert_eq!(prober.anchors().await.map(|seen| (seen.ok, seen.of)), Some((0, 1)));
        drop(hoard);
    });
}
