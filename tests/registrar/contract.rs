//! What every registrar has to do, whatever is behind it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use witness::model::RecordType;
use witness::registrar::{ApplyOutcome, Confirmation, Registrar, ZoneReading};

use crate::world::{apex, approved, ask_guard, change, ips, key, keys};

/// A provider that holds the zone of [`crate::world::RECORDS`].
pub(crate) trait Provider {
    /// A client of its own.
    fn connect(&self) -> Box<dyn Registrar>;

    /// Everything that no plan of ours may touch, as the provider has it.
    fn foreign(&self) -> String;

    /// Counts writes; none where the provider does not.
    fn serial(&self) -> Option<u64>;
}

/// Runs all of them, one after the other, on one provider.
pub(crate) async fn run(provider: &impl Provider) {
    let foreign = provider.foreign();
    assert!(!foreign.is_empty(), "nothing foreign to keep an eye on");
    reads_everything_asked_for(provider).await;
    takes_one_out_and_puts_it_back(provider).await;
    changes_several_sets_at_once(provider).await;
    makes_a_set_that_was_not_there(provider).await;
    replay_writes_nothing(provider).await;
    a_stale_reading_is_a_conflict(provider).await;
    the_guard_keeps_the_last_address(provider).await;
    an_empty_plan_writes_nothing(provider).await;
    says_what_it_is_and_what_it_holds(provider).await;
    assert_eq!(provider.foreign(), foreign, "something foreign was touched");
}

async fn read(registrar: &dyn Registrar) -> ZoneReading {
    registrar.observe(&keys()).await.unwrap()
}

fn addresses(reading: &ZoneReading) -> &BTreeSet<IpAddr> {
    &reading.sets[&apex()].addresses
}

async fn reads_everything_asked_for(provider: &impl Provider) {
    let reading = read(&*provider.connect()).await;
    assert_eq!(reading.sets.keys().cloned().collect::<Vec<_>>(), keys());
    assert_eq!(*addresses(&reading), ips(&["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.99"]));
    assert_eq!(reading.sets[&apex()].ttl, 60);
    assert_eq!(reading.sets[&key("files", RecordType::A)].ttl, 120);
    let absent = &reading.sets[&key("files", RecordType::Aaaa)];
    assert!(absent.addresses.is_empty() && absent.ttl == 0, "{absent:?}");
    assert_eq!(read(&*provider.connect()).await.token, reading.token, "equal states have equal marks");
}

async fn takes_one_out_and_puts_it_back(provider: &impl Provider) {
    let registrar = provider.connect();
    let first = read(&*registrar).await;
    let out = approved(vec![change(&first, &apex(), &["192.0.2.12"], &[])]);
    let outcome = registrar.apply(&first, &out).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    let Confirmation::Holds(second) = registrar.confirm(&out).await.unwrap() else { panic!("not confirmed") };
    assert_eq!(*addresses(&second), ips(&["192.0.2.11", "192.0.2.13", "192.0.2.99"]));
    assert_eq!(second.sets[&apex()].ttl, 60);

    let second = read(&*registrar).await;
    assert_ne!(second.token, first.token);
    let back = approved(vec![change(&second, &apex(), &[], &["192.0.2.12"])]);
    assert!(matches!(registrar.apply(&second, &back).await, ApplyOutcome::Applied { .. }));
    let third = read(&*registrar).await;
    assert_eq!(third.sets, first.sets, "addresses or TTL came back otherwise");
    let Confirmation::Differs { why, .. } = registrar.confirm(&out).await.unwrap() else { panic!("confirmed") };
    assert!(why.contains("192.0.2.12"), "{why}");
}

async fn changes_several_sets_at_once(provider: &impl Provider) {
    let registrar = provider.connect();
    let first = read(&*registrar).await;
    let files = key("files", RecordType::A);
    let there = approved(vec![
        change(&first, &apex(), &["192.0.2.11"], &["192.0.2.14"]),
        change(&first, &files, &["192.0.2.11"], &["192.0.2.12", "192.0.2.13"]),
    ]);
    assert!(matches!(registrar.apply(&first, &there).await, ApplyOutcome::Applied { .. }));
    let second = read(&*registrar).await;
    assert_eq!(*addresses(&second), ips(&["192.0.2.12", "192.0.2.13", "192.0.2.14", "192.0.2.99"]));
    assert_eq!(second.sets[&files].addresses, ips(&["192.0.2.12", "192.0.2.13"]));
    assert_eq!(second.sets[&files].ttl, 120, "the set's TTL is kept even when every address is another");
    let back = approved(vec![
        change(&second, &apex(), &["192.0.2.14"], &["192.0.2.11"]),
        change(&second, &files, &["192.0.2.12", "192.0.2.13"], &["192.0.2.11"]),
    ]);
    assert!(matches!(registrar.apply(&second, &back).await, ApplyOutcome::Applied { .. }));
    assert_eq!(read(&*registrar).await.sets, first.sets);
}

