//! Which module may name which, and a reader of `crate::` paths that finds those that may not.
//!
//! ```text
//!   cli, main, demo, check                      on top: may name everything
//!     │
//!   daemon                                      schedules ticks
//!     │
//!   tick, replay                                the shell: gather, judge, act
//!     │         └──────────────┐
//!   relay  shed                                 have nodes do something
//!     │
//!   probe  registrar  ledger  dns  config       wires to the world
//!     │         ·(ApprovedPlan)│
//!     │         ▼              │
//!     │        rule            │                pure
//!     ▼         ▼              ▼
//!   clock     model                             values
//! ```

use std::path::Path;

/// What each module may name. A module that is not listed is unknown, which is an error: whoever adds one says where
/// it belongs. `"*"` is everything.
const TABLE: &[(&str, &[&str])] = &[
    // Values, which know nobody.
    ("model", &[]),
    // Pure verbs over the values: no clock, no input, no output.
    ("rule", &["model"]),
    ("clock", &["model"]),
    // Places to die at, in debug builds.
    ("crash", &[]),
    // Wires. They do not know the rule, nor each other.
    ("dns", &["model", "clock"]),
    ("probe", &["model", "clock"]),
    // Runs a program once.
    ("program", &["model"]),
    // Have nodes look at each other, and shed load.
    ("relay", &["model", "clock", "probe"]),
    ("shed", &["model", "probe", "program"]),
    ("ledger", &["model", "clock", "crash"]),
    ("config", &["model", "clock"]),
    // Asks name servers and sends them updates.
    ("registrar", &["model", "clock", "crash", "dns", "program"]),
    // The shell.
    ("exit", &["model"]),
    // Places to die at in tests: knows nobody.
    ("crash", &[]),
    // After a change: whether the name servers show it.
    ("publish", &["model", "clock", "dns", "ledger"]),
    ("tick", &["model", "clock", "crash", "rule", "dns", "probe", "ledger", "registrar", "config", "publish"]),
    ("replay", &["model", "rule", "config"]),
    // A world around a replay.
    ("sim", &["model", "replay", "config"]),
    ("plot", &["model", "sim"]),
    // Drives a replay and holds it against what was recorded.
    ("backtest", &["model", "replay"]),
    // Writes what a simulation would: a trace.
    ("export", &["model", "ledger", "sim"]),
    (
        "daemon",
        &[
            "model",
            "clock",
            "dns",
            "probe",
            "relay",
            "shed",
            "ledger",
            "registrar",
            "config",
            "tick",
            "publish",
            "exit",
        ],
    ),
    ("check", &["*"]),
    ("demo", &["*"]),
    ("cli", &["*"]),
    // The crate's own two files.
    ("lib", &["*"]),
    ("main", &["*"]),
];

/// Single names that a module may use beyond the table.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The only way to write DNS is to present one, and only the guard can make one.
    ("registrar", "rule::ApprovedPlan"),
    // A name for a boxed future of the standard library, which both seams return.
    ("probe", "registrar::BoxFuture"),
];

/// Describes each wrong arrow in the file at `path` (such as `src/probe/ping.rs`). Code under `#[cfg(test)]` and files
/// called `tests` are left alone: to set a scene, a test may reach for anything.
pub(crate) fn wrong(path: &Path, text: &str) -> Vec<String> {
    let inside = path.strip_prefix("src").expect("only files of src/ are asked about").with_extension("");
    let mut place: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if place.iter().any(|part| part == "tests") {
        return Vec::new();
    }
    let module = place[0].clone();
    if place.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&module.as_str()) {
        place.pop();
    }
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: the module {module} is not in the table of arrows", path.display())];
    };
    let is_allowed = |used: &str| {
        let target = used.split("::").next().unwrap_or_default();
        target == module
            || allowed.contains(&"*")
            || allowed.contains(&target)
            || EXCEPTIONS.contains(&(module.as_str(), used))
    };
    let uses = uses(&tokens(text), place.len());
    uses.into_iter()
        .filter(|(_, used)| used.starts_with(|c: char| c.is_ascii_lowercase()) && !is_allowed(used))
        .map(|(line, used)| format!("{}:{line}: {module} may not name {used}", path.display()))
        .collect()
}

