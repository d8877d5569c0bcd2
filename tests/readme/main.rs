//! Sessions in the documents are run: what a reader copies must do what is shown.
//!
//! A fenced block marked `console test` is a session. Each is run in a fresh copy of `fixtures/readme`: lines that begin
//! with `$ witness` or `$ ./target/...` are commands, `$ echo $?` asks for the last exit code, and what follows each is
//! what it writes to stdout and stderr, to the letter; `[..]` stands for anything within a line.

#![expect(clippy::unwrap_used, reason = "what a test leans on may panic as the test does")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;

#[test]
fn sessions_of_the_documents() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let sessions = sessions(&text);
        let is_readme = page.file_name().is_some_and(|name| name == "README.md") && page.parent() == Some(&root());
        assert!(!is_readme || !sessions.is_empty(), "README.md has no session marked `console test`");
        for session in sessions {
            if let Err(difference) = session.run() {
                wrong.push(format!("{}:{}: {difference}", page.display(), session.line));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// README.md, which must be there, and every page of docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

struct Session {
    /// Where it begins in its page.
    line: usize,
    steps: Vec<Step>,
}

struct Step {
    command: String,
    wanted: Vec<String>,
}

fn sessions(page: &str) -> Vec<Session> {
    let mut found = Vec::new();
    let mut open: Option<Session> = None;
    for (number, line) in page.lines().enumerate() {
        match &mut open {
            None if line.trim_end() == "```console test" => {
                open = Some(Session { line: number + 1, steps: Vec::new() })
            }
            None => {}
            Some(_) if line.trim_end() == "```" => found.extend(open.take()),
            Some(session) => match line.strip_prefix("$ ") {
                Some(command) => session.steps.push(Step { command: command.to_owned(), wanted: Vec::new() }),
                None => {
                    let step = session.steps.last_mut().unwrap_or_else(|| panic!("line {}: no command", number + 1));
                    step.wanted.push(line.trim_end().to_owned());
                }
            },
        }
    }
    assert!(open.is_none(), "a session does not end");
    found
}

impl Session {
    fn run(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        copy(&root().join("fixtures/readme"), folder.path());
        let mut code = 0;
        for step in &self.steps {
            let got = if step.command == "echo $?" {
                format!("{code}\n")
            } else {
                let (ended, written) = run(&step.command, folder.path())?;
                code = ended;
                written
            };
            let got: Vec<&str> = got.lines().map(str::trim_end).collect();
            let fits = got.len() == step.wanted.len()
                && got.iter().zip(&step.wanted).all(|(got, wanted)| pattern(wanted).is_match(got));
            if !fits {
                let told = got.join("\n");
                return Err(format!(
                    "$ {}\nis said to write\n{}\nand writes\n{told}",
                    step.command,
                    step.wanted.join("\n")
                ));
            }
        }
        Ok(())
    }
}

/// A line in which `[..]` stands for anything.
fn pattern(line: &str) -> Regex {
    let parts: Vec<String> = line.split("[..]").map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).unwrap()
}

fn run(command: &str, folder: &Path) -> Result<(i32, String), String> {
    let is_ours = command.split(' ').next().is_some_and(|word| word == "witness" || word.starts_with("./target/"));
    if !is_ours {
        return Err(format!("$ {command}\nis not run: a session has `witness`, `./target/...` and `echo $?`"));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_witness"));
    let words = command.split_once(' ').map_or("", |(_, words)| words);
    let mut shell = Command::new("bash");
    // Both streams in one, in the order in which they were written, as a person has them.
    shell.arg("-c").arg(format!("exec 2>&1; \"$witness\" {words}")).env("witness", program);
    for name in ["WITNESS_CONFIG", "WITNESS_LOG", "JOURNAL_STREAM"] {
        shell.env_remove(name);
    }
    shell.env("TZ", "UTC").env("COLUMNS", "80").env("NO_COLOR", "1").current_dir(folder).stdin(Stdio::null());
    let output = shell.output().map_err(|error| format!("failed to start bash: {error}"))?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.unwrap().path();
        if path.is_file() {
            let copy = to.join(path.file_name().unwrap());
            std::fs::copy(&path, &copy).unwrap();
            // Whatever the umask was where this tree was checked out.
            std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[test]
fn sessions_are_found_and_compared_to_the_letter() {
    let page =
        "text\n```console\n$ rm -rf it\n```\n```console test\n$ witness --version\nwitness [..]\n$ echo $?\n0\n```\n";
    let found = sessions(page);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].steps.len()), (5, 2));
    assert_eq!(found[0].steps[0].wanted, ["witness [..]"]);
    assert!(pattern("a [..] b").is_match("a . b") && pattern("a.[..]").is_match("a.x"));
    assert!(!pattern("a.b").is_match("axb") && !pattern("a").is_match("a b"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        run("witness --version", folder.path()).unwrap(),
        (0, format!("witness {}\n", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(run("./target/release/witness status", folder.path()).unwrap().0, 2);
    assert!(run("curl https://example.com/", folder.path()).is_err());
}
