//! `[policy]`: the thresholds of the rule, of a configuration or alone.

mod parts;

use std::path::Path;
use std::time::Duration;

use super::keys;
use super::problem::{Problem, Severity};
use super::raw::{Found, Reading, Secrets, Spot, Table};
use super::syntax;
use super::units::duration_text;
use crate::model::{Policy, ProbeKind, Reinstatement, RuleSet};

/// The policy of `given` keys, which take what `[policy]` takes; what is left out is by default. With `interval` and
/// `fast_interval` for what a configuration says in `[witness]`.
///
/// # Errors
/// Every mistake at once; the lines count the keys in the order of the map, from 1.
pub fn policy_of_keys(
    given: &serde_json::Map<String, serde_json::Value>,
    interval: Duration,
    fast_interval: Duration,
) -> Result<Policy, Vec<Problem>> {
    let mut text = String::new();
    for (name, value) in given {
        let mut value = value.clone();
        drop_nulls(&mut value);
        if value.is_null() {
            continue;
        }
        // What TOML cannot say, a number beyond its own, is shown as text and refused as such.
        let said = toml::Value::try_from(&value).unwrap_or_else(|_| toml::Value::String(value.to_string()));
        // A quoted name is written alike in JSON and TOML.
        text.push_str(&format!("{} = {said}\n", serde_json::Value::from(name.as_str())));
    }
    alone(&text, Path::new("policy"), |reading| {
        let document = syntax::document(reading)?;
        let spot = Spot { key: "policy".to_owned(), span: 0..0, shown: None, written: false };
        let table = Table::of(reading, vec![&keys::POLICY], spot, document.get_ref());
        read(&table, Some(interval), Some(fast_interval)).map(|read| read.policy)
    })
}

/// A key whose value is null is left out, in tables of keys as well.
fn drop_nulls(value: &mut serde_json::Value) {
    if let Some(entries) = value.as_object_mut() {
        entries.retain(|_, value| !value.is_null());
        entries.values_mut().for_each(drop_nulls);
    }
}

/// The policy of a TOML file: its `[policy]`, and the intervals of its `[witness]`. Whatever else stands in it is not
/// looked at, so a whole configuration will do.
///
/// # Errors
/// Every mistake at once.
pub fn policy_of_text(text: &str, file: &Path) -> Result<Policy, Vec<Problem>> {
    alone(text, file, |reading| {
        let document = syntax::document(reading)?;
        let root = Some(document.get_ref());
        let witness = reading.table(&keys::WITNESS, root);
        let (interval, fast) = (witness.duration("interval"), witness.duration("fast_interval"));
        let table = reading.table(&keys::POLICY, root);
        let interval = interval.map(|interval| interval.value);
        let fast = fast.zip(interval).map(|(fast, interval)| fast.value.min(interval));
        read(&table, interval, fast).map(|read| read.policy)
    })
}

