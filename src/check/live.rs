//! What registrars, name servers, anchors and nodes say right now. Asks all of them; changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::dns;
use crate::model::{Fault, Node, Outcome, Pool, PublishedSets, Round, TlsFault};
use crate::probe::{Prober, sweep};
use crate::{publish, registrar, rule};

/// Asks everybody, in the order of the configuration.
pub async fn check_live(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pool in config.fleet.pools.values() {
        match read(config, pool).await {
            Ok(sets) => {
                published(config, pool, &sets, &mut findings);
                name_servers(pool, &sets, &mut findings).await;
            }
            Err(why) => findings.push(Finding::error(
                format!("registrar {}", pool.registrar),
                format!("zone {} cannot be read: {why}", pool.zone),
                "look at the keys of this registrar, and at its page in docs/registrars".to_owned(),
            )),
        }
    }
    probes(config, &mut findings).await;
    findings
}

async fn read(config: &Config, pool: &Pool) -> Result<PublishedSets, String> {
    let registrar =
        registrar::connect(&config.registrars[&pool.registrar], &pool.zone).map_err(|error| error.to_string())?;
    let sets = rule::sets_of(&config.fleet, pool);
    registrar.observe(&sets).await.map(|reading| reading.sets).map_err(|error| error.to_string())
}

fn published(config: &Config, pool: &Pool, sets: &PublishedSets, findings: &mut Vec<Finding>) {
    let subject = || format!("pool {}", pool.id);
    for (key, set) in sets.iter().filter(|(_, set)| !set.addresses.is_empty()) {
        let list: Vec<String> = set.addresses.iter().map(ToString::to_string).collect();
        findings.push(Finding::note(subject(), format!("{key} has {} with a TTL of {} s", list.join(" "), set.ttl)));
        if u64::from(set.ttl) != pool.ttl.as_secs() {
            findings.push(Finding::warning(
                subject(),
                format!("{key} has a TTL of {} s, and {} s are configured", set.ttl, pool.ttl.as_secs()),
                "change it at the registrar; a write by witness keeps the TTL a set has".to_owned(),
            ));
        }
        for address in &set.addresses {
            if !config.fleet.nodes_of(pool).any(|node| node.addresses.contains(address)) {
                findings
                    .push(Finding::note(subject(), format!("{address} in {key} is no node's; it is never touched")));
            }
        }
    }
    for owner in &pool.records {
        if !sets.iter().any(|(key, set)| key.owner == *owner && !set.addresses.is_empty()) {
            findings.push(Finding::error(
                subject(),
                format!("there is no address record {owner} in zone {}", pool.zone),
                "make the record at the registrar, or correct `records`".to_owned(),
            ));
        }
    }
    for node in config.fleet.nodes_of(pool) {
        let is_in = |address| sets.values().any(|set| set.addresses.contains(address));
        if !node.addresses.iter().any(is_in) {
            findings.push(Finding::warning(
                subject(),
                format!("{} is not in the records; witness leaves it out until a person puts it in", node.id),
                format!("`witness reinstate {}`, or take it out of `nodes`", node.id),
            ));
        }
    }
}

async fn name_servers(pool: &Pool, sets: &PublishedSets, findings: &mut Vec<Finding>) {
    let servers = match publish::servers(pool).await {
        Ok(servers) => servers,
        Err(why) => {
            findings.push(Finding::warning(
                format!("zone {}", pool.zone),
                format!("its name servers are not known, so that changes cannot be proved: {why}"),
                format!("name them in `nameservers` of pool {}", pool.id),
            ));
            return;
        }
    };
    let there: PublishedSets =
        sets.iter().filter(|(_, set)| !set.addresses.is_empty()).map(|(key, set)| (key.clone(), set.clone())).collect();
    for report in dns::publication::check_once(&there, &pool.zone, &servers).await {
        let subject = format!("name server {}", report.server);
        findings.push(match report.seen_at {
            Some(_) => Finding::note(subject, format!("shows what the registrar holds for pool {}", pool.id)),
            None => Finding::warning(
                subject,
                format!("does not show what the registrar holds for pool {}: {}", pool.id, report.last),
                "wait for it to follow, or correct `nameservers`".to_owned(),
            ),
        });
    }
}

