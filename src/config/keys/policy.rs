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
            "strike_early_percent",
            Percent(0, 100),
            Is("5"),
            "How much of `strike_spacing` a strike may come early: cron is not punctual to the second.",
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
            "convict_percent",
            Percent(0, 100),
            Is("50"),
            "How many of a node's strikes must come from those for them to nominate it: most of it must be about what users get.",
        ),
        key(
            "anchors_percent",
            Percent(1, 100),
            Is("50"),
            "With fewer of the anchors answering than this, it is our own network: one bad anchor of three says nothing, two do.",
        ),
        key(
            "warmup_rounds",
            Count(0, 1000),
            Is("3"),
            "Ticks with observations that must have passed since a start, a gap, a clock step or isolation before DNS is changed.",
        ),
        key(
            "stale_after",
            Count(2, 1000),
            Is("3"),
            "Times our rhythm (`interval`, or cron's where that is longer) after which data is old, a pause between two ticks is a gap, and a change that was asked for is not expected any more: one late round and one lost are no gap.",
        ),
        key(
            "settle_ttls",
            Count(1, 1000),
            Is("2"),
            "Times the TTL in which a change settles: caches may keep an answer for one, clients what they made of it for about another.",
        ),
        key(
            "step_noise",
            Duration("1ms", "1m"),
            Is(r#""100ms""#),
            "A smaller step of the wall clock is none: one that is disciplined drifts by at most 0.5 ms a second.",
        ),
        key(
            "tell_again",
            Duration("0s", "30d"),
            Is(r#""10m""#),
            "How long something must have been gone for a person to be told of it once more: what comes and goes is one trouble.",
        ),
        key(
            "probation",
            Duration("0s", "30d"),
            Is(r#""60s""#),
            "For how long a withdrawn node must pass everything before it comes back the first time. It doubles with every withdrawal within `comeback.count_over`.",
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
            "falling_rounds",
            Count(1, 1000),
            Is("2"),
            "Falling silent: so many rounds in a row without a sign of life, from which on others are asked and what fails is no sign of overload: one is a lost packet or two. `silent_rounds` where that is fewer.",
        ),
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
            "down_pause",
            Duration("0s", "1h"),
            Is(r#""10s""#),
            "What stays unanswered within this long of a refusal is the same failure, since kernels limit how often they refuse.",
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
        key(
            "soft_pause",
            Duration("0s", "1d"),
            Is(r#""60s""#),
            "How long soft evidence may pause and still be the same trouble: the checks that made it still count.",
        ),
        key(
            "slow_answers",
            Count(1, 1000),
            Is("12"),
            "Stressed: the median of so many answers, or of half as many at least, so that a few late ones do not move it ...",
        ),
        key("slow_factor", Count(1, 1000), Is("3"), "... takes this many times the usual ..."),
        key("slow_extra", Duration("0s", "1m"), Is(r#""300ms""#), "... and this much more ..."),
        key(
            "slow_connect",
            Duration("1ms", "1m"),
            Is(r#""900ms""#),
            "... or handshakes took this long, since a lost SYN is sent again after 1 s ...",
        ),
        key(
            "slow_connects",
            Count(1, 1000),
            Is("3"),
            "... at least so many of them in `window`: one or two are the loss of any way ...",
        ),
        key("lost_percent", Percent(1, 100), Is("8"), "... or this share of the echoes was lost ..."),
        key("lost_echoes", Count(1, 1000), Is("3"), "... and at least so many: of few echoes one is a large share."),
        key(
            "shedding_answers",
            Count(1, 1000),
            Is("2"),
            "Shedding: so many answers said that it has too much to do, since one may be about a single request ...",
        ),
        key("shedding_of", Count(1, 1000), Is("5"), "... of the last so many; `shedding_answers` where that is more."),
        key(
            "steady_rounds",
            Count(1, 1000),
            Is("3"),
            "Failing rounds of the service in a row from which on it is said to fail every time: noise makes two now and then.",
        ),
        key(
            "named_rounds",
            Count(1, 1000),
            Is("3"),
            "Failing rounds in a row before a failure is given a name though its evidence has none. Names convict nobody.",
        ),
        key("load_age", Duration("1s", "1d"), Is(r#""60s""#), "How old a load figure may be."),
        key(
            "load_smoothing",
            Duration("1s", "1h"),
            Is(r#""20s""#),
            "Over how long a load figure is smoothed: as long as its noise keeps together.",
        ),
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
            "together",
            Duration("0s", "1d"),
            Is(r#""2m""#),
            "How long ago a node may have been soft to count among those that are: waves of retries come minutes apart.",
        ),
        key(
            "together_one_in",
            Count(1, 1000),
            Is("3"),
            "One node in so many must be soft, or full, to be everybody's trouble ...",
        ),
        key(
            "together_nodes",
            Count(1, 1000),
            Is("2"),
            "... and at least so many, or all where there are fewer: one is never everybody.",
        ),
        key(
            "common_nodes",
            Count(2, 1000),
            Is("2"),
            "So many nodes that answer wrongly in the same way have a common cause: two equal faults at a time are no chance ...",
        ),
        key(
            "common_rounds",
            Count(1, 1000),
            Is("2"),
            "... in at least so many rounds in a row each, one of them being broken for certain.",
        ),
        key(
            "known_percent",
            Percent(1, 100),
            Is("50"),
            "How many of the nodes in service must say what they carry for the others to be taken for their median: fewer are no sample.",
        ),
        key(
            "calm_smoothing",
            Duration("1s", "1d"),
            Is(r#""100s""#),
            "Over how long the demand of calm times is smoothed: slow enough not to take the first minutes of an overload for calm.",
        ),
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
            "quorum_percent",
            Percent(0, 100),
            Is("50"),
            "How many of the pool's nodes must still answer where no figures tell what they can carry: a pool is seldom built to lose more than half.",
        ),
        key(
            "sporadic_percent",
            Percent(0, 100),
            Is("25"),
            "For how much of the policy's `window` a node must have had its trouble alone to leave for it where no figures tell: in its first minutes an overload may look as if it were one node's.",
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
            "The least time between two withdrawals for soft evidence; `settle_ttls` times the TTL where that is longer.",
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
        key(
            "count_over",
            Duration("1m", "30d"),
            Is(r#""24h""#),
            "How long a withdrawal counts, for probation, quarantine and penalty: trouble of a time of day meets itself again.",
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
            "How long a node that was withdrawn for being degraded stays out at least; it doubles each time within `count_over` ...",
        ),
        key(
            "quarantine_doublings",
            Count(0, 20),
            Is("6"),
            "... so many times at the most: six make 16 hours, a night and a peak.",
        ),
    ],
};
