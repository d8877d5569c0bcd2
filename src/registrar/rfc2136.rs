//! Dynamic updates (RFC 2136) signed with TSIG (RFC 8945): any primary server that takes them.
//!
//! Every set that a plan touches is a prerequisite, whole, of the one message that changes it: the server compares and
//! swaps. Nothing is written in two steps, so no set is ever empty in between.

mod answer;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType as WireType};
use serde_json::json;

use self::answer::{Said, interpret};
use super::{
    ApplyOutcome, BoxFuture, CompareAndSwap, Confirmation, Description, Footing, Granularity, Registrar,
    RegistrarError, ZoneReading,
};
use crate::clock;
use crate::dns::{
    Answer, Connection, DnsError, Question, TsigKey, deadline, domain, encode, expect_success, transfer, wire_type,
};
use crate::model::{Change, PublishedSets, RecordSet, RecordType, Rfc2136Settings, SetKey, Time};
use crate::rule::ApprovedPlan;

/// How often a zone that changes while it is read is read anew.
const READINGS: u32 = 3;

/// One zone on one primary server.
#[derive(Debug)]
pub struct Rfc2136 {
    server: std::net::SocketAddr,
    zone: String,
    origin: Name,
    key: Option<TsigKey>,
    timeout: Duration,
    now: fn() -> Time,
}

impl Rfc2136 {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// [`RegistrarError::Permanent`] for a zone that is no name, a secret that is not base64, and a key without a secret
    /// or a secret without a key.
    pub fn new(settings: &Rfc2136Settings, zone: &str, timeout: Duration) -> Result<Self, RegistrarError> {
        let permanent = |why: String| RegistrarError::Permanent { why };
        let key = match (&settings.key_name, &settings.key) {
            (Some(name), Some(secret)) => Some(TsigKey::new(name, settings.algorithm, secret).map_err(permanent)?),
            (None, None) => None,
            (Some(name), None) => return Err(permanent(format!("key {name} has no secret: set key_file or key_env"))),
            (None, Some(_)) => {
                return Err(permanent("the key has no name: set key_name as the server knows it".into()));
            }
        };
        let zone = zone.trim_end_matches('.').to_owned();
        let origin = domain(&zone).map_err(|error| permanent(error.to_string()))?;
        Ok(Self { server: settings.server, zone, origin, key, timeout, now: clock::now })
    }

    /// The same, dating its signatures by another clock.
    #[must_use]
    pub fn with_clock(self, now: fn() -> Time) -> Self {
        Self { now, ..self }
    }

    /// Reads until the serial is the same before and after: then everything is of one state of the zone.
    async fn read(&self, sets: &[SetKey]) -> Result<ZoneReading, RegistrarError> {
        let until = deadline(self.timeout);
        let mut serials = (0, 0);
        for _ in 0..READINGS {
            let mut connection =
                Connection::open(self.server, until, self.timeout).await.map_err(|error| self.not_read(&error))?;
            let before = self.serial(&mut connection).await?;
            let mut found = PublishedSets::new();
            for key in sets {
                found.insert(key.clone(), self.set(&mut connection, key).await?);
            }
            let after = self.serial(&mut connection).await?;
            if before == after {
                let preimage = json!({
                    "server": self.server.to_string(),
                    "serial": after,
                    "sets": lines(&self.zone, &found),
                });
                return Ok(ZoneReading { token: token(after, &found), sets: found, preimage });
            }
            serials = (before, after);
        }
        let why = format!(
            "zone {} went from serial {} to {} while it was read, {READINGS} times over",
            self.zone, serials.0, serials.1
        );
        Err(RegistrarError::Transient { why })
    }

    async fn serial(&self, connection: &mut Connection) -> Result<u32, RegistrarError> {
        let question = Question { name: self.origin.clone(), rtype: WireType::SOA };
        let answer = self.ask(connection, &question, false).await?;
        answer.serial(&question).ok_or_else(|| RegistrarError::Permanent {
            why: format!("{} names no SOA of {}: is that where the zone begins?", self.server, self.zone),
        })
    }

    async fn set(&self, connection: &mut Connection, key: &SetKey) -> Result<RecordSet, RegistrarError> {
        let question = Question::new(&key.full_name(&self.zone), wire_type(key.rtype))
            .map_err(|error| RegistrarError::Permanent { why: error.to_string() })?;
        let found = self.ask(connection, &question, true).await?.addresses(&question);
        if let Some(target) = found.alias {
            let why = format!(
                "{} is an alias of {target}, which cannot have addresses beside it: leave it out of `records`",
                key.full_name(&self.zone)
            );
            return Err(RegistrarError::Permanent { why });
        }
        Ok(RecordSet { ttl: found.ttl, addresses: found.addresses })
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        question: &Question,
        absence: bool,
    ) -> Result<Answer, RegistrarError> {
        let answer = connection.ask(question, false).await.map_err(|error| self.not_read(&error))?;
        expect_success(&answer, question, self.server, absence).map_err(|error| self.not_read(&error))?;
        if !answer.authoritative {
            let why = format!(
                "{} does not speak for {}: give the zone's primary server as `server`",
                self.server, question.name
            );
            return Err(RegistrarError::Untrusted { why });
        }
        Ok(answer)
    }

