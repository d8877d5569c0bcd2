//! Firewalls, as rules of nftables in a table of our own.

use std::io::Write;
use std::process::Stdio;

use super::{NetError, command_in, judge, run};

/// What a firewall rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Everything.
    All,
    /// One TCP port.
    Tcp(u16),
    /// One UDP port.
    Udp(u16),
    /// Echo requests, v4 and v6.
    Ping,
}

/// What a firewall does with what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// Nothing, silently.
    Drop,
    /// Answers with ICMP "port unreachable", as most firewalls reject.
    Reject,
    /// Answers with ICMP "administratively prohibited".
    Prohibit,
    /// Answers TCP with a reset.
    Reset,
    /// Drops this share of the packets, in percent, by chance.
    Lose(u8),
}

/// Where packets are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Those for the host itself.
    Input,
    /// Those that a router passes on.
    Forward,
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
        }
    }
}

/// A host says that it is not to be reached once a second to each who asks: whoever asks with several probes at once would
/// hear it by chance.
const TALKATIVE: &str = "for file in ipv4/icmp_ratelimit ipv6/icmp/ratelimit; do \
     [ ! -e /proc/sys/net/$file ] || printf 0 > /proc/sys/net/$file; done";

/// Adds a rule to a namespace; `limit` is an expression of nftables that narrows it down, or empty.
pub(super) fn add(namespace: &str, hook: Hook, limit: &str, what: Traffic, how: Firewall) -> Result<(), NetError> {
    let what = match what {
        Traffic::All => vec![String::new()],
        Traffic::Tcp(port) => vec![format!("tcp dport {port}")],
        Traffic::Udp(port) => vec![format!("udp dport {port}")],
        Traffic::Ping => vec!["icmp type echo-request".to_owned(), "icmpv6 type echo-request".to_owned()],
    };
    if how == Firewall::Prohibit {
        run(command_in(namespace, "sh").args(["-c", TALKATIVE]))?;
    }
    let how = match how {
        Firewall::Drop | Firewall::Lose(100..) => "drop".to_owned(),
        Firewall::Reject => "reject with icmpx type port-unreachable".to_owned(),
        Firewall::Prohibit => "reject with icmpx type admin-prohibited".to_owned(),
        Firewall::Reset => "meta l4proto tcp reject with tcp reset".to_owned(),
        Firewall::Lose(percent) => format!("numgen random mod 100 < {percent} drop"),
    };
    let hook = hook.name();
    let mut script = String::new();
    if nft(namespace, &format!("list chain inet lab {hook}\n")).is_err() {
        // What a host says to itself and neighbour discovery stay, or a rejecting host could not even reject.
        script.push_str(&format!(
            "add table inet lab\n\
             add chain inet lab {hook} {{ type filter hook {hook} priority 0; policy accept; }}\n\
             add rule inet lab {hook} iifname \"lo\" accept\n\
             add rule inet lab {hook} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, \
             nd-router-advert }} accept\n"
        ));
    }
    for what in what {
        script.push_str(&format!("add rule inet lab {hook} {limit} {what} {how}\n"));
    }
    nft(namespace, &script)
}

/// Removes all rules of a namespace.
pub(super) fn remove(namespace: &str, hook: Hook) -> Result<(), NetError> {
    let hook = hook.name();
    // Adding what may be there already makes removing it safe.
    nft(namespace, &format!("add table inet lab\nadd chain inet lab {hook}\ndelete table inet lab\n"))
}

fn nft(namespace: &str, script: &str) -> Result<(), NetError> {
    let start = |source| NetError::Start { program: "nft".to_owned(), source };
    let mut child = command_in(namespace, "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(start)?;
    }
    let output = child.wait_with_output().map_err(start)?;
    judge(&output, || format!("nft -f - <<< {script:?}"))
}
