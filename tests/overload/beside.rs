//! The rule and the original script's, at the same moment: two equal worlds, one steered by each.
//!
//! ```text
//!   kept:     clients ──follow files──▶ files  ◀── witness, the rule
//!   classic:  clients ──follow files──▶ files  ◀── witness, rule = "classic"
//!                                       shadow ◀── witness, the rule: it sees what classic sees, and nobody follows it
//! ```
//!
//! They are asked for the same, by clients that take the same turns. That the rule takes nobody out of `files` could be
//! the luck of its own world, so it also judges in the other one, where the script has made things worse.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::net::{nothing_left, patiently};
use crate::world::{World, now, turn};

/// How long both are looked at after the script has done its work.
const AFTERWARDS: Duration = Duration::from_secs(15);

#[test]
#[ignore = "takes minutes and both cores; cargo xtask overload-test"]
fn the_classic_rule_takes_out_nodes_that_live_while_the_rule_takes_none() {
    let Some(_turn) = turn() else { return };
    let kept = World::start("kept");
    let classic = kept.beside("classic");
    let mut rule = kept.watch("rule", "", "");
    let mut script = classic.watch("classic", "rule = \"classic\"", "");
    let mut shadow = classic.watch_in_the_shadow("rule");
    let all: BTreeSet<usize> = (1..=4).collect();
    for world in [&kept, &classic] {
        world.offer(30);
    }
    for world in [&kept, &classic] {
        world.assert_stay(&[1, 2, 3, 4], Duration::from_secs(4));
    }

    for world in [&kept, &classic] {
        world.offer(120);
    }
    let begun = now();
    let before = [&kept, &classic].map(|world| world.clients.tally());
    let mut inside = all.clone();
    // Two is what it takes at most. Both may go in one tick, or the second right after the first.
    while inside.len() > 2 {
        let shown = patiently(|| {
            assert_eq!(kept.published(), all, "the rule took somebody out");
            assert_eq!(classic.published_in_the_shadow(), all, "the rule took somebody out");
            Some(classic.published()).filter(|shown| shown.len() < inside.len())
        });
        let shown = shown.unwrap_or_else(|| panic!("of {inside:?} none was taken out"));
        let tally = classic.clients.tally().since(&before[1]);
        for gone in inside.difference(&shown) {
            let served = tally.served_by.get(&classic.address(*gone)).copied().unwrap_or_default();
            classic.say(&format!("n{gone} is taken out; it has served {served} of those who came since"));
            assert!(served > 0, "n{gone} lived: {tally:?}");
        }
        classic.tell(&format!("until {shown:?} were left"), &tally, begun.elapsed());
        kept.tell("at the same moment all were left", &kept.clients.tally().since(&before[0]), begun.elapsed());
        inside = shown;
    }

    // What four could not carry, two have to, once nobody has the others' addresses in mind any more. There is no way back.
    std::thread::sleep(Duration::from_secs(6));
    let begun = now();
    let before = [&kept, &classic].map(|world| world.clients.tally());
    while begun.elapsed() < AFTERWARDS {
        assert_eq!(classic.published(), inside);
        assert_eq!(kept.published(), all, "the rule took somebody out");
        assert_eq!(classic.published_in_the_shadow(), all, "the rule took somebody out");
        std::thread::sleep(Duration::from_millis(250));
    }
    let took = begun.elapsed();
    let with_two = classic.clients.tally().since(&before[1]);
    let with_all = kept.clients.tally().since(&before[0]);
    classic.tell(&format!("with {inside:?} left"), &with_two, took);
    kept.tell("at the same moment with all", &with_all, took);
    assert!(with_two.served * 2 < with_two.begun + with_two.turned_away, "less than half of them: {with_two:?}");
    assert!(with_all.served > with_two.served, "{with_all:?} where the rule is, {with_two:?} where the script is");
    for watch in [&rule, &shadow] {
        assert!(watch.events("change").is_empty(), "nobody was taken out, not even for a moment");
        watch.wait("it is told that there is too much to do", |status| (status["fleet"] == "overload").then_some(()));
    }
    for watch in [&mut rule, &mut script, &mut shadow] {
        watch.stop();
    }
    drop((rule, script, shadow));
    kept.end();
    classic.end();
    nothing_left();
}
