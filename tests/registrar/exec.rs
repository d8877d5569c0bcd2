//! Programs: the documented example, and every way in which one can misbehave.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use witness::clock::Stopwatch;
use witness::model::{ExecSettings, Secret};
use witness::registrar::{ApplyOutcome, CompareAndSwap, Exec, Registrar, RegistrarError, ZoneReading};

use crate::contract::{self, Provider};
use crate::world::{TIMEOUT, ZONE, apex, approved, change, ips, keys, skipped};

struct Example {
    folder: TempDir,
}

impl Example {
    /// None where there is no python3, which is said.
    fn new() -> Option<Self> {
        let there = std::process::Command::new("python3").arg("--version").output();
        if !there.is_ok_and(|output| output.status.success()) {
            skipped("the example program for exec", "apt-get install python3");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let set = |owner: &str, rtype: &str, ttl: u32, addresses: &[&str]| json!({"owner": owner, "type": rtype, "ttl": ttl, "addresses": addresses});
        let zone = json!({"serial": 1, "mine": "keep me", "sets": [
            set("@", "A", 60, &["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.99"]),
            set("@", "AAAA", 60, &["2001:db8::14"]),
            set("files", "A", 120, &["192.0.2.11"]),
            set("other", "A", 300, &["192.0.2.77"]),
        ]});
        let example = Self { folder };
        std::fs::write(example.file(), zone.to_string()).unwrap();
        Some(example)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("zone.json")
    }

    fn client(&self) -> Exec {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/registrars/exec-example.py");
        exec(&["python3", program, self.file().to_str().unwrap()])
    }

    fn content(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.file()).unwrap()).unwrap()
    }
}

impl Provider for Example {
    fn connect(&self) -> Box<dyn Registrar> {
        Box::new(self.client())
    }

    fn foreign(&self) -> String {
        let content = self.content();
        let other: Vec<&Value> =
            content["sets"].as_array().unwrap().iter().filter(|set| set["owner"] == "other").collect();
        format!("{} {other:?}", content["mine"])
    }

    fn serial(&self) -> Option<u64> {
        self.content()["serial"].as_u64()
    }
}

fn exec(command: &[&str]) -> Exec {
    patient(command, TIMEOUT)
}

fn patient(command: &[&str], timeout: Duration) -> Exec {
    let settings = ExecSettings {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        environment: vec![("API_KEY".to_owned(), Secret::new("hunter2"))],
    };
    Exec::new(&settings, ZONE, timeout).unwrap()
}

/// A shell's script as the program: its input is the request.
fn script(text: &str) -> Exec {
    exec(&["sh", "-c", text])
}

#[tokio::test]
async fn the_contract_holds_for_the_documented_example() {
    let Some(example) = Example::new() else { return };
    contract::run(&example).await;
    let said = example.client().ask_description().await.unwrap();
    assert_eq!(said.compare_and_swap, CompareAndSwap::Atomic);
    assert_eq!(example.client().describe().compare_and_swap, CompareAndSwap::Reread, "it asks nobody");
    std::fs::write(example.file(), "oops").unwrap();
    let error = example.client().observe(&keys()).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Permanent { why } if why.contains("zone.json")), "{error:?}");
}

/// What the scripts below answer to `observe`.
const READ: &str =
    r#"{"sets":[{"owner":"@","type":"A","ttl":60,"addresses":["192.0.2.11","192.0.2.12"]}],"token":"1"}"#;

fn reading() -> ZoneReading {
    let answer: Value = serde_json::from_str(READ).unwrap();
    serde_json::from_value(json!({"sets": answer["sets"], "token": "1", "preimage": null})).unwrap()
}

