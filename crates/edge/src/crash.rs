//! Places to die at, for tests of what a crash leaves behind.
//!
//! In a debug build `WITNESS_EDGE_CRASH_AT=NAME` ends the process at once at the place of that name, as `kill -9` would, and
//! `NAME:3` when it is reached for the third time. A release build has no such places.

/// Dies here if told to.
pub(crate) fn point(name: &str) {
    #[cfg(debug_assertions)]
    if debug::is_wanted(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod debug {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Wanted {
        name: String,
        left: AtomicU64,
    }

    /// Whether the place of this name was reached as often as it is wanted.
    pub(super) fn is_wanted(name: &str) -> bool {
        static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
        let wanted = WANTED.get_or_init(|| {
            let text = std::env::var("WITNESS_EDGE_CRASH_AT").ok()?;
            let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
            Some(Wanted { name: name.to_owned(), left: AtomicU64::new(count.parse().ok()?) })
        });
        wanted.as_ref().is_some_and(|wanted| wanted.name == name && wanted.left.fetch_sub(1, Ordering::Relaxed) == 1)
    }
}
