//! A client that others wrote drives the fake server, where it can be had.

use std::path::Path;
use std::process::Command;

use witness_lab::namecheap::{Account, FakeNamecheap, Rules};

use crate::{ZONE, usual};

#[test]
fn pynamecheap_drives_the_fake_server() {
    let folder = tempfile::tempdir().unwrap();
    let packages = folder.path().join("packages");
    let install = Command::new("timeout")
        .args(["120", "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--retries", "1", "--timeout", "15", "PyNamecheap==0.0.3", "--target"])
        .arg(&packages)
        .output();
    match install {
        Ok(done) if done.status.success() => {}
        Ok(done) => return skip(&format!("pip: {}", String::from_utf8_lossy(&done.stderr).trim())),
        Err(error) => return skip(&error.to_string()),
    }
    let account = Account::keyed("lab-key");
    let server = FakeNamecheap::start(account, Rules::default()).unwrap();
    server.seed(ZONE, usual());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/namecheap/pynamecheap.py");
    let run = Command::new("timeout")
        .args(["60", "python3"])
        .arg(script)
        .args([&server.endpoint(), "example", "lab-key"])
        .env("PYTHONPATH", &packages)
        .env("NO_PROXY", "*")
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let count = |stage: &str| seen[stage].as_array().unwrap().len();
    let has = |stage: &str, row: [&str; 5]| seen[stage].as_array().unwrap().contains(&serde_json::json!(row));
    let added = ["added", "TXT", "a+b & \"c\" <d> é", "10", "300"];
    let ours = ["@", "A", "192.0.2.13", "10", "300"];
    assert_eq!((count("start"), has("start", ours)), (usual().hosts.len(), true));
    assert_eq!((count("added"), has("added", added), has("added", ours)), (usual().hosts.len() + 1, true, true));
    assert_eq!((count("deleted"), has("deleted", added), has("deleted", ours)), (usual().hosts.len(), true, false));
    // A name gets its dot, a preference is kept for MX alone, a TTL that was not given is 1800.
    assert_eq!((count("replaced"), has("replaced", ["n39", "CNAME", "example.net.", "10", "1800"])), (40, true));
    assert_eq!(seen["unknown"], serde_json::json!(["2019166", "Domain not found"]));
    assert_eq!(seen["wrong"][0], "1011102");
    // It puts what fits into the URL, and the rest into the body.
    let calls = server.calls();
    assert!(calls.iter().all(|call| call.target.contains("Command=namecheap.domains.dns.")));
    assert!(calls.iter().any(|call| call.command.ends_with(".sethosts") && !call.target.contains("HostName")));
}

/// Says that this was not tested: an index of Python packages is not to be had everywhere.
fn skip(why: &str) {
    let why: String = why.lines().last().unwrap_or_default().chars().take(200).collect();
    witness_lab::skip_machine("PyNamecheap against the fake Namecheap", &format!("it cannot be installed: {why}"));
}
