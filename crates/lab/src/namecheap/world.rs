//! The zones of an account and the rules by which the API treats them.
//!
//! Rules marked (R) are seen in recorded traffic; the others rest on the documentation and on reports by users of the
//! original, and [`Rules`] offers both sides where those disagree.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::http::{Reply, Request};
use super::markup::{self, Host};

/// The most rows of a zone.
const MAX_ROWS: usize = 150;
const TYPES: [&str; 12] = ["A", "AAAA", "ALIAS", "CAA", "CNAME", "MX", "MXE", "NS", "TXT", "URL", "URL301", "FRAME"];
const EMAIL_TYPES: [&str; 6] = ["NONE", "FWD", "MX", "MXE", "OX", "GMAIL"];

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Everybody: for recordings, whose credentials were taken out.
    Anyone,
    /// Whoever says these.
    Keyed {
        /// `ApiUser`.
        api_user: String,
        /// `ApiKey`.
        api_key: String,
        /// `UserName`.
        username: String,
        /// The addresses that calls may come from.
        allowed: Vec<IpAddr>,
    },
}

impl Account {
    /// An account named `example` with this key, for calls from loopback.
    #[must_use]
    pub fn keyed(api_key: &str) -> Self {
        Self::Keyed {
            api_user: "example".to_owned(),
            api_key: api_key.to_owned(),
            username: "example".to_owned(),
            allowed: vec![IpAddr::from([127, 0, 0, 1])],
        }
    }
}

/// Where reports about the original disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a write without `EmailType` does: false, nothing (R, on forwarding zones); true, mail becomes `NONE` and the
    /// MX rows go.
    pub email_type_resets: bool,
    /// The lowest TTL that is kept, seconds; lower ones become it. 60 in older documents, 300 in newer ones.
    pub ttl_min: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { email_type_resets: false, ttl_min: 60 }
    }
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// How mail is handled.
    pub email_type: String,
    /// Whether the provider's name servers serve it. When they do not, getHosts is an error.
    pub using_our_dns: bool,
    /// Its rows.
    pub hosts: Vec<Host>,
}

impl Zone {
    /// A served zone.
    #[must_use]
    pub fn new(email_type: &str, hosts: Vec<Host>) -> Self {
        Self { email_type: email_type.to_owned(), using_our_dns: true, hosts }
    }
}

#[derive(Debug)]
pub(super) struct World {
    account: Account,
    rules: Rules,
    zones: BTreeMap<String, Zone>,
    /// Each zone as it was before its last write.
    stale: BTreeMap<String, Zone>,
    next_id: u64,
}

type Failure = (u32, String);

impl World {
    pub(super) fn new(account: Account, rules: Rules) -> Self {
        Self { account, rules, zones: BTreeMap::new(), stale: BTreeMap::new(), next_id: 1000 }
    }

    pub(super) fn seed(&mut self, domain: &str, zone: Zone) {
        let domain = domain.to_lowercase();
        self.zones.insert(domain.clone(), zone);
        self.number(&domain);
    }

    pub(super) fn zone(&self, domain: &str) -> Option<Zone> {
        self.zones.get(&domain.to_lowercase()).cloned()
    }

    pub(super) fn meddle(&mut self, domain: &str, meddle: impl FnOnce(&mut Zone)) {
        let domain = domain.to_lowercase();
        if let Some(zone) = self.zones.get_mut(&domain) {
            meddle(zone);
            self.number(&domain);
        }
    }

    /// Gives every row a number and brings the rows into the order of the list: by type, by name, by number (R).
    fn number(&mut self, domain: &str) {
        let Some(zone) = self.zones.get_mut(domain) else { return };
        for host in &mut zone.hosts {
            if host.id == 0 {
                host.id = self.next_id;
                self.next_id += 1;
            }
            self.next_id = self.next_id.max(host.id + 1);
        }
        zone.hosts.sort_by(|a, b| (&a.rtype, &a.name, a.id).cmp(&(&b.rtype, &b.name, b.id)));
    }

    pub(super) fn foreign_row(&mut self, request: &Request, row: &Host) {
        let row = row.clone();
        self.meddle(&domain(request), |zone| zone.hosts.push(row));
    }

