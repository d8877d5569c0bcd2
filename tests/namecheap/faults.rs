//! Whatever goes wrong, the outcome says what is known, and the zone is whole.

use std::time::Duration;

use witness::registrar::{ApplyOutcome, Confirmation, Registrar as _, RegistrarError};
use witness_lab::namecheap::{Effect, FakeNamecheap, Fault, Host, On, Rules, Zone};

use crate::{Bench, addresses, apex, plan, unmanaged, usual};

const LEFT: [&str; 3] = ["192.0.2.11", "192.0.2.12", "192.0.2.14"];
const ALL: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];

fn impatient() -> Bench {
    Bench::with(usual(), Rules { email_type_resets: true, ..Rules::default() }, Duration::from_millis(1500), false)
}

/// The zone is whole: nothing but the apex's addresses may differ from the usual, and these are `wanted`.
#[track_caller]
fn assert_whole(bench: &Bench, wanted: &[&str]) {
    let zone = bench.zone();
    let plain = |hosts: Vec<Host>| -> Vec<Host> { hosts.into_iter().map(|host| Host { id: 0, ..host }).collect() };
    let mut before = plain(unmanaged(&usual()));
    before.sort_by(|a, b| (&a.rtype, &a.name, &a.address).cmp(&(&b.rtype, &b.name, &b.address)));
    let mut after = plain(unmanaged(&zone));
    after.sort_by(|a, b| (&a.rtype, &a.name, &a.address).cmp(&(&b.rtype, &b.name, &b.address)));
    assert_eq!(after, before);
    assert_eq!(addresses(&zone), wanted);
    assert_eq!(zone.email_type, "MX");
}

/// Injects `fault` between the reading that a plan is made from and its execution.
async fn with(bench: &Bench, fault: Fault) -> ApplyOutcome {
    let reading = bench.observe().await;
    bench.server.inject(fault);
    let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(apex(), &["192.0.2.13"], &[])])).await;
    bench.server.heal();
    outcome
}

#[tokio::test]
async fn one_address_goes_and_comes_back() {
    let bench = impatient();
    let outcome = bench.remove("192.0.2.13").await;
    assert!(matches!(&outcome, ApplyOutcome::Applied { receipt } if receipt.contains("11 rows")), "{outcome:?}");
    assert_whole(&bench, &LEFT);
    let reading = bench.observe().await;
    let back = plan(&reading, &[(apex(), &[], &["192.0.2.13"])]);
    let outcome = bench.registrar.apply(&reading, &back).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_whole(&bench, &ALL);
    let row = bench.zone().hosts.into_iter().find(|host| host.address == "192.0.2.13").unwrap();
    assert_eq!(row.ttl, "300", "the set's TTL");
    assert!(matches!(bench.registrar.confirm(&back).await.unwrap(), Confirmation::Holds(_)));
    // Once more: it is so already, and nothing is written.
    let writes = bench.writes();
    assert_eq!(bench.registrar.apply(&reading, &back).await, ApplyOutcome::AlreadyInState);
    assert_eq!(bench.writes(), writes);
}

#[tokio::test]
async fn two_sets_change_in_one_write() {
    let bench = impatient();
    let files = crate::set("files", witness::model::RecordType::A);
    let reading = bench.registrar.observe(&[apex(), files.clone()]).await.unwrap();
    let change = plan(&reading, &[(apex(), &["192.0.2.12"], &[]), (files.clone(), &["192.0.2.12"], &["192.0.2.13"])]);
    let outcome = bench.registrar.apply(&reading, &change).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(bench.writes(), 1);
    let Confirmation::Holds(reading) = bench.registrar.confirm(&change).await.unwrap() else { panic!("differs") };
    assert_eq!(reading.sets[&files].ttl, 60);
    assert_eq!(reading.sets[&apex()].addresses.len(), 3);
}

