//! Questions that have no answer.

use insta::assert_snapshot;

use crate::stage::Stage;

#[test]
fn wrong_names_and_numbers() {
    let stage = Stage::new();
    stage.expect("once", 0);
    assert_snapshot!(stage.session(&[
        "status slice9",
        "status --check slice9",
        "history slcie1",
        "history slcie1 --json",
        "history --since yesterday",
        "history --since 24",
        "history --since 1s --kind strikes",
        "explain slice0",
        "explain 99",
        "explain 'not a name'",
        "reinstate slice9",
        "withdraw other",
        "pin slice9 out --for 2h --reason x",
        "unpin slice9",
        "zone show --pool file",
        "zone snapshots --pool file",
        "zone restore 7",
    ]));
}

#[test]
fn a_simulated_hour() {
    let stage = Stage::new();
    assert_snapshot!(stage.session(&[
        "simulate 01-silent-death --seed 2 --no-shed --against nothing,classic",
        "simulate 06-overload-150 --policy classic --check"
    ]));
}
