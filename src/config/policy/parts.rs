//! The tables below `[policy]`, one function for each. Each gives none when something in it was wrong, which is recorded.

use std::time::Duration;

use super::super::raw::{Found, Reading, Table};
use super::super::units::duration_text;
use crate::model::{ComebackPolicy, EvidencePolicy, OverloadPolicy, ShedPolicy, Shortage};

pub(super) fn evidence(table: &Table<'_>) -> Option<EvidencePolicy> {
    let mut confirmed = table.duration("silent_confirmed");
    let mut alone = table.duration("silent_alone");
    let mut seen = table.duration("silent_seen");
    let mut falling = table.count("falling_rounds");
    let mut silent = table.count("silent_rounds");
    let mut shedding = table.count("shedding_answers");
    let mut shedding_of = table.count("shedding_of");
    let number = |number: u32| number.to_string();
    let mut idle = table.duration("hung_idle_span");
    let mut hung = table.duration("hung_span");
    let ordered = in_order(table.reading, &mut [&mut confirmed, &mut alone, &mut seen], duration_text)
        & in_order(table.reading, &mut [&mut falling, &mut silent], number)
        & in_order(table.reading, &mut [&mut shedding, &mut shedding_of], number)
        & in_order(table.reading, &mut [&mut idle, &mut hung], duration_text);
    let policy = EvidencePolicy {
        window: table.duration("window")?.value,
        falling_rounds: falling?.value,
        silent_rounds: silent?.value,
        silent_confirmed: confirmed?.value,
        silent_alone: alone?.value,
        silent_seen: seen?.value,
        ask_tries: table.count("ask_tries")?.value,
        ask_age: table.duration("ask_age")?.value,
        down_rounds: table.count("down_rounds")?.value,
        down_span: table.duration("down_span")?.value,
        down_pause: table.duration("down_pause")?.value,
        hung_rounds: table.count("hung_rounds")?.value,
        hung_span: hung?.value,
        hung_idle_span: idle?.value,
        idle_percent: table.count("idle_percent")?.value,
        broken_rounds: table.count("broken_rounds")?.value,
        broken_span: table.duration("broken_span")?.value,
        degraded_checks: table.count("degraded_checks")?.value,
        degraded_percent: table.count("degraded_percent")?.value,
        degraded_ends: table.duration("degraded_ends")?.value,
        soft_pause: table.duration("soft_pause")?.value,
        slow_answers: table.count("slow_answers")?.value,
        slow_factor: table.count("slow_factor")?.value,
        slow_extra: table.duration("slow_extra")?.value,
        slow_connect: table.duration("slow_connect")?.value,
        slow_connects: table.count("slow_connects")?.value,
        lost_percent: table.count("lost_percent")?.value,
        lost_echoes: table.count("lost_echoes")?.value,
        shedding_answers: shedding?.value,
        shedding_of: shedding_of?.value,
        steady_rounds: table.count("steady_rounds")?.value,
        named_rounds: table.count("named_rounds")?.value,
        load_age: table.duration("load_age")?.value,
        load_smoothing: table.duration("load_smoothing")?.value,
        doubt: table.duration("doubt")?.value,
        calm_rounds: table.count("calm_rounds")?.value,
    };
    ordered.then_some(policy)
}

pub(super) fn overload(table: &Table<'_>) -> Option<OverloadPolicy> {
    let mut path = table.count("path_percent");
    let mut full = table.count("full_percent");
    let mut room = table.count("room_percent");
    let mut room_dead = table.count("room_dead_percent");
    let ordered = in_order(table.reading, &mut [&mut path, &mut full], percent_text)
        & in_order(table.reading, &mut [&mut room, &mut room_dead], percent_text);
    let policy = OverloadPolicy {
        together: table.duration("together")?.value,
        together_one_in: table.count("together_one_in")?.value,
        together_nodes: table.count("together_nodes")?.value,
        common_nodes: table.count("common_nodes")?.value,
        common_rounds: table.count("common_rounds")?.value,
        known_percent: table.count("known_percent")?.value,
        calm_smoothing: table.duration("calm_smoothing")?.value,
        latch: table.duration("latch")?.value,
        full_percent: full?.value,
        full_node_percent: table.count("full_node_percent")?.value,
        path_percent: path?.value,
        room_percent: room?.value,
        drain_percent: table.count("drain_percent")?.value,
        room_dead_percent: room_dead?.value,
        dead_for: table.duration("dead_for")?.value,
        on_shortage: if table.word("on_shortage")?.value == "keep" { Shortage::Keep } else { Shortage::Pull },
        cut_wait: table.duration("cut_wait")?.value,
        soft_for: table.duration("soft_for")?.value,
        quorum_percent: table.count("quorum_percent")?.value,
        sporadic_percent: table.count("sporadic_percent")?.value,
        weak_percent: table.count("weak_percent")?.value,
        canary: table.flag("canary")?.value,
        regret: table.duration("regret")?.value,
        regret_block: table.duration("regret_block")?.value,
        settle: table.duration("settle")?.value,
    };
    ordered.then_some(policy)
}

pub(super) fn shed(table: &Table<'_>) -> Option<ShedPolicy> {
    let steps = steps(table)?;
    let mut hold = table.duration("hold");
    let mut hold_max = table.duration("hold_max");
    let before = table.reading.errors();
    let ordered = in_order(table.reading, &mut [&mut hold, &mut hold_max], duration_text);
    let policy = ShedPolicy {
        blind_step: blind_step(table, steps.len())?,
        steps,
        up_every: table.duration("up_every")?.value,
        up_percent: table.count("up_percent")?.value,
        up_node_percent: table.count("up_node_percent")?.value,
        hold: hold?.value,
        hold_max: hold_max?.value,
        down_percent: down_percent(table)?,
        relapse: table.duration("relapse")?.value,
        renew: renew(table)?,
        lasts: table.duration("lasts")?.value,
    };
    (ordered && table.reading.errors() == before).then_some(policy)
}

