//! A zone in a JSON file: for the demonstration, for tests, and for trying a configuration out.
//!
//! It behaves as a good provider does, and as a bad one where the file says so: see [`MockFault`]. The file is locked
//! while it is read or written, and replaced as a whole.

mod file;

use std::time::Duration;

use serde_json::json;

pub use self::file::{MockFault, MockFaultKind, MockOp, MockZone};
use super::{
    ApplyOutcome, BoxFuture, CompareAndSwap, Confirmation, Description, Footing, Granularity, Registrar,
    RegistrarError, ZoneReading,
};
use crate::model::{MockSettings, Plan, PublishedSets, RecordSet, SetKey};
use crate::rule::ApprovedPlan;

use self::file::{Held, MockFileError};

/// One zone in one file.
#[derive(Clone, Debug)]
pub struct Mock {
    settings: MockSettings,
    zone: String,
    timeout: Duration,
}

impl Mock {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(settings: &MockSettings, zone: &str, timeout: Duration) -> Self {
        Self { settings: settings.clone(), zone: zone.trim_end_matches('.').to_owned(), timeout }
    }

    /// Takes the file, and the fault that is scripted for this call out of it. What that fault does to any call is done.
    async fn open(&self, op: MockOp) -> Result<(Held, Option<MockFaultKind>), Stopped> {
        let (path, zone, patience) = (self.settings.file.clone(), self.zone.clone(), self.timeout);
        let opened = tokio::task::spawn_blocking(move || {
            let mut held = Held::open(&path, &zone, patience)?;
            let fault = held.zone.take_fault(op);
            if fault.is_some() {
                held.write()?;
            }
            Ok::<_, MockFileError>((held, fault))
        });
        let (held, fault) = opened.await.map_err(|error| Stopped::Broken(error.to_string()))??;
        match fault {
            Some(MockFaultKind::RateLimit { retry_after_s }) => Err(Stopped::RateLimited(retry_after_s)),
            Some(MockFaultKind::Auth) => Err(Stopped::Auth),
            Some(MockFaultKind::Unreachable) => Err(Stopped::Unreachable),
            Some(MockFaultKind::Slow { ms }) if Duration::from_millis(ms) < self.timeout => {
                // Others may have the file meanwhile, as with a provider.
                drop(held);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                let (path, zone, patience) = (self.settings.file.clone(), self.zone.clone(), self.timeout);
                let held = tokio::task::spawn_blocking(move || Held::open(&path, &zone, patience)).await;
                Ok((held.map_err(|error| Stopped::Broken(error.to_string()))??, None))
            }
            fault => Ok((held, fault)),
        }
    }

    async fn read(&self, op: MockOp, sets: &[SetKey]) -> Result<ZoneReading, RegistrarError> {
        let (held, fault) = self.open(op).await?;
        let zone = match fault {
            None => held.zone.clone(),
            Some(MockFaultKind::StaleRead) => held.zone.before_last_write(),
            Some(MockFaultKind::Slow { .. }) => {
                drop(held);
                tokio::time::sleep(self.timeout).await;
                return Err(RegistrarError::Transient { why: format!("no answer within {:?}", self.timeout) });
            }
            Some(fault) => {
                let why = format!("scripted fault {:?} in {}", fault.name(), self.settings.file.display());
                return Err(RegistrarError::Untrusted { why });
            }
        };
        drop(held);
        let found: PublishedSets =
            sets.iter().map(|key| (key.clone(), zone.sets.get(key).cloned().unwrap_or_default())).collect();
        let token = format!("serial {}", zone.serial);
        Ok(ZoneReading { sets: found, token, preimage: zone.to_json() })
    }