#[tokio::test]
async fn executed_without_an_answer_is_unknown_and_converges() {
    for effect in [Effect::SilentAfterApply, Effect::Reset] {
        let bench = impatient();
        let outcome = with(&bench, Fault::once(On::SetHosts, effect)).await;
        assert!(matches!(outcome, ApplyOutcome::Unknown { .. }), "{outcome:?}");
        assert_whole(&bench, &LEFT);
        // Reading comes first, and shows that there is nothing left to do.
        let reading = bench.observe().await;
        assert_eq!(reading.sets[&apex()].addresses.len(), 3);
        assert_eq!(bench.writes(), 1);
    }
}

#[tokio::test]
async fn not_executed_and_without_an_answer_is_unknown_and_converges() {
    let bench = impatient();
    let outcome = with(&bench, Fault::once(On::SetHosts, Effect::Silent)).await;
    assert!(matches!(&outcome, ApplyOutcome::Unknown { why } if why.contains("in time")), "{outcome:?}");
    assert_whole(&bench, &ALL);
    assert!(matches!(bench.remove("192.0.2.13").await, ApplyOutcome::Applied { .. }));
    assert_whole(&bench, &LEFT);
}

#[tokio::test]
async fn a_replay_of_a_change_that_happened_unseen_writes_nothing() {
    let bench = impatient();
    let reading = bench.observe().await;
    let change = plan(&reading, &[(apex(), &["192.0.2.13"], &[])]);
    bench.server.inject(Fault::once(On::SetHosts, Effect::SilentAfterApply));
    assert!(matches!(bench.registrar.apply(&reading, &change).await, ApplyOutcome::Unknown { .. }));
    assert_eq!(bench.registrar.apply(&reading, &change).await, ApplyOutcome::AlreadyInState);
    assert_eq!(bench.writes(), 1);
}

#[tokio::test]
async fn success_without_effect_is_a_conflict() {
    let bench = impatient();
    let outcome = with(&bench, Fault::once(On::SetHosts, Effect::Ignored)).await;
    assert!(matches!(&outcome, ApplyOutcome::Conflict { why } if why.contains("as it was before")), "{outcome:?}");
    assert_whole(&bench, &ALL);
}

#[tokio::test]
async fn one_stale_reading_after_the_write_is_read_again() {
    let bench = impatient();
    let outcome = with(&bench, Fault::once(On::GetHosts, Effect::Stale).after(1)).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_whole(&bench, &LEFT);
}

#[tokio::test]
async fn readings_that_stay_stale_are_a_conflict_and_the_next_reading_tells() {
    let bench = impatient();
    let outcome = with(&bench, Fault::always(On::GetHosts, Effect::Stale).after(1)).await;
    assert!(matches!(outcome, ApplyOutcome::Conflict { .. }), "{outcome:?}");
    assert_whole(&bench, &LEFT);
    assert_eq!(bench.observe().await.sets[&apex()].addresses.len(), 3);
}

#[tokio::test]
async fn a_foreign_write_before_ours_is_a_conflict_and_survives() {
    let foreign = Host::new("theirs", "TXT", "kept", 600);
    let bench = impatient();
    // Between the reading that the plan was made from and the one just before the write.
    let outcome = with(&bench, Fault::once(On::GetHosts, Effect::Foreign(foreign.clone()))).await;
    assert!(matches!(&outcome, ApplyOutcome::Conflict { why } if why.contains("changed since")), "{outcome:?}");
    assert_eq!(bench.writes(), 0);
    assert!(bench.zone().hosts.iter().any(|host| host.address == "kept"));
    assert_eq!(addresses(&bench.zone()), ALL);
}

