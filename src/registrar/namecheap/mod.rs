//! Namecheap's XML API.
//!
//! It knows no records, only whole zones: one call lists every row, one call replaces them all, and what the second call
//! does not repeat is gone. There is no version and no undo. So a change is made like this:
//!
//! ```text
//! getHosts   the zone as it is now    not as it was read for the plan? ──▶ Conflict
//! check      can every row be sent back as it is?                 no ──▶ Refused
//! edit       old rows, exactly the plan's addresses out and in
//! setHosts   every row verbatim, EmailType as read      no answer ──▶ Unknown
//! getHosts   compare every row and EmailType          differs ──▶ Conflict
//! ```
//!
//! Between the first call and the second somebody else's write can still be lost; the API offers nothing against that.
//! Hence one witness at a time writes, and the gap is one call long. Nothing is ever put back by itself.

mod api;
mod budget;
mod code;
mod domain;
mod rows;
mod xml;

use std::time::Duration;

use self::api::{Api, CallError, Command};
use self::budget::{CHANGE, LIMITS, Permit};
use self::code::Class;
use self::domain::Domain;
pub use self::rows::{HostList, Row};
pub use self::xml::{Answer, ApiError, XmlError, parse};
use super::{
    ApplyOutcome, BoxFuture, CompareAndSwap, Confirmation, Description, Granularity, Registrar, RegistrarError,
    ZoneReading,
};
use crate::model::{Change, NamecheapSettings, SetKey};
use crate::rule::ApprovedPlan;

/// How long to wait before a zone that looks unchanged after a write is read once more.
const STALE: Duration = Duration::from_secs(2);

/// One account and one of its zones.
#[derive(Debug)]
pub struct Namecheap {
    api: Api,
    allow_ddns_downgrade: bool,
}

impl Namecheap {
    /// A registrar for `zone`; asks nobody yet. Each call may take `timeout`.
    ///
    /// # Errors
    /// [`RegistrarError::Permanent`] when `zone` is not a registered domain, the endpoint is neither `https://` nor on
    /// loopback, the key is no key, or the machine has no root certificates.
    pub fn new(settings: &NamecheapSettings, zone: &str, timeout: Duration) -> Result<Self, RegistrarError> {
        let domain = Domain::split(zone).map_err(|why| RegistrarError::Permanent { why })?;
        let api = Api::new(settings, domain, timeout)?;
        Ok(Self { api, allow_ddns_downgrade: settings.allow_ddns_downgrade })
    }

    /// Reads the zone, for whatever purpose.
    async fn read(&self, permit: &mut Permit<'_>) -> Result<HostList, RegistrarError> {
        let list = match self.api.call(permit, Command::GetHosts).await {
            Ok(Answer::Hosts(list)) => list,
            Ok(Answer::Written { .. } | Answer::Failed(_)) => {
                return Err(RegistrarError::Untrusted { why: "the answer is to another question".to_owned() });
            }
            Err(error) => return Err(reading_error(error)),
        };
        if list.using_our_dns != Some(true) {
            return Err(RegistrarError::Permanent {
                why: format!(
                    "{} is not served by the provider's own name servers, so its rows there mean nothing; \
                     switch it to them or edit it where it is served",
                    list.domain
                ),
            });
        }
        if list.rows.is_empty() {
            return Err(RegistrarError::Untrusted {
                why: format!("{} lists no rows at all; a zone that works has some", list.domain),
            });
        }
        Ok(list)
    }

    async fn read_once(&self) -> Result<HostList, RegistrarError> {
        let mut permit = self.api.budget.for_reading().map_err(|(retry_after, why)| limited(retry_after, why))?;
        self.read(&mut permit).await
    }

    async fn change(&self, reading: &ZoneReading, plan: &ApprovedPlan) -> Result<ApplyOutcome, RegistrarError> {
        let plan = plan.plan();
        if !plan.zone.trim_end_matches('.').eq_ignore_ascii_case(&self.api.domain()) {
            return Ok(refused(format!("the plan is for {}, not for {}", plan.zone, self.api.domain())));
        }
        let mut permit = self.api.budget.for_change().map_err(|(retry_after, why)| limited(retry_after, why))?;
        let before = self.read(&mut permit).await?;
        match standing(&before, &plan.changes)? {
            Standing::Wanted => return Ok(ApplyOutcome::AlreadyInState),
            Standing::Other(why) => return Ok(ApplyOutcome::Conflict { why }),
            Standing::Before if before.token() != reading.token => {
                let why = format!("{} has changed since it was read for this plan", before.domain);
                return Ok(ApplyOutcome::Conflict { why });
            }
            Standing::Before => {}
        }
        let rows = match before.writable(self.allow_ddns_downgrade).and_then(|()| before.edited(&plan.changes)) {
            Ok(rows) => rows,
            Err(why) => return Ok(refused(why)),
        };
        Ok(self.write(&mut permit, &before, &rows).await)
    }