    async fn change(&self, reading: &ZoneReading, plan: &Plan) -> ApplyOutcome {
        if plan.zone != self.zone {
            return ApplyOutcome::Refused { why: format!("the plan is for zone {}, not {}", plan.zone, self.zone) };
        }
        if let Footing::Moved(why) = reading.footing(plan) {
            return ApplyOutcome::Conflict { why: format!("the plan was made against another reading: {why}") };
        }
        let (mut held, fault) = match self.open(MockOp::Apply).await {
            Ok(opened) => opened,
            Err(stopped) => return stopped.into(),
        };
        if let Some(MockFaultKind::ForeignWrite { set, ttl, addresses }) = &fault {
            held.zone.write(set, RecordSet { ttl: *ttl, addresses: addresses.clone() });
            held.zone.serial = held.zone.serial.wrapping_add(1);
            if let Err(error) = held.write() {
                return Stopped::from(error).into();
            }
        }
        let stands = ZoneReading { sets: held.zone.sets.clone(), ..ZoneReading::default() }.with_all(plan);
        match stands.footing(plan) {
            Footing::Done => return ApplyOutcome::AlreadyInState,
            Footing::Moved(why) => return ApplyOutcome::Conflict { why },
            Footing::AsPlanned => {}
        }
        let receipt = format!("serial {}", held.zone.serial.wrapping_add(1));
        match fault {
            Some(MockFaultKind::NoEffect) => return ApplyOutcome::Applied { receipt },
            Some(MockFaultKind::Garbage) => {
                return ApplyOutcome::Unknown {
                    why: "scripted fault \"garbage\": the answer made no sense".to_owned(),
                };
            }
            _ => {}
        }
        held.zone.remember();
        for change in &plan.changes {
            let stands = held.zone.sets.get(&change.set);
            let ttl = stands.filter(|set| !set.addresses.is_empty()).map_or(change.ttl, |set| set.ttl);
            held.zone.write(&change.set, RecordSet { ttl, addresses: change.after() });
        }
        held.zone.serial = held.zone.serial.wrapping_add(1);
        // Not given up in the middle, even where nobody waits for it any more.
        let written = tokio::task::spawn_blocking(move || held.write()).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Stopped::from(error).into(),
            Err(error) => return ApplyOutcome::Unknown { why: error.to_string() },
        }
        match fault {
            Some(MockFaultKind::TimeoutAfterApply | MockFaultKind::Slow { .. }) => {
                tokio::time::sleep(if matches!(fault, Some(MockFaultKind::Slow { .. })) {
                    self.timeout
                } else {
                    Duration::ZERO
                })
                .await;
                ApplyOutcome::Unknown { why: format!("no answer within {:?}", self.timeout) }
            }
            _ => ApplyOutcome::Applied { receipt },
        }
    }
}

impl Registrar for Mock {
    fn describe(&self) -> Description {
        Description {
            kind: "mock",
            granularity: Granularity::Set,
            compare_and_swap: CompareAndSwap::Atomic,
            ttl_min: None,
            loses: "nothing",
            calls: (1, 2),
            budget: None,
        }
    }

    fn observe<'a>(&'a self, sets: &'a [SetKey]) -> BoxFuture<'a, Result<ZoneReading, RegistrarError>> {
        Box::pin(self.read(MockOp::Observe, sets))
    }

    fn apply<'a>(&'a self, reading: &'a ZoneReading, plan: &'a ApprovedPlan) -> BoxFuture<'a, ApplyOutcome> {
        Box::pin(self.change(reading, plan.plan()))
    }

    fn confirm<'a>(&'a self, plan: &'a ApprovedPlan) -> BoxFuture<'a, Result<Confirmation, RegistrarError>> {
        Box::pin(async move {
            let keys: Vec<SetKey> = plan.plan().changes.iter().map(|change| change.set.clone()).collect();
            Ok(Confirmation::of(plan.plan(), self.read(MockOp::Confirm, &keys).await?))
        })
    }

    fn restore_info(&self) -> BoxFuture<'_, Result<serde_json::Value, RegistrarError>> {
        Box::pin(async move {
            let (held, fault) = self.open(MockOp::RestoreInfo).await?;
            if let Some(fault) = fault {
                return Err(RegistrarError::Untrusted { why: format!("scripted fault {:?}", fault.name()) });
            }
            Ok(json!({ "kind": "mock", "whole": true, "file": self.settings.file, "content": held.zone.to_json() }))
        })
    }
}

impl ZoneReading {
    /// With every set that `plan` names, absent ones too.
    fn with_all(mut self, plan: &Plan) -> Self {
        for change in &plan.changes {
            self.sets.entry(change.set.clone()).or_default();
        }
        self
    }
}

/// Why a call ended before it did anything.
#[derive(Debug)]
enum Stopped {
    File(MockFileError),
    RateLimited(u64),
    Auth,
    Unreachable,
    Broken(String),
}

impl From<MockFileError> for Stopped {
    fn from(error: MockFileError) -> Self {
        Self::File(error)
    }
}

impl From<Stopped> for RegistrarError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::File(error @ MockFileError::Busy { .. }) => Self::Transient { why: error.to_string() },
            Stopped::File(error @ MockFileError::Rubbish { .. }) => Self::Untrusted { why: error.to_string() },
            Stopped::File(error) => Self::Permanent { why: error.to_string() },
            Stopped::RateLimited(s) => {
                Self::RateLimited { retry_after: Duration::from_secs(s), why: scripted("rate-limit") }
            }
            Stopped::Auth => Self::Auth { why: scripted("auth") },
            Stopped::Unreachable => Self::Transient { why: scripted("unreachable") },
            Stopped::Broken(why) => Self::Transient { why },
        }
    }
}

impl From<Stopped> for ApplyOutcome {
    fn from(stopped: Stopped) -> Self {
        match stopped.into() {
            RegistrarError::RateLimited { retry_after, why } => Self::RateLimited { retry_after, why },
            RegistrarError::Auth { why } => Self::Auth { why },
            RegistrarError::Transient { why } => Self::Transient { why },
            RegistrarError::Permanent { why } | RegistrarError::Untrusted { why } => Self::Permanent { why },
        }
    }
}

fn scripted(name: &str) -> String {
    format!("scripted fault {name:?}")
}
