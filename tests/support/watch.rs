//! The program under test, and what it says of itself.

#![allow(dead_code, reason = "each suite that includes this file uses a part of it")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use witness_lab::netns::Network;
use witness_lab::process::Guard;

use crate::net::patiently;

/// The program itself.
pub(crate) const WITNESS: &str = env!("CARGO_BIN_EXE_witness");

/// How long it may take to stop. It promises two seconds; this finds what does not stop at all.
const TO_STOP: Duration = Duration::from_secs(30);

/// A configuration and its ledger, with a daemon or without. Dropped while a test fails, it prints what it remembers.
pub(crate) struct Watch {
    config: PathBuf,
    daemon: Option<Guard>,
}

impl Watch {
    /// Without a daemon.
    pub(crate) fn idle(config: PathBuf) -> Self {
        Self { config, daemon: None }
    }

    /// `witness run` inside the host `witness`.
    pub(crate) fn run(network: &Network, config: PathBuf) -> Self {
        let log = File::options().create(true).append(true).open(config.with_extension("log")).unwrap();
        let mut command = network.command("witness", WITNESS).unwrap();
        command.arg("--config").arg(&config).arg("run");
        // What relays answer is worth a line in a log that is looked at only when something is wrong.
        command.env("WITNESS_LOG", "off,witness=info,witness::relay=debug");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { config, daemon: Some(Guard::start(&mut command).unwrap()) }
    }

    /// A command of the program inside the host `witness`: its exit code, and what it wrote to stdout and stderr.
    pub(crate) fn command(&self, network: &Network, words: &[&str]) -> (i32, String, String) {
        let mut command = network.command("witness", WITNESS).unwrap();
        finish(command.arg("--config").arg(&self.config).args(words))
    }

    /// The same in the background; it ends by itself, and with the network at the latest.
    pub(crate) fn background(&self, network: &Network, words: &[&str]) -> Child {
        let mut command = network.command("witness", WITNESS).unwrap();
        command.arg("--config").arg(&self.config).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `witness status --json`; nothing before the first tick.
    pub(crate) fn status(&self) -> Option<Value> {
        let (code, out, error) = self.read(&["status", "--json"]);
        if code != 0 || out.trim().is_empty() {
            // There is no ledger yet, or no tick in it.
            assert!(error.contains("witness"), "status: {error}");
            return None;
        }
        Some(serde_json::from_str(&out).unwrap())
    }

    /// `witness status --check`: exit code and line.
    pub(crate) fn check(&self) -> (i32, String) {
        let (code, out, _) = self.read(&["status", "--check"]);
        (code, out)
    }

    /// Everything of these kinds in the history, oldest first.
    pub(crate) fn history(&self, kinds: &str) -> Vec<Value> {
        let (code, out, error) =
            self.read(&["history", "--json", "--since", "1h", "--limit", "100000", "--kind", kinds]);
        assert_eq!(code, 0, "history: {error}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of one kind as JSON has it: `strike`, `change`, `hold`, `publication`, ...
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let all = self.history("strikes,verdicts,changes,holds");
        all.into_iter().filter(|event| event["kind"] == kind).collect()
    }

    /// What became of each change in the end.
    pub(crate) fn changes(&self) -> BTreeMap<u64, String> {
        let state = |event: &Value| {
            let detail = &event["detail"];
            (detail["id"].as_u64().unwrap(), detail["state"].as_str().unwrap().to_owned())
        };
        // Each is told of several times, and the last time counts.
        self.events("change").iter().map(state).collect()
    }

    /// Waits until the status is as `look` wants it, and returns what it makes of it.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&Value) -> Option<T>) -> T {
        let found = patiently(|| self.status().as_ref().and_then(&mut look));
        found.unwrap_or_else(|| panic!("waited in vain until {what}"))
    }

    /// Waits until one node's part of the status is as `look` wants it.
    pub(crate) fn wait_node(&self, node: &str, what: &str, look: impl Fn(&Value) -> bool) {
        self.wait(&format!("{node} {what}"), |status| look(of_node(status, node)).then_some(()));
    }

    /// Waits for this many further ticks.
    pub(crate) fn ticks(&self, count: u64) {
        let mut until = None;
        self.wait("there are further ticks", |status| {
            let now = status["judgement"].as_u64()?;
            (now >= *until.get_or_insert(now + count)).then_some(())
        });
    }

    /// Waits until such a change is held.
    pub(crate) fn wait_held(&self, node: &str, guard: &str) {
        self.wait(&format!("{node} is held by {guard}"), |status| {
            let holds = status["holds"].as_array()?;
            holds.iter().any(|hold| hold["n"] == node && hold["guard"] == guard).then_some(())
        });
    }

    /// Nobody has ever been struck, and no change has ever been wanted or made.
    pub(crate) fn assert_nothing_happened(&self) {
        for kind in ["strike", "change", "action", "hold"] {
            let events = self.events(kind);
            assert!(events.is_empty(), "{events:#?}");
        }
    }

    /// Stops the daemon as systemd would; it must end by itself, and well.
    pub(crate) fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        assert!(daemon.is_running(), "it has ended by itself: {}", self.log());
        daemon.signal(Signal::TERM);
        let status = daemon.wait(TO_STOP);
        assert!(status.is_some_and(|status| status.success()), "it ends with {status:?}: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    fn read(&self, words: &[&str]) -> (i32, String, String) {
        finish(Command::new(WITNESS).arg("--config").arg(&self.config).args(words))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (_, status, _) = self.read(&["status"]);
        let (_, history, _) = self.read(&["history", "--since", "1h", "--limit", "400"]);
        eprintln!("{}\n--- status\n{status}\n--- history\n{history}", self.config.display());
        eprintln!("--- log\n{}", self.log());
    }
}

/// One node's part of a status.
pub(crate) fn of_node<'a>(status: &'a Value, node: &str) -> &'a Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|one| one["node"] == node).unwrap()
}

fn finish(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
