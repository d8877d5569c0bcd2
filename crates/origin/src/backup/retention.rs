//! Which backups the rules keep: `7d,7;30d,4`, or `3600,4;86400,11` in seconds.
//!
//! A rule is an age and a count: of the backups that are not older, it keeps so many, spread over that age. For that the
//! calendar is cut into slots of age / count; the first backup of each slot is worth most, since it will be the one that
//! stands for its slot when it is old. As the slots do not move with the clock, a run of `expunge` today takes nothing
//! that tomorrow's would have kept for being the first. Where slots are empty, the newest of the others fill up the
//! count. An age alone keeps whatever is not older. A backup stays while any rule wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::units::DURATION;
use crate::model::Time;

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    rules: Vec<Rule>,
}

/// Of what is not older than `within`, keep `count`; without one, all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    within: Duration,
    count: Option<u32>,
}

impl Retention {
    /// Which of the backups taken at `times` stay, by their place in the list. One from the future stays: it is the
    /// clock that is wrong.
    #[must_use]
    pub fn keep(&self, times: &[Time], now: Time) -> BTreeSet<usize> {
        let mut kept: BTreeSet<usize> = (0..times.len()).filter(|&at| times[at] > now).collect();
        for rule in &self.rules {
            kept.extend(rule.keep(times, now));
        }
        kept
    }

    /// The longest of the ages: what is older, no rule keeps.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.rules.iter().map(|rule| rule.within).max().unwrap_or_default()
    }
}

impl Rule {
    fn keep(self, times: &[Time], now: Time) -> Vec<usize> {
        let mut within: Vec<usize> =
            (0..times.len()).filter(|&at| times[at] <= now && now.since(times[at]) <= self.within).collect();
        let Some(count) = self.count.map(|count| count as usize) else { return within };
        // Newest first; of those taken at once, the order in the list decides.
        within.sort_by_key(|&at| (std::cmp::Reverse(times[at]), at));
        let width = (i64::try_from(self.within.as_millis()).unwrap_or(i64::MAX)
            / i64::from(self.count.unwrap_or(1)).max(1))
        .max(1);
        // The oldest of each slot that is in the list at all: one whose slot began before the age may be out already,
        // and then it does not stand for its slot any more.
        let mut firsts: BTreeMap<i64, usize> = BTreeMap::new();
        for &at in &within {
            firsts.insert(times[at].0.div_euclid(width), at);
        }
        let mut kept: Vec<usize> = firsts.into_values().rev().take(count).collect();
        let rest: Vec<usize> = within.into_iter().filter(|at| !kept.contains(at)).collect();
        let room = count - kept.len();
        kept.extend(rest.into_iter().take(room));
        kept
    }
}

impl FromStr for Retention {
    type Err = String;

    /// Such as `7d,7;30d,4`, `3600,4;86400,11` or `14d`.
    fn from_str(text: &str) -> Result<Self, String> {
        let rules: Result<Vec<Rule>, String> =
            text.split(';').map(str::trim).filter(|rule| !rule.is_empty()).map(str::parse).collect();
        match rules? {
            rules if rules.is_empty() => Err("there is no rule in it".to_owned()),
            rules => Ok(Self { rules }),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (within, count) = match text.split_once(',') {
            Some((within, count)) => (within.trim(), Some(count.trim())),
            None => (text, None),
        };
        // A bare number is seconds, as it always was in these rules.
        let milliseconds = match within.parse::<u64>() {
            Ok(seconds) => seconds.checked_mul(1000).ok_or("the age is too large")?,
            Err(_) => DURATION.read(within).map_err(|(message, _)| format!("{within:?}: {message}"))?,
        };
        if milliseconds == 0 {
            return Err("an age of nothing keeps nothing".to_owned());
        }
        let count = match count {
            None => None,
            Some(count) => match count.parse() {
                Ok(count) if count > 0 => Some(count),
                _ => return Err(format!("{count:?} is not how many to keep")),
            },
        };
        Ok(Self { within: Duration::from_millis(milliseconds), count })
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, rule) in self.rules.iter().enumerate() {
            let stroke = if at == 0 { "" } else { ";" };
            write!(f, "{stroke}{}", span(rule.within))?;
            if let Some(count) = rule.count {
                write!(f, ",{count}")?;
            }
        }
        Ok(())
    }
}

