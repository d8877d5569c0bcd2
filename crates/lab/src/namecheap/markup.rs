//! The API's XML, written and read.
//!
//! The reader is for tests: it takes the original's recorded answers and this server's alike, so that they can be compared.
//! It shares nothing with the reader in `witness`, so a mistake in one does not hide in the other.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde::{Deserialize, Serialize};

/// One row: the ten attributes of `<host>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `HostId`; 0 for a row that has none yet.
    pub id: u64,
    /// `Name`.
    pub name: String,
    /// `Type`.
    pub rtype: String,
    /// `Address`.
    pub address: String,
    /// `MXPref`.
    pub mx_pref: String,
    /// `TTL`.
    pub ttl: String,
    /// `AssociatedAppTitle`.
    pub app_title: String,
    /// `FriendlyName`.
    pub friendly_name: String,
    /// `IsActive`.
    pub active: bool,
    /// `IsDDNSEnabled`.
    pub dynamic: bool,
}

impl Host {
    /// A plain row without a number.
    #[must_use]
    pub fn new(name: &str, rtype: &str, address: &str, ttl: u32) -> Self {
        Self {
            id: 0,
            name: name.to_owned(),
            rtype: rtype.to_owned(),
            address: address.to_owned(),
            mx_pref: "10".to_owned(),
            ttl: ttl.to_string(),
            app_title: String::new(),
            friendly_name: String::new(),
            active: true,
            dynamic: false,
        }
    }

    /// The same with another preference.
    #[must_use]
    pub fn preference(self, preference: u32) -> Self {
        Self { mx_pref: preference.to_string(), ..self }
    }

    /// The same as a dynamic-DNS row.
    #[must_use]
    pub fn dynamic(self) -> Self {
        Self { dynamic: true, ..self }
    }
}

/// An answer, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `Status`.
    pub status: String,
    /// `<RequestedCommand>`.
    pub command: String,
    /// Number and text of each `<Error>`.
    pub errors: Vec<(u32, String)>,
    /// What came of it.
    pub outcome: Outcome,
}

/// The result in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None that tests look at.
    Other,
    /// Of getHosts: its attributes in order, its rows in order.
    Hosts {
        /// `Domain`, `EmailType`, `IsUsingOurDNS`.
        attributes: Vec<(String, String)>,
        /// The rows.
        hosts: Vec<Host>,
    },
    /// Of setHosts: its attributes in order.
    Set {
        /// `Domain`, `IsSuccess`.
        attributes: Vec<(String, String)>,
    },
}

/// An answer that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of the API: {0}")]
pub struct MarkupError(String);

/// Reads an answer.
///
/// # Errors
/// [`MarkupError`] when it is not XML or a row lacks an attribute.
pub fn read_document(text: &str) -> Result<Document, MarkupError> {
    let mut reader = Reader::from_str(text);
    let mut document =
        Document { status: String::new(), command: String::new(), errors: Vec::new(), outcome: Outcome::Other };
    let mut inside = String::new();
    loop {
        let event = reader.read_event().map_err(|error| MarkupError(error.to_string()))?;
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                inside = tag.name().as_ref().to_owned();
                document.element(&inside, attributes(tag)?)?;
            }
            Event::Text(text) => match inside.as_str() {
                "RequestedCommand" => document.command.push_str(text),
                "Error" => {
                    if let Some((_, words)) = document.errors.last_mut() {
                        words.push_str(text);
                    }
                }
                _ => {}
            },
            Event::End(_) => inside.clear(),
            Event::Eof => return Ok(document),
            _ => {}
        }
        if matches!(event, Event::Empty(_)) {
            inside.clear();
        }
    }
}

impl Document {
    fn element(&mut self, name: &str, attributes: Vec<(String, String)>) -> Result<(), MarkupError> {
        let get = |wanted: &str| {
            let found = attributes.iter().find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.clone()).ok_or_else(|| MarkupError(format!("<{name}> without {wanted}")))
        };
        let number = |text: String| text.parse().map_err(|_| MarkupError(format!("{text:?} is no number")));
        let flag = |text: String| match text.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(MarkupError(format!("{other:?} is no flag"))),
        };
        match name {
            "ApiResponse" => self.status = get("Status")?,
            "Error" => self.errors.push((u32::try_from(number(get("Number")?)?).unwrap_or(0), String::new())),
            "DomainDNSGetHostsResult" => self.outcome = Outcome::Hosts { attributes, hosts: Vec::new() },
            "DomainDNSSetHostsResult" => self.outcome = Outcome::Set { attributes },
            "host" => {
                let host = Host {
                    id: number(get("HostId")?)?,
                    name: get("Name")?,
                    rtype: get("Type")?,
                    address: get("Address")?,
                    mx_pref: get("MXPref")?,
                    ttl: get("TTL")?,
                    app_title: get("AssociatedAppTitle")?,
                    friendly_name: get("FriendlyName")?,
                    active: flag(get("IsActive")?)?,
                    dynamic: flag(get("IsDDNSEnabled")?)?,
                };
                let Outcome::Hosts { hosts, .. } = &mut self.outcome else {
                    return Err(MarkupError("a row outside a result".to_owned()));
                };
                hosts.push(host);
            }
            _ => {}
        }
        Ok(())
    }
}

fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, MarkupError> {
    tag.attributes()
        .map(|attribute| {
            let attribute = attribute.map_err(|error| MarkupError(error.to_string()))?;
            let value =
                attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|error| MarkupError(error.to_string()))?;
            Ok((attribute.key.as_ref().to_owned(), value.into_owned()))
        })
        .collect()
}

/// The answer to getHosts.
pub(super) fn hosts(domain: &str, email_type: &str, using_our_dns: bool, hosts: &[Host]) -> String {
    let open = format!(
        r#"    <DomainDNSGetHostsResult Domain="{}" EmailType="{}" IsUsingOurDNS="{using_our_dns}""#,
        escaped(domain),
        escaped(email_type)
    );
    if hosts.is_empty() {
        return success("namecheap.domains.dns.getHosts", &format!("{open} />\r\n"));
    }
    let rows: String = hosts
        .iter()
        .map(|host| {
            format!(
                "      <host HostId=\"{}\" Name=\"{}\" Type=\"{}\" Address=\"{}\" MXPref=\"{}\" TTL=\"{}\" \
                 AssociatedAppTitle=\"{}\" FriendlyName=\"{}\" IsActive=\"{}\" IsDDNSEnabled=\"{}\" />\r\n",
                host.id,
                escaped(&host.name),
                escaped(&host.rtype),
                escaped(&host.address),
                escaped(&host.mx_pref),
                escaped(&host.ttl),
                escaped(&host.app_title),
                escaped(&host.friendly_name),
                host.active,
                host.dynamic
            )
        })
        .collect();
    success("namecheap.domains.dns.getHosts", &format!("{open}>\r\n{rows}    </DomainDNSGetHostsResult>\r\n"))
}

/// The answer to setHosts.
pub(super) fn set(domain: &str) -> String {
    let domain = escaped(domain);
    success(
        "namecheap.domains.dns.setHosts",
        &format!(
            "    <DomainDNSSetHostsResult Domain=\"{domain}\" IsSuccess=\"true\">\r\n      <Warnings />\r\n    \
             </DomainDNSSetHostsResult>\r\n"
        ),
    )
}

/// The answer to getInfo, as much of it as anybody looks at.
pub(super) fn info(domain: &str, email_type: &str, hosts: usize) -> String {
    let (domain, email_type) = (escaped(domain), escaped(email_type));
    success(
        "namecheap.domains.getInfo",
        &format!(
            "    <DomainGetInfoResult Status=\"Ok\" ID=\"1\" DomainName=\"{domain}\" OwnerName=\"example\" \
             IsOwner=\"true\" IsPremium=\"false\">\r\n      <DnsDetails ProviderType=\"FREE\" IsUsingOurDNS=\"true\" \
             HostCount=\"{hosts}\" EmailType=\"{email_type}\" DynamicDNSStatus=\"false\" IsFailover=\"false\">\r\n        \
             <Nameserver>dns1.registrar-servers.com</Nameserver>\r\n        \
             <Nameserver>dns2.registrar-servers.com</Nameserver>\r\n      </DnsDetails>\r\n      \
             <Modificationrights All=\"true\" />\r\n    </DomainGetInfoResult>\r\n"
        ),
    )
}

fn success(command: &str, result: &str) -> String {
    envelope("OK", "  <Errors />\r\n", &command.to_ascii_lowercase(), command, result)
}

/// An answer with errors and, as the original has it for getInfo, zeroes for a payload.
pub(super) fn failure(command: &str, errors: &[(u32, &str)]) -> String {
    let errors: String = errors
        .iter()
        .map(|(number, text)| format!("    <Error Number=\"{number}\">{}</Error>\r\n", escaped(text)))
        .collect();
    let junk = if command.ends_with(".getinfo") {
        "    <DomainGetInfoResult ID=\"0\" IsOwner=\"false\" IsPremium=\"false\">\r\n      <DnsDetails \
         IsUsingOurDNS=\"false\" HostCount=\"0\" DynamicDNSStatus=\"false\" IsFailover=\"false\" />\r\n    \
         </DomainGetInfoResult>\r\n"
    } else {
        ""
    };
    envelope("ERROR", &format!("  <Errors>\r\n{errors}  </Errors>\r\n"), command, command, junk)
}

fn envelope(status: &str, errors: &str, requested: &str, command: &str, result: &str) -> String {
    let requested = match requested {
        "" => "  <RequestedCommand />\r\n".to_owned(),
        command => format!("  <RequestedCommand>{}</RequestedCommand>\r\n", escaped(command)),
    };
    let response = match result {
        "" => String::new(),
        result => format!("  <CommandResponse Type=\"{}\">\r\n{result}  </CommandResponse>\r\n", escaped(command)),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<ApiResponse Status=\"{status}\" \
         xmlns=\"http://api.namecheap.com/xml.response\">\r\n{errors}  <Warnings />\r\n{requested}{response}  \
         <Server>LAB</Server>\r\n  <GMTTimeDifference>--4:00</GMTTimeDifference>\r\n  \
         <ExecutionTime>0.01</ExecutionTime>\r\n</ApiResponse>"
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' => escaped.push_str("&#x9;"),
            '\n' => escaped.push_str("&#xA;"),
            '\r' => escaped.push_str("&#xD;"),
            c => escaped.push(c),
        }
    }
    escaped
}