async fn probes(config: &Config, findings: &mut Vec<Finding>) {
    let prober = match Prober::new(config.probes.clone()) {
        Ok(prober) => Arc::new(prober),
        Err(error) => {
            let remedy = "correct the section of this probe".to_owned();
            findings.push(Finding::error("probes", error.to_string(), remedy));
            return;
        }
    };
    for notice in prober.notices() {
        findings.push(Finding::warning("probes", notice, "until then this probe says nothing of nodes".to_owned()));
    }
    let (rounds, anchors) = sweep(&prober, config.fleet.nodes.values().cloned()).await;
    if let Some(anchors) = anchors {
        let what = format!("{} of {} answered", anchors.ok, anchors.of);
        findings.push(if anchors.ok == anchors.of {
            Finding::note("anchors", what)
        } else if 2 * anchors.ok < anchors.of {
            let remedy = "look at this machine's network and firewall, or choose other anchors".to_owned();
            Finding::error("anchors", format!("{what}: witness would think itself isolated"), remedy)
        } else {
            Finding::warning("anchors", what, "choose anchors that answer".to_owned())
        });
    }
    for round in &rounds {
        tell(config, &config.fleet.nodes[&round.node], round, findings);
    }
    super::relays::relays(config, &rounds, findings).await;
}

fn tell(config: &Config, node: &Node, round: &Round, findings: &mut Vec<Finding>) {
    let subject = || format!("node {}", node.id);
    let warn_days = config.probes.https.as_ref().map_or(0, |https| https.warn_certificate_days);
    for one in &round.observations {
        let note = one.measured.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let took = Duration::from_micros(u64::from(one.measured.total_us)).as_millis();
        findings.push(match one.outcome {
            Outcome::Passed => Finding::note(subject(), format!("{} {} passed in {took} ms", one.probe, one.address)),
            Outcome::Failed(fault) => Finding::warning(
                subject(),
                format!("{} {} failed: {fault}{note}", one.probe, one.address),
                remedy(fault),
            ),
            Outcome::Inconclusive(own) => Finding::warning(
                subject(),
                format!("{} {} could not be tried: {}{note}", one.probe, one.address, own.name()),
                "look at this machine: the fault is ours, and is never held against a node".to_owned(),
            ),
        });
        if let Some(days) = one.measured.certificate_days.filter(|days| *days <= warn_days) {
            findings.push(Finding::warning(
                subject(),
                format!("the certificate at {} ends in {days} days", one.address),
                "renew it".to_owned(),
            ));
        }
    }
}

fn remedy(fault: Fault) -> String {
    match fault {
        Fault::Refused => "start the service, or correct the port",
        Fault::Unreachable | Fault::Timeout(_) | Fault::Lost => {
            "see whether it is up, and whether a firewall is in the way"
        }
        Fault::Reset | Fault::Protocol => "see what listens there",
        Fault::Tls(TlsFault::UnknownIssuer) => "set `ca_file` to the authority that signed the certificate",
        Fault::Tls(TlsFault::WrongName) => "serve a certificate for the host in `url`",
        Fault::Tls(_) => "renew or correct its certificate",
        Fault::Status(_) | Fault::Body => "see what `url` answers, or correct `expect_status` and `expect_body`",
        Fault::Shedding(_) => "it says that it has too much to do; that alone never costs it its record",
        Fault::HostKey => {
            "if the key was changed on purpose, correct `ssh_host_key`; if not, find out who answers there"
        }
        Fault::Auth => "look at `user` and `key_file` of the ssh probe; a second factor needs level \"handshake\"",
        Fault::Exit(_) => "look at the ssh probe's `command` on the node",
    }
    .to_owned()
}
