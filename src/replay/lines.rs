//! What the lines of a trace say, taken by themselves.

use std::time::Duration;

use serde::de::Deserialize;
use serde::de::value::BorrowedStrDeserializer;

use crate::model::{
    ActionKind, Ask, AskHow, AskOutcome, Evidence, Fault, Guard, LoadFigure, LoadSource, Measured, Name, NodeId,
    Outcome, OwnFault, PinState, ProbeKind, RequestKind, RuleId, Stage, Time, TlsFault,
};

use super::event::{Act, Event, Expectation, TrueState, What};
use super::fields::{Fields, Value};

/// What a node carries, `age_ms` before now. What is no number is as good as not told.
pub(super) fn load(node: NodeId, line: &Fields<'_>) -> Event {
    // Whole numbers above 2^53 are no load of anything; a fraction of a bit is none either.
    let whole = |key: &str| {
        line.number(key).or_else(|| line.real(key).filter(|of| (0.0..9e15).contains(of)).map(|of| of as u64))
    };
    let milli = |key: &str| {
        let value = line.real(key).filter(|of| (0.0..=4_000_000.0).contains(of))?;
        Some((value * 1000.0).round() as u32)
    };
    let source = match line.text("src") {
        Some("health") => LoadSource::Health,
        Some("ssh") => LoadSource::Ssh,
        _ => LoadSource::Metrics,
    };
    let figure = LoadFigure {
        tx_bps: whole("tx_bps"),
        capacity_bps: whole("cap_bps"),
        active: whole("active"),
        shed_step: whole("shed_step").and_then(|step| u8::try_from(step).ok()),
        load1_milli: milli("load1"),
        ncpu: whole("ncpu").and_then(|of| u32::try_from(of).ok()),
        psi_cpu10_milli: milli("psi_cpu10"),
        psi_io10_milli: milli("psi_io10"),
        listen_overflows: whole("listen_overflows"),
        ..LoadFigure::new(node, Time(0), source)
    };
    Event::Load { age: age(line), figure: Box::new(figure) }
}

/// What another vantage point of ours came back with.
pub(super) fn ask(node: NodeId, line: &Fields<'_>) -> Result<Event, String> {
    let outcome = match line.text("o") {
        // Whatever came back came from there.
        Some("ok" | "slow" | "refused" | "reset" | "tls" | "http_4xx" | "http_5xx" | "shed" | "body") => {
            AskOutcome::Reached
        }
        Some("timeout" | "unreach") => AskOutcome::Nothing,
        Some("local_error" | "dns") => AskOutcome::Unknown,
        other => return Err(format!("\"o\" is no outcome that is known: {other:?}")),
    };
    let how = if matches!(line.text("p"), Some("icmp" | "ping")) { AskHow::Ping } else { AskHow::Tcp };
    let ask = Ask { via: name(line, "via")?, node, at: Time(0), how, outcome, tries: 1 };
    Ok(Event::Ask { age: age(line), ask: Box::new(ask) })
}

/// What another witness says of a node: as many tries as it has rounds.
pub(super) fn vote(node: NodeId, line: &Fields<'_>) -> Result<Event, String> {
    let said = line.text("ev").unwrap_or_default();
    let evidence = Evidence::ALL.into_iter().find(|one| one.name() == said);
    let outcome = match evidence.ok_or_else(|| format!("\"ev\" is no class of evidence: {said:?}"))? {
        Evidence::Silent => AskOutcome::Nothing,
        Evidence::Suspect | Evidence::NoData => AskOutcome::Unknown,
        Evidence::Down
        | Evidence::Hung
        | Evidence::Broken
        | Evidence::Degraded
        | Evidence::Stressed
        | Evidence::Shedding
        | Evidence::Fine => AskOutcome::Reached,
    };
    let rounds = line.number("rounds").and_then(|rounds| u32::try_from(rounds).ok());
    let tries = rounds.unwrap_or(1).max(1);
    let ask = Ask { via: name(line, "w")?, node, at: Time(0), how: AskHow::Tcp, outcome, tries };
    Ok(Event::Ask { age: age(line), ask: Box::new(ask) })
}

fn name(line: &Fields<'_>, key: &str) -> Result<Name, String> {
    Name::new(line.text(key).unwrap_or_default()).map_err(|error| format!("{key:?}: {error}"))
}

/// How long before the line's time it was true.
pub(super) fn age(line: &Fields<'_>) -> Duration {
    Duration::from_millis(line.number("age_ms").unwrap_or(0))
}