fn alone(
    text: &str,
    file: &Path,
    meaning: impl FnOnce(&Reading<'_>) -> Option<Policy>,
) -> Result<Policy, Vec<Problem>> {
    let reading = Reading::new(text, file, &|_| None, Secrets::Leave);
    let policy = meaning(&reading);
    let failed = reading.errors() > 0;
    let mut problems = reading.into_problems();
    problems.retain(|problem| problem.severity == Severity::Error);
    policy.filter(|_| !failed).ok_or(problems)
}

/// The thresholds, and where those stand that other sections are compared with.
pub(super) struct PolicyRead {
    pub(super) policy: Policy,
    pub(super) convict: Found<Vec<ProbeKind>>,
    pub(super) keep: Found<u32>,
}

/// Reads the section; none when something was wrong, which is recorded.
pub(super) fn read(
    table: &Table<'_>,
    interval: Option<Duration>,
    fast_interval: Option<Duration>,
) -> Option<PolicyRead> {
    let reading = table.reading;
    let rule = table.word("rule").map(|rule| if rule.value == "classic" { RuleSet::Classic } else { RuleSet::Witness });
    let strikes = table.count("strikes");
    let window = table.duration("window");
    let spacing = table.duration("strike_spacing");
    let early = table.count("strike_early_percent");
    let keep = table.count("keep");
    let max_withdrawn = table.count("max_withdrawn");
    let reinstate = table.word("reinstate");
    let convict = convict(table);
    let convict_percent = table.count("convict_percent");
    let anchors_percent = table.count("anchors_percent");
    let warmup_rounds = table.count("warmup_rounds");
    let stale_after = table.count("stale_after");
    let settle_ttls = table.count("settle_ttls");
    let step_noise = table.duration("step_noise");
    let tell_again = table.duration("tell_again");
    let probation = table.duration("probation");
    let probation_rounds = table.count("probation_rounds");
    let probation_max = table.duration("probation_max");

    if let (Some(strikes), Some(window), Some(spacing)) = (&strikes, &window, &spacing) {
        let apart = spacing.value.max(fast_interval.unwrap_or_default());
        let needed = apart.saturating_mul(strikes.value - 1);
        if needed >= window.value {
            // Told where somebody wrote something.
            let spot = [&window.spot, &spacing.spot, &strikes.spot]
                .into_iter()
                .find(|spot| spot.written)
                .unwrap_or(&window.spot);
            reading.error(
                spot,
                format!(
                    "{} strikes, at least {} apart, never fall within a window of {}: no node would ever be nominated",
                    strikes.value,
                    duration_text(apart),
                    duration_text(window.value)
                ),
                format!(
                    "make policy.window longer than {}, or policy.strike_spacing or policy.strikes smaller",
                    duration_text(needed)
                ),
            );
        }
    }
    if let Some(most) = max_withdrawn.as_ref().filter(|most| most.value == 0) {
        reading.warn(
            &most.spot,
            "nothing will ever be withdrawn",
            "write 1 or more once you want witness to act by itself",
        );
    }
    let probation_max = match (&probation, probation_max) {
        (Some(first), Some(most)) if most.value < first.value && most.spot.written => {
            reading.error(
                &most.spot,
                format!("probation begins with {}, which is more", duration_text(first.value)),
                format!("write at least {:?}", duration_text(first.value)),
            );
            None
        }
        (Some(first), Some(most)) => Some(most.value.max(first.value)),
        (_, most) => most.map(|most| most.value),
    };

    let evidence = parts::evidence(&table.child(&keys::EVIDENCE));
    let overload = parts::overload(&table.child(&keys::OVERLOAD));
    let shed = parts::shed(&table.child(&keys::LADDER));
    let comeback = parts::comeback(&table.child(&keys::COMEBACK), probation.as_ref());

    let (keep, convict) = (keep?, convict?);
    let policy = Policy {
        rule: rule?,
        strikes: strikes?.value,
        window: window?.value,
        strike_spacing: spacing?.value,
        strike_early_percent: early?.value,
        keep: keep.value,
        max_withdrawn: max_withdrawn?.value,
        reinstate: if reinstate?.value == "manual" { Reinstatement::Manual } else { Reinstatement::Auto },
        convict: convict.value.clone(),
        convict_percent: convict_percent?.value,
        anchors_percent: anchors_percent?.value,
        interval: interval?,
        fast_interval: fast_interval?,
        warmup_rounds: warmup_rounds?.value,
        stale_after: stale_after?.value,
        settle_ttls: settle_ttls?.value,
        step_noise: step_noise?.value,
        tell_again: tell_again?.value,
        probation: probation?.value,
        probation_rounds: probation_rounds?.value,
        probation_max: probation_max?,
        evidence: evidence?,
        overload: overload?,
        shed: shed?,
        comeback: comeback?,
    };
    Some(PolicyRead { policy, convict, keep })
}

fn convict(table: &Table<'_>) -> Option<Found<Vec<ProbeKind>>> {
    let list = table.get("convict")?;
    let items = list.items()?;
    if items.is_empty() {
        table.reading.error(
            &list.spot,
            "without a probe that convicts, no node would ever be withdrawn",
            "write [\"https\"]; to watch only, write max_withdrawn = 0",
        );
        return None;
    }
    let before = table.reading.errors();
    let mut kinds = Vec::new();
    for item in items {
        let Some(word) = item.word() else { continue };
        let kind = ProbeKind::ALL.into_iter().find(|kind| kind.name() == word.value)?;
        if kinds.contains(&kind) {
            table.reading.error(&item.spot, "this probe is there twice", "keep one of them");
        }
        kinds.push(kind);
    }
    kinds.sort();
    (table.reading.errors() == before).then(|| Found { value: kinds, spot: list.spot.clone() })
}