/// In the largest unit that has no rest.
pub(crate) fn span(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let found = units.iter().find(|(_, worth)| milliseconds.is_multiple_of(*worth) && milliseconds > 0);
    found.map_or_else(|| format!("{milliseconds}ms"), |(unit, worth)| format!("{}{unit}", milliseconds / worth))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn rules(text: &str) -> Retention {
        text.parse().unwrap()
    }

    #[test]
    fn the_grammar_has_units_and_seconds() {
        assert_eq!(rules("3600,4;86400,11"), rules("1h,4;1d,11"));
        assert_eq!(rules(" 7d,7 ; 30d,4 ").to_string(), "7d,7;30d,4");
        assert_eq!(rules("1209600"), rules("14d"));
        assert_eq!(rules("90m").to_string(), "90m");
        for bad in ["", ";", "7d,", "7d,0", "7d,-1", "7d,x", ",4", "0,4", "x,4", "7 e,4", "7d,7,7"] {
            assert!(bad.parse::<Retention>().is_err(), "{bad}");
        }
    }

    #[test]
    fn some_of_the_first_hour_and_some_of_the_day() {
        // One every ten minutes for two days: 4 of the last hour, 11 of the last day.
        let now = Time(1000 * DAY);
        let times: Vec<Time> = (0..288).map(|at| Time(now.0 - at * HOUR / 6)).collect();
        let kept = rules("3600,4;86400,11").keep(&times, now);
        let within = |age: i64| kept.iter().filter(|&&at| now.0 - times[at].0 <= age).count();
        assert!(within(HOUR) >= 4, "{kept:?}");
        assert!(kept.len() <= 15 && kept.len() >= 11, "{kept:?}");
        assert!(kept.iter().all(|&at| now.0 - times[at].0 <= DAY), "{kept:?}");
    }

    /// Daily backups, expunged daily for a long time: there is always one that is nearly as old as the rules go.
    #[test]
    fn what_is_expunged_every_day_keeps_its_reach() {
        let policy = rules("7d,7;30d,4");
        let mut there: Vec<Time> = Vec::new();
        for day in 0..400 {
            let now = Time(day * DAY + 5 * HOUR);
            there.push(now);
            let kept = policy.keep(&there, now);
            there = kept.iter().map(|&at| there[at]).collect();
            if day > 40 {
                let oldest = there.iter().min().unwrap();
                assert!(now.0 - oldest.0 >= 21 * DAY, "day {day}: {there:?}");
                let recent = there.iter().filter(|time| now.0 - time.0 <= 7 * DAY).count();
                assert!((7..=8).contains(&recent), "day {day}: {recent}");
                assert!(there.len() <= 11, "day {day}: {}", there.len());
            }
        }
    }

    fn policy() -> impl Strategy<Value = Retention> {
        vec((1_i64..200, proptest::option::of(1_u32..12)), 1..4).prop_map(|rules| Retention {
            rules: rules
                .into_iter()
                .map(|(hours, count)| Rule { within: Duration::from_millis(hours.unsigned_abs() * 3_600_000), count })
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn each_rule_gets_what_it_asks_for(policy in policy(), ages in vec(-5_i64..300, 0..60)) {
            let now = Time(10_000 * DAY);
            let times: Vec<Time> = ages.iter().map(|age| Time(now.0 - age * HOUR - age * 77)).collect();
            let kept = policy.keep(&times, now);
            let mut most = times.iter().filter(|time| **time > now).count();
            for rule in &policy.rules {
                let within = |time: Time| time <= now && now.since(time) <= rule.within;
                let there = times.iter().filter(|time| within(**time)).count();
                let wanted = rule.count.map_or(there, |count| there.min(count as usize));
                let stay = kept.iter().filter(|&&at| within(times[at])).count();
                prop_assert!(stay >= wanted, "{stay} of {wanted} for {rule:?}");
                most += wanted;
            }
            prop_assert!(kept.len() <= most, "more than any rule asked for");
            for &at in &kept {
                prop_assert!(times[at] > now || now.since(times[at]) <= policy.longest());
            }
        }

        #[test]
        fn doing_it_twice_takes_nothing_more(policy in policy(), ages in vec(0_i64..300, 0..60)) {
            let now = Time(10_000 * DAY);
            let times: Vec<Time> = ages.iter().map(|age| Time(now.0 - age * HOUR)).collect();
            let kept: Vec<Time> = policy.keep(&times, now).into_iter().map(|at| times[at]).collect();
            prop_assert_eq!(policy.keep(&kept, now).len(), kept.len());
        }

        #[test]
        fn the_text_is_read_back(policy in policy()) {
            prop_assert_eq!(policy.to_string().parse::<Retention>().unwrap(), policy);
        }
    }
}
