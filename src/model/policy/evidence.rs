//! What evidence is made of.

use std::time::Duration;

/// Thresholds of the evidence classes. Rounds are counted by the service's checks; a span reaches from the start of the first
/// check to the end of the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidencePolicy {
    /// How far back single checks count. Long enough for four failures of a slow rhythm, short enough to follow a change.
    pub window: Duration,
    /// Falling silent: so many rounds in a row without a sign of life. From here on others are asked, and what fails is no
    /// sign of overload; one round is a lost packet or two.
    pub falling_rounds: u32,
    /// Silent: at least so many rounds in a row without a sign of life. With independent losses p, one in p^63: at 90 % loss
    /// one in 760, at 80 % one in a million.
    pub silent_rounds: u32,
    /// ... over at least this long where other vantage points tried as well and saw nothing.
    pub silent_confirmed: Duration,
    /// ... where nobody else could be asked: blips of our own path last seconds (mean 8 s), hardly one lasts this long.
    pub silent_alone: Duration,
    /// ... and since somebody else last reached it, where somebody did in the same streak.
    pub silent_seen: Duration,
    /// Tries of others without an answer that confirm silence. One failed pass of one relay is no proof.
    pub ask_tries: u32,
    /// What others say counts this long.
    pub ask_age: Duration,
    /// Down: at least so many refusals in a row. An RST is the kernel's own word.
    pub down_rounds: u32,
    /// ... over at least this long: a restart by the service manager passes.
    pub down_span: Duration,
    /// What stays unanswered within this long of a refusal is the same failure: kernels limit how often they refuse, to one
    /// a second for all who ask, and with rounds every 2 s one of a few still meets it.
    pub down_pause: Duration,
    /// Hung: at least so many failures of the service in a row while something else of the node lives.
    pub hung_rounds: u32,
    /// ... over at least this long: a spike that fills an accept queue passes.
    pub hung_span: Duration,
    /// ... or this long where the node sends less than `idle_percent` of what it can.
    pub hung_idle_span: Duration,
    /// What a node that serves nobody sends at the most, percent of its capacity.
    pub idle_percent: u32,
    /// Broken: at least so many wrong answers in a row.
    pub broken_rounds: u32,
    /// ... over at least this long.
    pub broken_span: Duration,
    /// Degraded: at least so many failed checks in the window. With 0.1 % of noise, four of 36 happen once in 17 million.
    pub degraded_checks: u32,
    /// ... and at least so many percent of them.
    pub degraded_percent: u32,
    /// It ends this long after the last failed check.
    pub degraded_ends: Duration,
    /// How long soft evidence may pause and still be the same trouble: half of `window`, in which the checks that made it are
    /// still counted.
    pub soft_pause: Duration,
    /// Stressed: the median of so many answers is looked at, of half as many at least; about two minutes' worth, so that a
    /// few late ones do not move it ...
    pub slow_answers: u32,
    /// ... and takes this many times the usual ...
    pub slow_factor: u32,
    /// ... and this much more.
    pub slow_extra: Duration,
    /// ... or handshakes took this long: a SYN was lost and sent again after 1 s ...
    pub slow_connect: Duration,
    /// ... at least so many of them in the window: with 1 % of loss on the way, three of 12 happen once in 5000 windows.
    pub slow_connects: u32,
    /// ... or so many percent of the echoes were lost ...
    pub lost_percent: u32,
    /// ... and at least so many: of few echoes one is a large share.
    pub lost_echoes: u32,
    /// Shedding: so many answers said that it has too much to do; one may be about a single request ...
    pub shedding_answers: u32,
    /// ... of the last so many.
    pub shedding_of: u32,
    /// Failing rounds of the service in a row from which on it is said to fail every time: noise of a few percent makes two
    /// now and then.
    pub steady_rounds: u32,
    /// Failing rounds in a row before a failure is given a name though its evidence has none. Names convict nobody.
    pub named_rounds: u32,
    /// How old a load figure may be.
    pub load_age: Duration,
    /// Over how long a load figure is smoothed: as long as its noise keeps together. At least 1 s.
    pub load_smoothing: Duration,
    /// For how long a node in doubt is probed fast.
    pub doubt: Duration,
    /// Service checks in a row that end doubt.
    pub calm_rounds: u32,
}

impl Default for EvidencePolicy {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(120),
            falling_rounds: 2,
            silent_rounds: 7,
            silent_confirmed: Duration::from_secs(12),
            silent_alone: Duration::from_secs(38),
            silent_seen: Duration::from_secs(60),
            ask_tries: 6,
            ask_age: Duration::from_secs(30),
            down_rounds: 4,
            down_span: Duration::from_secs(8),
            down_pause: Duration::from_secs(10),
            hung_rounds: 8,
            hung_span: Duration::from_secs(60),
            hung_idle_span: Duration::from_secs(20),
            idle_percent: 10,
            broken_rounds: 5,
            broken_span: Duration::from_secs(60),
            degraded_checks: 4,
            degraded_percent: 10,
            degraded_ends: Duration::from_secs(60),
            soft_pause: Duration::from_secs(60),
            slow_answers: 12,
            slow_factor: 3,
            slow_extra: Duration::from_millis(300),
            slow_connect: Duration::from_millis(900),
            slow_connects: 3,
            lost_percent: 8,
            lost_echoes: 3,
            shedding_answers: 2,
            shedding_of: 5,
            steady_rounds: 3,
            named_rounds: 3,
            load_age: Duration::from_secs(60),
            load_smoothing: Duration::from_secs(20),
            doubt: Duration::from_secs(300),
            calm_rounds: 5,
        }
    }
}
