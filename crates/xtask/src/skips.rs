//! Suites that were left out: gathered from a file that the tests write into, counted, and told at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::machine::Machine;

/// The variable by which tests find the file.
pub(crate) const VARIABLE: &str = "WITNESS_SKIPS";

/// Skipped suites of one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Skips {
    /// Could have been run, had something been installed: suite and reason, and by how many tests it was said.
    installable: BTreeMap<(String, String), usize>,
    /// This machine cannot run them.
    by_machine: BTreeMap<(String, String), usize>,
}

/// An empty file for the tests to write into.
pub(crate) fn fresh_file(target: &Path) -> Result<PathBuf, Failure> {
    let path = target.join("skipped-suites.txt");
    fs::create_dir_all(target)
        .and_then(|()| fs::write(&path, ""))
        .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    Ok(path)
}

impl Skips {
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(&fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut skips = Self::default();
        for line in text.lines() {
            let Some((kind, rest)) = line.split_once(": ") else { continue };
            let (suite, reason) = rest.split_once(": ").unwrap_or((rest, "no reason was given"));
            let kind = match kind {
                "skipped" => &mut skips.installable,
                "skipped-by-machine" => &mut skips.by_machine,
                _ => continue,
            };
            *kind.entry((suite.to_owned(), reason.to_owned())).or_default() += 1;
        }
        skips
    }

    /// Adds a suite that a task itself leaves out.
    pub(crate) fn add(&mut self, suite: &str, reason: &str) {
        *self.by_machine.entry((suite.to_owned(), reason.to_owned())).or_default() += 1;
    }

    /// Takes in what another run skipped.
    pub(crate) fn extend(&mut self, other: Self) {
        self.installable.extend(other.installable);
        self.by_machine.extend(other.by_machine);
    }

    /// Prints the summary.
    pub(crate) fn tell(&self) {
        let all = || self.installable.iter().chain(&self.by_machine);
        let suites: BTreeSet<&str> = all().map(|((suite, _), _)| suite.as_str()).collect();
        if suites.is_empty() {
            println!("no suites skipped");
            return;
        }
        let names = suites.iter().copied().collect::<Vec<_>>().join(", ");
        println!("{} {} skipped: {names}", suites.len(), if suites.len() == 1 { "suite" } else { "suites" });
        for ((suite, reason), tests) in all() {
            println!("  {suite}: {reason} ({tests} {})", if *tests == 1 { "time" } else { "times" });
        }
    }

    /// Where everything that can be had must be there, a skipped suite is a failure; packages that apt does not have
    /// excuse it.
    pub(crate) fn judge(&self, machine: &Machine, not_to_be_had: &BTreeSet<&str>) -> Result<(), Failure> {
        if !machine.strict {
            return Ok(());
        }
        let excused = |reason: &str| not_to_be_had.iter().any(|package| reason.contains(package));
        let wrong: BTreeSet<&str> =
            self.installable.keys().filter(|(_, reason)| !excused(reason)).map(|(suite, _)| suite.as_str()).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let names = wrong.into_iter().collect::<Vec<_>>().join(", ");
        Err(format!("in CI as root nothing that can be installed may be skipped, but these were: {names}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "skipped: ssh: sshd is not installed (Debian package openssh-server)\n\
                        skipped: ssh: sshd is not installed (Debian package openssh-server)\n\
                        rubbish\nother: line: here\n\
                        skipped-by-machine: netem: the kernel has none\n";

    fn machine(strict: bool) -> Machine {
        Machine { installs: strict, why_not: "", strict }
    }

    #[test]
    fn counts_suites_and_tests() {
        let skips = Skips::parse(TEXT);
        let ssh = ("ssh".to_owned(), "sshd is not installed (Debian package openssh-server)".to_owned());
        assert_eq!(skips.installable, BTreeMap::from([(ssh, 2)]));
        assert_eq!(skips.by_machine.len(), 1);
    }

    #[test]
    fn ci_as_root_takes_no_excuse_but_what_is_not_to_be_had() {
        let skips = Skips::parse(TEXT);
        let none = BTreeSet::new();
        assert_eq!(skips.judge(&machine(false), &none), Ok(()));
        assert!(skips.judge(&machine(true), &none).unwrap_err().ends_with("these were: ssh"));
        assert_eq!(skips.judge(&machine(true), &BTreeSet::from(["openssh-server"])), Ok(()));
        assert_eq!(Skips::parse("").judge(&machine(true), &none), Ok(()));
    }
}
