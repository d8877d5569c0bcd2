//! Relays: nodes that show life try to reach one that is silent to us, so that its death can be told from a broken way
//! to it.
//!
//! It decides nothing: the rule says whom to ask about, and makes of the answers what it will. What a relay cannot know is
//! answered with "unknown", never with "nothing".

mod choose;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::task::JoinSet;

use choose::controls;
pub use choose::{Alive, choose};

use crate::clock;
use crate::model::{Ask, AskHow, AskOutcome, Fleet, Node, NodeId, RelaySettings, Round};
use crate::probe::{Forwarder, ProbeSetupError, UnderWay};

/// Who can be asked, and who is being asked about.
#[derive(Debug)]
pub struct Relays {
    forwarder: Arc<Forwarder>,
    nodes: BTreeMap<NodeId, Node>,
    /// The service's port.
    port: u16,
    max: usize,
    alive: BTreeMap<NodeId, Alive>,
    under_way: UnderWay,
    /// Questions under way, whoever they are about.
    open: usize,
    /// Questions asked so far: others come first each time.
    turn: usize,
}

/// What came of asking about one node: an answer of each relay.
#[derive(Debug)]
pub struct Answers {
    /// Whom it was about.
    pub about: NodeId,
    /// What each says.
    pub asks: Vec<Ask>,
}

impl Relays {
    /// Reads the key and starts two threads; connects to nobody yet. `port` is the one that nodes are tried at.
    ///
    /// # Errors
    /// [`ProbeSetupError`] when the key cannot be read or the threads cannot be started.
    pub fn new(settings: &RelaySettings, fleet: &Fleet, port: u16) -> Result<Self, ProbeSetupError> {
        Ok(Self {
            forwarder: Arc::new(Forwarder::new(settings)?),
            nodes: fleet.nodes.clone(),
            port,
            max: settings.max,
            alive: BTreeMap::new(),
            under_way: UnderWay::default(),
            open: 0,
            turn: 0,
        })
    }

    /// Takes in a round: who showed life in the last one can be asked.
    pub fn saw(&mut self, round: &Round) {
        match round.observations.iter().find(|one| one.is_sign_of_life()) {
            Some(one) => self.alive.insert(round.node.clone(), Alive { at: one.address, passes: !round.failed() }),
            None => self.alive.remove(&round.node),
        };
    }

    /// Has sessions kept to a node that showed life in its last round. Must be called on a runtime.
    pub fn stand_by(&self, node: &NodeId) {
        if let (Some(alive), Some(node)) = (self.alive.get(node), self.nodes.get(node)) {
            self.forwarder.keep(node, alive.at);
        }
    }

    /// Asks about `silent`. None where nobody can be asked, or too many questions are under way already; otherwise the
    /// answers are to be given to [`Relays::heard`]. It ends with the time-out of its tries at the latest.
    pub fn ask(&mut self, silent: &NodeId) -> Option<impl Future<Output = Answers> + Send + 'static> {
        let node = self.nodes.get(silent)?.clone();
        let chosen = choose(&self.nodes, &self.alive, &node, self.max, self.turn);
        if chosen.is_empty() || self.open >= MOST || !self.under_way.begin(silent) {
            return None;
        }
        self.open += 1;
        self.turn = self.turn.wrapping_add(1);
        let (forwarder, port) = (Arc::clone(&self.forwarder), self.port);
        let turn = self.turn;
        let relays: Vec<_> = chosen
            .into_iter()
            .map(|(id, at)| {
                let controls: Vec<IpAddr> = controls(&self.alive, silent, &id, turn);
                (self.nodes[&id].clone(), at, controls)
            })
            .collect();
        Some(async move {
            let mut tries = JoinSet::new();
            for (relay, at, controls) in relays {
                let (forwarder, addresses) = (Arc::clone(&forwarder), node.addresses.clone());
                let about = node.id.clone();
                tries.spawn(async move {
                    let mut each = JoinSet::new();
                    for address in addresses {
                        let (forwarder, relay) = (Arc::clone(&forwarder), relay.clone());
                        let control = controls.iter().find(|control| control.is_ipv4() == address.is_ipv4());
                        let control = control.map(|control| SocketAddr::new(*control, port));
                        let target = SocketAddr::new(address, port);
                        each.spawn(async move { forwarder.ask(&relay, at, target, control).await });
                    }
                    let mut seen = Vec::new();
                    while let Some(reach) = each.join_next().await {
                        let Ok(reach) = reach else { continue };
                        tracing::debug!(via = %relay.id, node = %about, outcome = ?reach.outcome, note = reach.note, "asked");
                        seen.push(reach.outcome);
                    }
                    let outcome = taken_together(&seen);
                    Ask { via: relay.id, node: about, at: clock::now(), how: AskHow::Tcp, outcome, tries: 1 }
                });
            }
            let mut asks = Vec::new();
            while let Some(ask) = tries.join_next().await {
                asks.extend(ask);
            }
            // Whoever was quickest comes first otherwise.
            asks.sort();
            Answers { about: node.id, asks }
        })
    }

    /// Takes the answers in, so that the node may be asked about again.
    pub fn heard(&mut self, answers: Answers) -> Vec<Ask> {
        self.open = self.open.saturating_sub(1);
        self.under_way.end(&answers.about);
        answers.asks
    }
}

/// What a relay says of a node of several addresses: one that answers is life. One that was tried in vain counts although
/// another could not be tried, as from a relay without IPv6.
fn taken_together(seen: &[AskOutcome]) -> AskOutcome {
    if seen.contains(&AskOutcome::Reached) {
        AskOutcome::Reached
    } else if seen.contains(&AskOutcome::Nothing) {
        AskOutcome::Nothing
    } else {
        AskOutcome::Unknown
    }
}

/// Questions under way at once: with as many relays as usual, a hundred sessions or so.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_that_answers_is_life() {
        use AskOutcome::{Nothing, Reached, Unknown};
        let check = |seen: &[AskOutcome], expected| assert_eq!(taken_together(seen), expected, "{seen:?}");
        check(&[Nothing, Reached], Reached);
        check(&[Unknown, Reached], Reached);
        check(&[Unknown, Nothing], Nothing);
        check(&[Unknown, Unknown], Unknown);
        check(&[], Unknown);
    }
}
