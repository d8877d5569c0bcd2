//! Which servers are authoritative for a zone, as the system's resolvers tell.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType as WireType};

use super::DnsError;
use super::client::{ask, rcode_name};
use super::wire::{Answer, Question, address_of};

/// How many name servers of a zone are looked at. No zone has more: 13 fit in one plain answer.
const NAMESERVERS_MAX: usize = 16;

/// The resolvers that answer for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolvers {
    /// In the order in which they are asked, at least one.
    pub servers: Vec<SocketAddr>,
    /// For each question to each of them.
    pub timeout: Duration,
}

impl Resolvers {
    /// The system's, from `/etc/resolv.conf`.
    ///
    /// # Errors
    /// [`DnsError::NoResolver`].
    pub fn system() -> Result<Self, DnsError> {
        Self::from_file(Path::new("/etc/resolv.conf"))
    }

    /// Those that a file like `resolv.conf` names.
    ///
    /// # Errors
    /// [`DnsError::NoResolver`] where it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, DnsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| DnsError::NoResolver { path: path.display().to_string(), why: error.to_string() })?;
        Ok(Self::parse(&text))
    }

    /// Reads the text of such a file: `nameserver` lines and `options timeout:N`. What is not understood is passed over,
    /// and without a server it is the local one, both as resolv.conf(5) has it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut servers = Vec::new();
        let mut timeout = Duration::from_secs(5);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A link-local address needs its interface, which a socket address of ours does not carry.
                    if let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) {
                        servers.push(SocketAddr::from((address, 53)));
                    }
                }
                Some("options") => {
                    if let Some(s) = words.find_map(|word| word.strip_prefix("timeout:")?.parse().ok()) {
                        timeout = Duration::from_secs(u64::clamp(s, 1, 30));
                    }
                }
                _ => {}
            }
        }
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        Self { servers, timeout }
    }

    /// The first answer that is one: success or no such name.
    async fn ask(&self, question: &Question) -> Result<Answer, DnsError> {
        let mut last = None;
        for server in &self.servers {
            match ask(*server, question, true, self.timeout).await {
                Ok(answer) if matches!(answer.rcode, ResponseCode::NoError | ResponseCode::NXDomain) => {
                    return Ok(answer);
                }
                Ok(answer) => {
                    last = Some(DnsError::Refused {
                        server: *server,
                        name: question.name.to_ascii(),
                        rtype: question.rtype.to_string(),
                        rcode: rcode_name(answer.rcode),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .unwrap_or_else(|| DnsError::NoResolver { path: "this list".to_owned(), why: "it is empty".to_owned() }))
    }

    /// The name servers of `zone` and their addresses, sorted by name. One whose addresses cannot be found has none.
    ///
    /// # Errors
    /// [`DnsError::NoNameserver`] where `zone` is no zone or no address was found at all; any other where no resolver
    /// answers.
    pub async fn nameservers(&self, zone: &str) -> Result<Vec<(String, Vec<SocketAddr>)>, DnsError> {
        let none = |why: String| DnsError::NoNameserver { zone: zone.to_owned(), why };
        let question = Question::new(zone, WireType::NS)?;
        let answer = self.ask(&question).await?;
        let names: BTreeSet<String> = answer
            .records
            .iter()
            .filter(|record| record.name == question.name)
            .filter_map(|record| if let RData::NS(ns) = &record.data { Some(&ns.0) } else { None })
            .map(|name| name.to_lowercase().to_ascii())
            .collect();
        if names.is_empty() {
            return Err(none(format!("the resolver answers {} without NS records", rcode_name(answer.rcode))));
        }
        let mut found = Vec::new();
        let mut trouble = None;
        for name in names.into_iter().take(NAMESERVERS_MAX) {
            let mut addresses = BTreeSet::new();
            for rtype in [WireType::A, WireType::AAAA] {
                match self.ask(&Question::new(&name, rtype)?).await {
                    // Whatever owner they have: the resolver has followed the aliases.
                    Ok(answer) => addresses.extend(answer.records.iter().filter_map(|record| address_of(&record.data))),
                    Err(error) => trouble = Some(error),
                }
            }
            let addresses = addresses.into_iter().map(|address| SocketAddr::from((address, 53))).collect();
            found.push((name.trim_end_matches('.').to_owned(), addresses));
        }
        if found.iter().all(|(_, addresses): &(String, Vec<SocketAddr>)| addresses.is_empty()) {
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            let why = trouble.map_or_else(String::new, |error| format!(": {error}"));
            return Err(none(format!("{} have no address{why}", names.join(", "))));
        }
        Ok(found)
    }
}

/// The name servers of `zone` and their addresses, as this system's resolvers tell; see [`Resolvers::nameservers`].
///
/// # Errors
/// [`DnsError`].
pub async fn find_nameservers(zone: &str) -> Result<Vec<(String, Vec<SocketAddr>)>, DnsError> {
    Resolvers::system()?.nameservers(zone).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_resolv_conf_may_hold() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \n\
                    nameserver fe80::1%eth0\nnameserver rubbish\noptions ndots:1 timeout:2 attempts:3\n";
        let found = Resolvers::parse(text);
        assert_eq!(found.servers, ["192.0.2.1:53", "[2001:db8::1]:53"].map(|s| s.parse().unwrap()));
        assert_eq!(found.timeout, Duration::from_secs(2));
    }

    #[test]
    fn an_empty_file_means_the_local_server() {
        assert_eq!(Resolvers::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Resolvers::from_file(Path::new("/nowhere/resolv.conf")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/resolv.conf"), "{error}");
    }
}
