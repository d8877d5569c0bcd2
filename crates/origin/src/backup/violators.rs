//! What is not as the policy wants it, and how bad that is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::chain::Chain;
use super::retention::span;
use crate::model::Time;

/// What is judged.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Why the backups could not be looked at.
    pub unreachable: Option<String>,
    /// All that is there.
    pub chains: Vec<Chain>,
    /// Full ones that somebody pinned: what is wrong with them is told with `--all` alone.
    pub pinned: BTreeSet<String>,
    /// The last `verify`.
    pub verified: Option<Verified>,
    /// The content in the tier; none without a tier.
    pub content: Option<Content>,
    /// When the database began: before that nothing can be late.
    pub since: Time,
    /// Whether this origin is one that writes: one that follows makes no backups.
    pub writes: bool,
}

/// What the last `verify` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When.
    pub at: Time,
    /// What was wrong: with what, and what.
    pub failures: Vec<(String, String)>,
}

/// Where the content is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Not in the tier yet.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<Time>,
    /// The last reason for which one was not taken.
    pub error: Option<String>,
    /// What is not in the tier as it should be: its hash, and what is wrong.
    pub bad: Vec<(String, String)>,
    /// The same of content that nobody needs any more.
    pub bad_dropped: Vec<(String, String)>,
}

/// How old things may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of full ones.
    pub full_every: Duration,
    /// Of segments.
    pub incremental_every: Duration,
    /// Of the last `verify`.
    pub verify_every: Duration,
    /// What is late by less is no violation.
    pub grace: Duration,
}

/// How bad. The order is that of exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// What was promised may not be kept.
    Critical,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of which kind: one of [`KINDS`].
    pub kind: &'static str,
    /// How bad.
    pub severity: Severity,
    /// With what.
    pub subject: String,
    /// What, for people.
    pub text: String,
}

/// All kinds, so that a metric is 0 and not missing while all is well.
pub const KINDS: [&str; 10] = [
    "unreachable",
    "no-full",
    "full-late",
    "incremental-late",
    "broken-chain",
    "verify-late",
    "verify-failed",
    "unreplicated",
    "content",
    "content-dropped",
];

/// Judges, the worst first. With `all`, what was pinned, and content that nobody needs any more, counts too.
#[must_use]
pub fn violations(facts: &Facts, limits: &Limits, all: bool, now: Time) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(why) = &facts.unreachable {
        found.push(critical("unreachable", "the backups", why.clone()));
    } else if facts.writes {
        ages(facts, limits, now, &mut found);
        for (chain, is_last) in facts.chains.iter().rev().zip(std::iter::once(true).chain(std::iter::repeat(false))) {
            broken(chain, is_last, facts, all, &mut found);
        }
    }
    if facts.writes {
        verification(facts, limits, now, &mut found);
    }
    if let Some(content) = &facts.content {
        in_the_tier(content, limits, now, &mut found);
        if all {
            found.extend(
                content.bad_dropped.iter().map(|(subject, why)| warning("content-dropped", subject, why.clone())),
            );
        }
    }
    found.sort_by_key(|violation| std::cmp::Reverse(violation.severity));
    found
}

fn warning(kind: &'static str, subject: &str, text: String) -> Violation {
    Violation { kind, severity: Severity::Warning, subject: subject.to_owned(), text }
}

fn critical(kind: &'static str, subject: &str, text: String) -> Violation {
    Violation { severity: Severity::Critical, ..warning(kind, subject, text) }
}

/// Late by `grace` is a warning, by another whole interval it is critical.
fn late(kind: &'static str, subject: &str, age: Duration, every: Duration, grace: Duration) -> Option<Violation> {
    let text = || format!("{} old, and one is due every {}", rough(age), span(every));
    match age.checked_sub(every.saturating_add(grace)) {
        None | Some(Duration::ZERO) => None,
        Some(over) if over > every => Some(critical(kind, subject, text())),
        Some(_) => Some(warning(kind, subject, text())),
    }
}