/// A word, `::` or one other character, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

/// The program without its comments, texts and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while at < chars.len() {
        let start = at;
        let rest = &chars[at..];
        match rest {
            ['/', '/', ..] => at += rest.iter().take_while(|c| **c != '\n').count(),
            ['/', '*', ..] => at += block_comment(rest),
            ['"', ..] => at += quoted(rest),
            ['r', '#' | '"', ..] | ['b', 'r', '#' | '"', ..] if raw(rest).is_some() => at += raw(rest).unwrap_or(1),
            ['b' | 'c', '"', ..] => at += 1 + quoted(&rest[1..]),
            // A character, or else a lifetime, of which the word is of no interest either.
            ['\'', '\\', ..] => at += 3 + rest[3..].iter().take_while(|c| **c != '\'').count(),
            ['\'', _, '\'', ..] => at += 3,
            [':', ':', ..] => {
                at += 2;
                found.push(Token { line, text: "::".to_owned() });
            }
            [c, ..] if is_word(*c) => {
                let word: String = rest.iter().take_while(|c| is_word(**c)).collect();
                at += word.chars().count();
                found.push(Token { line, text: word });
            }
            [c, ..] => {
                at += 1;
                if !c.is_whitespace() {
                    found.push(Token { line, text: c.to_string() });
                }
            }
            [] => {}
        }
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a raw text, if this is one and not a raw identifier.
fn raw(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take_while(|c| **c == 'b' || **c == 'r').count();
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let end = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect::<Vec<_>>();
    let close = rest[open + 1..].windows(end.len()).position(|window| window == end)?;
    Some(open + 1 + close + end.len())
}