    /// Writes, and says what became of it. From here on an error is no longer proof that nothing happened.
    async fn write(&self, permit: &mut Permit<'_>, before: &HostList, rows: &[Row]) -> ApplyOutcome {
        let email_type = before.email_type.as_deref().unwrap_or_default();
        let answer = self.api.call(permit, Command::SetHosts { rows, email_type }).await;
        let doubt = match answer {
            Ok(Answer::Written { success: true, .. }) => None,
            Ok(Answer::Written { success: false, .. }) => {
                Some((Class::Transient, "the provider says that the write did not succeed".to_owned()))
            }
            Ok(Answer::Hosts(_) | Answer::Failed(_)) => {
                Some((Class::Transient, "the answer is to another question".to_owned()))
            }
            Err(error) => match writing_error(error) {
                Written::Not(outcome) => return outcome,
                Written::Perhaps(class, why) => Some((class, why)),
            },
        };
        let said = doubt.as_ref().map_or("the provider accepted the write", |(_, why)| why).to_owned();
        let after = match self.settled(permit, before).await {
            Ok(after) => after,
            Err(error) => return ApplyOutcome::Unknown { why: format!("{said}, and reading back failed: {error}") },
        };
        match rows::mismatch(&rows::multiset(rows), before.email_type.as_deref(), &after) {
            None => {
                let (token, rows) = (after.token(), after.rows.len());
                ApplyOutcome::Applied { receipt: format!("{rows} rows read back as written, state {token}") }
            }
            Some(_) if after.token() == before.token() => match doubt {
                Some((class, why)) => not_done(class, why),
                None => ApplyOutcome::Conflict { why: format!("{said}, and the zone is as it was before") },
            },
            Some(how) => ApplyOutcome::Conflict { why: format!("{said}, and the zone holds something else: {how}") },
        }
    }

    /// The zone after a write. One that looks as before is read twice: the first reading may have been stale.
    async fn settled(&self, permit: &mut Permit<'_>, before: &HostList) -> Result<HostList, RegistrarError> {
        let after = self.read(permit).await?;
        if after.token() != before.token() {
            return Ok(after);
        }
        tokio::time::sleep(STALE).await;
        self.read(permit).await
    }
}

impl Registrar for Namecheap {
    fn describe(&self) -> Description {
        let (calls, span) = LIMITS[0];
        Description {
            kind: "namecheap",
            granularity: Granularity::Zone,
            compare_and_swap: CompareAndSwap::Reread,
            ttl_min: Some(*rows::TTLS.start()),
            loses: "a row that is put back has a new number and no label; where allowed, dynamic-DNS rows become plain",
            calls: (1, u32::try_from(CHANGE).unwrap_or(u32::MAX)),
            budget: Some((u32::try_from(calls).unwrap_or(u32::MAX), span)),
        }
    }

    fn observe<'a>(&'a self, sets: &'a [SetKey]) -> BoxFuture<'a, Result<ZoneReading, RegistrarError>> {
        Box::pin(async move { zone_reading(&self.read_once().await?, sets) })
    }

    fn apply<'a>(&'a self, reading: &'a ZoneReading, plan: &'a ApprovedPlan) -> BoxFuture<'a, ApplyOutcome> {
        Box::pin(async move { self.change(reading, plan).await.unwrap_or_else(nothing_written) })
    }

    fn confirm<'a>(&'a self, plan: &'a ApprovedPlan) -> BoxFuture<'a, Result<Confirmation, RegistrarError>> {
        Box::pin(async move {
            let list = self.read_once().await?;
            let changes = &plan.plan().changes;
            let sets: Vec<SetKey> = changes.iter().map(|change| change.set.clone()).collect();
            let reading = zone_reading(&list, &sets)?;
            let wrong = changes.iter().find(|change| reading.sets[&change.set].addresses != change.after());
            Ok(match wrong {
                None => Confirmation::Holds(reading),
                Some(change) => {
                    let found = &reading.sets[&change.set].addresses;
                    let why = format!("{} holds {found:?} instead of {:?}", change.set, change.after());
                    Confirmation::Differs { reading, why }
                }
            })
        })
    }

    fn restore_info(&self) -> BoxFuture<'_, Result<serde_json::Value, RegistrarError>> {
        Box::pin(async move { Ok(preimage(&self.read_once().await?)) })
    }
}

