//! The shell around the rule: one tick from what was observed to what was changed and proved.
//!
//! It decides nothing. It keeps the order that makes a crash harmless: what is intended is in the ledger before the
//! registrar hears of it, what became of it is in the ledger after, and whatever is left open is read at the registrar
//! before anything else is done.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use report::{Gathered, Outcome, Report, TickError};

use crate::clock;
use crate::config::Config;
use crate::crash;
use crate::ledger::{Holder, LeaseGuard, LeaseState, LedgerError, LedgerHandle, TICK_LEASE, TickRecord};
use crate::model::{Intent, IntentState, Memory, Pin, Plan, Pool, PoolId, PublishedSets, Situation, Time};
use crate::registrar::{self, ApplyOutcome, Confirmation, Registrar, RegistrarError, ZoneReading};
use crate::rule::{ApprovedPlan, judge, sets_of};

/// How long a tick may hold the lease before another may take it over.
const LEASE: Duration = Duration::from_secs(120);
/// The first wait after a registrar could not be read; it doubles.
const BACKOFF: Duration = Duration::from_secs(10);
/// What the doubling ends at.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Everything a tick needs but what was observed.
#[derive(Debug)]
pub struct Shell {
    config: Arc<Config>,
    ledger: LedgerHandle,
    registrars: BTreeMap<PoolId, Box<dyn Registrar>>,
    readings: BTreeMap<PoolId, Reading>,
    waits: BTreeMap<PoolId, Wait>,
    write_waits: BTreeMap<PoolId, Wait>,
    memory: Option<(Memory, i64)>,
    /// Whether another process may have read or changed a zone since our last tick.
    overtaken: bool,
    ticks: u64,
    holder: Holder,
}

#[derive(Debug)]
struct Reading {
    reading: ZoneReading,
    at: Time,
    /// In which tick of this process it was taken; none for one from the ledger, without token and copy.
    tick: Option<u64>,
}

#[derive(Debug)]
struct Wait {
    until: Time,
    tries: u32,
    why: String,
    /// Whether the registrar itself asked for it.
    demanded: bool,
}

impl Wait {
    /// Twice as long as the one `before`, and `at_least` so long.
    fn after(before: Option<&Self>, at_least: Duration, why: &str) -> Self {
        let tries = before.map_or(0, |wait| wait.tries);
        let backoff = BACKOFF.saturating_mul(1 << tries.min(10)).min(BACKOFF_MAX);
        Self {
            until: clock::now().plus(backoff.max(at_least)),
            tries: tries.saturating_add(1),
            why: why.to_owned(),
            demanded: !at_least.is_zero(),
        }
    }
}

impl Shell {
    /// Connects the registrars of `config`; asks none of them.
    ///
    /// # Errors
    /// [`RegistrarError`] when one cannot be set up as configured.
    pub fn new(config: Arc<Config>, ledger: LedgerHandle, command: &str) -> Result<Self, RegistrarError> {
        let holder = Holder::this(config.witness.name.as_str(), command);
        let mut registrars = BTreeMap::new();
        for pool in config.fleet.pools.values() {
            let settings = &config.registrars[&pool.registrar];
            registrars.insert(pool.id.clone(), registrar::connect(settings, &pool.zone)?);
        }
        Ok(Self {
            config,
            ledger,
            registrars,
            readings: BTreeMap::new(),
            waits: BTreeMap::new(),
            write_waits: BTreeMap::new(),
            memory: None,
            overtaken: true,
            ticks: 0,
            holder,
        })
    }

    /// The ledger it writes.
    #[must_use]
    pub fn ledger(&self) -> &LedgerHandle {
        &self.ledger
    }

    /// The configuration it goes by.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The registrar of a pool.
    #[must_use]
    pub fn registrar(&self, pool: &PoolId) -> Option<&dyn Registrar> {
        self.registrars.get(pool).map(AsRef::as_ref)
    }

    /// Judges and says what would be done. Writes nothing, changes nothing.
    ///
    /// # Errors
    /// [`TickError`] when the ledger cannot be read.
    pub async fn dry_run(&mut self, gathered: &Gathered) -> Result<Report, TickError> {
        self.ticks += 1;
        let mut failures = Vec::new();
        let (memory, pins) = self.remembered().await?;
        let pools: Vec<PoolId> = self.registrars.keys().cloned().collect();
        for pool in &pools {
            self.read(pool, &mut failures).await;
        }
        let ruling = self.judge(memory.clone(), &pins, gathered);
        let changes = ruling
            .plans
            .iter()
            .map(|plan| Outcome { plan: plan.plan().clone(), state: None, note: String::new(), intent: None })
            .collect();
        Ok(Report {
            id: None,
            judgement: ruling.judgement,
            held_before: memory.holds,
            settled: Vec::new(),
            changes,
            failures,
            untold: Vec::new(),
        })
    }

