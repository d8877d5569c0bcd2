//! A fleet of four on loopback, a zone in a file, a name server that shows it, and a configuration for them; and the
//! program run against it, its output without what differs from one run to the next.

#![allow(dead_code, reason = "each suite that includes this file uses a part of it")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;
use witness_lab::fleet::{Fleet, FleetConfig};

/// A running fleet and the folder that `witness` is run in.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) folder: TempDir,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Stage {
    /// Four healthy nodes. Two failing rounds withdraw one, two nodes stay, every run of `once` may be a strike.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with more lines for `[policy]`.
    pub(crate) fn with(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = FleetConfig::new(folder.path());
        wanted.records = vec!["files".to_owned()];
        wanted.ttl = 1;
        let fleet = Fleet::start(&wanted).unwrap();
        let stage = Self { fleet, folder };
        stage.write("witness.toml", &stage.configuration(policy));
        stage
    }

    fn configuration(&self, policy: &str) -> String {
        let nodes: String = (1..=4)
            .map(|n| format!("\n[[nodes]]\nname = \"slice{n}\"\naddresses = [\"127.0.0.{}\"]\n", 10 + n))
            .collect();
        format!(
            r#"[witness]
name = "home"
interval = "60s"
once_deadline = "9s"
anchors = []

[policy]
strikes = 2
strike_spacing = "0s"
warmup_rounds = 0
probation = "0s"
probation_rounds = 2
{policy}

[probes.https]
url = "https://files.example.com:{https}/.witness/health"
ca_file = "ca.pem"
connect_timeout = "4s"
timeout = "8s"

[probes.ssh]
port = {ssh}
level = "banner"

[[pools]]
name = "files"
zone = "example.com"
records = ["files"]
ttl = "1s"
registrar = "file"
nameservers = ["{dns}"]

[registrars.file]
kind = "mock"
file = "zone.json"
{nodes}"#,
            https = self.fleet.https_port(),
            ssh = self.fleet.ssh_port(),
            dns = self.fleet.dns.address(),
        )
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        // Whatever the umask is: `check` warns of a configuration that others can write.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// `witness LINE` in the folder, where `./witness.toml` is found.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = witness(line);
        command.current_dir(self.path());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::of(&self.command(line).output().unwrap())
    }

    /// Runs a command whose outcome must be `code`, and returns what it wrote to stdout.
    pub(crate) fn expect(&self, line: &str, code: i32) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, code, "witness {line}\n{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Commands and what they wrote, as a person at a terminal of 80 columns has it, redacted.
    pub(crate) fn session(&self, lines: &[&str]) -> String {
        lines.iter().map(|line| self.told(line)).collect::<Vec<_>>().join("\n")
    }

    fn told(&self, line: &str) -> String {
        let ran = self.run(line);
        let mut text = format!("$ witness {line}\n{}", ran.stdout);
        for line in ran.stderr.lines() {
            text.push_str(&format!("! {line}\n"));
        }
        // One line for each event, for grep; and JSON, are as long as they are.
        if !line.starts_with("history") && !line.contains("--json") && !line.contains("--check") {
            for line in ran.stdout.lines() {
                assert!(line.chars().count() <= 80, "wider than 80 columns: {line:?}");
            }
        }
        if line.contains("--json") && !ran.stdout.is_empty() {
            check_json(line, &ran.stdout);
        }
        redact(&format!("{text}(exit code {})\n", ran.code))
    }
}

/// One document, or one on each line; and no time in it is a number.
fn check_json(line: &str, text: &str) {
    let all = match serde_json::from_str::<Value>(text) {
        Ok(value) => vec![value],
        Err(_) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    };
    for value in &all {
        if let Some(number) = milliseconds(value) {
            panic!("witness {line}: {number} looks like a time, and is not written as one");
        }
    }
}

/// A number that, in milliseconds, is of this century.
fn milliseconds(value: &Value) -> Option<&Value> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .is_some_and(|number| (946_684_800_000..4_102_444_800_000).contains(&number))
            .then_some(value),
        Value::Array(items) => items.iter().find_map(milliseconds),
        Value::Object(fields) => fields.values().find_map(milliseconds),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }
}

/// `witness LINE`, with nothing of the environment that changes what it writes. Single quotes hold words together.
pub(crate) fn witness(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness"));
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            command.arg(part);
        } else {
            command.args(part.split_whitespace());
        }
    }
    for name in ["WITNESS_CONFIG", "WITNESS_LOG", "NO_COLOR", "JOURNAL_STREAM", "SSH_AUTH_SOCK"] {
        command.env_remove(name);
    }
    command.env("TZ", "UTC").env("TERM", "xterm").env("COLUMNS", "80").stdin(Stdio::null());
    command
}

/// Without times, ports, latencies and process numbers, each replaced by something as wide. Lines that were folded are
/// put together again, since where a line is folded depends on them.
pub(crate) fn redact(text: &str) -> String {
    let rules = [
        (r"\n(?: {6}| {8}| {11})([^\s\x22}])", " $1"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "YYYY-MM-DDThh:mm:ss.uuuuuuZ"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "YYYY-MM-DDThh:mm:ss.mmmZ"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD hh:mm:ss"),
        (r"last tick (now|\d+s ago|\d+m \d+s ago)", "last tick AGO"),
        (r"(now|\d+s ago|\d+ms ago) *\n", "AGO\n"),
        (r"(now|\d+s ago) {2,}", "AGO  "),
        (r"WHEN {2,}", "WHEN  "),
        (r"(ok|passed) ([ <\d.]{3} ms|[ \d.]{4} s)", "$1 nnn ms"),
        (r"  ([ <\d.]{3} ms|[ \d.]{4} s)  ", "  nnn ms  "),
        (r"(in|after) (<?\d+ ms|[\d.]+ s)", "$1 T ms"),
        (r"over \d+ s", "over N s"),
        (r"penalty \d+", "penalty N"),
        (r"would carry \d+\.\d %", "would carry N %"),
        (r"_us\x22:\d+", "_us\":N"),
        (r"\x22age_s\x22:\d+", "\"age_s\":N"),
        (r"127\.0\.0\.1:\d{5}", "127.0.0.1:PPPPP"),
        (r"example\.com:\d{5}", "example.com:PPPPP"),
        (r"process \d+ on \S+\)", "process N on HOST)"),
        (r"ends in \d+ days", "ends in N days"),
        (r"certificate_days\x22:\d+", "certificate_days\":N"),
    ];
    let mut text = text.to_owned();
    for (pattern, with) in rules {
        text = Regex::new(pattern).unwrap().replace_all(&text, with).into_owned();
    }
    text
}