/// A look at the anchors.
pub(super) fn anchors(line: &Fields<'_>) -> Result<Event, String> {
    let number = |key: &str| {
        let number = line.number(key).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| format!("{key:?} must be how many anchors"))
    };
    Ok(Event::Anchors { age: age(line), ok: number("ok")?, of: number("of")? })
}

pub(super) fn clock(line: &Fields<'_>) -> Event {
    let number = |key: &str| line.signed(key).unwrap_or(0);
    Event::Clock { wall_step_ms: number("wall_step_ms"), paused: number("pause_ms") > 0 }
}

/// What an operator did: `drain` and `pin` with `for_s`, `undrain` and `unpin`, `withdraw` and `reinstate` by hand.
pub(super) fn operator(node: usize, line: &Fields<'_>) -> Result<Event, String> {
    let state = match (line.text("op"), line.text("state")) {
        (Some("withdraw" | "remove"), _) => {
            return Ok(Event::Request { node, kind: RequestKind::Withdraw, force: line.is_true("force") });
        }
        (Some("reinstate"), _) => {
            return Ok(Event::Request { node, kind: RequestKind::Reinstate, force: line.is_true("force") });
        }
        (Some("drain"), _) | (Some("pin"), Some("out")) => Some(PinState::Out),
        (Some("pin"), Some("in")) => Some(PinState::In),
        (Some("pin"), _) => Some(PinState::Ignore),
        (Some("undrain" | "unpin"), _) => None,
        (other, _) => {
            let known = "drain, undrain, pin, unpin, withdraw or reinstate";
            return Err(format!("\"op\" must be {known}, unlike {}", shown(other)));
        }
    };
    let lasts = Duration::from_secs(line.number("for_s").unwrap_or(3600));
    Ok(Event::Pin { node, pin: state.map(|state| (state, lasts)) })
}

/// What was done then.
pub(super) fn act(node: Option<usize>, line: &Fields<'_>) -> Result<Event, String> {
    let said = line.text("a");
    let kind = said
        .and_then(action)
        .ok_or_else(|| format!("\"a\" must be withdraw, reinstate, shed or alert, unlike {}", shown(said)))?;
    if node.is_none() && matches!(kind, ActionKind::Withdraw | ActionKind::Reinstate) {
        return Err("\"n\" must be the node that was taken out or put back".to_owned());
    }
    Ok(Event::Act(Box::new(Act {
        kind,
        node,
        step: line.number("step").and_then(|step| u8::try_from(step).ok()),
        rule: RuleId(line.text("rule").unwrap_or_default().to_owned().into()),
    })))
}

/// What was true of a node from then on.
pub(super) fn truth(node: usize, line: &Fields<'_>) -> Result<Event, String> {
    let state = match line.text("s") {
        Some("up") => TrueState::Up,
        Some("silent") => TrueState::Silent,
        Some("refused") => TrueState::Refused,
        Some("hung") => TrueState::Hung,
        other => return Err(format!("\"s\" must be up, silent, refused or hung, unlike {}", shown(other))),
    };
    Ok(Event::Truth { node, state })
}

/// What must be decided, or never may be. Without nodes it is about any.
pub(super) fn expectation(nodes: Vec<usize>, line: &Fields<'_>) -> Result<Event, String> {
    let (must, said) = match (line.text("must"), line.text("never")) {
        (Some(said), None) => (true, said),
        (None, Some(said)) => (false, said),
        _ => return Err("an expectation has either \"must\" or \"never\", with what".to_owned()),
    };
    let what = match said {
        "hold" => What::Hold,
        "strike" => What::Strike,
        other => What::Action(action(other).ok_or_else(|| {
            format!("what is expected must be withdraw, reinstate, shed, alert, hold or strike, unlike {other:?}")
        })?),
    };
    let guard = match line.text("guard") {
        None => None,
        Some(said) => Some(guard(said).ok_or_else(|| format!("\"guard\" names no guard: {said:?}"))?),
    };
    let span = |key: &str| match line.get(key) {
        None | Some(Value::Other) => Ok(None),
        Some(_) => line.signed(key).map(Some).ok_or_else(|| format!("{key:?} must be milliseconds, a whole number")),
    };
    let (from_ms, within_ms) = (span("from")?, span("within")?);
    Ok(Event::Expect(Box::new(Expectation { must, what, guard, nodes, from_ms, within_ms })))
}

/// An action by any of its names.
fn action(said: &str) -> Option<ActionKind> {
    match said {
        "withdraw" | "remove" => Some(ActionKind::Withdraw),
        "reinstate" => Some(ActionKind::Reinstate),
        "shed" => Some(ActionKind::Shed),
        "alert" => Some(ActionKind::Alert),
        _ => None,
    }
}

