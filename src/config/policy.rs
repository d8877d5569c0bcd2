//! `[policy]`: the thresholds of the rule.

use std::time::Duration;

use super::raw::{Found, Table};
use super::units::duration_text;
use crate::model::{Policy, ProbeKind, Reinstatement, RuleSet};

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
    let keep = table.count("keep");
    let max_withdrawn = table.count("max_withdrawn");
    let reinstate = table.word("reinstate");
    let convict = convict(table);
    let warmup_rounds = table.count("warmup_rounds");
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

    let (keep, convict) = (keep?, convict?);
    let policy = Policy {
        rule: rule?,
        strikes: strikes?.value,
        window: window?.value,
        strike_spacing: spacing?.value,
        keep: keep.value,
        max_withdrawn: max_withdrawn?.value,
        reinstate: if reinstate?.value == "manual" { Reinstatement::Manual } else { Reinstatement::Auto },
        convict: convict.value.clone(),
        interval: interval?,
        fast_interval: fast_interval?,
        warmup_rounds: warmup_rounds?.value,
        probation: probation?.value,
        probation_rounds: probation_rounds?.value,
        probation_max: probation_max?,
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