fn ages(facts: &Facts, limits: &Limits, now: Time, found: &mut Vec<Violation>) {
    let fulls = facts.chains.iter().filter_map(|chain| chain.good.first());
    let Some((id, full)) = fulls.max_by_key(|(_, manifest)| manifest.taken) else {
        if now.since(facts.since) > limits.grace {
            found.push(critical("no-full", "the metadata", "there is no full backup at all".to_owned()));
        }
        return;
    };
    let age = now.since(Time(full.taken));
    found.extend(late("full-late", &id.to_string(), age, limits.full_every, limits.grace));
    let points = facts.chains.iter().flat_map(|chain| &chain.good);
    if let Some((id, last)) = points.max_by_key(|(_, manifest)| manifest.taken) {
        let age = now.since(Time(last.taken));
        found.extend(late("incremental-late", &id.to_string(), age, limits.incremental_every, limits.grace));
    }
}

fn broken(chain: &Chain, is_last: bool, facts: &Facts, all: bool, found: &mut Vec<Violation>) {
    if facts.pinned.contains(&chain.full) && !all {
        return;
    }
    let is_alone = chain.good.is_empty();
    for (id, why) in &chain.broken {
        let make = if is_last || is_alone { critical } else { warning };
        found.push(make("broken-chain", &id.to_string(), why.clone()));
    }
}

fn verification(facts: &Facts, limits: &Limits, now: Time, found: &mut Vec<Violation>) {
    match &facts.verified {
        Some(verified) => {
            found
                .extend(verified.failures.iter().map(|(subject, why)| critical("verify-failed", subject, why.clone())));
            let age = now.since(verified.at);
            found.extend(late("verify-late", "the last verify", age, limits.verify_every, limits.grace));
        }
        None => {
            let age = now.since(facts.since);
            let never = late("verify-late", "verify", age, limits.verify_every, limits.grace);
            found.extend(never.map(|violation| Violation { text: "it was never done".to_owned(), ..violation }));
        }
    }
}

fn in_the_tier(content: &Content, limits: &Limits, now: Time, found: &mut Vec<Violation>) {
    found.extend(content.bad.iter().map(|(subject, why)| critical("content", subject, why.clone())));
    let Some(oldest) = content.oldest else { return };
    let age = now.since(oldest);
    if age > limits.grace {
        let because = content.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let text = format!("{} wait, the oldest for {}{because}", content.waiting, rough(age));
        let make = if age > limits.grace.saturating_mul(4) { critical } else { warning };
        found.push(make("unreplicated", "content", text));
    }
}

