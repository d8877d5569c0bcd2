//! What people do by hand: withdraw, reinstate, pin, restore; and what the guards say to it.

use insta::assert_snapshot;

use crate::stage::Stage;

#[test]
fn withdraw_and_reinstate() {
    let stage = Stage::new();
    stage.expect("once", 0);
    assert_snapshot!(stage.session(&[
        "withdraw slice1 --reason 'a new disk'",
        "withdraw slice1",
        "status --check",
        "withdraw slice2",
        "status --check",
        "withdraw slice3",
        "withdraw slice3 --json",
        "withdraw slice3 --force --reason 'I know'",
        "explain slice1",
        "status",
        "reinstate slice1",
        "reinstate slice1",
        "reinstate slice2 --json",
        "history --kind changes",
        "zone snapshots",
        "zone snapshots --limit 1",
        "zone restore 1 --dry-run",
        "zone restore 1",
        "zone restore 1",
        "zone restore 1 --json",
        "zone restore 99",
        "status --check",
    ]));
}

#[test]
fn pins() {
    let stage = Stage::new();
    stage.expect("once", 0);
    assert_snapshot!(stage.session(&[
        "pin slice1 ignore --for 2h --reason 'a new kernel'",
        "status",
        "status --check",
        "status slice1 --json",
        "pin slice2 out --for 30m --reason 'moving racks'",
        "pin slice3 out --for 30m --reason 'one too many'",
        "pin slice3 out --for 30m --reason 'one too many' --force",
        "once",
        "status",
        "status slice2",
        "status --check",
        "explain slice2",
        "once --json",
        "explain slice2 --json",
        "history --kind changes --json --limit 1",
        "unpin slice1",
        "unpin slice1",
        "unpin slice3",
        "history slice3",
        "pin slice1 out --for never --reason x",
        "pin slice1 out --for 0s --reason x",
        "pin slice1 out --for 400d --reason x",
        "pin slice1 out --for 2h --reason ''",
    ]));
}