#[tokio::test]
async fn the_request_is_what_is_documented() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let text = format!(
        "tee -a {log} | {{ read line; case $line in *'\"op\":\"apply\"'*) echo '{{\"outcome\":\"applied\",\"receipt\":\"r1\"}}';; \
         *) echo '{READ}';; esac; }}",
        log = log.display()
    );
    let registrar = script(&text);
    let plan = approved(vec![change(&reading(), &apex(), &["192.0.2.12"], &[])]);
    let outcome = registrar.apply(&reading(), &plan).await;
    assert_eq!(outcome, ApplyOutcome::Applied { receipt: "r1".to_owned() });
    let log = std::fs::read_to_string(log).unwrap();
    let requests: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        requests[0],
        json!({
            "op": "observe", "version": 1, "zone": "example.com", "sets": [{"owner": "@", "type": "A"}],
        })
    );
    assert_eq!(requests[1]["op"], "apply");
    assert_eq!(requests[1]["reading"]["token"], "1");
    assert_eq!(requests[1]["reading"]["sets"][0]["addresses"], json!(["192.0.2.11", "192.0.2.12"]));
    assert_eq!(
        requests[1]["plan"]["changes"],
        json!([{
            "set": {"owner": "@", "type": "A"}, "ttl": 60,
            "before": ["192.0.2.11", "192.0.2.12"], "remove": ["192.0.2.12"], "add": [],
        }])
    );
    assert!(!log.contains("hunter2"), "secrets go by the environment alone");
}

