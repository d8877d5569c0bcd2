//! The files in `docs/examples` and the sessions in `docs/origin` that are the origin's are what it and systemd take.

use std::path::Path;
use std::process::{Command, Stdio};

const INSTALLED: &str = "/usr/local/bin/witness-origin";
const ORIGIN: &str = env!("CARGO_BIN_EXE_witness-origin");

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

#[test]
fn the_unit_starts_it() {
    let text = document("examples/witness-origin.service");
    let call = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words = call.strip_prefix(INSTALLED).unwrap().replace("/etc/witness/", "/nowhere/");
    let output = Command::new(ORIGIN).args(words.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    // It gets as far as the configuration, which is not there.
    assert_eq!(output.status.code(), Some(2), "{words}: {error}");
    assert!(error.contains("/nowhere/origin.toml") && !error.contains("Usage:"), "{words}: {error}");
}

#[test]
fn systemd_takes_the_unit() {
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).output();
    if analyze(&["--version"]).is_err() {
        return witness_lab::skip_machine(
            "units for systemd",
            "systemd-analyze is not installed (Debian package systemd)",
        );
    }
    let copies = tempfile::tempdir().unwrap();
    let path = copies.path().join("witness-origin.service");
    // It wants the program to be there.
    std::fs::write(&path, document("examples/witness-origin.service").replace(INSTALLED, ORIGIN)).unwrap();
    let output = analyze(&["verify", "--man=no", path.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("witness-origin"), "{said}");
}

/// Every command line that the pages show is one that the program understands.
#[test]
fn commands_in_the_pages_are_commands() {
    let mut seen = 0;
    for page in ["origin.md", "origin/behind-edges.md", "origin/from-pomf.md", "origin/abuse.md"] {
        let text = document(page);
        for line in text.lines().filter(|line| line.starts_with("witness-origin ")) {
            let words = line.split(" #").next().unwrap().split(" | ").next().unwrap();
            let words: Vec<String> = shell_words(words).into_iter().skip(1).collect();
            let output = Command::new(ORIGIN).args(&words).args(["--config", "/nowhere/origin.toml"]).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            // Again as far as the configuration; where the line names one itself, it is there twice.
            let gets_there = error.contains("failed to read ") || error.contains("cannot be used multiple times");
            assert!(gets_there, "{page}: {line}: {error}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} were found");
}

/// As a shell splits them; there is nothing to be filled in in these.
fn shell_words(line: &str) -> Vec<String> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("printf '%s\\n' {line}")).stderr(Stdio::null());
    String::from_utf8(command.output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

/// How rows of a MySQL become a database that can be imported, as the page has it.
#[test]
fn what_mysql_prints_becomes_a_database() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        return witness_lab::skip("imports from MySQL", "sqlite3 is not installed (Debian package sqlite3)");
    }
    let text = document("origin/from-pomf.md");
    let block = text.split("```sh\n# On the old machine").nth(1).unwrap().split("```").next().unwrap();
    assert!(block.contains("mysql --batch --skip-column-names --raw"), "{block}");
    let folder = tempfile::tempdir().unwrap();
    // What the query of the page gives for a row with whatever breaks lines and quotes.
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    let rows = format!(
        "INSERT INTO files (id, hash, originalname, filename, size, date, ip) VALUES (7, CAST(X'{}' AS TEXT), \
         CAST(X'{}' AS TEXT), CAST(X'{}' AS TEXT), 3, '1700000000', NULL);\n",
        hex(&"0a".repeat(20)),
        hex("it's \"a\"\n\\n\ttest.txt"),
        hex("abc.txt")
    );
    std::fs::write(folder.path().join("rows.sql"), rows).unwrap();
    let second = block.split("# Where the origin is").nth(1).unwrap();
    let done = Command::new("sh").arg("-e").arg("-c").arg(second).current_dir(folder.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let db = rusqlite::Connection::open(folder.path().join("theirs.sq3")).unwrap();
    let name: String = db.query_row("SELECT originalname FROM files WHERE id = 7", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "it's \"a\"\n\\n\ttest.txt");
}