/// Paths into the crate, `a::b` at most, with their lines. `depth` is how many modules the file is inside of.
fn uses(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut braces = 0_usize;
    // Modules within the file: the depth of braces they began at, and whether they are for tests.
    let mut modules: Vec<(usize, bool)> = Vec::new();
    let mut for_tests = false;
    let mut at = 0;
    while at < tokens.len() {
        let in_tests = modules.iter().any(|(_, tests)| *tests);
        match word(at) {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                modules.retain(|(began, _)| *began < braces + 1);
            }
            "cfg" if word(at + 1) == "(" && word(at + 2) == "test" => for_tests = true,
            "mod" if word(at + 2) == "{" => {
                modules.push((braces + 1, for_tests));
                for_tests = false;
            }
            ";" => for_tests = false,
            "crate" if word(at + 1) == "::" && !in_tests => {
                at = path(tokens, at + 2, &mut found);
                continue;
            }
            "super" if word(at + 1) == "::" && !in_tests => {
                let mut supers = 0;
                while word(at) == "super" && word(at + 1) == "::" {
                    (supers, at) = (supers + 1, at + 2);
                }
                if supers >= depth + modules.len() {
                    at = path(tokens, at, &mut found);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path, or a group of them, from where the module's name stands. Returns where to go on.
fn path(tokens: &[Token], at: usize, found: &mut Vec<(usize, String)>) -> usize {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    if word(at) != "{" {
        return second(tokens, at, None, found);
    }
    group(tokens, at, |tokens, at, found| second(tokens, at, None, found), found)
}

/// The name at `at` and the one behind it; several, if a group follows.
fn second(tokens: &[Token], at: usize, first: Option<&str>, found: &mut Vec<(usize, String)>) -> usize {
    let Some(token) = tokens.get(at) else { return at };
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    match first {
        Some(first) => {
            found.push((token.line, format!("{first}::{}", token.text)));
            at + 1
        }
        None if word(at + 1) != "::" => {
            found.push((token.line, token.text.clone()));
            at + 1
        }
        None if word(at + 2) == "{" => {
            let name = token.text.clone();
            group(tokens, at + 2, |tokens, at, found| second(tokens, at, Some(&name), found), found)
        }
        None => second(tokens, at + 2, Some(&token.text), found),
    }
}

/// Reads each item of a group in braces by `item`.
fn group(
    tokens: &[Token],
    open: usize,
    item: impl Fn(&[Token], usize, &mut Vec<(usize, String)>) -> usize,
    found: &mut Vec<(usize, String)>,
) -> usize {
    let mut at = open + 1;
    let (mut depth, mut begins) = (1, true);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" => depth -= 1,
            "," if depth == 1 => begins = true,
            _ if begins && depth == 1 => {
                begins = false;
                at = item(tokens, at, found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(wrong(Path::new(path), text), expected, "{text}");
    }

    #[test]
    fn good_arrows_are_left_alone() {
        check("src/model/node.rs", "use super::Name; use std::fmt;", &[]);
        check("src/rule/guard.rs", "use crate::model::{Node, Plan}; fn f() { crate::rule::x() }", &[]);
        check("src/registrar/mock/file.rs", "use crate::rule::ApprovedPlan; use crate::dns::ask;", &[]);
        check("src/probe/mod.rs", "pub use crate::registrar::BoxFuture;", &[]);
        check("src/main.rs", "fn main() { witness::cli::run() }", &[]);
        check("src/tick.rs", "use crate::{model::Plan, rule::{judge, approve}, ledger};", &[]);
        check("src/config/mod.rs", "mod witness; fn f() { witness::serve::x() }", &[]);
    }

    #[test]
    fn wrong_arrows_are_found_wherever_they_hide() {
        check("src/model/node.rs", "use crate::clock;", &["src/model/node.rs:1: model may not name clock"]);
        check(
            "src/rule/mod.rs",
            "//! crate::probe\nuse crate::{\n    model::Node,\n    probe::{Https, ping},\n    ledger,\n};",
            &[
                "src/rule/mod.rs:4: rule may not name probe::Https",
                "src/rule/mod.rs:4: rule may not name probe::ping",
                "src/rule/mod.rs:5: rule may not name ledger",
            ],
        );
        check(
            "src/registrar/mock.rs",
            "use crate::rule::{ApprovedPlan, approve};",
            &["src/registrar/mock.rs:1: registrar may not name rule::approve"],
        );
        check(
            "src/probe/ping.rs",
            "use crate::registrar::Registrar;",
            &["src/probe/ping.rs:1: probe may not name registrar::Registrar"],
        );
        check(
            "src/ledger/mod.rs",
            "fn f() { let x = crate::config::read(); }",
            &["src/ledger/mod.rs:1: ledger may not name config::read"],
        );
        check("src/daemon.rs", "use crate::rule::judge;", &["src/daemon.rs:1: daemon may not name rule::judge"]);
        check("src/helpers.rs", "", &["src/helpers.rs: the module helpers is not in the table of arrows"]);
    }

    #[test]
    fn super_that_leaves_the_module_is_an_arrow_too() {
        check("src/rule/guard.rs", "use super::tally; mod x { use super::super::tally; }", &[]);
        check(
            "src/rule/guard.rs",
            "use super::super::probe::run;",
            &["src/rule/guard.rs:1: rule may not name probe::run"],
        );
        check("src/rule/mod.rs", "use super::{model, ledger};", &["src/rule/mod.rs:1: rule may not name ledger"]);
        check(
            "src/clock.rs",
            "mod a { use super::b; use super::super::dns; }",
            &["src/clock.rs:1: clock may not name dns"],
        );
    }

    #[test]
    fn comments_texts_and_tests_do_not_count() {
        let text = r##"
            // crate::probe
            /* crate::probe /* crate::ledger */ crate::probe */
            const A: &str = "crate::probe \" crate::probe";
            const B: &str = r#"crate::probe " crate::ledger"#;
            const C: char = '"'; const D: char = '\''; fn f<'a>(x: &'a str) {}
            #[cfg(test)]
            mod tests { use crate::probe::x; fn f() { crate::ledger::g() } }
            #[cfg(test)]
            mod more;
            mod plain { use crate::dns::x; }
        "##;
        check("src/rule/mod.rs", text, &["src/rule/mod.rs:11: rule may not name dns::x"]);
        check("src/rule/tests.rs", "use crate::ledger::x;", &[]);
        check("src/rule/guard/tests.rs", "use crate::ledger::x;", &[]);
    }
}