/// Such as `3d 4h`: the two largest units.
#[must_use]
pub fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = parts.iter().position(|(_, count)| *count > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).enumerate().filter(|(at, (_, count))| *at == 0 || *count > 0);
    shown.map(|(_, (unit, count))| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// As a monitoring plugin exits: 0 all is well, 1 warnings, 2 critical.
#[must_use]
pub fn exit_code(violations: &[Violation]) -> u8 {
    violations.iter().map(|violation| violation.severity).max().map_or(0, |worst| match worst {
        Severity::Warning => 1,
        Severity::Critical => 2,
    })
}

impl Severity {
    /// In small letters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// For people, one line each, with a line above that plugins show.
#[must_use]
pub fn table(violations: &[Violation]) -> String {
    let count = |severity| violations.iter().filter(|violation| violation.severity == severity).count();
    let (critical, warnings) = (count(Severity::Critical), count(Severity::Warning));
    let mut text = match (critical, warnings) {
        (0, 0) => return "BACKUP OK: nothing violates the policy\n".to_owned(),
        (0, warnings) => format!("BACKUP WARNING: {warnings} to look at\n"),
        (critical, 0) => format!("BACKUP CRITICAL: {critical} violate the policy\n"),
        (critical, warnings) => format!("BACKUP CRITICAL: {critical} violate the policy, {warnings} more to look at\n"),
    };
    let width = violations.iter().map(|violation| violation.kind.len()).max().unwrap_or(0);
    for violation in violations {
        let (word, kind) = (violation.severity.word(), violation.kind);
        let _ = writeln!(text, "{word:<8}  {kind:<width$}  {}: {}", violation.subject, violation.text);
    }
    text
}

/// For programs.
#[must_use]
pub fn json(violations: &[Violation], now: Time) -> serde_json::Value {
    let one = |violation: &Violation| {
        json!({
            "kind": violation.kind,
            "severity": violation.severity.word(),
            "subject": violation.subject,
            "text": violation.text,
        })
    };
    let status = ["ok", "warning", "critical"][usize::from(exit_code(violations))];
    json!({
        "at": now.rfc3339(),
        "status": status,
        "violations": violations.iter().map(one).collect::<Vec<_>>(),
    })
}

/// For Prometheus: how many of each kind.
#[must_use]
pub fn prometheus(violations: &[Violation]) -> String {
    let name = "witness_origin_backup_violations";
    let mut text = format!("# HELP {name} What is not as the backup policy wants it.\n# TYPE {name} gauge\n");
    for kind in KINDS {
        for severity in [Severity::Warning, Severity::Critical] {
            let count = violations.iter().filter(|one| one.kind == kind && one.severity == severity).count();
            let _ = writeln!(text, "{name}{{kind=\"{kind}\",severity=\"{}\"}} {count}", severity.word());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::chain::chains;
    use super::super::chain::tests::made;
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    fn limits() -> Limits {
        Limits { full_every: hours(168), incremental_every: hours(24), verify_every: hours(24), grace: hours(6) }
    }

    fn well(now: Time) -> Facts {
        Facts {
            unreachable: None,
            chains: chains(&made(Time(now.0 - 50 * HOUR), 2, 24 * HOUR)),
            pinned: BTreeSet::new(),
            verified: Some(Verified { at: Time(now.0 - HOUR), failures: Vec::new() }),
            content: Some(Content::default()),
            since: Time(0),
            writes: true,
        }
    }

    fn kinds(facts: &Facts, all: bool, now: Time) -> Vec<(&'static str, &'static str)> {
        let found = violations(facts, &limits(), all, now);
        assert!(found.iter().all(|violation| KINDS.contains(&violation.kind)));
        found.iter().map(|violation| (violation.kind, violation.severity.word())).collect()
    }

    type Change = fn(&mut Facts, Time);
    /// What it shows, how it comes, and what is told of it.
    type Case = (&'static str, Change, &'static [(&'static str, &'static str)]);

    #[test]
    fn each_kind_has_its_limits() {
        let now = Time(1_000_000 * HOUR);
        let cases: [Case; 16] = [
            ("all is well", |_, _| (), &[]),
            ("within grace", |facts, now| facts.chains = chains(&made(Time(now.0 - 30 * HOUR), 0, 1)), &[]),
            (
                "a segment is late",
                |facts, now| facts.chains = chains(&made(Time(now.0 - 31 * HOUR), 0, 1)),
                &[("incremental-late", "warning")],
            ),
            (
                "by another interval",
                |facts, now| facts.chains = chains(&made(Time(now.0 - 55 * HOUR), 0, 1)),
                &[("incremental-late", "critical")],
            ),
            (
                "a full one is late, and its segments are not",
                |facts, now| facts.chains = chains(&made(Time(now.0 - 180 * HOUR), 90, 2 * HOUR)),
                &[("full-late", "warning")],
            ),
            ("none", |facts, _| facts.chains.clear(), &[("no-full", "critical")]),
            (
                "none yet",
                |facts, now| {
                    facts.chains.clear();
                    facts.since = Time(now.0 - HOUR);
                },
                &[],
            ),
            (
                "away",
                |facts, _| facts.unreachable = Some("connection refused".to_owned()),
                &[("unreachable", "critical")],
            ),
            (
                "the last chain is broken",
                |facts, now| {
                    let mut entries = made(Time(now.0 - 50 * HOUR), 3, 12 * HOUR);
                    entries.remove(1);
                    facts.chains = chains(&entries);
                },
                &[("broken-chain", "critical"), ("broken-chain", "critical"), ("incremental-late", "warning")],
            ),
            (
                "an old chain is broken at its end",
                |facts, now| {
                    let mut entries = made(Time(now.0 - 250 * HOUR), 3, 12 * HOUR);
                    entries.remove(2);
                    entries.extend(made(Time(now.0 - 2 * HOUR), 0, 1));
                    facts.chains = chains(&entries);
                },
                &[("broken-chain", "warning")],
            ),
            ("never verified", |facts, _| facts.verified = None, &[("verify-late", "critical")]),
            (
                "a drill failed",
                |facts, now| {
                    facts.verified =
                        Some(Verified { at: now, failures: vec![("x".to_owned(), "rows are missing".to_owned())] });
                },
                &[("verify-failed", "critical")],
            ),
            (
                "content waits",
                |facts, now| {
                    facts.content =
                        Some(Content { waiting: 3, oldest: Some(Time(now.0 - 7 * HOUR)), ..Content::default() });
                },
                &[("unreplicated", "warning")],
            ),
            (
                "content waits for long",
                |facts, now| {
                    facts.content =
                        Some(Content { waiting: 3, oldest: Some(Time(now.0 - 25 * HOUR)), ..Content::default() });
                },
                &[("unreplicated", "critical")],
            ),
            (
                "content is missing in the tier",
                |facts, _| {
                    let bad = vec![("ab".to_owned(), "it is not there".to_owned())];
                    facts.content = Some(Content { bad: bad.clone(), bad_dropped: bad, ..Content::default() });
                },
                &[("content", "critical")],
            ),
            (
                "one that follows makes none",
                |facts, _| {
                    facts.writes = false;
                    facts.chains.clear();
                    facts.verified = None;
                },
                &[],
            ),
        ];
        for (name, change, expected) in cases {
            let mut facts = well(now);
            change(&mut facts, now);
            assert_eq!(kinds(&facts, false, now), expected, "{name}");
        }
    }

    #[test]
    fn what_was_pinned_or_dropped_is_told_on_demand() {
        let now = Time(1_000_000 * HOUR);
        let mut facts = well(now);
        let mut old = made(Time(now.0 - 5000 * HOUR), 2, HOUR);
        old.remove(1);
        facts.pinned.insert(old[0].id.full.clone());
        facts.chains.insert(0, chains(&old).remove(0));
        facts.content = Some(Content { bad_dropped: vec![("ab".to_owned(), "x".to_owned())], ..Content::default() });
        assert_eq!(kinds(&facts, false, now), []);
        assert_eq!(kinds(&facts, true, now), [("broken-chain", "warning"), ("content-dropped", "warning")]);
    }

    #[test]
    fn it_is_told_to_people_plugins_and_prometheus() {
        let now = Time(1_000_000 * HOUR);
        let mut facts = well(now);
        assert_eq!(table(&violations(&facts, &limits(), false, now)), "BACKUP OK: nothing violates the policy\n");
        facts.chains.clear();
        facts.content = Some(Content { waiting: 1, oldest: Some(Time(now.0 - 7 * HOUR)), ..Content::default() });
        let found = violations(&facts, &limits(), false, now);
        assert_eq!(exit_code(&found), 2);
        assert_eq!(
            table(&found),
            "BACKUP CRITICAL: 1 violate the policy, 1 more to look at\n\
             critical  no-full       the metadata: there is no full backup at all\n\
             warning   unreplicated  content: 1 wait, the oldest for 7h\n"
        );
        assert_eq!(json(&found, now)["violations"][1]["severity"], "warning");
        assert_eq!(json(&found, now)["status"], "critical");
        let told = prometheus(&found);
        assert!(told.contains("{kind=\"no-full\",severity=\"critical\"} 1\n"), "{told}");
        assert!(told.contains("{kind=\"full-late\",severity=\"critical\"} 0\n"), "{told}");
    }
}