    /// The answer to `request`, with what it does done.
    pub(super) fn answer(&mut self, request: &Request, peer: IpAddr) -> Reply {
        if request.path() != "/xml.response" {
            return Reply::html(404, "Not Found");
        }
        if let Err((number, text)) = self.admit(request, peer) {
            return Reply::xml(markup::failure("", &[(number, text.as_str())]));
        }
        let command = request.parameter("command").unwrap_or_default().to_ascii_lowercase();
        let answer = match command.as_str() {
            "namecheap.domains.getinfo" => self.get_info(request),
            "namecheap.domains.dns.gethosts" => self.get_hosts(request),
            "namecheap.domains.dns.sethosts" => self.set_hosts(request),
            "" => Err((1_010_104, "Parameter Command is missing".to_owned())),
            _ => Err((1_010_104, "Parameter Command is Invalid".to_owned())),
        };
        Reply::xml(match answer {
            Ok(xml) => xml,
            Err((number, text)) => markup::failure(&command, &[(number, text.as_str())]),
        })
    }

    /// The answer, with nothing done.
    pub(super) fn pretend(&mut self, request: &Request, peer: IpAddr) -> Reply {
        let zones = self.zones.clone();
        let reply = self.answer(request, peer);
        self.zones = zones;
        reply
    }

    /// The answer from before the last write.
    pub(super) fn answer_stale(&mut self, request: &Request, peer: IpAddr) -> Reply {
        let Some(stale) = self.stale.get(&domain(request)).cloned() else { return self.answer(request, peer) };
        let now = self.zones.insert(domain(request), stale);
        let reply = self.answer(request, peer);
        if let Some(now) = now {
            self.zones.insert(domain(request), now);
        }
        reply
    }

    fn admit(&self, request: &Request, peer: IpAddr) -> Result<(), Failure> {
        let client_ip = request.parameter("clientip").unwrap_or_default();
        if client_ip.is_empty() {
            return Err((1_010_105, "Parameter ClientIP is missing".to_owned()));
        }
        // IPv4 alone; whose address it is, nobody checks (R).
        if client_ip.parse::<std::net::Ipv4Addr>().is_err() {
            return Err((1_011_105, "Parameter ClientIP is invalid".to_owned()));
        }
        let Account::Keyed { api_user, api_key, username, allowed } = &self.account else { return Ok(()) };
        match request.parameter("apiuser") {
            None | Some("") => return Err((1_010_101, "Parameter APIUser is missing".to_owned())),
            Some(_) => {}
        }
        match request.parameter("apikey") {
            None | Some("") => return Err((1_010_102, "Parameter APIKey is missing".to_owned())),
            Some(said) if said != api_key || request.parameter("apiuser") != Some(api_user) => {
                return Err((1_011_102, "API Key is invalid or API access has not been enabled".to_owned()));
            }
            Some(_) => {}
        }
        if !allowed.contains(&peer) {
            return Err((1_011_150, format!("Invalid request IP: {peer}")));
        }
        if request.parameter("username") != Some(username) {
            return Err((1_016_103, "UserName is unauthorized".to_owned()));
        }
        Ok(())
    }

    fn get_info(&self, request: &Request) -> Result<String, Failure> {
        let domain = request.parameter("domainname").unwrap_or_default().to_lowercase();
        match self.zones.get(&domain) {
            Some(zone) => Ok(markup::info(&domain, &zone.email_type, zone.hosts.len())),
            None => Err((2_030_166, "Domain is invalid".to_owned())),
        }
    }

    fn get_hosts(&self, request: &Request) -> Result<String, Failure> {
        let domain = domain(request);
        let zone = self.zones.get(&domain).ok_or_else(not_found)?;
        if !zone.using_our_dns {
            return Err((
                2_030_288,
                "Cannot complete this command as this domain is not using proper DNS servers".into(),
            ));
        }
        Ok(markup::hosts(&domain, &zone.email_type, zone.using_our_dns, &zone.hosts))
    }

