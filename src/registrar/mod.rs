//! What edits the DNS: one trait of five operations, and those who answer it.
//!
//! Nothing here decides. A registrar is shown an [`ApprovedPlan`], which only the guard can make, together with the
//! reading the plan was made against, and says what became of it. It never writes a list of addresses: it takes out and
//! puts in exactly what the plan names, and refuses when what stands is not what was read.

mod exec;
mod mock;
pub mod namecheap;
mod rfc2136;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Plan, PublishedSets, RegistrarKind, RegistrarSettings, SetKey, sets_as_list};
use crate::rule::ApprovedPlan;

pub use exec::Exec;
pub use mock::{Mock, MockFault, MockFaultKind, MockOp, MockZone};
pub use rfc2136::Rfc2136;

/// The registrar that `settings` describe, for one zone. Reads and asks nothing yet.
///
/// # Errors
/// [`RegistrarError::Permanent`] where the settings cannot work: an unusable key, an empty command.
pub fn connect(settings: &RegistrarSettings, zone: &str) -> Result<Box<dyn Registrar>, RegistrarError> {
    let timeout = settings.timeout;
    Ok(match &settings.kind {
        RegistrarKind::Namecheap(settings) => Box::new(namecheap::Namecheap::new(settings, zone, timeout)?),
        RegistrarKind::Rfc2136(settings) => Box::new(Rfc2136::new(settings, zone, timeout)?),
        RegistrarKind::Mock(settings) => Box::new(Mock::new(settings, zone, timeout)),
        RegistrarKind::Exec(settings) => Box::new(Exec::new(settings, zone, timeout)?),
    })
}

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One account and one zone.
pub trait Registrar: Debug + Send + Sync {
    /// What it can do; asks nobody.
    fn describe(&self) -> Description;

    /// Reads the named sets. Every key asked for is in the answer, with no addresses where there is no such set.
    ///
    /// # Errors
    /// [`RegistrarError`] whenever it could not tell; never an empty set instead.
    fn observe<'a>(&'a self, sets: &'a [SetKey]) -> BoxFuture<'a, Result<ZoneReading, RegistrarError>>;

    /// Carries out `plan`, made against `reading`, or says why not. Compares and swaps as well as the provider can.
    fn apply<'a>(&'a self, reading: &'a ZoneReading, plan: &'a ApprovedPlan) -> BoxFuture<'a, ApplyOutcome>;

    /// Reads back what `plan` touched and says whether the provider now holds it.
    ///
    /// # Errors
    /// [`RegistrarError`] whenever it could not tell.
    fn confirm<'a>(&'a self, plan: &'a ApprovedPlan) -> BoxFuture<'a, Result<Confirmation, RegistrarError>>;

    /// Everything in the zone that a person would need to put it back by hand, as this provider writes it.
    ///
    /// # Errors
    /// [`RegistrarError`] whenever it could not be read whole.
    fn restore_info(&self) -> BoxFuture<'_, Result<serde_json::Value, RegistrarError>>;
}

/// What a registrar can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `namecheap`, `rfc2136`, ...
    pub kind: &'static str,
    /// What one write replaces.
    pub granularity: Granularity,
    /// How it notices that somebody else wrote in between.
    pub compare_and_swap: CompareAndSwap,
    /// The lowest TTL it keeps, seconds, where known.
    pub ttl_min: Option<u32>,
    /// What a row loses when it is taken out and put back.
    pub loses: &'static str,
    /// Calls for one reading, and for one change with its reading back.
    pub calls: (u32, u32),
    /// Calls it allows, where known: (how many, within).
    pub budget: Option<(u32, Duration)>,
}

/// What one write replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// The whole zone: unmanaged rows are sent back as they were.
    Zone,
    /// One record set.
    Set,
    /// One record.
    Record,
}

/// How a foreign write between reading and writing is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CompareAndSwap {
    /// By the provider, atomically.
    Atomic,
    /// By us: read again immediately before and after.
    Reread,
}

