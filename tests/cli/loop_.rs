//! A node dies and comes back, seen through every command that reads.

use insta::assert_snapshot;
use witness_lab::node::{Mode, SshMode};

use crate::stage::Stage;

#[test]
fn a_quiet_fleet() {
    let stage = Stage::new();
    assert_snapshot!(
        "before_the_first_tick",
        stage.session(&["status", "status --check", "history", "explain", "zone snapshots", "zone show", "check"])
    );
    assert_snapshot!(
        "quiet",
        stage.session(&[
            "once --dry-run",
            "once",
            "once",
            "status",
            "status slice2",
            "status --check",
            "history",
            "history slice2 --kind probes --limit 1",
            "explain",
            "explain slice2",
            "explain 1",
            "zone show",
            "zone snapshots",
            "check --live",
        ])
    );
    assert_snapshot!(
        "quiet_json",
        stage.session(&[
            "once --json",
            "once --dry-run --json",
            "status slice2 --json",
            "status --check",
            "history slice2 --json --kind probes,verdicts --limit 2",
            "explain slice2 --json",
            "zone show --json",
            "zone snapshots --json",
        ])
    );
}

#[test]
fn a_node_dies_and_comes_back() {
    let stage = Stage::new();
    stage.expect("once", 0);
    stage.fleet.nodes[2].power_off().unwrap();
    assert_snapshot!(
        "dying",
        stage.session(&[
            "once",
            "status",
            "status --check",
            "explain slice3",
            "once --dry-run",
            "once",
            "status",
            "status --check",
            "status slice3",
            "history",
            "history slice3 --kind strikes",
            "history --kind holds",
            "explain",
            "explain slice3",
            "zone show",
            "zone snapshots",
        ])
    );
    assert_snapshot!(
        "dead_json",
        stage.session(&["explain slice3 --json", "history --kind strikes,changes --json", "zone snapshots --json"])
    );
    assert_snapshot!(
        "not_yet_back",
        stage.session(&["reinstate slice3", "reinstate slice3 --json", "zone restore 1 --dry-run", "zone restore 1"])
    );
    stage.fleet.nodes[2].power_on().unwrap();
    // A change settles in twice the TTL, which is 1 s here; until then the guard holds the next.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_snapshot!(
        "coming_back",
        stage.session(&["once", "once", "once", "explain slice3", "status", "status --check"])
    );
}

#[test]
fn a_node_that_still_serves_is_held() {
    let stage = Stage::new();
    stage.fleet.nodes[0].set_ssh(SshMode::Refuse).unwrap();
    stage.fleet.nodes[1].set(Mode::Shedding(30)).unwrap();
    assert_snapshot!(stage.session(&["once", "once", "explain", "status", "history --kind holds", "status --json"]));
}

#[test]
fn an_answer_with_a_wrong_status() {
    let stage = Stage::new();
    stage.fleet.nodes[3].set(Mode::Status(500)).unwrap();
    assert_snapshot!(stage.session(&["once", "once", "explain slice4", "history --kind strikes", "check --live"]));
}