    /// One tick.
    ///
    /// # Errors
    /// [`TickError`] when the ledger fails, or another process holds the lease. What the registrars could not do is in
    /// the report.
    pub async fn tick(&mut self, gathered: &Gathered) -> Result<Report, TickError> {
        let holder = self.holder.clone();
        let now = clock::read();
        let lease = self.ledger.call(move |ledger| ledger.take_lease(TICK_LEASE, &holder, &now, LEASE)).await?;
        let guard = match lease {
            LeaseState::Held(guard) => guard,
            LeaseState::Busy(by) => return Err(TickError::Busy(by.holder.to_string())),
        };
        let result = self.tick_leased(gathered, &guard).await;
        self.ledger.call(move |ledger| ledger.release_lease(&guard)).await?;
        result
    }

    async fn tick_leased(&mut self, gathered: &Gathered, lease: &LeaseGuard) -> Result<Report, TickError> {
        self.ticks += 1;
        let mut failures = Vec::new();
        let settled = self.settle_open_intents(&mut failures).await?;
        let (memory, pins) = self.remembered().await?;
        self.refresh(&mut failures).await?;
        let mut ruling = self.judge(memory.clone(), &pins, gathered);
        let stale: Vec<PoolId> = ruling.plans.iter().map(|plan| plan.plan().pool.clone()).collect();
        let mut again = false;
        for pool in stale {
            // What was read earlier may tell what to think about, not what to write over.
            if self.fresh(&pool).is_none() {
                self.read(&pool, &mut failures).await;
                again = true;
            }
        }
        if again {
            ruling = self.judge(memory.clone(), &pins, gathered);
        }
        if memory.isolated_at.is_some() && ruling.judgement.memory.isolated_at.is_none() {
            // What could not be read without our own network is read again at once, unless the registrar asked to wait.
            self.waits.retain(|_, wait| wait.demanded);
        }
        let record = TickRecord {
            rounds: gathered.rounds.clone(),
            loads: gathered.loads.clone(),
            asks: gathered.asks.clone(),
            anchors: gathered.anchors,
            judgement: ruling.judgement.clone(),
            request: gathered.requests.first().cloned(),
        };
        let id = self.ledger.call(move |ledger| ledger.record_tick(&record)).await?;
        crash::point("judged");
        let version = self.ledger.call(|ledger| ledger.data_version()).await?;
        self.memory = Some((ruling.judgement.memory.clone(), version));
        let mut changes = Vec::new();
        for plan in &ruling.plans {
            match self.carry_out(id, lease, plan, &mut failures).await {
                Ok(outcome) => changes.push(outcome),
                // What was observed is written down by now: it must not be judged again, so this is no end of the tick.
                Err(error) => {
                    failures.push(format!("zone {} is looked at in the next tick: {error}", plan.plan().zone));
                    self.readings.remove(&plan.plan().pool);
                    break;
                }
            }
        }
        Ok(Report {
            id: Some(id),
            judgement: ruling.judgement,
            held_before: memory.holds,
            settled,
            changes,
            failures,
            untold: Vec::new(),
        })
    }