    fn not_read(&self, error: &DnsError) -> RegistrarError {
        let why = error.to_string();
        match error {
            DnsError::Refused { rcode, .. } if ["REFUSED", "NOTAUTH", "NXDOMAIN"].contains(&rcode.as_str()) => {
                RegistrarError::Permanent {
                    why: format!("{why}: it does not hold zone {}, or does not let us ask", self.zone),
                }
            }
            DnsError::Name { .. } => RegistrarError::Permanent { why },
            DnsError::Rubbish { .. } => RegistrarError::Untrusted { why: format!("{}: {why}", self.server) },
            _ => RegistrarError::Transient { why },
        }
    }

    async fn change(&self, reading: &ZoneReading, approved: &ApprovedPlan) -> ApplyOutcome {
        let plan = approved.plan();
        if plan.zone != self.zone {
            return ApplyOutcome::Refused { why: format!("the plan is for zone {}, not {}", plan.zone, self.zone) };
        }
        match reading.footing(plan) {
            Footing::Done => return ApplyOutcome::AlreadyInState,
            Footing::Moved(why) => {
                return ApplyOutcome::Conflict { why: format!("the plan was made against another reading: {why}") };
            }
            Footing::AsPlanned => {}
        }
        if let Some(change) = plan.changes.iter().find(|change| change.after().is_empty()) {
            return ApplyOutcome::Refused { why: format!("{} would be left without an address", change.set) };
        }
        let said = match self.send(reading, &plan.changes).await {
            Ok(said) => said,
            Err(outcome) => return outcome,
        };
        match said {
            Said::Done => {
                // For people; what was written is read back by whoever asked for it.
                let serial = crate::dns::ask_serial(self.server, &self.zone, self.timeout).await;
                let receipt = serial.map_or_else(|_| "accepted".to_owned(), |serial| format!("serial {serial}"));
                ApplyOutcome::Applied { receipt }
            }
            Said::Conflict { why, verified } => {
                let keys: Vec<SetKey> = plan.changes.iter().map(|change| change.set.clone()).collect();
                match self.read(&keys).await.map(|now| now.footing(plan)) {
                    Ok(Footing::Done) => ApplyOutcome::AlreadyInState,
                    Ok(_) | Err(_) if !verified => {
                        ApplyOutcome::Unknown { why: format!("rejected, unverified: {why}") }
                    }
                    Ok(Footing::Moved(now)) => ApplyOutcome::Conflict { why: format!("{why}: {now}") },
                    // It answers with this set and does not have it: nothing to compare and swap.
                    Ok(Footing::AsPlanned) => ApplyOutcome::Conflict {
                        why: format!(
                            "{why}, and yet it shows what was read: it changed to and fro, or a wildcard answers"
                        ),
                    },
                    Err(error) => ApplyOutcome::Conflict { why: format!("{why}; then {error}") },
                }
            }
            Said::Other(outcome) => outcome,
        }
    }

    /// Sends the one message and reads what the server says to it.
    async fn send(&self, reading: &ZoneReading, changes: &[Change]) -> Result<Said, ApplyOutcome> {
        let now = (self.now)();
        let permanent = |error: DnsError| ApplyOutcome::Permanent { why: error.to_string() };
        let mut update = update(&self.zone, &self.origin, reading, changes).map_err(permanent)?;
        let signed = match &self.key {
            Some(key) => key.sign(&mut update, now).map_err(permanent)?,
            None => Vec::new(),
        };
        let bytes = encode(&update).map_err(permanent)?;
        if bytes.len() > usize::from(u16::MAX) {
            return Err(ApplyOutcome::Permanent { why: format!("an update of {} bytes does not fit", bytes.len()) });
        }
        let mut connection = Connection::open(self.server, deadline(self.timeout), self.timeout)
            .await
            .map_err(|error| ApplyOutcome::Transient { why: error.to_string() })?;
        // From here on it may have arrived, whatever we are told.
        let unknown = |error: DnsError| ApplyOutcome::Unknown { why: error.to_string() };
        connection.send(&bytes).await.map_err(unknown)?;
        let answer = connection.receive().await.map_err(unknown)?;
        Ok(interpret(&answer, update.metadata.id, &signed, self.key.as_ref(), &self.zone, self.server, now))
    }
}

