//! The rows of a zone: what may be written back, what a plan makes of them, and whether two readings are the same.
//!
//! Pure. One write replaces every row, so a row that we cannot send back as it was means that we do not write at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::model::{Change, PublishedSets, RecordSet, RecordType, SetKey};

/// The types that a write can carry. SRV rows live in a list of their own that neither call touches.
const SETTABLE: [&str; 12] = ["A", "AAAA", "ALIAS", "CAA", "CNAME", "MX", "MXE", "NS", "TXT", "URL", "URL301", "FRAME"];

/// The most rows that the provider keeps for a zone.
pub(super) const MAX_ROWS: usize = 150;

/// TTLs that the provider takes, seconds.
pub(super) const TTLS: std::ops::RangeInclusive<u32> = 60..=60_000;

/// A zone as the provider lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostList {
    /// The zone.
    pub domain: String,
    /// How mail is handled. A write that does not say it again may reset it.
    pub email_type: Option<String>,
    /// Whether what is listed is what is served.
    pub using_our_dns: Option<bool>,
    /// In the provider's order.
    pub rows: Vec<Row>,
    /// Elements among the rows that we do not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strange: Vec<String>,
}

/// One row, in the provider's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Relative to the zone; `@` is the zone itself.
    pub name: String,
    /// A, MX, URL301, ...
    #[serde(rename = "type")]
    pub rtype: String,
    /// An address, a name, a text: by type.
    pub address: String,
    /// Preference; `10` on rows that are not MX.
    pub mx_pref: String,
    /// Seconds.
    pub ttl: String,
    /// The provider's number; a row that is made anew gets another.
    pub host_id: String,
    /// Whether it is served.
    pub active: bool,
    /// Whether it is a dynamic-DNS row; a write makes a plain A row of it.
    pub dynamic: bool,
    /// Set by the provider's own pages.
    pub friendly_name: String,
    /// Set by the provider's own pages.
    pub app_title: String,
}

/// What a row says, however it is spelt. The provider keeps one row for each of these but the last two fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meaning {
    /// Lower case.
    pub name: String,
    /// Upper case.
    pub rtype: String,
    /// Addresses in their shortest spelling, names without a final dot.
    pub address: String,
    /// Seconds.
    pub ttl: u32,
    /// For MX alone; elsewhere the provider ignores it.
    pub preference: Option<u32>,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} TTL {}", self.name, self.rtype, self.address, self.ttl)?;
        self.preference.map_or(Ok(()), |preference| write!(f, " preference {preference}"))
    }
}

/// How often each row is there.
pub(super) type Multiset = BTreeMap<Meaning, usize>;

impl Row {
    /// A row that was not there before.
    fn new(owner: &str, address: IpAddr, ttl: u32) -> Self {
        Self {
            name: owner.to_owned(),
            rtype: RecordType::of(address).name().to_owned(),
            address: address.to_string(),
            mx_pref: "10".to_owned(),
            ttl: ttl.to_string(),
            host_id: String::new(),
            active: true,
            dynamic: false,
            friendly_name: String::new(),
            app_title: String::new(),
        }
    }

    /// What it says.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        let rtype = self.rtype.to_ascii_uppercase();
        let address = match rtype.as_str() {
            "A" | "AAAA" => match self.address.trim().parse::<IpAddr>() {
                Ok(address) => address.to_string(),
                Err(_) => self.address.clone(),
            },
            "CNAME" | "ALIAS" | "NS" | "MX" => self.address.strip_suffix('.').unwrap_or(&self.address).to_owned(),
            _ => self.address.clone(),
        };
        let preference = (rtype == "MX").then(|| self.mx_pref.parse().unwrap_or(u32::MAX));
        let ttl = self.ttl.parse().unwrap_or(u32::MAX);
        Meaning { name: self.name.to_lowercase(), rtype, address, ttl, preference }
    }

    /// Whether it belongs to `set`.
    fn is_of(&self, set: &SetKey) -> bool {
        self.name.eq_ignore_ascii_case(&set.owner) && self.rtype.eq_ignore_ascii_case(set.rtype.name())
    }

    fn ip(&self) -> Option<IpAddr> {
        self.address.trim().parse().ok()
    }
}

impl HostList {
    /// The address sets in it. Where rows of a set have different TTLs, the longest stands for all: caches may hold it.
    ///
    /// # Errors
    /// Says which row of a set holds no address of the set's type.
    pub fn sets(&self, keys: &[SetKey]) -> Result<PublishedSets, String> {
        let mut sets = PublishedSets::new();
        for key in keys {
            let mut set = RecordSet::default();
            for row in self.rows.iter().filter(|row| row.is_of(key) && row.active) {
                let Some(address) = row.ip().filter(|ip| RecordType::of(*ip) == key.rtype) else {
                    return Err(format!("{key} has the address {:?}", super::xml::short(&row.address)));
                };
                set.addresses.insert(address);
                set.ttl = set.ttl.max(row.meaning().ttl);
            }
            sets.insert(key.clone(), set);
        }
        Ok(sets)
    }

    /// How often each row is there.
    #[must_use]
    pub fn multiset(&self) -> Multiset {
        multiset(&self.rows)
    }