async fn makes_a_set_that_was_not_there(provider: &impl Provider) {
    let registrar = provider.connect();
    let first = read(&*registrar).await;
    let set = key("files", RecordType::Aaaa);
    let plan = approved(vec![change(&first, &set, &[], &["2001:db8::14"])]);
    assert!(matches!(registrar.apply(&first, &plan).await, ApplyOutcome::Applied { .. }));
    let second = read(&*registrar).await;
    assert_eq!(second.sets[&set].addresses, ips(&["2001:db8::14"]));
    assert_eq!(second.sets[&set].ttl, 60, "the plan's, where there was none");
    // From the reading before, in which the set was absent: it must not be made twice.
    let outcome = registrar.apply(&first, &plan).await;
    assert_eq!(outcome, ApplyOutcome::AlreadyInState);
}

async fn replay_writes_nothing(provider: &impl Provider) {
    let registrar = provider.connect();
    let first = read(&*registrar).await;
    let plan = approved(vec![change(&first, &apex(), &["192.0.2.13"], &[])]);
    assert!(matches!(registrar.apply(&first, &plan).await, ApplyOutcome::Applied { .. }));
    let second = read(&*registrar).await;
    let serial = provider.serial();
    // With the old reading, with the new one, and by another process.
    assert_eq!(registrar.apply(&first, &plan).await, ApplyOutcome::AlreadyInState);
    assert_eq!(registrar.apply(&second, &plan).await, ApplyOutcome::AlreadyInState);
    assert_eq!(provider.connect().apply(&first, &plan).await, ApplyOutcome::AlreadyInState);
    assert_eq!(provider.serial(), serial, "a replay was written");
    let back = approved(vec![change(&second, &apex(), &[], &["192.0.2.13"])]);
    assert!(matches!(registrar.apply(&second, &back).await, ApplyOutcome::Applied { .. }));
}

async fn a_stale_reading_is_a_conflict(provider: &impl Provider) {
    let registrar = provider.connect();
    let stale = read(&*registrar).await;
    let other = approved(vec![change(&stale, &apex(), &["192.0.2.11"], &[])]);
    assert!(matches!(provider.connect().apply(&stale, &other).await, ApplyOutcome::Applied { .. }));
    let stands = read(&*registrar).await;
    let serial = provider.serial();

    let plan = approved(vec![change(&stale, &apex(), &["192.0.2.12"], &[])]);
    let ApplyOutcome::Conflict { why } = registrar.apply(&stale, &plan).await else { panic!("no conflict") };
    assert!(why.contains("192.0.2.12 192.0.2.13"), "what stands there is told: {why}");
    // One set of the plan is as it was, and still none of it may be written.
    let files = key("files", RecordType::A);
    let mixed =
        approved(vec![change(&stale, &apex(), &["192.0.2.12"], &[]), change(&stale, &files, &[], &["192.0.2.12"])]);
    assert!(matches!(registrar.apply(&stale, &mixed).await, ApplyOutcome::Conflict { .. }));
    // A plan that does not belong to the reading it comes with.
    assert!(matches!(registrar.apply(&stands, &plan).await, ApplyOutcome::Conflict { .. }));
    assert_eq!(read(&*registrar).await.sets, stands.sets);
    assert_eq!(provider.serial(), serial, "a conflict was written");

    let back = approved(vec![change(&stands, &apex(), &[], &["192.0.2.11"])]);
    assert!(matches!(registrar.apply(&stands, &back).await, ApplyOutcome::Applied { .. }));
}

async fn the_guard_keeps_the_last_address(provider: &impl Provider) {
    let registrar = provider.connect();
    let reading = read(&*registrar).await;
    let serial = provider.serial();
    let last = change(&reading, &key("files", RecordType::A), &["192.0.2.11"], &[]);
    let refusal = ask_guard(vec![last]).unwrap_err();
    assert!(refusal.why.contains("without an address"), "{refusal}");
    let foreign = change(&reading, &apex(), &["192.0.2.99"], &[]);
    assert!(ask_guard(vec![foreign]).is_err());
    assert_eq!(provider.serial(), serial);
    assert_eq!(read(&*registrar).await, reading);
}

async fn an_empty_plan_writes_nothing(provider: &impl Provider) {
    let registrar = provider.connect();
    let reading = read(&*registrar).await;
    let serial = provider.serial();
    assert_eq!(registrar.apply(&reading, &approved(Vec::new())).await, ApplyOutcome::AlreadyInState);
    assert_eq!(provider.serial(), serial);
}

async fn says_what_it_is_and_what_it_holds(provider: &impl Provider) {
    let registrar = provider.connect();
    let description = registrar.describe();
    assert!(!description.kind.is_empty() && description.calls.0 > 0);
    let info = registrar.restore_info().await.unwrap();
    assert!(info.to_string().contains("192.0.2.99"), "{info}");
    let reading = read(&*registrar).await;
    let copy: ZoneReading = serde_json::from_str(&serde_json::to_string(&reading).unwrap()).unwrap();
    assert_eq!(copy, reading, "a reading can be written down");
}