#[tokio::test]
async fn every_kind_of_foreign_change_is_a_conflict() {
    type Meddle = fn(&mut Zone);
    let changes: [(&str, Meddle); 6] = [
        ("mail handling", |zone| zone.email_type = "FWD".to_owned()),
        ("a text", |zone| zone.hosts.iter_mut().find(|host| host.rtype == "TXT").unwrap().address.push('!')),
        ("a TTL", |zone| zone.hosts.iter_mut().find(|host| host.rtype == "CNAME").unwrap().ttl = "61".to_owned()),
        ("a preference", |zone| {
            zone.hosts.iter_mut().find(|host| host.rtype == "MX").unwrap().mx_pref = "9".to_owned()
        }),
        ("a row gone", |zone| zone.hosts.retain(|host| host.rtype != "CAA")),
        ("a row that became dynamic", |zone| {
            zone.hosts.iter_mut().find(|host| host.name == "files").unwrap().dynamic = true;
        }),
    ];
    for (what, meddle) in changes {
        let bench = impatient();
        let reading = bench.observe().await;
        bench.server.meddle(crate::ZONE, meddle);
        let theirs = bench.zone();
        let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(apex(), &["192.0.2.13"], &[])])).await;
        assert!(matches!(outcome, ApplyOutcome::Conflict { .. }), "{what}: {outcome:?}");
        assert_eq!((bench.zone(), bench.writes()), (theirs, 0), "{what}");
    }
}

#[tokio::test]
async fn a_foreign_write_after_ours_is_a_conflict_and_survives() {
    let bench = impatient();
    let foreign = Host::new("theirs", "TXT", "kept", 600);
    let outcome = with(&bench, Fault::once(On::GetHosts, Effect::Foreign(foreign)).after(1)).await;
    assert!(matches!(&outcome, ApplyOutcome::Conflict { why } if why.contains("kept")), "{outcome:?}");
    assert!(bench.zone().hosts.iter().any(|host| host.address == "kept"));
    assert_eq!(addresses(&bench.zone()), LEFT);
}

#[tokio::test]
async fn half_an_answer_before_the_write_is_not_trusted() {
    let bench = impatient();
    let outcome = with(&bench, Fault::once(On::GetHosts, Effect::Truncated)).await;
    assert!(matches!(&outcome, ApplyOutcome::Refused { why } if why.contains("not trusted")), "{outcome:?}");
    assert_eq!(bench.writes(), 0);
    assert_whole(&bench, &ALL);
}

#[tokio::test]
async fn half_an_answer_to_the_write_is_settled_by_reading() {
    let bench = impatient();
    let outcome = with(&bench, Fault::once(On::SetHosts, Effect::Truncated)).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_whole(&bench, &LEFT);
}

#[tokio::test]
async fn half_an_answer_after_the_write_is_unknown() {
    let bench = impatient();
    let outcome = with(&bench, Fault::always(On::GetHosts, Effect::Truncated).after(1)).await;
    assert!(matches!(&outcome, ApplyOutcome::Unknown { why } if why.contains("accepted")), "{outcome:?}");
    assert_whole(&bench, &LEFT);
}

#[tokio::test]
async fn an_unhandled_exception_is_settled_by_reading() {
    let error = || (5_050_900, "Unhandled exceptions".to_owned());
    let bench = impatient();
    let outcome = with(&bench, Fault::once(On::GetHosts, Effect::Error(error().0, error().1))).await;
    assert!(matches!(&outcome, ApplyOutcome::Transient { why } if why.contains("5050900")), "{outcome:?}");
    assert_whole(&bench, &ALL);
    // The write failed, and the reading proves it.
    let outcome = with(&bench, Fault::once(On::SetHosts, Effect::Error(error().0, error().1))).await;
    assert!(matches!(&outcome, ApplyOutcome::Transient { why } if why.contains("5050900")), "{outcome:?}");
    assert_whole(&bench, &ALL);
    // The write happened in spite of the error, and the reading proves that.
    let outcome = with(&bench, Fault::once(On::SetHosts, Effect::ErrorAfterApply(error().0, error().1))).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_whole(&bench, &LEFT);
}

