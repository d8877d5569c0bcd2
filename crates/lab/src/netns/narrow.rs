//! Links that carry so much and no more: a token bucket with a short queue in front of it, which loses what does not fit.

use super::{NetError, Network, judge, number, run};
use crate::process::{self, which};

/// What a host can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// What leaves the host at most, bit/s, frames as they are on the link.
    pub rate_bps: u64,
    /// What may leave at once after a pause, bytes; a frame at least.
    pub burst: u32,
    /// How many packets wait when there is more; what comes while it is full is lost, large or small. Counted in bytes, a
    /// queue would have room for the small ones when it has none for the large, and a SYN would hardly ever be lost.
    pub queue: u32,
}

impl Network {
    /// Makes what the host sends go through a narrow link: all of it, answers to pings and to SYNs too.
    ///
    /// The queue is in the host's own namespace and goes with it.
    ///
    /// # Errors
    ///
    /// When there is no such host, or the kernel knows no token bucket; ask [`can_narrow`] before.
    pub fn narrow(&self, host: &str, link: &Narrow) -> Result<(), NetError> {
        shape(self.namespace(host)?, "eth0", link)
    }

    /// How many packets the host's narrow link has lost.
    ///
    /// # Errors
    ///
    /// When there is no such host, or `tc` fails.
    pub fn lost(&self, host: &str) -> Result<u64, NetError> {
        let mut command = process::command("tc");
        command.args(["-n", self.namespace(host)?, "-j", "-s", "qdisc", "show", "dev", "eth0"]);
        let output = command.output().map_err(|source| NetError::Start { program: "tc".to_owned(), source })?;
        judge(&output, || "tc qdisc show".to_owned())?;
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let queues = shown.as_array().map_or(&[][..], Vec::as_slice);
        Ok(queues.iter().filter(|queue| queue["kind"] == "tbf").filter_map(|queue| queue["drops"].as_u64()).sum())
    }
}

/// Whether links can be narrowed here.
///
/// # Errors
///
/// With the reason, and whether something could be done about it.
pub fn can_narrow() -> Result<(), NoNarrow> {
    if which("tc").is_none() {
        return Err(NoNarrow::Install("tc is not installed (Debian package iproute2)".to_owned()));
    }
    let namespace = format!("{}{}-{}-try", super::PREFIX, std::process::id(), number());
    let tried = super::ip(&["netns", "add", &namespace])
        .and_then(|()| super::ip(&["-n", &namespace, "link", "set", "lo", "up"]))
        .and_then(|()| shape(&namespace, "lo", &Narrow { rate_bps: 1_000_000, burst: 10_000, queue: 10 }));
    let _ = super::ip(&["netns", "delete", &namespace]);
    tried.map_err(|error| NoNarrow::Machine(format!("this kernel has no token bucket for links: {error}")))
}

/// Why links cannot be narrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoNarrow {
    /// Something is missing that can be installed.
    Install(String),
    /// The kernel cannot.
    Machine(String),
}

fn shape(namespace: &str, device: &str, link: &Narrow) -> Result<(), NetError> {
    let tc = |words: &[&str]| {
        run(process::command("tc").args(["-n", namespace, "qdisc", "replace", "dev", device]).args(words))
    };
    let (rate, burst, queue) = (format!("{}bit", link.rate_bps), link.burst.to_string(), link.queue.to_string());
    // The bucket's own queue, which counts bytes, is wanted by `tc` and replaced at once.
    tc(&["root", "handle", "1:", "tbf", "rate", &rate, "burst", &burst, "limit", "100000"])?;
    tc(&["parent", "1:1", "handle", "10:", "pfifo", "limit", &queue])
}
