//! Any program: it is given a request as JSON on its input and answers with JSON on its output.
//!
//! The program needs to know nothing of comparing and swapping: it is asked to read immediately before it is asked to
//! write, and the write is held back when something else stands there. `docs/registrars/exec.md` has the protocol.

mod protocol;

use std::time::Duration;

use serde_json::Value;

use self::protocol::{Request, applied, description, restore, sets};
use super::{
    ApplyOutcome, BoxFuture, CompareAndSwap, Confirmation, Description, Footing, Granularity, Registrar,
    RegistrarError, ZoneReading,
};
use crate::model::{ExecSettings, SetKey};
use crate::program::{Ran, hushed, run};
use crate::rule::ApprovedPlan;

/// One zone behind one program.
#[derive(Debug)]
pub struct Exec {
    settings: ExecSettings,
    zone: String,
    timeout: Duration,
}

impl Exec {
    /// Runs nothing yet.
    ///
    /// # Errors
    /// [`RegistrarError::Permanent`] where no program is named.
    pub fn new(settings: &ExecSettings, zone: &str, timeout: Duration) -> Result<Self, RegistrarError> {
        if settings.command.first().is_none_or(String::is_empty) {
            let why = "command is empty: give the program and its arguments, as a list".to_owned();
            return Err(RegistrarError::Permanent { why });
        }
        Ok(Self { settings: settings.clone(), zone: zone.trim_end_matches('.').to_owned(), timeout })
    }

    /// What the program says of itself, where it answers to `describe`; [`Registrar::describe`] asks nobody.
    ///
    /// # Errors
    /// [`RegistrarError`] where it does not answer.
    pub async fn ask_description(&self) -> Result<Description, RegistrarError> {
        let ran = self.run(&Request::new("describe", &self.zone)).await;
        Ok(description(&self.read(ran)?, self.describe()))
    }

    async fn run(&self, request: &Request<'_>) -> Ran {
        run(&self.settings, &[], &request.to_bytes(), self.timeout).await
    }

    async fn ask_sets(&self, op: &'static str, keys: &[SetKey]) -> Result<ZoneReading, RegistrarError> {
        let ran = self.run(&Request { sets: Some(keys), ..Request::new(op, &self.zone) }).await;
        let answer = self.read(ran)?;
        sets(&answer, keys).map_err(|why| self.untrusted(&why))
    }

    /// The answer to a question that changes nothing.
    fn read(&self, ran: Ran) -> Result<Value, RegistrarError> {
        let program = &self.settings.command[0];
        match ran {
            Ran::NotStarted { why } => {
                Err(RegistrarError::Permanent { why: format!("{program} cannot be run: {why}") })
            }
            Ran::TooLong { tail } => Err(RegistrarError::Transient {
                why: format!("{program} did not finish within {:?} and was killed{tail}", self.timeout),
            }),
            Ran::TooMuch { limit, tail } => {
                Err(self.untrusted(&format!("it wrote more than {limit} bytes and was killed{tail}")))
            }
            Ran::Ended { status, stdout, tail } => match self.parse(&stdout) {
                Ok(answer) => match protocol::error(&answer) {
                    Some(error) => Err(error),
                    None if status.success() => Ok(answer),
                    None => Err(self.untrusted(&format!("it answered and ended with {status}{tail}"))),
                },
                Err(_) if !status.success() => {
                    Err(RegistrarError::Transient { why: format!("{program} ended with {status}{tail}") })
                }
                Err(why) => Err(self.untrusted(&format!("{why}{tail}"))),
            },
        }
    }

    /// The answer, with no secret in what it says for people.
    fn parse(&self, stdout: &[u8]) -> Result<Value, String> {
        let mut answer = protocol::parse(stdout)?;
        for said in ["/why", "/receipt", "/error/why"] {
            if let Some(Value::String(text)) = answer.pointer_mut(said) {
                *text = hushed(std::mem::take(text), &self.settings);
            }
        }
        Ok(answer)
    }

    fn untrusted(&self, why: &str) -> RegistrarError {
        RegistrarError::Untrusted { why: format!("{}: {why}", self.settings.command[0]) }
    }