#[tokio::test]
async fn errors_have_the_outcome_of_their_class() {
    type Is = fn(&ApplyOutcome) -> bool;
    let table: [(u32, Is); 6] = [
        (3_050_750, |outcome| matches!(outcome, ApplyOutcome::Transient { .. })),
        (500_000, |outcome| matches!(outcome, ApplyOutcome::RateLimited { .. })),
        (1_011_102, |outcome| matches!(outcome, ApplyOutcome::Auth { .. })),
        (1_011_150, |outcome| matches!(outcome, ApplyOutcome::Auth { .. })),
        (2_019_166, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
        (2_030_288, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
    ];
    for (number, is) in table {
        for on in [On::GetHosts, On::SetHosts] {
            let bench = impatient();
            let outcome = with(&bench, Fault::once(on, Effect::Error(number, "said".to_owned()))).await;
            assert!(is(&outcome), "{number} {on:?}: {outcome:?}");
            assert_whole(&bench, &ALL);
        }
    }
}

#[tokio::test]
async fn too_many_calls_are_a_pause_for_the_whole_account() {
    let bench = impatient();
    let reading = bench.observe().await;
    bench.server.inject(Fault::always(On::Any, Effect::RateLimited).after(1));
    let change = plan(&reading, &[(apex(), &["192.0.2.13"], &[])]);
    let outcome = bench.registrar.apply(&reading, &change).await;
    let ApplyOutcome::RateLimited { retry_after, why } = outcome else { panic!("{outcome:?}") };
    assert!(retry_after >= Duration::from_secs(30) && retry_after <= Duration::from_secs(60), "{retry_after:?}");
    assert!(why.contains("405"), "{why}");
    assert_whole(&bench, &ALL);
    // Nobody calls during the pause, not even for another zone of the account.
    bench.server.heal();
    let calls = bench.server.calls().len();
    let other = witness::registrar::namecheap::Namecheap::new(&bench.settings, "example.net", Duration::from_secs(5));
    let error = other.unwrap().observe(&[apex()]).await.unwrap_err();
    assert!(matches!(error, RegistrarError::RateLimited { .. }), "{error:?}");
    assert_eq!(bench.server.calls().len(), calls);
}

#[tokio::test]
async fn other_statuses_have_their_outcome() {
    type Is = fn(&ApplyOutcome) -> bool;
    let table: [(u16, On, Is); 7] = [
        (429, On::SetHosts, |outcome| matches!(outcome, ApplyOutcome::RateLimited { .. })),
        (403, On::SetHosts, |outcome| matches!(outcome, ApplyOutcome::Auth { .. })),
        (404, On::SetHosts, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
        (302, On::SetHosts, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
        (502, On::SetHosts, |outcome| matches!(outcome, ApplyOutcome::Unknown { .. })),
        (502, On::GetHosts, |outcome| matches!(outcome, ApplyOutcome::Transient { .. })),
        (504, On::SetHosts, |outcome| matches!(outcome, ApplyOutcome::Unknown { .. })),
    ];
    for (status, on, is) in table {
        let bench = impatient();
        let outcome = with(&bench, Fault::once(on, Effect::Status(status))).await;
        assert!(is(&outcome), "{status} {on:?}: {outcome:?}");
        assert_whole(&bench, &ALL);
        assert!(bench.server.calls().iter().all(|call| call.target == "/xml.response"), "a redirect was followed");
    }
}

#[tokio::test]
async fn a_slow_answer_within_the_time_out_is_an_answer() {
    let bench = Bench::new(usual());
    let outcome = with(&bench, Fault::always(On::Any, Effect::Slow(Duration::from_millis(300)))).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_whole(&bench, &LEFT);
}

#[tokio::test]
async fn a_reset_while_reading_is_transient() {
    let bench = impatient();
    bench.server.inject(Fault::once(On::GetHosts, Effect::Reset));
    let error = bench.registrar.observe(&[apex()]).await.unwrap_err();
    assert!(matches!(error, RegistrarError::Transient { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_transient() {
    let bench = impatient();
    let reading = bench.observe().await;
    let change = plan(&reading, &[(apex(), &["192.0.2.13"], &[])]);
    let Bench { server, registrar, .. } = bench;
    drop::<FakeNamecheap>(server);
    let error = registrar.observe(&[apex()]).await.unwrap_err();
    assert!(matches!(error, RegistrarError::Transient { .. }), "{error:?}");
    let outcome = registrar.apply(&reading, &change).await;
    assert!(matches!(outcome, ApplyOutcome::Transient { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_ttl_that_the_provider_raises_is_a_conflict_that_says_so() {
    let rules = Rules { ttl_min: 300, ..Rules::default() };
    let bench = Bench::with(usual(), rules, Duration::from_secs(10), false);
    // The rows at `files` have a TTL of 60 from before, and any write raises it.
    let outcome = bench.remove("192.0.2.13").await;
    assert!(matches!(&outcome, ApplyOutcome::Conflict { why } if why.contains("TTL 300")), "{outcome:?}");
    // From now on they have 300, and the next change goes through.
    assert!(matches!(bench.remove("192.0.2.14").await, ApplyOutcome::Applied { .. }));
}

#[tokio::test]
async fn readings_leave_calls_for_a_change() {
    let bench = impatient();
    let reading = bench.observe().await;
    for _ in 0..15 {
        bench.observe().await;
    }
    let error = bench.registrar.observe(&[apex()]).await.unwrap_err();
    let RegistrarError::RateLimited { retry_after, .. } = error else { panic!("{error:?}") };
    assert!(retry_after <= Duration::from_secs(60));
    assert_eq!(bench.server.calls().len(), 16);
    let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(apex(), &["192.0.2.13"], &[])])).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
}

#[tokio::test]
async fn odd_answers_to_a_write_that_did_not_happen_do_not_pass_for_success() {
    let result = |inner: &str| {
        format!("<ApiResponse Status=\"OK\"><Errors/><CommandResponse>{inner}</CommandResponse></ApiResponse>")
    };
    let said = |attributes: &str| result(&format!("<DomainDNSSetHostsResult {attributes}/>"));
    let answers = [
        said("Domain=\"example.com\" IsSuccess=\"false\""),
        said("Domain=\"example.com\""),
        said("Domain=\"example.net\" IsSuccess=\"true\""),
        said("IsSuccess=\"true\""),
        result(""),
        result("<DomainDNSGetHostsResult Domain=\"example.com\" EmailType=\"MX\" IsUsingOurDNS=\"true\"/>"),
        "<html>welcome back soon</html>".to_owned(),
        String::new(),
    ];
    let mut running = tokio::task::JoinSet::new();
    for answer in answers {
        running.spawn(async move {
            let bench = impatient();
            let outcome = with(&bench, Fault::once(On::SetHosts, Effect::Body(answer.clone()))).await;
            assert!(matches!(outcome, ApplyOutcome::Transient { .. }), "{answer}: {outcome:?}");
            assert_whole(&bench, &ALL);
        });
    }
    running.join_all().await;
}

#[tokio::test]
async fn a_second_plan_from_the_same_reading_is_a_conflict() {
    let bench = impatient();
    let reading = bench.observe().await;
    let (one, other) =
        (plan(&reading, &[(apex(), &["192.0.2.13"], &[])]), plan(&reading, &[(apex(), &["192.0.2.14"], &[])]));
    // The first is carried out whole; the second was planned from what is no longer so.
    assert!(matches!(bench.registrar.apply(&reading, &one).await, ApplyOutcome::Applied { .. }));
    let outcome = bench.registrar.apply(&reading, &other).await;
    assert!(matches!(outcome, ApplyOutcome::Conflict { .. }), "{outcome:?}");
    assert_whole(&bench, &LEFT);
    assert_eq!(bench.writes(), 1);
}
