//! The zone in a file, and everything that can be scripted to go wrong with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use witness::model::{MockSettings, RecordType};
use witness::registrar::{ApplyOutcome, Confirmation, Mock, MockZone, Registrar, RegistrarError};

use crate::contract::{self, Provider};
use crate::world::{TIMEOUT, ZONE, apex, approved, change, ips, key, keys};

struct Folder {
    _folder: TempDir,
    file: PathBuf,
}

impl Folder {
    fn new(faults: &Value) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("zone.json");
        let zone = json!({
            "zone": ZONE, "serial": 1,
            "sets": {
                "@ A": {"ttl": 60, "addresses": ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.99"]},
                "@ AAAA": {"ttl": 60, "addresses": ["2001:db8::14"]},
                "files A": {"ttl": 120, "addresses": ["192.0.2.11"]},
                "other A": {"ttl": 300, "addresses": ["192.0.2.77"]},
            },
            "other": ["@ MX 10 mail.example.net.", {"kept": "as it is"}],
            "faults": faults,
        });
        std::fs::write(&file, zone.to_string()).unwrap();
        Self { _folder: folder, file }
    }

    fn client(&self) -> Mock {
        self.patient(TIMEOUT)
    }

    fn patient(&self, timeout: Duration) -> Mock {
        mock(&self.file, timeout)
    }

    fn content(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.file).unwrap()).unwrap()
    }

    fn apex(&self) -> Value {
        self.content()["sets"]["@ A"]["addresses"].clone()
    }
}

fn mock(file: &Path, timeout: Duration) -> Mock {
    Mock::new(&MockSettings { file: file.to_owned() }, ZONE, timeout)
}

impl Provider for Folder {
    fn connect(&self) -> Box<dyn Registrar> {
        Box::new(self.client())
    }

    fn foreign(&self) -> String {
        let content = self.content();
        format!("{} {}", content["other"], content["sets"]["other A"])
    }

    fn serial(&self) -> Option<u64> {
        self.content()["serial"].as_u64()
    }
}

#[tokio::test]
async fn the_contract_holds() {
    contract::run(&Folder::new(&json!([]))).await;
}

/// Applies the removal of .12 to a zone with `faults`.
async fn remove(folder: &Folder, timeout: Duration) -> ApplyOutcome {
    let registrar = folder.patient(timeout);
    let reading = registrar.observe(&keys()).await.unwrap();
    registrar.apply(&reading, &approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])])).await
}

const WITHOUT_12: [&str; 3] = ["192.0.2.11", "192.0.2.13", "192.0.2.99"];

