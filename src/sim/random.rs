//! Worlds by chance: unequal nodes, faults, a witness with troubles of its own.

use super::noise::Noise;
use super::scenario::{Event, Model, PathTrouble, Scenario, SimNode, State};

/// The random world number `seed`: an hour of 3 to 8 unequal nodes, a demand that comes and goes, up to three faults, up to
/// two troubles on the way to some nodes, one time in seven a witness that is cut off for a while.
#[must_use]
pub fn random(seed: u64) -> Scenario {
    let noise = Noise::of(seed).at(0x776f_726c_6473);
    let count = noise.at(1).whole(3, 8);
    let node = |number: u64| SimNode {
        name: format!("n{number}"),
        capacity: round(noise.at(2).at(number).between(0.5, 2.0)),
        truth: 1.0,
        site: Some(format!("s{}", noise.at(3).at(number).whole(1, count))),
    };
    let nodes: Vec<SimNode> = (1..=count).map(node).collect();
    let base = noise.at(4).between(0.3, 0.8);
    let peak = noise.at(5).between(base, 1.3);
    let (rise, fall) = (noise.at(6).between(300.0, 1500.0), noise.at(7).between(2000.0, 3000.0));
    let ramp = noise.at(8).between(60.0, 600.0);
    let demand = vec![
        (0.0, round(base)),
        (rise.round(), round(base)),
        ((rise + ramp).round(), round(peak)),
        ((fall + 200.0).round().max((rise + ramp).round() + 1.0), round(peak)),
        ((fall + 200.0 + ramp).round().max((rise + ramp).round() + 2.0), round(base)),
    ];
    let some = |noise: Noise| nodes[(noise.whole(1, count) - 1) as usize].name.clone();
    let event = |number: u64| {
        let noise = noise.at(9).at(number);
        let from_s = noise.at(0).between(300.0, 2700.0).round();
        let until_s = from_s + noise.at(1).between(60.0, 1500.0).round();
        let is = match noise.at(2).whole(0, 4) {
            0 | 1 => State::Silent,
            2 => State::Refused,
            3 => State::Hung,
            _ => State::Slow,
        };
        let flaps = is != State::Slow && noise.at(3).is(0.2);
        let (every_s, for_s) = if flaps {
            (noise.at(4).between(80.0, 240.0).round(), noise.at(5).between(20.0, 60.0).round())
        } else {
            (0.0, 0.0)
        };
        let factor = if is == State::Slow { round(noise.at(6).between(0.2, 0.7)) } else { 1.0 };
        Event { from_s, until_s, nodes: vec![some(noise.at(7))], is, factor, loss: 0.0, ramp: false, every_s, for_s }
    };
    let path = |number: u64| {
        let noise = noise.at(10).at(number);
        let from_s = noise.at(0).between(300.0, 2700.0).round();
        let until_s = from_s + noise.at(1).between(30.0, 1200.0).round();
        let loss = if noise.at(2).is(0.5) { 1.0 } else { round(noise.at(3).between(0.05, 0.6)) };
        let mut nodes: Vec<String> = (0..noise.at(4).whole(1, 2)).map(|which| some(noise.at(5).at(which))).collect();
        nodes.dedup();
        PathTrouble { from_s, until_s, nodes, loss, blips_per_hour: 0.0, blip_s: 0.0 }
    };
    let mut paths: Vec<PathTrouble> = (0..noise.at(11).whole(0, 2)).map(path).collect();
    if noise.at(12).is(1.0 / 7.0) {
        let from_s = noise.at(13).between(300.0, 2700.0).round();
        let until_s = from_s + noise.at(14).between(30.0, 600.0).round();
        paths.push(PathTrouble { from_s, until_s, nodes: Vec::new(), loss: 1.0, blips_per_hour: 0.0, blip_s: 0.0 });
    }
    Scenario {
        name: format!("random world {seed}"),
        lasts_s: 3600,
        ttl_s: 60,
        nodes: 0,
        demand,
        event: (0..noise.at(15).whole(0, 3)).map(event).collect(),
        path: paths,
        crash: None,
        model: Model::default(),
        policy: toml::Table::new(),
        expect: Vec::new(),
        node: nodes,
    }
}

/// To the hundredth, as a person would write it.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
