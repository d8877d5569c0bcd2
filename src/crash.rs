//! Places to die at, for tests of what a crash leaves behind.
//!
//! In a debug build `WITNESS_CRASH_AT=NAME` ends the process at once at the place of that name, as `kill -9` would. A
//! release build has no such places.

/// Dies here if told to.
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("WITNESS_CRASH_AT").is_ok_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