#[tokio::test]
async fn a_timeout_after_the_write_is_unknown_and_converges() {
    let folder = Folder::new(&json!([{"fault": "timeout-after-apply"}]));
    let outcome = remove(&folder, TIMEOUT).await;
    assert!(matches!(outcome, ApplyOutcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(folder.apex(), json!(WITHOUT_12), "it was written all the same");
    let registrar = folder.client();
    let reading = registrar.observe(&keys()).await.unwrap();
    assert_eq!(reading.sets[&apex()].addresses, ips(&WITHOUT_12));
}

#[tokio::test]
async fn success_without_effect_is_found_out_by_reading_back() {
    let folder = Folder::new(&json!([{"fault": "no-effect"}]));
    let registrar = folder.client();
    let reading = registrar.observe(&keys()).await.unwrap();
    let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
    assert!(matches!(registrar.apply(&reading, &plan).await, ApplyOutcome::Applied { .. }));
    let Confirmation::Differs { why, .. } = registrar.confirm(&plan).await.unwrap() else { panic!("believed") };
    assert!(why.contains("192.0.2.12"), "{why}");
    assert!(matches!(registrar.apply(&reading, &plan).await, ApplyOutcome::Applied { .. }));
    assert!(matches!(registrar.confirm(&plan).await.unwrap(), Confirmation::Holds(_)));
}

#[tokio::test]
async fn a_stale_read_shows_the_state_before_and_cannot_be_built_on() {
    let folder = Folder::new(&json!([]));
    assert!(matches!(remove(&folder, TIMEOUT).await, ApplyOutcome::Applied { .. }));
    let mut content = folder.content();
    content["faults"] = json!([{"fault": "stale-read"}]);
    std::fs::write(&folder.file, content.to_string()).unwrap();

    let registrar = folder.client();
    let stale = registrar.observe(&keys()).await.unwrap();
    assert!(stale.sets[&apex()].addresses.contains(&"192.0.2.12".parse().unwrap()));
    let plan = approved(vec![change(&stale, &apex(), &["192.0.2.13"], &[])]);
    assert!(matches!(registrar.apply(&stale, &plan).await, ApplyOutcome::Conflict { .. }));
    assert_eq!(folder.apex(), json!(WITHOUT_12));
}

#[tokio::test]
async fn a_foreign_write_in_between_is_a_conflict_and_stays() {
    let folder = Folder::new(&json!([
        {"fault": "foreign-write", "set": "@ A", "ttl": 30, "addresses": ["192.0.2.12", "192.0.2.55"]}
    ]));
    let ApplyOutcome::Conflict { why } = remove(&folder, TIMEOUT).await else { panic!("no conflict") };
    assert!(why.contains("192.0.2.55"), "{why}");
    assert_eq!(folder.apex(), json!(["192.0.2.12", "192.0.2.55"]));
}

#[tokio::test]
async fn refusals_of_every_kind_write_nothing_and_happen_once() {
    for (fault, on) in [("rate-limit", "apply"), ("auth", "apply"), ("unreachable", "apply"), ("garbage", "apply")] {
        let folder = Folder::new(&json!([{"fault": fault, "on": on, "retry_after_s": 30}]));
        let outcome = remove(&folder, TIMEOUT).await;
        let as_expected = match fault {
            "rate-limit" => {
                matches!(&outcome, ApplyOutcome::RateLimited { retry_after, .. } if retry_after.as_secs() == 30)
            }
            "auth" => matches!(outcome, ApplyOutcome::Auth { .. }),
            "unreachable" => matches!(outcome, ApplyOutcome::Transient { .. }),
            _ => matches!(outcome, ApplyOutcome::Unknown { .. }),
        };
        assert!(as_expected, "{fault}: {outcome:?}");
        assert_eq!(folder.apex().as_array().unwrap().len(), 4, "{fault} wrote");
        assert!(matches!(remove(&folder, TIMEOUT).await, ApplyOutcome::Applied { .. }), "{fault} happened twice");
    }
    for fault in ["rate-limit", "auth", "unreachable", "garbage"] {
        let folder = Folder::new(&json!([{"fault": fault, "retry_after_s": 30}]));
        let error = folder.client().observe(&keys()).await.unwrap_err();
        let as_expected = match fault {
            "rate-limit" => matches!(error, RegistrarError::RateLimited { .. }),
            "auth" => matches!(error, RegistrarError::Auth { .. }),
            "unreachable" => matches!(error, RegistrarError::Transient { .. }),
            _ => matches!(error, RegistrarError::Untrusted { .. }),
        };
        assert!(as_expected, "{fault}: {error:?}");
        folder.client().observe(&keys()).await.unwrap();
    }
}

#[tokio::test]
async fn slow_is_waited_for_and_too_slow_is_unknown() {
    let folder = Folder::new(&json!([{"fault": "slow", "ms": 30}, {"fault": "slow", "ms": 30, "on": "apply"}]));
    assert!(matches!(remove(&folder, TIMEOUT).await, ApplyOutcome::Applied { .. }));

    let folder = Folder::new(&json!([{"fault": "slow", "ms": 60_000, "on": "apply"}]));
    let outcome = remove(&folder, Duration::from_millis(300)).await;
    assert!(matches!(outcome, ApplyOutcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(folder.apex(), json!(WITHOUT_12), "written, though too late");

    let folder = Folder::new(&json!([{"fault": "slow", "ms": 60_000}]));
    let error = folder.patient(Duration::from_millis(300)).observe(&keys()).await.unwrap_err();
    assert!(matches!(error, RegistrarError::Transient { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_file_says_how_to_make_one_that_works() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("zone.json");
    let registrar = mock(&file, TIMEOUT);
    let RegistrarError::Permanent { why } = registrar.observe(&[apex()]).await.unwrap_err() else { panic!() };
    let recipe = &why[why.find('{').unwrap()..];
    std::fs::write(&file, recipe).unwrap();
    assert_eq!(registrar.observe(&[apex()]).await.unwrap().sets[&apex()].addresses.len(), 1);
}

#[tokio::test]
async fn rubbish_is_named_and_left_as_it_is() {
    let folder = Folder::new(&json!([]));
    let reading = folder.client().observe(&keys()).await.unwrap();
    let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
    for rubbish in ["", "{\"zone\":\n oops", "[]", "\u{0}\u{1}", "{\"zone\":\"example.org\",\"serial\":1,\"sets\":{}}"]
    {
        std::fs::write(&folder.file, rubbish).unwrap();
        let error = folder.client().observe(&keys()).await.unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("zone.json"), "{shown}");
        assert!(matches!(error, RegistrarError::Untrusted { .. } | RegistrarError::Permanent { .. }));
        if rubbish.contains("oops") {
            assert!(shown.contains("line 2 column"), "{shown}");
        }
        let outcome = folder.client().apply(&reading, &plan).await;
        assert!(matches!(outcome, ApplyOutcome::Permanent { .. }), "{outcome:?}");
        assert_eq!(std::fs::read_to_string(&folder.file).unwrap(), rubbish);
    }
    let inside = folder.file.parent().unwrap();
    let names: Vec<String> =
        std::fs::read_dir(inside).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_that_race_one_wins() {
    let folder = Folder::new(&json!([]));
    let reading = folder.client().observe(&keys()).await.unwrap();
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..20 {
        let (registrar, reading) = (folder.client(), reading.clone());
        let victim = ["192.0.2.11", "192.0.2.12", "192.0.2.13"][racer % 3];
        racers.spawn(async move {
            let plan = approved(vec![change(&reading, &apex(), &[victim], &[])]);
            registrar.apply(&reading, &plan).await
        });
    }
    let outcomes = racers.join_all().await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, ApplyOutcome::Applied { .. })).count();
    assert_eq!(won, 1, "{outcomes:?}");
    assert_eq!(folder.content()["serial"], 2);
}

#[tokio::test]
async fn a_file_that_others_hold_is_waited_for_and_then_given_up() {
    let folder = Folder::new(&json!([]));
    let lock = std::fs::File::create(folder.file.with_file_name("zone.json.lock")).unwrap();
    lock.lock().unwrap();
    let error = folder.patient(Duration::from_millis(100)).observe(&keys()).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Transient { why } if why.contains("locked")), "{error:?}");
    drop(lock);
    folder.client().observe(&keys()).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_stays_a_link_and_permissions_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = Folder::new(&json!([]));
    std::fs::set_permissions(&folder.file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.file.with_file_name("link.json");
    symlink(&folder.file, &link).unwrap();
    let registrar = mock(&link, TIMEOUT);
    let reading = registrar.observe(&keys()).await.unwrap();
    let files = key("files", RecordType::A);
    let plan = approved(vec![change(&reading, &files, &[], &["192.0.2.12"])]);
    assert!(matches!(registrar.apply(&reading, &plan).await, ApplyOutcome::Applied { .. }));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&folder.file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(folder.content()["sets"]["files A"]["addresses"], json!(["192.0.2.11", "192.0.2.12"]));
}

#[test]
fn the_documentation_is_right() {
    let text = include_str!("../../docs/registrars/mock.md");
    let (_, rest) = text.split_once("```json\n").unwrap();
    let (example, rest) = rest.split_once("```").unwrap();
    assert_eq!(MockZone::parse(example.as_bytes()).unwrap().sets.len(), 2);
    let faults: Vec<&str> = rest.split('`').filter(|code| code.starts_with("{\"fault\"")).collect();
    assert_eq!(faults.len(), 9, "one row for each");
    let all = example.trim_end().trim_end_matches('}').to_owned() + &format!(",\"faults\":[{}]}}", faults.join(","));
    assert_eq!(MockZone::parse(all.as_bytes()).unwrap().faults.len(), 9);
}