/// `probation` is that of `[policy]`.
pub(super) fn comeback(table: &Table<'_>, probation: Option<&Found<Duration>>) -> Option<ComebackPolicy> {
    let mut needed = table.duration("needed");
    // Probation is read as it stands; the shorter one gives way to it, and not the other way round.
    let mut usual = probation.map(|found| Found { value: found.value, spot: found.spot.clone() });
    if let Some(usual) = &mut usual {
        usual.spot.written = true;
    }
    let mut reuse = table.count("reuse");
    let mut reuse_needed = table.count("reuse_needed");
    let mut most = table.count("penalty_max");
    let ordered = in_order(table.reading, &mut [&mut needed, &mut usual], duration_text)
        & in_order(table.reading, &mut [&mut reuse, &mut reuse_needed, &mut most], |number| number.to_string());
    let policy = ComebackPolicy {
        needed: needed?.value,
        count_over: table.duration("count_over")?.value,
        penalty: table.count("penalty")?.value,
        half_life: table.duration("half_life")?.value,
        reuse: reuse?.value,
        reuse_needed: reuse_needed?.value,
        penalty_max: most?.value,
        quarantine: table.duration("quarantine")?.value,
        quarantine_doublings: table.count("quarantine_doublings")?.value,
    };
    ordered.then_some(policy)
}

/// 100 first, then ever less.
fn steps(table: &Table<'_>) -> Option<Vec<u32>> {
    let list = table.get("steps")?;
    let items = list.items()?;
    let before = table.reading.errors();
    let mut steps: Vec<u32> = Vec::new();
    for item in items {
        let Some(step) = item.count() else { continue };
        match steps.last() {
            None if step.value != 100 => {
                table.reading.error(&item.spot, "step 0 takes nothing away", "write 100 first");
            }
            Some(last) if step.value >= *last => table.reading.error(
                &item.spot,
                format!("each step leaves clients less than the one before, {last}"),
                format!("write less than {last}, or leave it out"),
            ),
            None | Some(_) => {}
        }
        steps.push(step.value);
    }
    if steps.len() < 2 && table.reading.errors() == before {
        table.reading.error(
            &list.spot,
            "with no step but 0 nothing is ever shed",
            "write two or more, or leave [shed] out to shed nothing",
        );
    }
    if steps.len() > MOST_STEPS && table.reading.errors() == before {
        table.reading.error(&list.spot, format!("there are {} steps", steps.len()), "write 20 or fewer");
    }
    (table.reading.errors() == before).then_some(steps)
}

/// A step that there is; a default gives way.
fn blind_step(table: &Table<'_>, steps: usize) -> Option<u8> {
    let step = table.count("blind_step")?;
    let last = u32::try_from(steps.saturating_sub(1)).unwrap_or(u32::MAX);
    if step.value > last && step.spot.written {
        table.reading.error(
            &step.spot,
            format!("the last of policy.shed.steps is step {last}, counted from 0"),
            format!("write {last} or less"),
        );
        return None;
    }
    u8::try_from(step.value.min(last)).ok()
}

/// Below where it goes up; a default gives way.
fn down_percent(table: &Table<'_>) -> Option<u32> {
    let (up, down) = (table.count("up_percent")?, table.count("down_percent")?);
    if down.value < up.value {
        return Some(down.value);
    }
    if down.spot.written {
        table.reading.error(
            &down.spot,
            format!("a step would be given up at what makes it taken, up_percent = {}", up.value),
            "write less than up_percent, so that there is something in between",
        );
        return None;
    }
    Some(up.value.saturating_sub(1))
}

/// Before what the nodes are told has ended; a default gives way.
fn renew(table: &Table<'_>) -> Option<Duration> {
    let (renew, lasts) = (table.duration("renew")?, table.duration("lasts")?);
    if renew.value < lasts.value {
        return Some(renew.value);
    }
    if renew.spot.written {
        table.reading.error(
            &renew.spot,
            format!("what the nodes are told would have ended by then: lasts is {}", duration_text(lasts.value)),
            "write half of it or less, so that one lost call ends nothing",
        );
        return None;
    }
    Some(lasts.value / 3)
}

/// Whether each of `chain` is at most the next. A default gives way to what is written; where both are written, it is
/// told. Those that could not be read are passed over.
fn in_order<T: Copy + Ord>(
    reading: &Reading<'_>,
    chain: &mut [&mut Option<Found<T>>],
    text: impl Fn(T) -> String,
) -> bool {
    // From the left what is written lifts defaults, from the right it lowers those that are left.
    let last = chain.len().saturating_sub(1);
    for at in (0..last).chain((0..last).rev()) {
        let (left, right) = chain.split_at_mut(at + 1);
        let (Some(low), Some(high)) = (&mut *left[at], &mut *right[0]) else { continue };
        if low.value <= high.value {
            continue;
        }
        if !high.spot.written {
            // It stands for what it gave way to, so that others give way to it in turn.
            high.clone_from(low);
        } else if low.spot.written {
            reading.error(
                &high.spot,
                format!("it is less than {}, {}", low.spot.key, text(low.value)),
                format!("write at least {}, or less there", text(low.value)),
            );
            return false;
        } else {
            low.clone_from(high);
        }
    }
    true
}

fn percent_text(percent: u32) -> String {
    percent.to_string()
}

/// As the bounds of `blind_step` say.
const MOST_STEPS: usize = 21;
