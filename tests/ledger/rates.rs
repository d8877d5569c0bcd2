//! How fast and how large: `cargo test --test ledger -- --ignored rates --nocapture`.

use witness::clock::{Stopwatch, cpu_time};
use witness::ledger::{Ledger, Retention};
use witness::model::{Measured, Memory, Observation, Outcome, ProbeKind, Time};

use crate::world::{INTERVAL, START, disk, round, tick};

const NODES: usize = 10_000;
const TICKS: i64 = 30;

#[test]
#[ignore = "a measurement"]
fn rates() {
    let (_dir, path) = disk();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    let (mut wall, mut cpu, mut worst) = (0.0, 0.0, 0.0f64);
    let bytes = |ledger: &mut Ledger| {
        ledger.checkpoint().unwrap();
        ledger.view().counts().unwrap().bytes
    };
    let mut first = 0;
    for number in 0..TICKS {
        let mut record = tick(number, NODES, &mut memory);
        for (one, seen) in record.rounds.iter_mut().enumerate() {
            *seen = three(one, START + number * INTERVAL - 300);
        }
        for seen in &record.rounds {
            record.judgement.memory.nodes.get_mut(&seen.node).unwrap().last_round = Some(seen.clone());
        }
        let (watch, used) = (Stopwatch::start(), cpu_time());
        ledger.record_tick(&record).unwrap();
        let (took, used) = (watch.elapsed().as_secs_f64(), (cpu_time() - used).as_secs_f64());
        if number == 0 {
            println!("the first tick, which knows nothing yet: {took:.3} s, {used:.3} s of CPU");
            first = bytes(&mut ledger);
        } else {
            wall += took;
            cpu += used;
            worst = worst.max(took);
        }
    }
    let rows = f64::from(u32::try_from(TICKS - 1).unwrap()) * 30_000.0;
    let grown = f64::from(u32::try_from(bytes(&mut ledger) - first).unwrap());
    println!("{:.0} rows/s, {:.2} us of CPU per row, worst tick {worst:.3} s", rows / wall, cpu / rows * 1e6);
    println!("{:.1} bytes per observation, everything included", grown / rows);

    let watch = Stopwatch::start();
    let again = Ledger::open(&path).unwrap().memory().unwrap();
    println!("opening and reading the memory of {} nodes: {:.3} s", again.nodes.len(), watch.elapsed().as_secs_f64());
    for number in TICKS..TICKS + 120 {
        ledger.record_tick(&tick(number, 1, &mut Memory::default())).unwrap();
    }
    let keep = Retention { observations: std::time::Duration::from_secs(1), ..Retention::default() };
    let watch = Stopwatch::start();
    let mut pruned = 0;
    loop {
        let slice = Stopwatch::start();
        let done = ledger.prune(Time(START + 1_000 * INTERVAL), &keep, 5000).unwrap();
        worst = if pruned == 0 { 0.0 } else { worst.max(slice.elapsed().as_secs_f64()) };
        pruned += done;
        if done == 0 {
            break;
        }
    }
    println!(
        "{:.0} rows/s pruned, worst call of 5000 {worst:.3} s",
        f64::from(u32::try_from(pruned).unwrap()) / watch.elapsed().as_secs_f64()
    );
}

fn three(one: usize, at: i64) -> witness::model::Round {
    let mut round = round(one % 200, at, None);
    round.node = crate::world::node(one);
    let address = std::net::IpAddr::from([198, 18, u8::try_from(one / 250).unwrap(), u8::try_from(one % 250).unwrap()]);
    round.observations.push(Observation {
        probe: ProbeKind::Ssh,
        address,
        at: Time(at - 10),
        outcome: Outcome::Passed,
        measured: Measured {
            connect_us: Some(30_100),
            first_byte_us: Some(64_000),
            secure_us: Some(71_000),
            total_us: 71_500,
            note: Some("SSH-2.0-OpenSSH_9.2p1".to_owned()),
            ..Measured::default()
        },
    });
    round.observations.iter_mut().for_each(|seen| seen.address = address);
    round
}
