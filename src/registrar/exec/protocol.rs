//! What is said to the program and what it may answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{ApplyOutcome, CompareAndSwap, Description, RegistrarError, ZoneReading};
use crate::model::{Plan, PublishedSets, RecordSet, SetKey, sets_as_list};

/// The protocol's number.
const VERSION: u32 = 1;

/// What is said.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) op: &'static str,
    pub(super) version: u32,
    pub(super) zone: &'a str,
    /// For `observe`, `apply`, `confirm`: which sets it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sets: Option<&'a [SetKey]>,
    /// For `apply`: what stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reading: Option<&'a ZoneReading>,
    /// For `apply` and `confirm`: what is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<&'a Plan>,
}

impl<'a> Request<'a> {
    pub(super) fn new(op: &'static str, zone: &'a str) -> Self {
        Self { op, version: VERSION, zone, sets: None, reading: None, plan: None }
    }

    /// One line.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Lists and structs with plain keys; see `sets_as_list` for the one map.
        let mut bytes = serde_json::to_vec(self).expect("a request can be written as JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// Reads the program's output: one JSON object and nothing else but white space.
pub(super) fn parse(stdout: &[u8]) -> Result<Value, String> {
    if stdout.iter().all(u8::is_ascii_whitespace) {
        return Err("it answered nothing".to_owned());
    }
    let answer: Value = serde_json::from_slice(stdout).map_err(|error| format!("its answer is no JSON: {error}"))?;
    if answer.is_object() { Ok(answer) } else { Err("its answer is no JSON object".to_owned()) }
}

/// `{"error":{"kind":"auth","why":"..."}}`
#[derive(Debug, Deserialize)]
struct Failed {
    kind: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    retry_after_s: Option<u64>,
}

/// The error that the program reports instead of an answer.
pub(super) fn error(answer: &Value) -> Option<RegistrarError> {
    let failed = answer.get("error")?;
    let Ok(Failed { kind, why, retry_after_s }) = Failed::deserialize(failed) else {
        let why = format!("it reports an error that is not understood: {}", short(failed));
        return Some(RegistrarError::Untrusted { why });
    };
    Some(match kind.as_str() {
        "rate-limited" => RegistrarError::RateLimited { retry_after: retry_after(retry_after_s), why },
        "auth" => RegistrarError::Auth { why },
        "transient" => RegistrarError::Transient { why },
        "permanent" => RegistrarError::Permanent { why },
        _ => RegistrarError::Untrusted { why: format!("error of kind {kind:?}: {why}") },
    })
}

/// `{"sets":[...],"token":"...","preimage":...}`
#[derive(Debug, Deserialize)]
struct Sets {
    #[serde(with = "sets_as_list")]
    sets: PublishedSets,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    preimage: Value,
}

/// The reading: every set that was asked for, and no other.
pub(super) fn sets(answer: &Value, keys: &[SetKey]) -> Result<ZoneReading, String> {
    let Sets { mut sets, token, preimage } =
        Sets::deserialize(answer).map_err(|error| format!("its sets are not understood: {error}"))?;
    if let Some(missing) = keys.iter().find(|key| !sets.contains_key(*key)) {
        // An absent set has to be said to be absent: silence may be a mistake.
        return Err(format!("it says nothing of {missing}; an absent set has \"addresses\":[]"));
    }
    sets.retain(|key, _| keys.contains(key));
    for set in sets.values_mut().filter(|set| set.addresses.is_empty()) {
        *set = RecordSet::default();
    }
    let token = token.unwrap_or_else(|| state(&sets));
    Ok(ZoneReading { sets, token, preimage })
}

/// `{"outcome":"applied","receipt":"..."}`
#[derive(Debug, Deserialize)]
struct Outcome {
    outcome: String,
    #[serde(default)]
    receipt: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    retry_after_s: Option<u64>,
}

/// What became of a plan.
pub(super) fn applied(answer: &Value) -> Result<ApplyOutcome, String> {
    let Outcome { outcome, receipt, why, retry_after_s } =
        Outcome::deserialize(answer).map_err(|error| format!("its outcome is not understood: {error}"))?;
    Ok(match outcome.as_str() {
        "applied" => ApplyOutcome::Applied { receipt },
        "already" => ApplyOutcome::AlreadyInState,
        "conflict" => ApplyOutcome::Conflict { why },
        "refused" => ApplyOutcome::Refused { why },
        "rate-limited" => ApplyOutcome::RateLimited { retry_after: retry_after(retry_after_s), why },
        "auth" => ApplyOutcome::Auth { why },
        "transient" => ApplyOutcome::Transient { why },
        "unknown" => ApplyOutcome::Unknown { why },
        "permanent" => ApplyOutcome::Permanent { why },
        other => return Err(format!("its outcome {other:?} is none of those documented")),
    })
}

/// `{"restore":...}`
pub(super) fn restore(answer: &Value) -> Result<Value, String> {
    match answer.get("restore") {
        None | Some(Value::Null) => Err("it gives nothing under \"restore\"".to_owned()),
        Some(restore) => Ok(restore.clone()),
    }
}

/// What the program says of itself, over what is known of any; what it leaves out stays.
pub(super) fn description(answer: &Value, mut base: Description) -> Description {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    base.ttl_min = number("ttl_min").or(base.ttl_min);
    if answer.get("compare_and_swap").and_then(Value::as_str) == Some("atomic") {
        base.compare_and_swap = CompareAndSwap::Atomic;
    }
    if let (Some(calls), Some(within)) = (number("budget_calls"), number("budget_within_s")) {
        base.budget = Some((calls, Duration::from_secs(u64::from(within))));
    }
    base
}

fn retry_after(seconds: Option<u64>) -> Duration {
    // A minute where it does not say; a day at most, whatever it says.
    Duration::from_secs(seconds.unwrap_or(60).min(86_400))
}

fn state(sets: &PublishedSets) -> String {
    // The same list that programs speak in; nothing in it can fail to be written.
    sets_as_list::serialize(sets, serde_json::value::Serializer).map(|list| list.to_string()).unwrap_or_default()
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::RecordType;
    use crate::registrar::Granularity;

    fn apex() -> Vec<SetKey> {
        RecordType::ALL.map(|rtype| SetKey { owner: "@".to_owned(), rtype }).into()
    }

    const OBSERVED: &str = r#"{"sets":[{"owner":"@","type":"A","ttl":60,"addresses":["192.0.2.11"]},
        {"owner":"@","type":"AAAA","ttl":60,"addresses":[]}],"token":"7"}"#;