fn guard(said: &str) -> Option<Guard> {
    named(said)
}

/// A variant by the name that it has everywhere.
fn named<'a, T: Deserialize<'a>>(said: &'a str) -> Option<T> {
    let text: BorrowedStrDeserializer<'_, serde::de::value::Error> = BorrowedStrDeserializer::new(said);
    T::deserialize(text).ok()
}

/// What exactly was wrong where the outcome's word is of several: as the ledger and `history` show it.
fn fault(said: &str) -> Option<Fault> {
    match said.split_once(':') {
        Some(("tls", why)) => named(why).map(Fault::Tls),
        Some(("exit", code)) => code.parse().ok().map(Fault::Exit),
        Some(_) => None,
        None => match said {
            "protocol" => Some(Fault::Protocol),
            "host-key" => Some(Fault::HostKey),
            "auth" => Some(Fault::Auth),
            _ => None,
        },
    }
}

/// What stands there, for a message.
fn shown(said: Option<&str>) -> String {
    said.map_or_else(|| "none".to_owned(), |said| format!("{said:?}"))
}

/// What a probe saw.
pub(super) fn observation(node: usize, line: &Fields<'_>) -> Result<Event, String> {
    let text = |key: &str| line.text(key);
    let micros = |key: &str| line.number(key).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let small = |key: &str| line.number(key).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    let probe = match text("p") {
        Some("https") => ProbeKind::Https,
        Some("icmp" | "ping") => ProbeKind::Ping,
        Some("ssh") => ProbeKind::Ssh,
        other => return Err(format!("\"p\" must be https, icmp or ssh, unlike {other:?}")),
    };
    let measured = Measured {
        connect_us: micros("connect_us"),
        secure_us: micros("tls_us"),
        first_byte_us: micros("ttfb_us").or_else(|| micros("banner_us")),
        total_us: micros("total_us").unwrap_or(0),
        status: small("status"),
        sent: small("sent"),
        received: small("got"),
        rtt_us: micros("rtt_us"),
        ..Measured::default()
    };
    let status = measured.status;
    let outcome = match text("o") {
        None if probe == ProbeKind::Ping => match measured.received {
            Some(0) => Outcome::Failed(Fault::Lost),
            Some(_) => Outcome::Passed,
            None => return Err("an echo needs \"sent\" and \"got\"".to_owned()),
        },
        Some("ok" | "slow") => Outcome::Passed,
        Some("refused") => Outcome::Failed(Fault::Refused),
        Some("timeout") => Outcome::Failed(timeout(probe, text("stage"))),
        Some("unreach") => Outcome::Failed(Fault::Unreachable),
        Some("reset") => Outcome::Failed(Fault::Reset),
        Some("tls") => Outcome::Failed(Fault::Tls(TlsFault::Protocol)),
        Some("http_4xx") => Outcome::Failed(Fault::Status(status.unwrap_or(400))),
        Some("http_5xx") => Outcome::Failed(Fault::Status(status.unwrap_or(500))),
        Some("shed") => Outcome::Failed(Fault::Shedding(status.unwrap_or(503))),
        Some("body") => Outcome::Failed(Fault::Body),
        Some("dns") => Outcome::Inconclusive(OwnFault::Dns),
        Some("local_error") => Outcome::Inconclusive(OwnFault::NoRoute),
        other => return Err(format!("\"o\" is no outcome that is known: {other:?}")),
    };
    let outcome = match (outcome, text("fault").and_then(fault)) {
        (Outcome::Failed(_), Some(fault)) => Outcome::Failed(fault),
        (outcome, _) => outcome,
    };
    // Of an address that no node has, nothing is taken.
    let place = line.number("ip").map_or(0, |place| usize::try_from(place).unwrap_or(usize::MAX));
    Ok(Event::Observed { node, place, probe, outcome, measured, age: age(line) })
}

fn timeout(probe: ProbeKind, stage: Option<&str>) -> Fault {
    match (probe, stage) {
        (ProbeKind::Ping, _) => Fault::Lost,
        (_, Some("tls")) => Fault::Timeout(Stage::Tls),
        (_, Some("request")) => Fault::Timeout(Stage::Request),
        (_, Some("body")) => Fault::Timeout(Stage::Body),
        (_, Some("banner")) => Fault::Timeout(Stage::Banner),
        (_, Some("handshake")) => Fault::Timeout(Stage::Handshake),
        (_, Some("login")) => Fault::Timeout(Stage::Login),
        (_, Some("command")) => Fault::Timeout(Stage::Command),
        _ => Fault::Timeout(Stage::Connect),
    }
}
