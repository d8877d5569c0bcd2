//! Problems and findings, for people and as JSON.

use serde::Serialize;

use super::format::{Colour, Style, WIDTH, clean, counted, wrap};
use crate::check::Finding;
use crate::config::{Problem, Severity};

/// Where text begins behind the severity.
const INDENT: usize = 9;

/// Everything that `witness check` has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Of the configuration.
    pub problems: Vec<Problem>,
    /// Of this machine, and of the world with `--live`.
    pub findings: Vec<Finding>,
}

/// The same, as programs read it.
#[derive(Serialize)]
struct Document<'a> {
    errors: usize,
    warnings: usize,
    problems: &'a [Problem],
    findings: &'a [Finding],
}

impl Report {
    /// How many errors and warnings there are.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let severities = || {
            let findings = self.findings.iter().map(|finding| finding.severity);
            self.problems.iter().map(|problem| problem.severity).chain(findings)
        };
        let of = |wanted| severities().filter(|severity| *severity == wanted).count();
        (of(Severity::Error), of(Severity::Warning))
    }

    /// For people: at most 80 columns, every problem with its place, what it is and what to do, and a sum.
    #[must_use]
    pub fn text(&self, colour: Colour) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let place = format!("{}:{}:{}", problem.file.display(), problem.line, problem.column);
            let subject = problem.subject();
            entry(&mut text, colour, problem.severity, &[&place, &subject], &problem.message, &problem.remedy);
        }
        for finding in &self.findings {
            let remedy = finding.remedy.as_deref().unwrap_or_default();
            entry(&mut text, colour, finding.severity, &[&finding.subject], &finding.what, remedy);
        }
        let (errors, warnings) = self.count();
        let sum = match (errors, warnings) {
            (0, 0) => colour.paint(Style::Good, "no problems"),
            (0, _) => colour.paint(Style::Warning, &counted(warnings, "warning")),
            (_, 0) => colour.paint(Style::Bad, &counted(errors, "error")),
            _ => colour.paint(Style::Bad, &format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"))),
        };
        text + &sum + "\n"
    }

    /// For programs: one JSON document with `errors`, `warnings`, `problems` and `findings`.
    #[must_use]
    pub fn json(&self) -> String {
        let (errors, warnings) = self.count();
        let document = Document { errors, warnings, problems: &self.problems, findings: &self.findings };
        serde_json::to_string_pretty(&document).expect("texts and numbers can be written")
    }
}

fn entry(text: &mut String, colour: Colour, severity: Severity, heads: &[&str], what: &str, remedy: &str) {
    let style = match severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Warning,
        Severity::Note => Style::Good,
    };
    let name = severity.name();
    let mut mark = colour.paint(style, name) + &" ".repeat(INDENT - name.len());
    let mut lines = |said: &str, first: &str, style: Style| {
        for (at, line) in wrap(&clean(said), WIDTH - INDENT - first.len()).into_iter().enumerate() {
            let lead = if at == 0 { first.to_owned() } else { " ".repeat(first.len()) };
            text.push_str(&std::mem::replace(&mut mark, " ".repeat(INDENT)));
            text.push_str(&colour.paint(style, &(lead + &line)));
            text.push('\n');
        }
    };
    for head in heads {
        lines(head, "", Style::Title);
    }
    lines(what, "", Style::Normal);
    lines(remedy, "remedy: ", Style::Normal);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::format::width;
    use super::*;

    fn report() -> Report {
        let problem = |severity, key: &str, value: Option<&str>, message: &str, remedy: &str| Problem {
            severity,
            file: PathBuf::from("witness.toml"),
            line: 3,
            column: 1,
            key: key.to_owned(),
            value: value.map(str::to_owned),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        };
        Report {
            problems: vec![
                problem(
                    Severity::Error,
                    "witness.intervall",
                    Some("\"10s\""),
                    "there is no such key in [witness]",
                    "did you mean \"interval\"?",
                ),
                problem(Severity::Warning, "", None, &"long ".repeat(20), &"words ".repeat(20)),
            ],
            findings: vec![
                Finding::error(
                    "ledger",
                    "it cannot be written".to_owned(),
                    "run: chown witness /var/lib/witness".to_owned(),
                ),
                Finding::note("clock", "it is set".to_owned()),
            ],
        }
    }

    #[test]
    fn for_people() {
        let text = report().text(Colour::Plain);
        assert_eq!(
            text,
            "error    witness.toml:3:1
         witness.intervall = \"10s\"
         there is no such key in [witness]
         remedy: did you mean \"interval\"?
warning  witness.toml:3:1
         long long long long long long long long long long long long long long
         long long long long long long
         remedy: words words words words words words words words words words
                 words words words words words words words words words words
error    ledger
         it cannot be written
         remedy: run: chown witness /var/lib/witness
note     clock
         it is set
2 errors, 1 warning
"
        );
        assert!(text.lines().all(|line| width(line) <= WIDTH));
        assert_eq!(Report::default().text(Colour::Plain), "no problems\n");
        let painted = report().text(Colour::Ansi);
        assert!(painted.starts_with("\u{1b}[31merror\u{1b}[0m    \u{1b}[1mwitness.toml:3:1\u{1b}[0m\n"), "{painted:?}");
    }

    #[test]
    fn for_programs() {
        let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!((json["errors"].as_u64(), json["warnings"].as_u64()), (Some(2), Some(1)));
        assert_eq!(json["problems"][0]["severity"], "error");
        assert_eq!(json["problems"][0]["file"], "witness.toml");
        assert_eq!(json["problems"][0]["line"], 3);
        assert_eq!(json["problems"][0]["key"], "witness.intervall");
        assert_eq!(json["problems"][0]["value"], "\"10s\"");
        assert_eq!(json["problems"][0]["remedy"], "did you mean \"interval\"?");
        assert_eq!(json["problems"][1]["value"], serde_json::Value::Null);
        assert_eq!(json["findings"][0]["subject"], "ledger");
        assert_eq!(json["findings"][1]["remedy"], serde_json::Value::Null);
    }
}