#[tokio::test]
async fn what_cannot_be_read_is_never_an_empty_set() {
    type Is = fn(&RegistrarError) -> bool;
    let transient: Is = |error| matches!(error, RegistrarError::Transient { .. });
    let untrusted: Is = |error| matches!(error, RegistrarError::Untrusted { .. });
    let permanent: Is = |error| matches!(error, RegistrarError::Permanent { .. });
    let auth: Is = |error| matches!(error, RegistrarError::Auth { .. });
    let limited: Is =
        |error| matches!(error, RegistrarError::RateLimited { retry_after, .. } if retry_after.as_secs() == 7);
    for (text, expected, said) in [
        ("exit 0", untrusted, "answered nothing"),
        ("exit 3", transient, "exit status: 3"),
        ("kill -9 $$", transient, "signal: 9"),
        ("echo oops >&2; exit 1", transient, "oops"),
        ("echo key is $API_KEY >&2; exit 1", transient, "key is (API_KEY)"),
        (r#"echo "{\"error\":{\"kind\":\"auth\",\"why\":\"bad key $API_KEY\"}}""#, auth, "bad key (API_KEY)"),
        ("echo no json", untrusted, "no JSON"),
        ("echo '{}'", untrusted, "missing field `sets`"),
        (r#"echo '{"sets":[]}'"#, untrusted, "says nothing of @ A"),
        (&format!("echo '{READ}'; exit 1"), untrusted, "ended with exit status: 1"),
        (&format!("echo '{READ}{READ}'"), untrusted, "no JSON"),
        (r#"echo '{"error":{"kind":"auth","why":"no such key"}}'"#, auth, "no such key"),
        (r#"echo '{"error":{"kind":"rate-limited","retry_after_s":7,"why":"slow"}}'; exit 1"#, limited, "slow"),
        (r#"echo '{"error":{"kind":"permanent","why":"gone"}}'; exit 1"#, permanent, "gone"),
        ("yes", untrusted, "more than"),
    ] {
        let error = script(text).observe(&[apex()]).await.unwrap_err();
        assert!(expected(&error), "{text}: {error:?}");
        assert!(error.to_string().contains(said), "{text}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = exec(&["/nowhere/program"]).observe(&[apex()]).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Permanent { why } if why.contains("/nowhere/program")), "{error:?}");
    let empty = ExecSettings { command: Vec::new(), environment: Vec::new() };
    assert!(Exec::new(&empty, ZONE, TIMEOUT).is_err());
}

#[tokio::test]
async fn a_write_without_a_good_answer_is_unknown() {
    let plan = approved(vec![change(&reading(), &apex(), &["192.0.2.12"], &[])]);
    type Is = fn(&ApplyOutcome) -> bool;
    let unknown: Is = |outcome| matches!(outcome, ApplyOutcome::Unknown { .. });
    for (apply, expected) in [
        ("true", unknown),
        ("exit 3", unknown),
        ("kill -9 $$", unknown),
        ("echo '{}'", unknown),
        (r#"echo '{"outcome":"done"}'"#, unknown),
        (r#"echo '{"outcome":"applied"}'; exit 1"#, unknown),
        ("head -c 9000000 /dev/zero", unknown),
        (r#"echo '{"outcome":"applied"}'"#, |outcome| matches!(outcome, ApplyOutcome::Applied { .. })),
        (r#"echo '{"outcome":"already"}'"#, |outcome| matches!(outcome, ApplyOutcome::AlreadyInState)),
        (r#"echo '{"outcome":"conflict","why":"w"}'"#, |outcome| matches!(outcome, ApplyOutcome::Conflict { .. })),
        (r#"echo '{"outcome":"refused","why":"w"}'; exit 1"#, |outcome| {
            matches!(outcome, ApplyOutcome::Refused { .. })
        }),
        (r#"echo '{"outcome":"auth","why":"w"}'"#, |outcome| matches!(outcome, ApplyOutcome::Auth { .. })),
        (r#"echo '{"outcome":"transient","why":"w"}'"#, |outcome| matches!(outcome, ApplyOutcome::Transient { .. })),
        (r#"echo '{"outcome":"permanent","why":"w"}'"#, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
        (r#"echo '{"outcome":"rate-limited"}'"#, |outcome| matches!(outcome, ApplyOutcome::RateLimited { .. })),
    ] {
        let text = format!("read line; case $line in *'\"op\":\"observe\"'*) echo '{READ}';; *) {apply};; esac");
        let outcome = script(&text).apply(&reading(), &plan).await;
        assert!(expected(&outcome), "{apply}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_stands_is_looked_at_before_it_is_asked_to_write() {
    let folder = TempDir::new().unwrap();
    let wrote = folder.path().join("wrote");
    let program = |stands: &str| {
        format!(
            "read line; case $line in *'\"op\":\"observe\"'*) \
             echo '{{\"sets\":[{{\"owner\":\"@\",\"type\":\"A\",\"ttl\":60,\"addresses\":[{stands}]}}]}}';; \
             *) touch {}; echo '{{\"outcome\":\"applied\"}}';; esac",
            wrote.display()
        )
    };
    let plan = approved(vec![change(&reading(), &apex(), &["192.0.2.12"], &[])]);
    let outcome = script(&program("\"192.0.2.11\"")).apply(&reading(), &plan).await;
    assert_eq!(outcome, ApplyOutcome::AlreadyInState);
    let outcome = script(&program("\"192.0.2.12\",\"192.0.2.13\"")).apply(&reading(), &plan).await;
    assert!(matches!(&outcome, ApplyOutcome::Conflict { why } if why.contains("192.0.2.13")), "{outcome:?}");
    let outcome = script("echo rubbish").apply(&reading(), &plan).await;
    assert!(matches!(outcome, ApplyOutcome::Refused { .. }), "{outcome:?}");
    assert!(!wrote.exists(), "it was asked to write");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let folder = TempDir::new().unwrap();
    let pids = folder.path().join("pids");
    let text = format!("sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait", pids = pids.display());
    let began = Stopwatch::start();
    let hung = patient(&["sh", "-c", &text], Duration::from_millis(700));
    let error = hung.observe(&[apex()]).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Transient { why } if why.contains("killed")), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "it was waited for");
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        assert!(gone(pid).await, "process {pid} still runs");
    }

    // Given up half way, as a daemon does that is told to stop.
    std::fs::remove_file(&pids).unwrap();
    let hung = exec(&["sh", "-c", &text]);
    let sets = [apex()];
    let waited = tokio::time::timeout(Duration::from_secs(2), hung.observe(&sets)).await;
    assert!(waited.is_err());
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        assert!(gone(pid).await, "process {pid} still runs");
    }

    let plan = approved(vec![change(&reading(), &apex(), &["192.0.2.12"], &[])]);
    let text = format!("read line; case $line in *'\"op\":\"observe\"'*) echo '{READ}';; *) sleep 600;; esac");
    let outcome = patient(&["sh", "-c", &text], Duration::from_secs(2)).apply(&reading(), &plan).await;
    assert!(matches!(&outcome, ApplyOutcome::Unknown { why } if why.contains("killed")), "{outcome:?}");
}

/// Whether the process ends, which may take a moment after it was killed. A zombie has ended.
async fn gone(pid: &str) -> bool {
    for _ in 0..500 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_may_still_answer() {
    let found = script(&format!("exec <&-; echo '{READ}'")).observe(&[apex()]).await.unwrap();
    assert_eq!(found.sets[&apex()].addresses, ips(&["192.0.2.11", "192.0.2.12"]));
}