    /// Intent first, then the registrar, then the outcome, then proof.
    async fn carry_out(
        &mut self,
        judgement: i64,
        lease: &LeaseGuard,
        approved: &ApprovedPlan,
        failures: &mut Vec<String>,
    ) -> Result<Outcome, LedgerError> {
        let plan = approved.plan().clone();
        if let Some(wait) = self.write_waits.get(&plan.pool).filter(|wait| wait.until > clock::now()) {
            let note = format!("zone {} is not written before {}: {}", plan.zone, wait.until, wait.why);
            failures.push(note.clone());
            return Ok(Outcome { plan, state: None, note, intent: None });
        }
        let Some(reading) = self.fresh(&plan.pool).cloned() else {
            let note = format!("zone {} was not read in this tick", plan.zone);
            return Ok(Outcome { plan, state: None, note, intent: None });
        };
        let preimage = match self.registrars[&plan.pool].restore_info().await {
            Ok(whole) => whole,
            Err(_) => reading.preimage.clone(),
        };
        let (at, copy, before) = (clock::now(), plan.clone(), reading.sets.clone());
        let (lease, now) = (lease.clone(), clock::read());
        let intent = self
            .ledger
            .call(move |ledger| {
                // What was read, and other pools, may have taken most of its time.
                ledger.renew_lease(&lease, &now, LEASE)?;
                let intent = ledger.intend(judgement, at, &copy)?;
                ledger.snapshot(at, &copy.pool, &copy.zone, &copy.registrar, &before, &preimage, Some(intent))?;
                Ok::<i64, LedgerError>(intent)
            })
            .await?;
        crash::point("intended");
        let outcome = self.registrars[&plan.pool].apply(&reading, approved).await;
        crash::point("applied");
        self.readings.remove(&plan.pool);
        let (state, note) = self.classify(&plan, outcome, failures);
        self.conclude(intent, state, &note).await?;
        crash::point("concluded");
        let (state, note) = if state == IntentState::Applied {
            let (state, more) = self.confirm(approved, reading.sets, failures).await;
            let note = format!("{note}; {more}");
            self.conclude(intent, state, &note).await?;
            (state, note)
        } else {
            (state, note)
        };
        crash::point("confirmed");
        Ok(Outcome { plan, state: Some(state), note, intent: Some(intent) })
    }

    fn classify(&mut self, plan: &Plan, outcome: ApplyOutcome, failures: &mut Vec<String>) -> (IntentState, String) {
        let (state, note) = match outcome {
            ApplyOutcome::Applied { receipt } => return (IntentState::Applied, receipt),
            ApplyOutcome::AlreadyInState => return (IntentState::Unneeded, "it was so already".to_owned()),
            ApplyOutcome::Conflict { why } => (IntentState::Conflict, why),
            ApplyOutcome::Refused { why } => (IntentState::Refused, why),
            ApplyOutcome::RateLimited { retry_after, why } => {
                self.wait(&plan.pool, retry_after, &why);
                (IntentState::Failed, format!("rate limited: {why}"))
            }
            ApplyOutcome::Auth { why } => (IntentState::Failed, format!("not authorized: {why}")),
            ApplyOutcome::Transient { why } => (IntentState::Failed, why),
            ApplyOutcome::Unknown { why } => (IntentState::Unknown, why),
            ApplyOutcome::Permanent { why } => (IntentState::Refused, why),
        };
        match state {
            IntentState::Conflict => {}
            IntentState::Unknown => failures.push(format!(
                "registrar {} may or may not have changed zone {}: {note}; the next tick looks it up",
                plan.registrar, plan.zone
            )),
            _ => {
                self.wait_to_write(&plan.pool, &note);
                failures.push(format!("registrar {} did not change zone {}: {note}", plan.registrar, plan.zone));
            }
        }
        (state, note)
    }

    /// `before` is what was read of the whole pool: a confirmation may tell of the changed sets alone, and what it does not
    /// tell of has not gone.
    async fn confirm(
        &mut self,
        approved: &ApprovedPlan,
        before: PublishedSets,
        failures: &mut Vec<String>,
    ) -> (IntentState, String) {
        let plan = approved.plan();
        let whole = |mut reading: ZoneReading| {
            let told = std::mem::replace(&mut reading.sets, before);
            reading.sets.extend(told);
            reading
        };
        match self.registrars[&plan.pool].confirm(approved).await {
            Ok(Confirmation::Holds(reading)) => {
                self.write_waits.remove(&plan.pool);
                self.keep(&plan.pool, whole(reading)).await;
                (IntentState::Confirmed, "read back".to_owned())
            }
            Ok(Confirmation::Differs { reading, why }) => {
                self.wait_to_write(&plan.pool, "the last change had no effect");
                self.keep(&plan.pool, whole(reading)).await;
                failures.push(format!("zone {} does not show the change after it was accepted: {why}", plan.zone));
                (IntentState::Diverged, why)
            }
            Err(error) => (IntentState::Applied, format!("not read back: {error}")),
        }
    }

    async fn conclude(&self, intent: i64, state: IntentState, note: &str) -> Result<(), LedgerError> {
        let (at, note) = (clock::now(), note.to_owned());
        self.ledger.call(move |ledger| ledger.conclude(intent, state, at, &note)).await
    }

