//! Child processes that end with their handle, and waiting with a bound.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const STEP: Duration = Duration::from_millis(10);

/// How long a process may take over a SIGTERM before it gets a SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// A child process. Dropping the guard ends the process, by its id: SIGTERM, and SIGKILL if it does not listen.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

impl Guard {
    /// Starts `command`.
    ///
    /// # Errors
    ///
    /// When it cannot be started; the message names the program.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("failed to start {}: {error}", command.get_program().display()))
        })?;
        Ok(Self { child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal. A process that has ended already is not an error.
    pub fn signal(&mut self, signal_sent: Signal) {
        // Asked first: once it has been waited for, its id may be somebody else's.
        if self.is_running() {
            signal(self.child.id(), signal_sent);
        }
    }

    /// SIGKILL, as a crash or the kernel would; returns when it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and SIGKILL if it does not end within three seconds; returns when it is gone.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        if self.wait(GRACE).is_none() {
            self.kill();
        }
    }

    /// Waits until it ends, at most for `bound`; `None` means that it still runs.
    pub fn wait(&mut self, bound: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(bound, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal to a process by its id. One that has ended already is not an error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Asks `condition` every 10 ms until it holds, at most for about `bound`. Returns whether it held.
pub fn wait_until(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..steps(bound) {
        if condition() {
            return true;
        }
        std::thread::sleep(STEP);
    }
    condition()
}

/// As [`wait_until`], for a condition that awaits.
pub async fn wait_until_async<F: Future<Output = bool>>(bound: Duration, mut condition: impl FnMut() -> F) -> bool {
    for _ in 0..steps(bound) {
        if condition().await {
            return true;
        }
        tokio::time::sleep(STEP).await;
    }
    condition().await
}

/// The path of `program`, if it is on the `PATH` or in a system folder: `/usr/sbin` is not on the path of plain users.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(Into::into))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The program `witness-lab-node`, for tests of other packages, next to which it is built by `cargo test --workspace`;
/// built now where it was not, as under `cargo test --package witness`.
///
/// # Errors
///
/// When it is not there and cannot be built.
pub fn node_program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // TARGET/debug/deps/TEST-HASH or TARGET/debug/PROGRAM.
    let folder = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let folder = folder.ok_or_else(|| io::Error::other("the test is not in a folder"))?;
    let program = folder.join("witness-lab-node");
    if !program.is_file() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "witness-lab", "--bin", "witness-lab-node"]);
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        cargo.arg("--target-dir").arg(folder.parent().unwrap_or(folder)).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cargo.status()?.success() {
            return Err(io::Error::other("witness-lab-node could not be built"));
        }
    }
    Ok(program)
}

/// Lets this process open as many descriptors as it may, and returns how many that are. Ten thousand connections need
/// more than the usual 1024.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    // None stands for "without limit".
    if raised.is_ok() { limit.maximum.unwrap_or(u64::MAX) } else { limit.current.unwrap_or(u64::MAX) }
}

/// A command for `program`, found where [`which`] finds it: a plain user's `PATH`, and that of some services, lacks the
/// system folders.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let program = program.as_ref();
    let found = program.to_str().filter(|name| !name.contains('/')).and_then(which);
    Command::new(found.as_deref().unwrap_or(std::path::Path::new(program)))
}

/// Whether this process has all rights.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn steps(bound: Duration) -> u128 {
    bound.as_millis().div_ceil(STEP.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_guard_ends_even_a_process_that_ignores_sigterm() {
        let mut guard =
            Guard::start(Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 0.1; done"])).unwrap();
        assert!(guard.is_running());
        let pid = guard.pid();
        drop(guard);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn waiting_ends_with_the_bound() {
        assert!(!wait_until(Duration::from_millis(30), || false));
        let mut asked = 0;
        assert!(wait_until(Duration::from_secs(10), || {
            asked += 1;
            asked == 3
        }));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Guard::start(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
