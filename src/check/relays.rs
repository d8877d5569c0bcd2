//! Whether each node can be asked to look at another one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Finding;
use crate::config::Config;
use crate::model::{AskOutcome, Node, Outcome, ProbeKind, Round};
use crate::probe::{Forwarder, Reach};

/// Has every node try another one that serves, all of them at once.
pub(super) async fn relays(config: &Config, rounds: &[Round], findings: &mut Vec<Finding>) {
    let Some(settings) = &config.relays else { return };
    let forwarder = match Forwarder::new(settings) {
        Ok(forwarder) => Arc::new(forwarder),
        Err(error) => {
            let remedy = "correct [relays]".to_owned();
            findings.push(Finding::error("relays", error.to_string(), remedy));
            return;
        }
    };
    let mut tries = JoinSet::new();
    for round in rounds {
        let node = &config.fleet.nodes[&round.node];
        let Some(alive) = round.observations.iter().find(|one| one.is_sign_of_life()) else { continue };
        let Some(address) = other(config, rounds, node).and_then(|other| other.addresses.first()) else { continue };
        let target = SocketAddr::new(*address, config.service_port());
        let (forwarder, node, at) = (Arc::clone(&forwarder), node.clone(), alive.address);
        tries.spawn(async move {
            let reach = forwarder.reach(&node, at, target, None).await;
            (node, target, reach)
        });
    }
    let mut told: Vec<_> = tries.join_all().await;
    told.sort_by(|(a, ..), (b, ..)| a.id.cmp(&b.id));
    findings.extend(told.iter().map(|(node, target, reach)| finding(node, *target, reach)));
}

/// The node after `node` that serves, or the next one if none does.
fn other<'a>(config: &'a Config, rounds: &[Round], node: &Node) -> Option<&'a Node> {
    let serves = |node: &Node| {
        let passed = |round: &Round| {
            round.observations.iter().any(|one| one.probe == ProbeKind::Https && one.outcome == Outcome::Passed)
        };
        rounds.iter().any(|round| round.node == node.id && passed(round))
    };
    let nodes = &config.fleet.nodes;
    let after = nodes.values().filter(|other| other.id > node.id);
    let others: Vec<&Node> = after.chain(nodes.values().filter(|other| other.id < node.id)).collect();
    others.iter().find(|node| serves(node)).or(others.first()).copied()
}

fn finding(node: &Node, target: SocketAddr, reach: &Reach) -> Finding {
    let subject = format!("relay {}", node.id);
    match reach.outcome {
        AskOutcome::Reached => {
            let took = Duration::from_micros(u64::from(reach.took_us)).as_millis();
            Finding::note(subject, format!("reaches {target} in {took} ms, the login included"))
        }
        AskOutcome::Nothing => Finding::warning(
            subject,
            format!("reaches nothing at {target}"),
            "see whether a firewall between the two is in the way, or whether nobody reaches it".to_owned(),
        ),
        AskOutcome::Unknown if node.ssh_host_key.is_none() => Finding::warning(
            subject,
            "is never asked, since its host key is not known".to_owned(),
            "add its ssh_host_key: ssh-keyscan HOST | ssh-keygen -lf -".to_owned(),
        ),
        AskOutcome::Unknown => Finding::warning(
            subject,
            format!("cannot be asked about {target}: {}", reach.note),
            "see docs/relays-and-shedding.md for the user, the key and what it must be allowed".to_owned(),
        ),
    }
}