impl Registrar for Rfc2136 {
    fn describe(&self) -> Description {
        Description {
            kind: "rfc2136",
            granularity: Granularity::Record,
            compare_and_swap: CompareAndSwap::Atomic,
            ttl_min: None,
            loses: "nothing",
            calls: (1, 3),
            budget: None,
        }
    }

    fn observe<'a>(&'a self, sets: &'a [SetKey]) -> BoxFuture<'a, Result<ZoneReading, RegistrarError>> {
        Box::pin(self.read(sets))
    }

    fn apply<'a>(&'a self, reading: &'a ZoneReading, plan: &'a ApprovedPlan) -> BoxFuture<'a, ApplyOutcome> {
        Box::pin(self.change(reading, plan))
    }

    fn confirm<'a>(&'a self, plan: &'a ApprovedPlan) -> BoxFuture<'a, Result<Confirmation, RegistrarError>> {
        Box::pin(async move {
            let keys: Vec<SetKey> = plan.plan().changes.iter().map(|change| change.set.clone()).collect();
            Ok(Confirmation::of(plan.plan(), self.read(&keys).await?))
        })
    }

    /// The whole zone by transfer where the server allows it, else what may be asked for: see `"whole"`.
    fn restore_info(&self) -> BoxFuture<'_, Result<serde_json::Value, RegistrarError>> {
        Box::pin(async move {
            let now = (self.now)();
            match transfer(self.server, &self.origin, self.key.as_ref(), now, self.timeout).await {
                Ok(lines) => Ok(json!({
                    "kind": "rfc2136", "zone": self.zone, "server": self.server.to_string(),
                    "whole": true, "records": lines,
                })),
                Err(error @ (DnsError::Timeout { .. } | DnsError::Unreachable { .. })) => Err(self.not_read(&error)),
                Err(error) => {
                    let apex = RecordType::ALL.map(|rtype| SetKey { owner: "@".to_owned(), rtype });
                    let reading = self.read(&apex).await?;
                    Ok(json!({
                        "kind": "rfc2136", "zone": self.zone, "server": self.server.to_string(),
                        "whole": false, "why": format!("no zone transfer: {error}"),
                        "serial": reading.preimage["serial"], "records": reading.preimage["sets"],
                    }))
                }
            }
        })
    }
}

/// The message: for each set what must stand there, whole, then what comes and what goes (RFC 2136, section 2).
fn update(zone: &str, origin: &Name, reading: &ZoneReading, changes: &[Change]) -> Result<Message, DnsError> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(origin.clone(), WireType::SOA));
    for change in changes {
        let name = domain(&change.set.full_name(zone))?;
        let record = |address: &IpAddr, ttl: u32, class: DNSClass| {
            let data = match address {
                IpAddr::V4(address) => RData::A((*address).into()),
                IpAddr::V6(address) => RData::AAAA((*address).into()),
            };
            let mut record = Record::from_rdata(name.clone(), ttl, data);
            record.dns_class = class;
            record
        };
        if change.before.is_empty() {
            let mut absent = Record::update0(name.clone(), 0, wire_type(change.set.rtype));
            absent.dns_class = DNSClass::NONE;
            message.add_answer(absent);
        }
        for address in &change.before {
            message.add_answer(record(address, 0, DNSClass::IN));
        }
        // A set has one TTL, and an addition with another would change it for all of them.
        let stands = reading.sets.get(&change.set).filter(|set| !set.addresses.is_empty());
        let ttl = stands.map_or(change.ttl, |set| set.ttl);
        for address in &change.add {
            message.add_authority(record(address, ttl, DNSClass::IN));
        }
        for address in &change.remove {
            message.add_authority(record(address, 0, DNSClass::NONE));
        }
    }
    Ok(message)
}

/// Serial and sets: PowerDNS can be told not to count its updates.
fn token(serial: u32, sets: &PublishedSets) -> String {
    let mut token = format!("serial {serial}");
    for (key, set) in sets {
        let addresses: Vec<String> = set.addresses.iter().map(IpAddr::to_string).collect();
        token.push_str(&format!("; {key} {} {}", set.ttl, addresses.join(" ")));
    }
    token
}

/// As zone files have it.
fn lines(zone: &str, sets: &PublishedSets) -> BTreeSet<String> {
    sets.iter()
        .flat_map(|(key, set)| {
            let name = key.full_name(zone);
            set.addresses.iter().map(move |address| format!("{name}. {} IN {} {address}", set.ttl, key.rtype))
        })
        .collect()
}