    #[test]
    fn reads_sets_and_knows_absence_from_silence() {
        let reading = sets(&parse(OBSERVED.as_bytes()).unwrap(), &apex()).unwrap();
        assert_eq!(reading.token, "7");
        assert_eq!(reading.sets[&apex()[1]], RecordSet::default());
        let silent = r#"{"sets":[{"owner":"@","type":"A","ttl":60,"addresses":["192.0.2.11"]}]}"#;
        assert!(check_answer("observe", silent.as_bytes(), &apex()).unwrap_err().contains("says nothing of @ AAAA"));
    }

    #[test]
    fn what_an_answer_may_not_be() {
        for (stdout, expected) in [
            ("", "answered nothing"),
            (" \n", "answered nothing"),
            ("done", "no JSON"),
            ("[]", "no JSON object"),
            ("{}", "missing field `sets`"),
            (r#"{"sets":[]} trailing"#, "no JSON"),
            (r#"{"sets":[{"owner":"@","type":"MX","ttl":1,"addresses":[]}]}"#, "unknown variant `MX`"),
            (r#"{"sets":[{"owner":"@","type":"A","ttl":1,"addresses":["2001:db8::1"]}]}"#, "does not belong in @ A"),
            (r#"{"error":"bad"}"#, "not understood"),
        ] {
            let error = check_answer("observe", stdout.as_bytes(), &apex()).unwrap_err();
            assert!(error.contains(expected), "{stdout}: {error}");
        }
        let error = check_answer("apply", br#"{"outcome":"done"}"#, &[]).unwrap_err();
        assert!(error.contains("none of those documented"), "{error}");
    }

    #[test]
    fn errors_keep_their_kind() {
        let check = |text: &str, expected: RegistrarError| {
            assert_eq!(error(&serde_json::from_str(text).unwrap()), Some(expected));
        };
        check(r#"{"error":{"kind":"auth","why":"no"}}"#, RegistrarError::Auth { why: "no".to_owned() });
        check(
            r#"{"error":{"kind":"rate-limited","retry_after_s":9,"why":"slow"}}"#,
            RegistrarError::RateLimited { retry_after: Duration::from_secs(9), why: "slow".to_owned() },
        );
    }

    /// What is wrong with `stdout` as the answer to `op`, or nothing.
    fn check_answer(op: &str, stdout: &[u8], keys: &[SetKey]) -> Result<(), String> {
        let answer = parse(stdout)?;
        if let Some(error) = error(&answer) {
            return match error {
                RegistrarError::Untrusted { why } => Err(why),
                _ => Ok(()),
            };
        }
        match op {
            "observe" | "confirm" => sets(&answer, keys).map(drop),
            "apply" => applied(&answer).map(drop),
            "restore-info" => restore(&answer).map(drop),
            _ => Ok(()),
        }
    }

    #[test]
    fn the_documentation_is_right() {
        let text = include_str!("../../../docs/registrars/exec.md");
        let blocks: Vec<&str> =
            text.split("```json\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
        let a = &apex()[..1];
        let [observe, observed, apply, done, described, failed] = blocks.as_slice() else { panic!("{blocks:?}") };
        let request = Request { sets: Some(a), ..Request::new("observe", "example.com") };
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(value(std::str::from_utf8(&request.to_bytes()).unwrap()), value(observe));
        let reading = sets(&parse(observed.as_bytes()).unwrap(), a).unwrap();
        let plan: Plan = serde_json::from_value(value(apply)["plan"].clone()).unwrap();
        let request = Request {
            sets: Some(a),
            reading: Some(&ZoneReading { token: "serial 7".to_owned(), ..reading }),
            plan: Some(&plan),
            ..Request::new("apply", "example.com")
        };
        assert_eq!(value(std::str::from_utf8(&request.to_bytes()).unwrap()), value(apply));
        assert_eq!(applied(&value(done)), Ok(ApplyOutcome::Applied { receipt: "serial 8".to_owned() }));
        let base = Description {
            kind: "exec",
            granularity: Granularity::Set,
            compare_and_swap: CompareAndSwap::Reread,
            ttl_min: None,
            loses: "",
            calls: (1, 3),
            budget: None,
        };
        let said = description(&value(described), base);
        assert_eq!((said.ttl_min, said.compare_and_swap), (Some(60), CompareAndSwap::Atomic));
        assert_eq!(said.budget, Some((20, Duration::from_secs(60))));
        assert!(matches!(error(&value(failed)), Some(RegistrarError::RateLimited { .. })));
        // Every outcome that it lists is understood.
        let (_, table) = text.split_once("| `outcome` | when |").unwrap();
        let outcomes: Vec<&str> = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .filter_map(|line| line.split('`').nth(1))
            .collect();
        assert_eq!(outcomes.len(), 9);
        for outcome in outcomes {
            applied(&serde_json::json!({"outcome": outcome, "why": "w"})).unwrap();
        }
    }

    proptest! {
        #[test]
        fn rubbish_does_not_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            op in prop::sample::select(vec!["observe", "apply", "confirm", "restore-info", "describe"]),
        ) {
            let _ = check_answer(op, &bytes, &apex());
        }

        #[test]
        fn a_damaged_answer_does_not_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = OBSERVED.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = check_answer("observe", &bytes, &apex());
        }
    }
}