/// What a registrar holds, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneReading {
    /// The sets asked for.
    #[serde(with = "sets_as_list")]
    pub sets: PublishedSets,
    /// The adapter's own mark of this state of the zone: equal marks, equal state.
    pub token: String,
    /// Everything the adapter saw, for the copy that is kept before a write.
    pub preimage: serde_json::Value,
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Done; the provider's receipt (a serial, an id), for people.
    Applied { receipt: String },
    /// It was so already; nothing was written.
    AlreadyInState,
    /// What stands is not what the plan was made against; nothing was written, or somebody wrote over it at once.
    Conflict { why: String },
    /// This adapter will not: it would lose or damage something. Nothing was written.
    Refused { why: String },
    /// Not now. Nothing was written.
    RateLimited { retry_after: Duration, why: String },
    /// Our credentials are not accepted. Nothing was written.
    Auth { why: String },
    /// It did not work, provably nothing was written, and it may work again.
    Transient { why: String },
    /// Sent, and no answer: it may have been written. Read before anything else.
    Unknown { why: String },
    /// It will never work like this. Nothing was written.
    Permanent { why: String },
}

/// Whether a reading shows what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It does.
    Holds(ZoneReading),
    /// It does not.
    Differs { reading: ZoneReading, why: String },
}

impl Confirmation {
    /// Compares what was read with what `plan` wants.
    #[must_use]
    pub fn of(plan: &Plan, reading: ZoneReading) -> Self {
        let differences: Vec<String> = plan
            .changes
            .iter()
            .filter(|change| reading.addresses(&change.set) != Some(&change.after()))
            .map(|change| reading.in_words(&change.set))
            .collect();
        if differences.is_empty() {
            Self::Holds(reading)
        } else {
            Self::Differs { reading, why: differences.join("; ") }
        }
    }
}

/// How what stands compares with what a plan was made against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Footing {
    /// It is what the plan says it is.
    AsPlanned,
    /// It is what the plan wants already.
    Done,
    /// Neither; in words.
    Moved(String),
}

impl ZoneReading {
    /// The addresses of one set; none where it was not read.
    #[must_use]
    pub fn addresses(&self, set: &SetKey) -> Option<&BTreeSet<IpAddr>> {
        self.sets.get(set).map(|set| &set.addresses)
    }

    /// `@ A holds 192.0.2.11 192.0.2.12`.
    fn in_words(&self, set: &SetKey) -> String {
        match self.addresses(set) {
            None => format!("{set} was not read"),
            Some(addresses) if addresses.is_empty() => format!("{set} does not exist"),
            Some(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                format!("{set} holds {}", addresses.join(" "))
            }
        }
    }

    /// Whether `plan` can be carried out on this.
    pub(crate) fn footing(&self, plan: &Plan) -> Footing {
        if plan.changes.iter().all(|change| self.addresses(&change.set) == Some(&change.after())) {
            return Footing::Done;
        }
        let moved: Vec<String> = plan
            .changes
            .iter()
            .filter(|change| self.addresses(&change.set) != Some(&change.before))
            .map(|change| self.in_words(&change.set))
            .collect();
        if moved.is_empty() { Footing::AsPlanned } else { Footing::Moved(moved.join("; ")) }
    }
}

/// Why a registrar could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrarError {
    /// Too many calls.
    #[error("rate limited, not before {retry_after:?} from now: {why}")]
    RateLimited { retry_after: Duration, why: String },
    /// Credentials.
    #[error("not authorized: {why}")]
    Auth { why: String },
    /// May work again.
    #[error("{why}")]
    Transient { why: String },
    /// Will never work like this: a person must act.
    #[error("{why}")]
    Permanent { why: String },
    /// The answer cannot be trusted: half of it is missing, or it contradicts itself.
    #[error("answer not trusted: {why}")]
    Untrusted { why: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExecSettings, MockSettings, Name, Rfc2136Settings, TsigAlgorithm};

    #[test]
    fn each_kind_is_connected_by_its_name() {
        let rfc2136 = Rfc2136Settings {
            server: ([192, 0, 2, 53], 53).into(),
            key_name: None,
            algorithm: TsigAlgorithm::HmacSha256,
            key: None,
        };
        for kind in [
            RegistrarKind::Rfc2136(rfc2136),
            RegistrarKind::Mock(MockSettings { file: "zone.json".into() }),
            RegistrarKind::Exec(ExecSettings { command: vec!["true".to_owned()], environment: Vec::new() }),
        ] {
            let settings = RegistrarSettings {
                name: Name::new("main").unwrap(),
                timeout: Duration::from_secs(1),
                refresh: Duration::from_secs(60),
                kind,
            };
            assert_eq!(connect(&settings, "example.com").unwrap().describe().kind, settings.kind.name());
        }
    }
}
