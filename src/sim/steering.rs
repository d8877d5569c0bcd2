//! The policies that can steer a world, by name.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::policy_of_keys;
use crate::model::Policy;

use super::peers::{Brake, Counter, Counting, Nothing, Oracle};
use super::pilot::{Eyes, Pilot, Witness};
use super::scenario::Scenario;

/// Who steers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Nobody.
    Nothing,
    /// The script that this program began as: 4 strikes in 60 min, checks once a minute, at most 2 out (3 from 8 nodes on).
    Classic,
    /// 3 failures in a row are down, 3 successes up; all are published when none is up.
    ThreeThree,
    /// 3 failures in a row are down, 2 successes up; all are published when less than half are up.
    Panic,
    /// 5 failures in a row eject for 30 s, longer each time, at most 10 % but always one.
    EjectTen,
    /// gdnsd's defaults: 10 failures, 10 successes forgive, 20 are up; all are published when less than half are up.
    Gdnsd,
    /// Told the truth, acts on it at once.
    Oracle,
    /// The rule, with these eyes.
    Rule {
        /// Its policy; none: the defaults with the scenario's keys.
        policy: Option<Box<Policy>>,
        /// What it is told.
        eyes: Eyes,
    },
}

impl Steering {
    /// The name in tables.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Classic => "classic".to_owned(),
            Self::ThreeThree => "3/3".to_owned(),
            Self::Panic => "3/2+panic".to_owned(),
            Self::EjectTen => "eject10".to_owned(),
            Self::Gdnsd => "gdnsd".to_owned(),
            Self::Oracle => "oracle".to_owned(),
            Self::Rule { eyes, .. } => {
                let level = [eyes.latencies, eyes.loads, eyes.relays].iter().filter(|has| **has).count();
                format!("witness L{level}{}", if eyes.shed { "+shed" } else { "" })
            }
        }
    }

    /// The rule with its defaults at a level.
    #[must_use]
    pub fn rule(level: u8, shed: bool) -> Self {
        Self::Rule { policy: None, eyes: Eyes::of_level(level, shed) }
    }

    /// What it is told.
    #[must_use]
    pub fn eyes(&self) -> Eyes {
        match self {
            Self::Rule { eyes, .. } => *eyes,
            _ => Eyes::of_level(0, false),
        }
    }

    pub(super) fn pilot(&self, scenario: &Scenario) -> Result<Box<dyn Pilot>, String> {
        let nodes = scenario.node.len();
        let counter = |counting, brake| Ok(Box::new(Counter::new(nodes, counting, brake)) as Box<dyn Pilot>);
        match self {
            Self::Nothing => Ok(Box::new(Nothing)),
            Self::Oracle => Ok(Box::new(Oracle::new(nodes))),
            Self::ThreeThree => counter(Counting::InARow { down: 3, up: 3 }, Brake::WhenNone),
            Self::Panic => counter(Counting::InARow { down: 3, up: 2 }, Brake::Below { percent: 50 }),
            Self::EjectTen => {
                let counting = Counting::Ejection { down: 5, base_ms: 30_000, most_ms: 300_000 };
                counter(counting, Brake::AtMost { percent: 10 })
            }
            Self::Gdnsd => {
                let counting = Counting::WithPatience { down: 10, ok: 10, up: 20 };
                counter(counting, Brake::Below { percent: 50 })
            }
            Self::Classic => {
                let minute = Duration::from_secs(60);
                let policy = Policy {
                    interval: minute,
                    fast_interval: minute,
                    max_withdrawn: if nodes >= 8 { 3 } else { 2 },
                    ..Policy::default().classic()
                };
                Ok(Box::new(Witness::new(scenario, &policy, Eyes::of_level(0, false))?))
            }
            Self::Rule { policy, eyes } => {
                let policy = match policy {
                    Some(policy) => policy.as_ref().clone(),
                    None => of_keys(scenario)?,
                };
                Ok(Box::new(Witness::new(scenario, &policy, *eyes)?))
            }
        }
    }
}

/// The defaults with the scenario's keys.
fn of_keys(scenario: &Scenario) -> Result<Policy, String> {
    let json = serde_json::to_value(&scenario.policy).map_err(|error| format!("policy: {error}"))?;
    let keys: Map<String, Value> = json.as_object().cloned().unwrap_or_default();
    let defaults = Policy::default();
    policy_of_keys(&keys, defaults.interval, defaults.fast_interval).map_err(|problems| {
        problems.iter().map(|one| format!("policy: {}: {}", one.subject(), one.message)).collect::<Vec<_>>().join("; ")
    })
}
