//! `docs/reference/commands.md`: its synopses and options are clap's, its examples what the snapshots of this suite hold.
//! `WITNESS_BLESS=1 cargo test --test cli reference` writes those parts anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command, CommandFactory as _};
use witness::cli::args::Cli;

use crate::help::COMMANDS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_page_is_what_the_program_does() {
    let path = root().join("docs/reference/commands.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let wanted = fill(&page);
    if let Err(difference) = witness_lab::golden::check(&path, &wanted) {
        panic!("{difference}\nor: WITNESS_BLESS=1 cargo test --test cli reference");
    }
    for command in COMMANDS {
        let marker = format!("<!-- options: {command} -->");
        assert!(page.contains(&marker), "{} has no {marker}", path.display());
        // A group of commands has no output of its own.
        let silent = ["zone", "demo", "completions", "run", "judge", "export"].contains(command);
        let shown = page.lines().any(|line| line.starts_with(&format!("$ witness {command}")));
        assert!(silent || shown, "{} shows no output of `witness {command}`", path.display());
    }
    for (code, meaning) in [(0, "done"), (1, "could not be completed"), (2, "usage"), (3, "guard")] {
        let row = page.lines().find(|line| line.starts_with(&format!("| {code} |"))).unwrap();
        assert!(row.contains(meaning), "{row}");
    }
}

#[test]
fn the_commands_listed_here_are_all_there_are() {
    let mut found = Vec::new();
    collect(&Cli::command(), "", &mut found);
    let mut listed: Vec<String> = COMMANDS.iter().map(|command| (*command).to_owned()).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

fn collect(command: &Command, before: &str, into: &mut Vec<String>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("{before} {}", sub.get_name()).trim().to_owned();
        collect(sub, &name, into);
        into.push(name);
    }
}

/// Writes what stands between each marker and `<!-- end -->` anew.
fn fill(page: &str) -> String {
    let mut text = String::new();
    let mut skipping = false;
    for line in page.lines() {
        if line == "<!-- end -->" {
            skipping = false;
        }
        if skipping {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        let marked = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
        let Some((kind, what)) = marked.and_then(|marked| marked.split_once(": ")) else { continue };
        match kind {
            "options" => text.push_str(&options(what)),
            "output" => text.push_str(&output(what)),
            _ => continue,
        }
        skipping = true;
    }
    assert!(!skipping, "a marker without its end");
    text
}

fn options(name: &str) -> String {
    let mut command = Cli::command();
    command.build();
    let mut here = &command;
    for word in name.split(' ') {
        here = here.find_subcommand(word).unwrap_or_else(|| panic!("there is no command {name}"));
    }
    let usage = here.clone().render_usage().to_string();
    let mut text = format!("\n```text\n{}\n```\n\n", usage.trim_start_matches("Usage: "));
    let rows: Vec<_> = here
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !["help", "version"].contains(&arg.get_id().as_str()))
        .collect();
    if rows.is_empty() {
        return text;
    }
    text.push_str("| option | meaning |\n|---|---|\n");
    for arg in rows {
        let value = arg.get_value_names().and_then(|names| names.first()).map_or(String::new(), ToString::to_string);
        let flag = match (arg.get_long(), arg.get_action()) {
            (Some(long), ArgAction::SetTrue) => format!("`--{long}`"),
            (Some(long), _) => format!("`--{long} {value}`"),
            (None, _) => format!("`{value}`"),
        };
        let mut says = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let choices: Vec<String> = arg
            .get_possible_values()
            .iter()
            .filter(|_| arg.get_action().takes_values())
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}`: {}", value.get_name(), lower(&help.to_string())),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        if !choices.is_empty() {
            let _ = write!(says, ": {}", choices.join("; "));
        }
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if arg.get_action().takes_values() && !arg.is_hide_default_value_set() && !default.is_empty() {
            let _ = write!(says, " (default: `{}`)", default.join(","));
        }
        let _ = writeln!(text, "| {flag} | {} |", says.replace('|', "\\|"));
    }
    text.push('\n');
    text
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// What a command wrote in a snapshot: `SNAPSHOT, COMMAND`; the last time, where it is there more than once. What the
/// snapshot hides is filled in again, for readers.
fn output(what: &str) -> String {
    let (snapshot, line) = what.split_once(", ").unwrap_or_else(|| panic!("{what}: SNAPSHOT, COMMAND"));
    let path = root().join("tests/cli/snapshots").join(format!("cli__{snapshot}.snap"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let begin = format!("$ witness {line}\n");
    let at = text.rfind(&begin).unwrap_or_else(|| panic!("{snapshot} has no `witness {line}`"));
    let end = text[at..].find("\n(exit code ").unwrap();
    let code = text[at + end + 12..].split(')').next().unwrap();
    let shown: Vec<String> =
        text[at..at + end].lines().map(|line| line.strip_prefix("! ").unwrap_or(line).to_owned()).collect();
    let mut shown = shown.join("\n");
    for (hidden, example) in [
        ("YYYY-MM-DDThh:mm:ss.mmmZ", "2026-11-22T13:03:05.123Z"),
        ("YYYY-MM-DD hh:mm:ss", "2026-11-22 14:03:05"),
        ("last tick AGO", "last tick 4s ago"),
        ("AGO", "4s ago"),
        ("ok nnn ms", "ok  12 ms"),
        ("nnn ms", " 12 ms"),
        ("T ms", "12 ms"),
        ("over N s", "over 61 s"),
        ("127.0.0.1:PPPPP", "192.0.2.53:53"),
        ("_us\":N", "_us\":12345"),
        ("certificate_days\":N", "certificate_days\":71"),
        ("\":N", "\":4"),
        ("YYYY-MM-DDThh:mm:ss.uuuuuuZ", "2026-11-22T13:03:05.123456Z"),
        ("process N on HOST", "process 4711 on watch1"),
        ("127.0.0.", "192.0.2."),
    ] {
        shown = shown.replace(hidden, example);
    }
    let folds = line.starts_with("explain") || line.starts_with("status ");
    if folds && !line.contains("--") {
        shown = shown.lines().map(fold).collect::<Vec<_>>().join("\n");
    }
    let code = if code == "0" { String::new() } else { format!("\n$ echo $?\n{code}") };
    format!("\n```text\n{shown}{code}\n```\n\n")
}

/// Folds again what the snapshots keep on one line: by four columns, or under the value of a fact.
fn fold(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let is_fact = indent == 0 && line.get(10..11) == Some(" ") && line.get(11..12).is_some_and(|c| c != " ");
    let under = " ".repeat(if is_fact { 11 } else { indent + 4 });
    let most = if is_fact { 80 } else { 76 };
    let mut folded = String::new();
    let mut row = " ".repeat(indent);
    if line.len() <= 80 {
        return line.to_owned();
    }
    for word in line.trim_start().split(' ') {
        if row.trim().len() + (row.len() - row.trim_start().len()) + word.len() >= most && !row.trim().is_empty() {
            folded.push_str(row.trim_end());
            folded.push('\n');
            row.clone_from(&under);
        }
        row.push_str(word);
        row.push(' ');
    }
    folded + row.trim_end()
}