    /// What was left open by a crash or a lost answer is looked up, never repeated. Returns what was found done.
    async fn settle_open_intents(&mut self, failures: &mut Vec<String>) -> Result<Vec<Outcome>, TickError> {
        let open = self.ledger.call(|ledger| ledger.open_intents()).await?;
        let mut done = Vec::new();
        for intent in open {
            let pool = intent.plan.pool.clone();
            let is_ours = |pool: &Pool| pool.zone == intent.plan.zone && pool.registrar == intent.plan.registrar;
            if !self.config.fleet.pools.get(&pool).is_some_and(is_ours) {
                let note = format!("pool {pool} of zone {} is not configured any more", intent.plan.zone);
                self.conclude(intent.id, IntentState::Absent, &note).await?;
                continue;
            }
            if self.fresh(&pool).is_none() {
                self.read(&pool, failures).await;
            }
            let Some(reading) = self.fresh(&pool) else { continue };
            let (state, note) = found(&intent, &reading.sets);
            tracing::info!(intent = intent.id, state = state.name(), %note, "settled what was left open");
            self.conclude(intent.id, state, note).await?;
            if state == IntentState::Diverged {
                failures.push(format!("zone {} does not show an earlier change: {note}", intent.plan.zone));
            }
            if state == IntentState::Confirmed {
                done.push(Outcome {
                    plan: intent.plan,
                    state: Some(state),
                    note: note.to_owned(),
                    intent: Some(intent.id),
                });
            }
        }
        Ok(done)
    }

    /// Reads every pool whose last reading is too old, unless the registrar asked us to wait.
    async fn refresh(&mut self, failures: &mut Vec<String>) -> Result<(), TickError> {
        let pools: Vec<PoolId> = self.registrars.keys().cloned().collect();
        for pool in pools {
            if self.overtaken || !self.readings.contains_key(&pool) {
                let id = pool.clone();
                let known = self.readings.get(&pool).map(|reading| reading.at);
                let last = self.ledger.call(move |ledger| ledger.last_reading(&id)).await?;
                if let Some((at, sets)) = last.filter(|(at, _)| known.is_none_or(|known| known < *at)) {
                    let reading = ZoneReading { sets, ..ZoneReading::default() };
                    self.readings.insert(pool.clone(), Reading { reading, at, tick: None });
                }
            }
            let refresh = self.config.registrars[&self.config.fleet.pools[&pool].registrar].refresh;
            if self.reading_age(&pool).is_none_or(|age| age >= refresh) {
                self.read(&pool, failures).await;
            }
        }
        Ok(())
    }

    /// Reads one pool's sets now. A reading that fails leaves none: what is not known is not assumed.
    async fn read(&mut self, pool: &PoolId, failures: &mut Vec<String>) {
        let now = clock::now();
        let pool_settings = &self.config.fleet.pools[pool];
        if let Some(wait) = self.waits.get(pool).filter(|wait| wait.until > now) {
            failures.push(format!("zone {} is not read before {}: {}", pool_settings.zone, wait.until, wait.why));
            self.readings.remove(pool);
            return;
        }
        let sets = sets_of(&self.config.fleet, pool_settings);
        let reading = match self.registrars[pool].observe(&sets).await {
            Ok(reading) if self.is_from_before(pool, &reading).await => {
                let why = "it shows the state from before the last change, which was read back since".to_owned();
                Err(RegistrarError::Untrusted { why })
            }
            reading => reading,
        };
        match reading {
            Ok(reading) => {
                self.waits.remove(pool);
                self.keep(pool, reading).await;
            }
            Err(error) => {
                self.readings.remove(pool);
                failures.push(format!(
                    "registrar {} could not read zone {}: {error}",
                    pool_settings.registrar, pool_settings.zone
                ));
                let after = match &error {
                    RegistrarError::RateLimited { retry_after, .. } => *retry_after,
                    _ => Duration::ZERO,
                };
                self.wait(pool, after, &error.to_string());
            }
        }
    }

    /// What a pool's registrar holds at this moment.
    ///
    /// # Errors
    /// [`RegistrarError`] whenever it could not tell.
    pub async fn read_now(&self, pool: &PoolId) -> Result<PublishedSets, RegistrarError> {
        let sets = sets_of(&self.config.fleet, &self.config.fleet.pools[pool]);
        self.registrars[pool].observe(&sets).await.map(|reading| reading.sets)
    }