/// How a zone stands to a plan.
enum Standing {
    /// As the plan found it.
    Before,
    /// As the plan wants it.
    Wanted,
    /// Neither.
    Other(String),
}

fn standing(list: &HostList, changes: &[Change]) -> Result<Standing, RegistrarError> {
    let keys: Vec<SetKey> = changes.iter().map(|change| change.set.clone()).collect();
    let sets = list.sets(&keys).map_err(|why| RegistrarError::Untrusted { why })?;
    let found = |change: &Change| &sets[&change.set].addresses;
    if changes.iter().all(|change| *found(change) == change.after()) {
        return Ok(Standing::Wanted);
    }
    Ok(match changes.iter().find(|change| *found(change) != change.before) {
        None => Standing::Before,
        Some(change) => Standing::Other(format!("{} holds {:?}, not {:?}", change.set, found(change), change.before)),
    })
}

fn zone_reading(list: &HostList, sets: &[SetKey]) -> Result<ZoneReading, RegistrarError> {
    let sets = list.sets(sets).map_err(|why| RegistrarError::Untrusted { why })?;
    Ok(ZoneReading { sets, token: list.token(), preimage: preimage(list) })
}

fn preimage(list: &HostList) -> serde_json::Value {
    serde_json::to_value(list).expect("texts and flags become JSON")
}

fn refused(why: String) -> ApplyOutcome {
    ApplyOutcome::Refused { why }
}

fn limited(retry_after: Duration, why: String) -> RegistrarError {
    RegistrarError::RateLimited { retry_after, why }
}

/// What an error means where nothing is at stake.
fn reading_error(error: CallError) -> RegistrarError {
    let why = error.to_string();
    match error {
        CallError::NotSent(_) | CallError::NoAnswer(_) => RegistrarError::Transient { why },
        CallError::RateLimited { retry_after, .. } => limited(retry_after, why),
        CallError::TurnedAway(status) if [401, 403].contains(&status.as_u16()) => RegistrarError::Auth { why },
        CallError::TurnedAway(_) => RegistrarError::Permanent { why },
        CallError::Unreadable(_) => RegistrarError::Untrusted { why },
        CallError::Failed(errors) => match code::strongest(&errors) {
            Class::Transient => RegistrarError::Transient { why },
            Class::RateLimited => limited(Duration::from_secs(60), why),
            Class::Permanent => RegistrarError::Permanent { why },
            Class::Auth => RegistrarError::Auth { why },
        },
    }
}

/// What an error before the write means for the change.
fn nothing_written(error: RegistrarError) -> ApplyOutcome {
    match error {
        RegistrarError::RateLimited { retry_after, why } => ApplyOutcome::RateLimited { retry_after, why },
        RegistrarError::Auth { why } => ApplyOutcome::Auth { why },
        RegistrarError::Transient { why } => ApplyOutcome::Transient { why },
        RegistrarError::Permanent { why } => ApplyOutcome::Permanent { why },
        RegistrarError::Untrusted { why } => ApplyOutcome::Refused { why: format!("answer not trusted: {why}") },
    }
}

/// What an error of the write itself tells.
enum Written {
    /// Nothing was written, or nobody can say.
    Not(ApplyOutcome),
    /// The provider is done with it; a reading will show what it did.
    Perhaps(Class, String),
}

fn writing_error(error: CallError) -> Written {
    let why = error.to_string();
    match error {
        CallError::NotSent(_) => Written::Not(ApplyOutcome::Transient { why }),
        CallError::NoAnswer(_) => Written::Not(ApplyOutcome::Unknown { why }),
        CallError::RateLimited { retry_after, .. } => Written::Not(ApplyOutcome::RateLimited { retry_after, why }),
        CallError::TurnedAway(status) if [401, 403].contains(&status.as_u16()) => {
            Written::Not(ApplyOutcome::Auth { why })
        }
        CallError::TurnedAway(_) => Written::Not(ApplyOutcome::Permanent { why }),
        CallError::Unreadable(_) => Written::Perhaps(Class::Transient, why),
        CallError::Failed(errors) if code::turned_away(&errors) => {
            Written::Not(not_done(code::strongest(&errors), why))
        }
        CallError::Failed(errors) => Written::Perhaps(code::strongest(&errors), why),
    }
}

/// The outcome of a write that is known not to have happened.
fn not_done(class: Class, why: String) -> ApplyOutcome {
    match class {
        Class::Transient => ApplyOutcome::Transient { why },
        Class::RateLimited => ApplyOutcome::RateLimited { retry_after: Duration::from_secs(60), why },
        Class::Permanent => ApplyOutcome::Permanent { why },
        Class::Auth => ApplyOutcome::Auth { why },
    }
}