    /// Equal marks, equal state, whatever the order: every settable field of every row as it is spelt, and how mail is
    /// handled.
    #[must_use]
    pub fn token(&self) -> String {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| (&row.name, &row.rtype, &row.address, &row.mx_pref, &row.ttl, row.active, row.dynamic))
            .collect();
        rows.sort();
        let state = (&self.domain, &self.email_type, self.using_our_dns, rows, &self.strange);
        let text = serde_json::to_vec(&state).expect("texts and flags become JSON");
        digest(&SHA256, &text).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether every row can be sent back as it is.
    ///
    /// # Errors
    /// Says what would be lost, and what a person can do.
    pub fn writable(&self, allow_ddns_downgrade: bool) -> Result<(), String> {
        if self.email_type.is_none() {
            return Err(format!("{} says no EmailType, and a write without it may reset its mail", self.domain));
        }
        if self.rows.is_empty() {
            return Err(format!("{} lists no rows, and a write would replace what is not shown", self.domain));
        }
        if let Some(strange) = self.strange.first() {
            return Err(format!(
                "{} has an element <{strange}> among its rows, and a write would lose it",
                self.domain
            ));
        }
        if self.rows.len() > MAX_ROWS {
            return Err(format!("{} has {} rows, and {MAX_ROWS} can be written", self.domain, self.rows.len()));
        }
        let mut seen = BTreeSet::new();
        for row in &self.rows {
            let meaning = row.meaning();
            let it = || format!("row {} {}", super::xml::short(&meaning.name), super::xml::short(&meaning.rtype));
            if !SETTABLE.contains(&meaning.rtype.as_str()) {
                return Err(format!("{} is of a type that a write cannot carry, and would be lost", it()));
            }
            if row.dynamic && !allow_ddns_downgrade {
                return Err(format!(
                    "{} is a dynamic-DNS row, and a write would make a plain A row of it; \
                     allow that in the configuration or remove the row",
                    it()
                ));
            }
            if !row.active {
                return Err(format!("{} is not active, and a write may bring it to life; remove the row", it()));
            }
            if !seen.insert((meaning.name.clone(), meaning.rtype.clone(), meaning.address.clone())) {
                return Err(format!(
                    "{} with the address {:?} is there twice, and a write would keep one of them; remove the other",
                    it(),
                    super::xml::short(&meaning.address)
                ));
            }
        }
        Ok(())
    }

    /// The rows after `changes`: exactly these addresses out and in, everything else as it is.
    ///
    /// # Errors
    /// Says why it cannot be done without touching something else.
    pub fn edited(&self, changes: &[Change]) -> Result<Vec<Row>, String> {
        let mut rows = self.rows.clone();
        let mut wanted = (Multiset::new(), Multiset::new());
        for change in changes {
            let set = &change.set;
            for address in &change.remove {
                let found: Vec<usize> = rows
                    .iter()
                    .enumerate()
                    .filter(|(_, row)| row.is_of(set) && row.ip() == Some(*address))
                    .map(|(index, _)| index)
                    .collect();
                let [index] = found.as_slice() else {
                    return Err(format!("{address} stands {} times in {set}", found.len()));
                };
                *wanted.0.entry(rows.remove(*index).meaning()).or_default() += 1;
            }
            for address in &change.add {
                if rows.iter().any(|row| row.is_of(set) && row.ip() == Some(*address)) {
                    return Err(format!("{address} is in {set} already"));
                }
                if !TTLS.contains(&change.ttl) {
                    return Err(format!(
                        "a row of {set} cannot be added with a TTL of {} s; {} to {} s can be",
                        change.ttl,
                        TTLS.start(),
                        TTLS.end()
                    ));
                }
                let row = Row::new(&set.owner, *address, change.ttl);
                *wanted.1.entry(row.meaning()).or_default() += 1;
                rows.push(row);
            }
            if !rows.iter().any(|row| row.is_of(set)) {
                return Err(format!("{set} would be left without an address"));
            }
        }
        if rows.len() > MAX_ROWS {
            return Err(format!("{} would have {} rows, and {MAX_ROWS} can be written", self.domain, rows.len()));
        }
        // Asked once more of the result, by other means: nothing but the plan may differ.
        if difference(&self.multiset(), &multiset(&rows)) != wanted {
            return Err("the rows to be written differ from those read by more than the plan".to_owned());
        }
        Ok(rows)
    }
}

/// How often each row is there.
#[must_use]
pub(super) fn multiset(rows: &[Row]) -> Multiset {
    let mut all = Multiset::new();
    for row in rows {
        *all.entry(row.meaning()).or_default() += 1;
    }
    all
}

/// What is in `old` and not in `new`, and what is in `new` and not in `old`.
#[must_use]
pub(super) fn difference(old: &Multiset, new: &Multiset) -> (Multiset, Multiset) {
    let missing = |from: &Multiset, of: &Multiset| {
        from.iter()
            .filter_map(|(row, count)| {
                let rest = count.saturating_sub(of.get(row).copied().unwrap_or(0));
                (rest > 0).then(|| (row.clone(), rest))
            })
            .collect()
    };
    (missing(old, new), missing(new, old))
}

/// How `found` differs from `wanted`, in words; none when it does not.
#[must_use]
pub(super) fn mismatch(wanted: &Multiset, email_type: Option<&str>, found: &HostList) -> Option<String> {
    let (gone, new) = difference(wanted, &found.multiset());
    let mut parts: Vec<String> = gone.keys().map(|row| format!("-{row}")).collect();
    parts.extend(new.keys().map(|row| format!("+{row}")));
    let more = parts.len().saturating_sub(4);
    parts.truncate(4);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    if email_type != found.email_type.as_deref() {
        parts.push(format!(
            "EmailType {} instead of {}",
            found.email_type.as_deref().unwrap_or("missing"),
            email_type.unwrap_or("none")
        ));
    }
    (!parts.is_empty()).then(|| super::xml::short(&parts.join(", ")))
}

#[cfg(test)]
mod tests;