    /// Whether a reading is older than our last change, which was seen done: some providers answer from copies that lag
    /// behind. While a change settles, a return to what was before it is not believed: taken for a person's, it would be
    /// up to a person from then on.
    async fn is_from_before(&self, pool: &PoolId, reading: &ZoneReading) -> bool {
        let now = clock::now();
        let ttl = reading.sets.values().map(|set| set.ttl).max().unwrap_or(0);
        let settles = 2 * self.config.fleet.pools[pool].ttl.max(Duration::from_secs(u64::from(ttl)));
        let since = now.minus(settles);
        let recent = self.ledger.call(move |ledger| ledger.view().intents(since, now)).await.unwrap_or_default();
        let last = recent.iter().rev().find(|intent| intent.plan.pool == *pool);
        last.is_some_and(|intent| {
            let as_before = |change: &crate::model::Change| reading.addresses(&change.set) == Some(&change.before);
            intent.state == IntentState::Confirmed && intent.plan.changes.iter().all(as_before)
        })
    }

    async fn keep(&mut self, pool: &PoolId, reading: ZoneReading) {
        let at = clock::now();
        let (id, sets) = (pool.clone(), reading.sets.clone());
        if let Err(error) = self.ledger.call(move |ledger| ledger.save_reading(&id, at, &sets)).await {
            tracing::warn!(%error, "the reading of a zone could not be kept");
        }
        self.readings.insert(pool.clone(), Reading { reading, at, tick: Some(self.ticks) });
    }

    fn wait(&mut self, pool: &PoolId, at_least: Duration, why: &str) {
        let wait = Wait::after(self.waits.get(pool), at_least, why);
        self.waits.insert(pool.clone(), wait);
    }

    /// What was refused is not asked for in every tick: neither would it help, nor do registrars like it.
    fn wait_to_write(&mut self, pool: &PoolId, why: &str) {
        let wait = Wait::after(self.write_waits.get(pool), Duration::ZERO, why);
        self.write_waits.insert(pool.clone(), wait);
    }

    fn reading_age(&self, pool: &PoolId) -> Option<Duration> {
        self.readings.get(pool).map(|reading| clock::now().since(reading.at))
    }

    /// The reading taken in this very tick.
    fn fresh(&self, pool: &PoolId) -> Option<&ZoneReading> {
        self.readings.get(pool).filter(|reading| reading.tick == Some(self.ticks)).map(|reading| &reading.reading)
    }

    async fn remembered(&mut self) -> Result<(Memory, Vec<Pin>), TickError> {
        let now = clock::now();
        let (version, pins) =
            self.ledger.call(move |ledger| Ok::<_, LedgerError>((ledger.data_version()?, ledger.pins(now)?))).await?;
        let seen = self.memory.take();
        self.overtaken = seen.as_ref().is_none_or(|(_, known)| *known != version);
        match seen {
            Some((memory, _)) if !self.overtaken => Ok((memory, pins)),
            seen => {
                let mut memory = self.ledger.call(|ledger| ledger.memory()).await?;
                if let Some((seen, _)) = seen {
                    memory.adopt_recent(&seen);
                }
                Ok((memory, pins))
            }
        }
    }

    fn judge(&self, memory: Memory, pins: &[Pin], gathered: &Gathered) -> crate::rule::Ruling {
        let published: BTreeMap<PoolId, PublishedSets> =
            self.readings.iter().map(|(pool, reading)| (pool.clone(), reading.reading.sets.clone())).collect();
        judge(
            &self.config.policy,
            &Situation {
                now: clock::read(),
                just_started: gathered.just_started,
                fleet: &self.config.fleet,
                rounds: &gathered.rounds,
                sightings: None,
                loads: &gathered.loads,
                asks: &gathered.asks,
                can: self.config.abilities(),
                anchors: gathered.anchors,
                has_anchors: !self.config.probes.anchors.is_empty(),
                published: &published,
                pins,
                requests: &gathered.requests,
            },
            memory,
        )
    }
}

/// Whether a reading shows what an open intent was to do.
fn found(intent: &Intent, sets: &PublishedSets) -> (IntentState, &'static str) {
    let mut done = true;
    let mut begun = false;
    for change in &intent.plan.changes {
        let standing = sets.get(&change.set).map(|set| &set.addresses);
        let has = |address| standing.is_some_and(|standing| standing.contains(address));
        done &= !change.remove.iter().any(has) && change.add.iter().all(has);
        begun |= change.remove.iter().any(|address| !has(address)) || change.add.iter().any(has);
    }
    match (done, begun) {
        (true, _) => (IntentState::Confirmed, "a later reading shows it done"),
        (false, true) => (IntentState::Diverged, "a later reading shows a part of it"),
        (false, false) if intent.state == IntentState::Applied => {
            (IntentState::Diverged, "it was accepted, and a later reading does not show it")
        }
        (false, false) => (IntentState::Absent, "a later reading shows that it did not happen"),
    }
}
