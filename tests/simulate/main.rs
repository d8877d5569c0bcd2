//! Simulated worlds: what the scenarios promise holds, the same seed is the same world, and what the witness was told can be
//! told again.

#![expect(clippy::unwrap_used, reason = "tests may")]

use std::process::{Command, Output};

use serde_json::Value;
use witness::replay::{Options, Replay};
use witness::sim::{BUILTIN, Eyes, Run, Scenario, Steering, check, random, run};

fn scenario(name: &str) -> Scenario {
    Scenario::read(BUILTIN.iter().find(|(builtin, _)| *builtin == name).unwrap().1).unwrap()
}

fn holds(level: u8, shed: bool, seed: u64) {
    let mut broken = Vec::new();
    for (name, text) in BUILTIN {
        let scenario = Scenario::read(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (outcome, _) = run(&scenario, &Steering::rule(level, shed), seed, Run::default()).unwrap();
        for check in check(&scenario, Eyes::of_level(level, shed), &outcome) {
            if !check.held {
                broken.push(format!("{name}: {} ({})", check.what, check.seen));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new(), "level {level}, shed {shed}, seed {seed}");
}

#[test]
fn what_scenarios_expect_holds_with_outcomes_alone() {
    holds(0, false, 1);
}

#[test]
fn what_scenarios_expect_holds_with_latencies() {
    holds(1, false, 2);
}

#[test]
fn what_scenarios_expect_holds_with_load_figures() {
    holds(2, false, 3);
}

#[test]
fn what_scenarios_expect_holds_with_other_vantage_points() {
    holds(3, false, 4);
}

#[test]
fn what_scenarios_expect_holds_with_the_ladder() {
    holds(3, true, 5);
}

#[test]
fn what_scenarios_expect_can_fail() {
    let scenario = scenario("05-overload-120");
    let (outcome, _) = run(&scenario, &Steering::Classic, 1, Run::default()).unwrap();
    let failed = check(&scenario, Eyes::of_level(3, true), &outcome).into_iter().filter(|check| !check.held).count();
    assert!(failed >= 2, "the script takes living nodes and serves little: {outcome:?}");
}

#[test]
fn the_same_seed_is_the_same_world_and_another_is_another() {
    let keep = Run { samples: true, trace: true };
    let of = |seed: u64| run(&random(seed), &Steering::rule(3, true), seed, keep).unwrap();
    assert_eq!(of(3), of(3));
    assert_ne!(random(3), random(4));
    let scenario = scenario("05-overload-120");
    let served = |seed: u64| run(&scenario, &Steering::Nothing, seed, Run::default()).unwrap().0.served;
    assert_ne!(served(1).to_bits(), served(2).to_bits());
}

#[test]
fn the_world_is_the_same_for_whoever_steers() {
    let scenario = scenario("14-half-a-node");
    let keep = Run { samples: true, ..Run::default() };
    let demands = |steering: Steering| -> Vec<Vec<u64>> {
        let (outcome, _) = run(&scenario, &steering, 9, keep).unwrap();
        assert_eq!(outcome.changes, 0, "{}", steering.name());
        outcome.samples.iter().map(|at| at.utilisation.iter().map(|of| of.to_bits()).collect()).collect()
    };
    let nothing = demands(Steering::Nothing);
    assert_eq!(nothing, demands(Steering::rule(3, false)), "probing more often changes nothing in it");
    assert_eq!(nothing, demands(Steering::Gdnsd));
}

/// The trace of a run, told to the rule again, gives what the run did: the lines say all that the rule was told.
#[test]
fn a_trace_told_again_gives_the_same_decisions() {
    for name in ["01-silent-death", "07-death-in-overload", "12-three-of-eight", "20-crash-loop"] {
        let scenario = scenario(name);
        let keep = Run { trace: true, ..Run::default() };
        let (_, lines) = run(&scenario, &Steering::rule(3, true), 6, keep).unwrap();
        let mut replay = Replay::new(Options::default());
        let (mut done, mut again) = (Vec::new(), Vec::new());
        for line in &lines {
            let answer = replay.line(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
            let said: Value = serde_json::from_str(line).unwrap();
            if said["k"] == "act" {
                done.push((
                    said["t"].clone(),
                    said["a"].clone(),
                    said["n"].clone(),
                    said["rule"].clone(),
                    said["why"].clone(),
                ));
            }
            let Some(answer) = answer else { continue };
            let answer: Value = serde_json::from_str(&answer).unwrap();
            for action in answer["actions"].as_array().unwrap() {
                let of = |key: &str| action[key].clone();
                again.push((answer["t"].clone(), of("a"), of("n"), of("rule"), of("why")));
            }
        }
        assert!(done.len() >= 2, "{name}: {done:?}");
        assert_eq!(done, again, "{name}");
    }
}

#[test]
fn no_random_world_with_everything_is_worse_than_nothing() {
    // Few of them, of the seeds that tuning may look at; the benchmark has the others.
    for seed in 1..=12 {
        let scenario = random(seed);
        let served = |steering: Steering| run(&scenario, &steering, seed, Run::default()).unwrap().0.served;
        let (rule, nothing) = (served(Steering::rule(3, true)), served(Steering::Nothing));
        assert!(rule >= nothing - 0.5, "world {seed}: {rule} with, {nothing} without");
    }
}

#[test]
fn mistakes_in_a_scenario_are_named() {
    let with =
        |more: &str| Scenario::read(&format!("name = \"x\"\nnodes = 2\ndemand = [[0, 0.5]]\n{more}")).unwrap_err();
    assert!(with("[[event]]\nfrom_s = 1\nnodes = [\"n7\"]\nis = \"silent\"").contains("there is no node \"n7\""));
    assert!(with("[[event]]\nfrom_s = 1\nnodes = [\"n1\"]\nis = \"sleepy\"").contains("silent"));
    assert!(with("colour = 3").contains("colour"));
    assert!(with("lasts_s = 5").contains("60"));
    assert!(with("[[expect]]\ngiven = [\"luck\"]").contains("load, relays, shed"));
    assert!(with("[model]\nretry = 1.5").contains("retry"));
    assert!(with("[[node]]\nname = \"a\"").contains("nodes = 2"));
    let backwards = Scenario::read("name = \"x\"\nnodes = 2\ndemand = [[9, 0.5], [3, 0.5]]").unwrap_err();
    assert!(backwards.contains("order of time"), "{backwards}");
    let policy = "[policy]\nstrikes = \"many\"";
    let scenario = Scenario::read(&format!("name = \"x\"\nnodes = 2\ndemand = [[0, 0.5]]\n{policy}")).unwrap();
    assert!(run(&scenario, &Steering::rule(0, false), 1, Run::default()).unwrap_err().contains("strikes"));
}

fn witness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_witness")).arg("simulate").args(arguments).output().unwrap()
}

#[test]
fn on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let (plot, trace) = (folder.path().join("it.svg"), folder.path().join("it.jsonl"));
    let files = ["--plot", plot.to_str().unwrap(), "--trace", trace.to_str().unwrap()];
    let ran = witness(
        &[&["01-silent-death", "--seed", "3", "--against", "nothing,classic", "--json", "--check"][..], &files]
            .concat(),
    );
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let policies: Vec<&str> = lines.iter().map(|line| line["policy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["witness L3+shed", "nothing", "classic"]);
    assert_eq!(lines[0]["actions"][0]["a"], "withdraw");
    assert_eq!(lines[0]["actions"][0]["n"], "n2");
    assert!(std::fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    assert!(std::fs::read_to_string(&trace).unwrap().lines().count() > 1000);
    let failed = witness(&["05-overload-120", "--policy", "classic", "--check"]);
    assert_eq!(failed.status.code(), Some(1), "the script does not do what is expected");
    let unknown = witness(&["nowhere.toml"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("without a scenario lists"));
    let listed = witness(&[]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("25-blind-in-one-eye"));
}

/// The examples of the decision rule are what the program says: of each session, every line is said by the run.
#[test]
fn the_examples_of_the_rule_are_what_the_program_says() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decision-rule.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut examples = 0;
    for example in page.split("<!-- example -->").skip(1) {
        let block = example.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
        let (command, lines) = block.split_once('\n').unwrap();
        let arguments: Vec<&str> = command.strip_prefix("$ witness simulate ").unwrap().split(' ').collect();
        let ran = witness(&[&arguments[..], &["--json"]].concat());
        let said: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{command}: {error}"));
        let line = |action: &Value| {
            let text = |key: &str| action[key].as_str().map(|text| format!(" {text}")).unwrap_or_default();
            let step = action["step"].as_u64().map(|step| format!(" step {step}")).unwrap_or_default();
            let seconds = action["t"].as_i64().unwrap() / 1000;
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            format!("{minutes:02}:{seconds:02}{}{}{step}{}:{}", text("a"), text("n"), text("rule"), text("why"))
        };
        let all: Vec<String> = said["actions"].as_array().unwrap().iter().map(line).collect();
        for wanted in lines.lines() {
            assert!(all.iter().any(|line| line == wanted), "{command} does not say {wanted:?}: {all:#?}");
            examples += 1;
        }
    }
    assert!(examples >= 15, "{examples}");
}
