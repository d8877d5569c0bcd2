//! Tells the nodes to shed load, as the rule's ladder wants it.
//!
//! It decides nothing. What a node is told ends by itself when it is not told again, so that a witness that goes away
//! leaves nobody throttled; the rule asks for that often enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::model::{
    ActionKind, Evidence, ExecSettings, Fleet, HttpsProbe, Judgement, Node, NodeId, ShedKind, ShedPolicy, ShedSettings,
};
use crate::probe::{Orderly, ProbeSetupError};
use crate::program::{Ran, run};

/// Tells nodes. Meant to be shared.
#[derive(Debug)]
pub struct Shedder {
    how: How,
    timeout: Duration,
    fleet: Fleet,
    policy: ShedPolicy,
    /// Orders given so far.
    given: AtomicU64,
    /// For each node the last order that was carried out, held while one is: none overtakes another.
    last: BTreeMap<NodeId, Mutex<u64>>,
}

#[derive(Debug)]
enum How {
    Edge(Box<Orderly>),
    Exec(ExecSettings),
}

/// What one node is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whom.
    pub node: NodeId,
    /// The step; 0 lifts whatever it was told before.
    pub step: u8,
    /// What its clients get at this step, percent.
    pub percent: u32,
    /// For how long, seconds.
    pub for_s: u64,
    /// Those with a higher number are newer.
    number: u64,
}

impl Shedder {
    /// Tells nobody yet. `https` is how the nodes are probed, which the edges are told by.
    ///
    /// # Errors
    /// [`ProbeSetupError`] when edges cannot be connected to as configured.
    pub fn new(
        settings: &ShedSettings,
        policy: &ShedPolicy,
        fleet: &Fleet,
        https: Option<&HttpsProbe>,
    ) -> Result<Self, ProbeSetupError> {
        let how = match (&settings.kind, https) {
            (ShedKind::Edge(token), Some(https)) => How::Edge(Box::new(Orderly::new(https, token)?)),
            (ShedKind::Edge(_), None) => return Err(ProbeSetupError::NoHttps),
            (ShedKind::Exec(exec), _) => How::Exec(exec.clone()),
        };
        Ok(Self {
            how,
            timeout: settings.timeout,
            fleet: fleet.clone(),
            policy: policy.clone(),
            given: AtomicU64::new(0),
            last: fleet.nodes.keys().map(|id| (id.clone(), Mutex::new(0))).collect(),
        })
    }

    /// Whom a judgement wants to be told what. A node of several pools does as the one in the greatest need says. Who gives
    /// no sign of life, or refuses, is not told: it carries nothing, and is told with the next renewal when it is back.
    #[must_use]
    pub fn orders(&self, judgement: &Judgement) -> Vec<Order> {
        let concerned: BTreeSet<&NodeId> = judgement
            .actions
            .iter()
            .filter(|action| action.kind == ActionKind::Shed)
            .filter_map(|action| self.fleet.pools.get(action.pool.as_ref()?))
            .flat_map(|pool| &pool.nodes)
            .collect();
        let is_gone = |id: &NodeId| {
            let gone = |evidence| matches!(evidence, Evidence::Silent | Evidence::Down);
            judgement.nodes.iter().any(|one| one.node == *id && gone(one.evidence))
        };
        let step_of = |id: &NodeId| {
            let steps = self.fleet.pools_of(id).filter_map(|pool| judgement.memory.pools.get(&pool.id));
            steps.map(|memory| memory.shed.step).max().unwrap_or(0)
        };
        concerned
            .into_iter()
            .filter(|id| !is_gone(id))
            .map(|id| {
                let step = step_of(id);
                Order {
                    node: id.clone(),
                    step,
                    percent: self.policy.steps.get(usize::from(step)).copied().unwrap_or(100),
                    for_s: self.policy.lasts.as_secs().max(1),
                    number: self.given.fetch_add(1, Ordering::Relaxed) + 1,
                }
            })
            .collect()
    }

    /// Tells them, all at once, and returns what failed, for people. It takes two time-outs for each order that is under
    /// way for the same node, at the most.
    pub async fn tell(self: &Arc<Self>, orders: Vec<Order>) -> Vec<String> {
        let mut work = JoinSet::new();
        for order in orders {
            let shedder = Arc::clone(self);
            work.spawn(async move {
                let told = shedder.carry_out(&order).await;
                told.err()
                    .map(|why| format!("node {} was not told to shed load (step {}): {why}", order.node, order.step))
            });
        }
        let mut failures: Vec<String> = work.join_all().await.into_iter().flatten().collect();
        failures.sort();
        failures
    }

    /// Tries twice: who is so busy that it must shed load loses packets, too.
    async fn carry_out(&self, order: &Order) -> Result<(), String> {
        let (Some(node), Some(last)) = (self.fleet.nodes.get(&order.node), self.last.get(&order.node)) else {
            return Ok(()); // orders are made of the same fleet
        };
        let mut last = last.lock().await;
        if *last > order.number {
            return Ok(());
        }
        *last = order.number;
        let mut failed = String::new();
        for _ in 0..TRIES {
            match self.try_once(node, order).await {
                Ok(()) => {
                    tracing::info!(node = %node.id, step = order.step, for_s = order.for_s, "told to shed load");
                    return Ok(());
                }
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    async fn try_once(&self, node: &Node, order: &Order) -> Result<(), String> {
        match &self.how {
            How::Edge(edge) => {
                let body = format!(r#"{{"step":{},"for_s":{}}}"#, order.step, order.for_s);
                let mut failed = "it has no address".to_owned();
                let each = self.timeout / u32::try_from(node.addresses.len()).unwrap_or(1).max(1);
                // It has one step, whichever of its addresses is told.
                for address in &node.addresses {
                    match edge.put(*address, PATH, body.clone(), each).await {
                        Ok(()) => return Ok(()),
                        Err(why) => failed = format!("{address}: {why}"),
                    }
                }
                Err(failed)
            }
            How::Exec(settings) => {
                let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
                let variables = [
                    ("WITNESS_NODE", node.id.to_string()),
                    ("WITNESS_ADDRESSES", addresses.join(" ")),
                    ("WITNESS_STEP", order.step.to_string()),
                    ("WITNESS_PERCENT", order.percent.to_string()),
                    ("WITNESS_FOR_S", order.for_s.to_string()),
                ];
                let program = &settings.command[0];
                match run(settings, &variables, b"", self.timeout).await {
                    Ran::Ended { status, .. } if status.success() => Ok(()),
                    Ran::Ended { status, tail, .. } => Err(format!("{program} ended with {status}{tail}")),
                    Ran::NotStarted { why } => Err(format!("{program} cannot be run: {why}")),
                    Ran::TooLong { tail } => {
                        Err(format!("{program} did not finish within {:?} and was killed{tail}", self.timeout))
                    }
                    Ran::TooMuch { limit, tail } => {
                        Err(format!("{program} wrote more than {limit} bytes and was killed{tail}"))
                    }
                }
            }
        }
    }
}

const PATH: &str = "/.witness/shed";
const TRIES: u32 = 2;
