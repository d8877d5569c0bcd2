//! What the lines of a trace say, taken by themselves.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::{
    Ask, AskHow, AskOutcome, Evidence, Fault, LoadFigure, LoadSource, Measured, Name, NodeId, Outcome, OwnFault,
    ProbeKind, Stage, Time, TlsFault,
};

/// What a node carries, dated back to when it was true. What is no number is as good as not told.
pub(super) fn load(node: NodeId, now: Time, rest: &Map<String, Value>) -> LoadFigure {
    let whole = |key: &str| {
        let value = rest.get(key)?;
        // Whole numbers above 2^53 are no load of anything; a fraction of a bit is none either.
        value.as_u64().or_else(|| value.as_f64().filter(|of| (0.0..9e15).contains(of)).map(|of| of as u64))
    };
    let milli = |key: &str| {
        let value = rest.get(key).and_then(Value::as_f64).filter(|of| (0.0..=4_000_000.0).contains(of))?;
        Some((value * 1000.0).round() as u32)
    };
    let source = match rest.get("src").and_then(Value::as_str) {
        Some("health") => LoadSource::Health,
        Some("ssh") => LoadSource::Ssh,
        _ => LoadSource::Metrics,
    };
    LoadFigure {
        tx_bps: whole("tx_bps"),
        capacity_bps: whole("cap_bps"),
        active: whole("active"),
        shed_step: whole("shed_step").and_then(|step| u8::try_from(step).ok()),
        load1_milli: milli("load1"),
        ncpu: whole("ncpu").and_then(|of| u32::try_from(of).ok()),
        psi_cpu10_milli: milli("psi_cpu10"),
        psi_io10_milli: milli("psi_io10"),
        listen_overflows: whole("listen_overflows"),
        ..LoadFigure::new(node, aged(now, rest), source)
    }
}

/// What another vantage point of ours came back with.
pub(super) fn ask(node: NodeId, now: Time, rest: &Map<String, Value>) -> Result<Ask, String> {
    let outcome = match text(rest, "o") {
        // Whatever came back came from there.
        Some("ok" | "slow" | "refused" | "reset" | "tls" | "http_4xx" | "http_5xx" | "shed" | "body") => {
            AskOutcome::Reached
        }
        Some("timeout" | "unreach") => AskOutcome::Nothing,
        Some("local_error" | "dns") => AskOutcome::Unknown,
        other => return Err(format!("\"o\" is no outcome that is known: {other:?}")),
    };
    let how = if matches!(text(rest, "p"), Some("icmp" | "ping")) { AskHow::Ping } else { AskHow::Tcp };
    Ok(Ask { via: name(rest, "via")?, node, at: aged(now, rest), how, outcome, tries: 1 })
}

/// What another witness says of a node: as many tries as it has rounds.
pub(super) fn vote(node: NodeId, now: Time, rest: &Map<String, Value>) -> Result<Ask, String> {
    let said = text(rest, "ev").unwrap_or_default();
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
    let rounds = rest.get("rounds").and_then(Value::as_u64).and_then(|rounds| u32::try_from(rounds).ok());
    let tries = rounds.unwrap_or(1).max(1);
    Ok(Ask { via: name(rest, "w")?, node, at: aged(now, rest), how: AskHow::Tcp, outcome, tries })
}

fn text<'a>(rest: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    rest.get(key).and_then(Value::as_str)
}

fn name(rest: &Map<String, Value>, key: &str) -> Result<Name, String> {
    let said = text(rest, key).unwrap_or_default();
    Name::new(said).map_err(|error| format!("{key:?}: {error}"))
}

/// When it was true.
fn aged(now: Time, rest: &Map<String, Value>) -> Time {
    now.minus(Duration::from_millis(rest.get("age_ms").and_then(Value::as_u64).unwrap_or(0)))
}

/// What a probe saw.
pub(super) fn observation(rest: &Map<String, Value>) -> Result<(ProbeKind, Outcome, Measured), String> {
    let text = |key: &str| rest.get(key).and_then(Value::as_str);
    let number = |key: &str| rest.get(key).and_then(Value::as_u64);
    let micros = |key: &str| number(key).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let small = |key: &str| number(key).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
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
    Ok((probe, outcome, measured))
}

fn timeout(probe: ProbeKind, stage: Option<&str>) -> Fault {
    match (probe, stage) {
        (ProbeKind::Ping, _) => Fault::Lost,
        (_, Some("tls")) => Fault::Timeout(Stage::Tls),
        (_, Some("request")) => Fault::Timeout(Stage::Request),
        (_, Some("body")) => Fault::Timeout(Stage::Body),
        (_, Some("banner")) => Fault::Timeout(Stage::Banner),
        _ => Fault::Timeout(Stage::Connect),
    }
}
