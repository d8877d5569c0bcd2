//! The keys of `[policy]` and of the tables below it.
//!
//! The reasons for the numbers are told where the thresholds are: [`crate::model::Policy`].

use super::Absent::Is;
use super::Takes::{Bool, Choice, Choices, Count, Duration, Percent, Percents};
use super::{Section, key};

/// `[policy]`.
pub(in super::super) static POLICY: Section = Section {
    name: "policy",
    heading: "[policy]",
    says: "The thresholds of the rule.",
    keys: &[
        key(
            "rule",
            Choice(&["witness", "classic"]),
            Is(r#""witness""#),
            "`witness`: strikes nominate, the diagnosis decides what that is worth, guards have the last word. `classic`: every failing round is a strike, `strikes` in `window` withdraw, at most `max_withdrawn`, nothing else.",
        ),
        key("strikes", Count(1, 1000), Is("4"), "Failing rounds that nominate a node for withdrawal ..."),
        key("window", Duration("1s", "30d"), Is(r#""60m""#), "... within this long."),
        key(
            "strike_spacing",
            Duration("0s", "1d"),
            Is(r#""60s""#),
            "At most one strike per node and this long, so that fast re-probes of one incident are one strike.",
        ),
        key(
            "keep",
            Count(1, 10_000),
            Is("2"),
            "Never leave fewer nodes than this in a pool. Pinned, withdrawn and unknown nodes do not count.",
        ),
        key(
            "max_withdrawn",
            Count(0, 10_000),
            Is("2"),
            "Never withdraw more nodes of a pool than this by ourselves. 0: watch and tell only.",
        ),
        key(
            "reinstate",
            Choice(&["auto", "manual"]),
            Is(r#""auto""#),
            "How a withdrawn node comes back. `auto`: by probation; `manual`: only by `witness reinstate`.",
        ),
        key(
            "convict",
            Choices(&["https", "ping", "ssh"]),
            Is(r#"["https"]"#),
            "Probes whose failures may cost a node its record; the others corroborate.",
        ),
        key(
            "warmup_rounds",
            Count(0, 1000),
            Is("3"),
            "Ticks with observations that must have passed since a start, a gap, a clock step or isolation before DNS is changed.",
        ),
        key(
            "probation",
            Duration("0s", "30d"),
            Is(r#""60s""#),
            "For how long a withdrawn node must pass everything before it comes back the first time. It doubles with every withdrawal of the last 24 h.",
        ),
        key("probation_rounds", Count(1, 10_000), Is("3"), "... and in at least this many clean rounds."),
        key("probation_max", Duration("0s", "30d"), Is(r#""60m""#), "What the doubling ends at."),
    ],
};

/// `[policy.evidence]`.
pub(in super::super) static EVIDENCE: Section = Section {
    name: "policy.evidence",
    heading: "[policy.evidence]",
    says: "What evidence is made of. Rounds are counted by the checks of the probes that convict; a span reaches from the start of the first check to the end of the newest.",
    keys: &[
        key("window", Duration("10s", "1h"), Is(r#""2m""#), "How far back single checks count."),
        key(
            "silent_rounds",
            Count(1, 1000),
            Is("7"),
            "Silent: at least so many rounds in a row without a sign of life from anything of the node ...",
        ),
        key(
            "silent_confirmed",
            Duration("0s", "1h"),
            Is(r#""12s""#),
            "... over at least this long where others tried as well and saw nothing ...",
        ),
        key(
            "silent_alone",
            Duration("0s", "1d"),
            Is(r#""38s""#),
            "... or this long where nobody else could be asked; `silent_confirmed` where that is longer ...",
        ),
        key(
            "silent_seen",
            Duration("0s", "1d"),
            Is(r#""60s""#),
            "... or this long since somebody else last reached it; `silent_alone` where that is longer.",
        ),
        key("ask_tries", Count(1, 1000), Is("6"), "Tries of others without an answer that confirm silence."),
        key("ask_age", Duration("1s", "1h"), Is(r#""30s""#), "What others say counts this long."),
        key("down_rounds", Count(1, 1000), Is("4"), "Down: at least so many refusals in a row ..."),
        key(
            "down_span",
            Duration("0s", "1h"),
            Is(r#""8s""#),
            "... over at least this long, so that a restart by the service manager passes.",
        ),
        key(
            "hung_rounds",
            Count(1, 1000),
            Is("8"),
            "Hung: at least so many failures of the service in a row while something else of the node lives ...",
        ),
        key("hung_span", Duration("0s", "1d"), Is(r#""60s""#), "... over at least this long ..."),
        key(
            "hung_idle_span",
            Duration("0s", "1d"),
            Is(r#""20s""#),
            "... or this long where the node sends less than `idle_percent`; `hung_span` where that is shorter.",
        ),
        key(
            "idle_percent",
            Percent(0, 100),
            Is("10"),
            "What a node that serves nobody sends at the most, of its capacity.",
        ),
        key("broken_rounds", Count(1, 1000), Is("5"), "Broken: at least so many wrong answers in a row ..."),
        key("broken_span", Duration("0s", "1d"), Is(r#""60s""#), "... over at least this long."),
        key("degraded_checks", Count(1, 1000), Is("4"), "Degraded: at least so many failed checks in `window` ..."),
        key("degraded_percent", Percent(1, 100), Is("10"), "... and at least this share of them."),
        key("degraded_ends", Duration("0s", "1d"), Is(r#""60s""#), "It ends this long after the last failed check."),
        key("slow_factor", Count(1, 1000), Is("3"), "Stressed: the median answer takes this many times the usual ..."),
        key("slow_extra", Duration("0s", "1m"), Is(r#""300ms""#), "... and this much more ..."),
        key(
            "slow_connect",
            Duration("1ms", "1m"),
            Is(r#""900ms""#),
            "... or at least three handshakes took this long: a lost SYN is sent again after 1 s ...",
        ),
        key(
            "lost_percent",
            Percent(1, 100),
            Is("8"),
            "... or this share of the echoes, and at least three, were lost.",
        ),
        key("load_age", Duration("1s", "1d"), Is(r#""60s""#), "How old a load figure may be."),
        key("doubt", Duration("0s", "1d"), Is(r#""5m""#), "For how long a node in doubt is probed fast."),
        key("calm_rounds", Count(1, 1000), Is("5"), "Checks of the service in a row that end doubt."),
    ],
};

/// `[policy.overload]`.
pub(in super::super) static OVERLOAD: Section = Section {
    name: "policy.overload",
    heading: "[policy.overload]",
    says: "When a pool counts as overloaded, what room there is, and what may still be done then.",
    keys: &[
        key(
            "latch",
            Duration("0s", "1d"),
            Is(r#""10m""#),
            "How long a pool counts as overloaded after the last sign of it.",
        ),
        key(
            "full_percent",
            Percent(1, 1000),
            Is("95"),
            "What all nodes together carry when they are full, of their capacity.",
        ),
        key("full_node_percent", Percent(1, 1000), Is("97"), "What a single node carries when it is full."),
        key(
            "path_percent",
            Percent(0, 1000),
            Is("60"),
            "Below this, a pool whose nodes all fail a little is not overloaded: the trouble is on the way to them. `full_percent` where that is less.",
        ),
        key(
            "room_percent",
            Percent(1, 1000),
            Is("95"),
            "What the rest may carry after a withdrawal that could be a mistake.",
        ),
        key(
            "drain_percent",
            Percent(1, 1000),
            Is("85"),
            "What the rest may carry after a person takes a node out for maintenance.",
        ),
        key(
            "room_dead_percent",
            Percent(1, 1000),
            Is("150"),
            "What the rest may carry after the withdrawal of a node that is dead for certain, without a way to shed load; `room_percent` where that is more.",
        ),
        key(
            "dead_for",
            Duration("0s", "1d"),
            Is(r#""2m""#),
            "How long a node must be dead in an overload before it is taken out, without a way to shed load: a crashed process may be started again.",
        ),
        key(
            "on_shortage",
            Choice(&["pull", "keep"]),
            Is(r#""pull""#),
            "What is done with a confirmed death that the rest has no room for. `pull`: it is taken out, since whoever is sent to a dead address gets nothing at all; `keep`: it stays, since the others have enough to carry.",
        ),
        key(
            "cut_wait",
            Duration("0s", "10m"),
            Is(r#""15s""#),
            "How long others that are falling silent are waited for, so that one change takes them all.",
        ),
        key(
            "soft_for",
            Duration("0s", "1d"),
            Is(r#""3m""#),
            "How long soft evidence must last before it costs a node its record.",
        ),
        key(
            "weak_percent",
            Percent(0, 100),
            Is("70"),
            "What a degraded node must carry at the most of what its peers do (their median) to be taken out.",
        ),
        key(
            "canary",
            Bool,
            Is("false"),
            "Whether a degraded node is taken out also without load figures, to be put back should the others suffer.",
        ),
        key(
            "regret",
            Duration("0s", "1d"),
            Is(r#""4m""#),
            "How long after a withdrawal for soft evidence the others' suffering is blamed on it.",
        ),
        key(
            "regret_block",
            Duration("0s", "7d"),
            Is(r#""60m""#),
            "How long nothing is withdrawn for soft evidence after one that hurt.",
        ),
        key(
            "settle",
            Duration("0s", "1d"),
            Is(r#""2m""#),
            "The least time between two withdrawals for soft evidence; twice the TTL where that is longer.",
        ),
    ],
};

/// `[policy.shed]`.
pub(in super::super) static LADDER: Section = Section {
    name: "policy.shed",
    heading: "[policy.shed]",
    says: "The brownout ladder: each step lets clients have less, so that all of them have something. It is climbed only where `[shed]` says how the nodes are told.",
    keys: &[
        key(
            "steps",
            Percents(1, 100),
            Is("[100, 80, 65, 50]"),
            "What clients get at steps 0, 1, 2, ...: 100 first, each less than the one before.",
        ),
        key(
            "up_every",
            Duration("1s", "1d"),
            Is(r#""60s""#),
            "At most one step up in this long: what a step does must be seen first.",
        ),
        key("up_percent", Percent(1, 1000), Is("93"), "Up when all nodes together carry this, of their capacity."),
        key("up_node_percent", Percent(1, 1000), Is("97"), "Up when a single node carries this."),
        key(
            "blind_step",
            Count(0, 20),
            Is("2"),
            "The highest step that is taken without load figures; the last of `steps` where there are fewer.",
        ),
        key("hold", Duration("0s", "1d"), Is(r#""5m""#), "How long a step is held at least."),
        key(
            "hold_max",
            Duration("0s", "7d"),
            Is(r#""60m""#),
            "What that may grow to when a step was given up too early; `hold` where that is longer.",
        ),
        key(
            "down_percent",
            Percent(1, 1000),
            Is("80"),
            "Down when all nodes together would carry no more than this then; less than `up_percent`.",
        ),
        key(
            "relapse",
            Duration("0s", "1d"),
            Is(r#""10m""#),
            "A step down was too early when the overload is back within this long.",
        ),
        key(
            "renew",
            Duration("1s", "1d"),
            Is(r#""100s""#),
            "How often the nodes are told again, since what they are told ends by itself; a third of `lasts` where that is shorter.",
        ),
        key("lasts", Duration("1s", "1d"), Is(r#""5m""#), "For how long they are told."),
    ],
};

/// `[policy.comeback]`.
pub(in super::super) static COMEBACK: Section = Section {
    name: "policy.comeback",
    heading: "[policy.comeback]",
    says: "The way back into DNS, where more is known than that probes pass.",
    keys: &[
        key(
            "needed",
            Duration("0s", "30d"),
            Is(r#""20s""#),
            "Probation where capacity is needed: in an overload, or when another node is out, dead or in doubt; `probation` where that is shorter.",
        ),
        key("penalty", Count(0, 1000000), Is("1000"), "What each withdrawal adds to a node's penalty."),
        key("half_life", Duration("1s", "7d"), Is(r#""15m""#), "The penalty halves in this long."),
        key("reuse", Count(1, 1000000), Is("1250"), "It may come back at or below this ..."),
        key(
            "reuse_needed",
            Count(1, 1000000),
            Is("2500"),
            "... and where capacity is needed, at or below this; `reuse` where that is more.",
        ),
        key(
            "penalty_max",
            Count(1, 1000000),
            Is("4000"),
            "What the penalty ends at; `reuse_needed` where that is more.",
        ),
        key(
            "quarantine",
            Duration("0s", "7d"),
            Is(r#""15m""#),
            "How long a node that was withdrawn for being degraded stays out at least; it doubles each time in 24 h.",
        ),
    ],
};