    async fn change(&self, reading: &ZoneReading, approved: &ApprovedPlan) -> ApplyOutcome {
        let plan = approved.plan();
        if plan.zone != self.zone {
            return ApplyOutcome::Refused { why: format!("the plan is for zone {}, not {}", plan.zone, self.zone) };
        }
        if let Footing::Moved(why) = reading.footing(plan) {
            return ApplyOutcome::Conflict { why: format!("the plan was made against another reading: {why}") };
        }
        let keys: Vec<SetKey> = plan.changes.iter().map(|change| change.set.clone()).collect();
        let stands = match self.ask_sets("observe", &keys).await {
            Ok(stands) => stands,
            Err(error) => return not_written(error),
        };
        match stands.footing(plan) {
            Footing::Done => return ApplyOutcome::AlreadyInState,
            Footing::Moved(why) => return ApplyOutcome::Conflict { why },
            Footing::AsPlanned => {}
        }
        // The newest reading goes along: its token is the one that a provider may compare with.
        let request = Request {
            reading: Some(&stands),
            plan: Some(plan),
            sets: Some(&keys),
            ..Request::new("apply", &self.zone)
        };
        let program = &self.settings.command[0];
        let unknown = |why: String| ApplyOutcome::Unknown { why: format!("{program}: {why}") };
        match self.run(&request).await {
            Ran::NotStarted { why } => ApplyOutcome::Permanent { why: format!("{program} cannot be run: {why}") },
            Ran::TooLong { tail } => {
                unknown(format!("it did not finish within {:?} and was killed{tail}", self.timeout))
            }
            Ran::TooMuch { limit, tail } => unknown(format!("it wrote more than {limit} bytes and was killed{tail}")),
            Ran::Ended { status, stdout, tail } => match self.parse(&stdout).and_then(|answer| applied(&answer)) {
                // It says that it is done and that it failed: only a reading can tell.
                Ok(ApplyOutcome::Applied { .. } | ApplyOutcome::AlreadyInState) if !status.success() => {
                    unknown(format!("it says it is done and ended with {status}{tail}"))
                }
                Ok(outcome) => outcome,
                Err(why) if status.success() => unknown(format!("{why}{tail}")),
                Err(why) => unknown(format!("it ended with {status}; {why}{tail}")),
            },
        }
    }
}

impl Registrar for Exec {
    fn describe(&self) -> Description {
        Description {
            kind: "exec",
            granularity: Granularity::Set,
            compare_and_swap: CompareAndSwap::Reread,
            ttl_min: None,
            loses: "what the program does not keep",
            calls: (1, 3),
            budget: None,
        }
    }

    fn observe<'a>(&'a self, sets: &'a [SetKey]) -> BoxFuture<'a, Result<ZoneReading, RegistrarError>> {
        Box::pin(self.ask_sets("observe", sets))
    }

    fn apply<'a>(&'a self, reading: &'a ZoneReading, plan: &'a ApprovedPlan) -> BoxFuture<'a, ApplyOutcome> {
        Box::pin(self.change(reading, plan))
    }

    fn confirm<'a>(&'a self, plan: &'a ApprovedPlan) -> BoxFuture<'a, Result<Confirmation, RegistrarError>> {
        Box::pin(async move {
            let keys: Vec<SetKey> = plan.plan().changes.iter().map(|change| change.set.clone()).collect();
            let request = Request { sets: Some(&keys), plan: Some(plan.plan()), ..Request::new("confirm", &self.zone) };
            let answer = self.read(self.run(&request).await)?;
            let reading = sets(&answer, &keys).map_err(|why| self.untrusted(&why))?;
            Ok(Confirmation::of(plan.plan(), reading))
        })
    }

    fn restore_info(&self) -> BoxFuture<'_, Result<Value, RegistrarError>> {
        Box::pin(async move {
            let answer = self.read(self.run(&Request::new("restore-info", &self.zone)).await)?;
            restore(&answer).map_err(|why| self.untrusted(&why))
        })
    }
}

/// It was asked to read, and nothing else.
fn not_written(error: RegistrarError) -> ApplyOutcome {
    match error {
        RegistrarError::RateLimited { retry_after, why } => ApplyOutcome::RateLimited { retry_after, why },
        RegistrarError::Auth { why } => ApplyOutcome::Auth { why },
        RegistrarError::Transient { why } => ApplyOutcome::Transient { why },
        RegistrarError::Permanent { why } => ApplyOutcome::Permanent { why },
        RegistrarError::Untrusted { why } => ApplyOutcome::Refused { why: format!("reading before writing: {why}") },
    }
}