    fn set_hosts(&mut self, request: &Request) -> Result<String, Failure> {
        let domain = domain(request);
        let old = self.zones.get(&domain).ok_or_else(not_found)?.clone();
        let email_type = match request.parameter("emailtype").map(str::to_ascii_uppercase) {
            Some(said) if EMAIL_TYPES.contains(&said.as_str()) => said,
            Some(_) => return Err((2_050_900, "Invalid EmailType".to_owned())),
            None if self.rules.email_type_resets => "NONE".to_owned(),
            None => old.email_type.clone(),
        };
        let mut hosts: Vec<Host> = Vec::new();
        for sent in sent_hosts(request, self.rules.ttl_min)? {
            // The first of equals stays, and nobody is told (R).
            if !hosts.iter().any(|host| same_key(host, &sent)) {
                hosts.push(sent);
            }
        }
        if hosts.len() > MAX_ROWS {
            return Err((3_013_288, "Too many records".to_owned()));
        }
        if self.rules.email_type_resets && request.parameter("emailtype").is_none() {
            hosts.retain(|host| host.rtype != "MX");
        }
        if hosts.is_empty() {
            hosts = parking(&domain);
        }
        for host in &mut hosts {
            // A row that was there keeps its number and its labels (R); a dynamic row becomes a plain one.
            if let Some(before) = old.hosts.iter().find(|before| same_key(before, host)) {
                host.id = before.id;
                host.app_title.clone_from(&before.app_title);
                host.friendly_name.clone_from(&before.friendly_name);
            }
        }
        self.zones.insert(domain.clone(), Zone { email_type, hosts, ..old.clone() });
        self.stale.insert(domain.clone(), old);
        self.number(&domain);
        Ok(markup::set(&domain))
    }
}

fn not_found() -> Failure {
    (2_019_166, "Domain not found".to_owned())
}

fn domain(request: &Request) -> String {
    let part = |name| request.parameter(name).unwrap_or_default().to_lowercase();
    format!("{}.{}", part("sld"), part("tld"))
}

/// What makes two rows the same to the API (R).
fn same_key(a: &Host, b: &Host) -> bool {
    (&a.name, &a.rtype, &a.address) == (&b.name, &b.rtype, &b.address)
}

/// The rows in a write, in order of their numbers, as they are stored.
fn sent_hosts(request: &Request, ttl_min: u32) -> Result<Vec<Host>, Failure> {
    let mut numbers: Vec<u32> = request
        .parameters
        .iter()
        .filter_map(|(key, _)| key.to_ascii_lowercase().strip_prefix("hostname").and_then(|number| number.parse().ok()))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().map(|number| sent_host(request, number, ttl_min)).collect()
}

fn sent_host(request: &Request, number: u32, ttl_min: u32) -> Result<Host, Failure> {
    let field = |name: &str| request.parameter(&format!("{name}{number}")).unwrap_or_default();
    let name = field("hostname").to_lowercase();
    let rtype = field("recordtype").to_ascii_uppercase();
    let mut address = field("address").to_owned();
    if name.is_empty() || address.is_empty() || !TYPES.contains(&rtype.as_str()) {
        return Err((2_050_900, format!("Invalid host, type or address in record {number}")));
    }
    let valid = match rtype.as_str() {
        "A" => address.parse::<std::net::Ipv4Addr>().is_ok(),
        "AAAA" => address.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => true,
    };
    if !valid {
        return Err((2_050_900, format!("Invalid Address: {address}")));
    }
    // Names get their final dot before equals are looked for (R).
    if ["CNAME", "ALIAS", "NS", "MX"].contains(&rtype.as_str()) && !address.ends_with('.') {
        address.push('.');
    }
    let ttl = match field("ttl") {
        "" => 1800,
        text => text.parse::<u32>().map_err(|_| (2_050_900, format!("Invalid TTL: {text}")))?,
    };
    let mx_pref = match field("mxpref") {
        text if rtype == "MX" && !text.is_empty() => text.to_owned(),
        // Whatever was sent (R).
        _ => "10".to_owned(),
    };
    Ok(Host { mx_pref, ..Host::new(&name, &rtype, &address, ttl.clamp(ttl_min, 60_000)) })
}

/// What the provider puts into a zone that somebody emptied.
fn parking(domain: &str) -> Vec<Host> {
    let label = |host: Host, friendly: &str, app: &str| Host {
        friendly_name: friendly.to_owned(),
        app_title: app.to_owned(),
        ..host
    };
    vec![
        label(Host::new("www", "CNAME", "parkingpage.namecheap.com.", 1800), "CNAME Record", ""),
        label(Host::new("@", "URL", &format!("http://www.{domain}/"), 1800), "URL Record", "URL Forwarding"),
    ]
}

#[cfg(test)]
mod tests;
