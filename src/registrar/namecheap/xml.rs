//! Reads the API's answers, and trusts none that is not whole.
//!
//! Names of elements and attributes are compared without namespace and without case, since the vendor's own documents
//! and servers differ in both. Everything else is strict: an answer is an [`Answer`] with exactly one result of the kind
//! asked for, or it is an error. A list of rows that could not be read is never an empty list.

use std::collections::BTreeMap;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::rows::{HostList, Row};

/// What the API says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `Status="ERROR"`, whatever else is in the document.
    Failed(Vec<ApiError>),
    /// `Status="OK"` with the rows of a zone.
    Hosts(HostList),
    /// `Status="OK"` with the end of a write.
    Written {
        /// The zone that was written.
        domain: String,
        /// What the API thinks of it.
        success: bool,
    },
}

/// One `<Error>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Its number.
    pub number: u32,
    /// The API's words, at most 3000 characters of them.
    pub text: String,
}

/// Why a text is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8.
    #[error("the answer is not UTF-8")]
    Encoding,
    /// Not XML.
    #[error("the answer is not XML: {0}")]
    Syntax(String),
    /// It ends too early.
    #[error("the answer ends inside <{0}>")]
    Truncated(String),
    /// XML, and not what the API is known to send.
    #[error("the answer is not one of this API: {0}")]
    Shape(String),
}

/// Reads one answer.
///
/// # Errors
/// [`XmlError`] for anything but a whole answer: bytes that are no UTF-8 or no XML, a document that ends early or is of
/// another kind, a status that is neither `OK` nor `ERROR`, no result or more than one, a row without one of its fields.
pub fn parse(body: &[u8]) -> Result<Answer, XmlError> {
    let text = std::str::from_utf8(body).map_err(|_| XmlError::Encoding)?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut document = Document::default();
    loop {
        match reader.read_event().map_err(syntax)? {
            Event::Start(tag) => document.open(&tag)?,
            Event::Empty(tag) => {
                document.open(&tag)?;
                document.close();
            }
            Event::End(_) => document.close(),
            Event::Text(text) => document.text(&text),
            Event::CData(text) => document.text(&text),
            Event::GeneralRef(reference) => document.text(&resolve(&reference)?),
            Event::DocType(_) => return shape("it has a document type declaration"),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    document.finish()
}

/// What has been read so far. `path` is where we are, from the root, in lower case.
#[derive(Debug, Default)]
struct Document {
    path: Vec<String>,
    failed: Option<bool>,
    errors: Vec<ApiError>,
    results: Vec<Answer>,
}

impl Document {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlError> {
        let name = tag.local_name().as_ref().to_ascii_lowercase();
        if self.path.is_empty() {
            self.root(&name, tag)?;
        }
        self.path.push(name);
        let failed = self.failed == Some(true);
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["apiresponse", "errors", "error"] => self.errors.push(error(&attributes(tag)?)?),
            // What comes along with an error is junk: zeroes, for a domain that is not ours.
            _ if failed => {}
            ["apiresponse", "commandresponse", "domaindnsgethostsresult"] => {
                self.results.push(Answer::Hosts(host_list(&attributes(tag)?)?));
            }
            ["apiresponse", "commandresponse", "domaindnssethostsresult"] => {
                self.results.push(written(&attributes(tag)?)?);
            }
            ["apiresponse", "commandresponse", "domaindnsgethostsresult", rest @ ..] => {
                let Some(Answer::Hosts(list)) = self.results.last_mut() else {
                    return shape("a row stands outside its result");
                };
                match rest {
                    ["host"] => list.rows.push(row(&attributes(tag)?)?),
                    _ => list.strange.push(rest.join("/")),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn root(&mut self, name: &str, tag: &BytesStart<'_>) -> Result<(), XmlError> {
        if self.failed.is_some() {
            return shape("it has two roots");
        }
        if name != "apiresponse" {
            return shape(&format!("its root is <{}>", bounded(name)));
        }
        let attributes = attributes(tag)?;
        self.failed = Some(match field(&attributes, "status", "ApiResponse")? {
            status if status.eq_ignore_ascii_case("ok") => false,
            status if status.eq_ignore_ascii_case("error") => true,
            status => return shape(&format!("its status is {:?}", bounded(status))),
        });
        Ok(())
    }

    fn close(&mut self) {
        self.path.pop();
    }

    fn text(&mut self, text: &str) {
        if self.path.iter().map(String::as_str).eq(["apiresponse", "errors", "error"])
            && let Some(error) = self.errors.last_mut()
        {
            error.text = bounded(&format!("{}{text}", error.text));
        }
    }

    fn finish(mut self) -> Result<Answer, XmlError> {
        if let Some(open) = self.path.last() {
            return Err(XmlError::Truncated(bounded(open)));
        }
        match self.failed {
            None => shape("it is empty"),
            Some(true) if self.errors.is_empty() => shape("its status is ERROR and it names no error"),
            Some(true) => Ok(Answer::Failed(self.errors)),
            Some(false) if !self.errors.is_empty() => shape("its status is OK and it names an error"),
            Some(false) => match (self.results.pop(), self.results.len()) {
                (Some(result), 0) => Ok(result),
                (Some(_), more) => shape(&format!("it has {} results", more + 1)),
                (None, _) => shape("it has no result"),
            },
        }
    }
}

type Attributes = BTreeMap<String, String>;

fn attributes(tag: &BytesStart<'_>) -> Result<Attributes, XmlError> {
    let mut all = Attributes::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| syntax(error.into()))?;
        let name = attribute.key.local_name().as_ref().to_ascii_lowercase();
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        // XML turns these into spaces when they are not escaped, so what was meant can no longer be told.
        if attribute.value.contains(['\t', '\n', '\r']) {
            return shape(&format!("attribute {} has a bare line break or tab", bounded(&name)));
        }
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(syntax)?;
        if all.insert(name.clone(), value.into_owned()).is_some() {
            return shape(&format!("attribute {} stands twice", bounded(&name)));
        }
    }
    Ok(all)
}

fn host_list(attributes: &Attributes) -> Result<HostList, XmlError> {
    const OF: &str = "DomainDNSGetHostsResult";
    Ok(HostList {
        domain: field(attributes, "domain", OF)?.to_owned(),
        email_type: attributes.get("emailtype").filter(|text| !text.is_empty()).cloned(),
        using_our_dns: flag(attributes, "isusingourdns", OF)?,
        rows: Vec::new(),
        strange: Vec::new(),
    })
}

fn written(attributes: &Attributes) -> Result<Answer, XmlError> {
    const OF: &str = "DomainDNSSetHostsResult";
    match flag(attributes, "issuccess", OF)? {
        Some(success) => Ok(Answer::Written { domain: field(attributes, "domain", OF)?.to_owned(), success }),
        None => shape("a DomainDNSSetHostsResult has no IsSuccess"),
    }
}

fn row(attributes: &Attributes) -> Result<Row, XmlError> {
    let text = |name: &str| field(attributes, name, "host").map(str::to_owned);
    let optional = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let row = Row {
        name: text("name")?,
        rtype: text("type")?,
        address: text("address")?,
        mx_pref: text("mxpref")?,
        ttl: text("ttl")?,
        host_id: optional("hostid"),
        // Rows in the documents' older shape have neither; no row is known to be inactive or dynamic without saying so.
        active: flag(attributes, "isactive", "host")?.unwrap_or(true),
        dynamic: flag(attributes, "isddnsenabled", "host")?.unwrap_or(false),
        friendly_name: optional("friendlyname"),
        app_title: optional("associatedapptitle"),
    };
    if row.name.is_empty() || row.rtype.is_empty() {
        return shape("a host has an empty Name or Type");
    }
    if row.ttl.parse::<u32>().is_err() {
        return shape(&format!("a host has the TTL {:?}", bounded(&row.ttl)));
    }
    if row.mx_pref.parse::<u32>().is_err() {
        return shape(&format!("a host has the MXPref {:?}", bounded(&row.mx_pref)));
    }
    Ok(row)
}

fn error(attributes: &Attributes) -> Result<ApiError, XmlError> {
    let number = field(attributes, "number", "Error")?;
    match number.trim().parse() {
        Ok(number) => Ok(ApiError { number, text: String::new() }),
        Err(_) => shape(&format!("an error has the number {:?}", bounded(number))),
    }
}

fn field<'a>(attributes: &'a Attributes, name: &str, of: &str) -> Result<&'a str, XmlError> {
    match attributes.get(name) {
        Some(value) => Ok(value),
        None => shape(&format!("a {of} has no {name}")),
    }
}

fn flag(attributes: &Attributes, name: &str, of: &str) -> Result<Option<bool>, XmlError> {
    match attributes.get(name).map(|text| text.to_ascii_lowercase()) {
        None => Ok(None),
        Some(text) if text == "true" => Ok(Some(true)),
        Some(text) if text == "false" => Ok(Some(false)),
        Some(text) => shape(&format!("a {of} has {name}={:?}", bounded(&text))),
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(character) = reference.resolve_char_ref().map_err(syntax)? {
        return Ok(character.to_string());
    }
    match quick_xml::escape::resolve_predefined_entity(reference) {
        Some(text) => Ok(text.to_owned()),
        None => shape("it uses an entity that XML does not define"),
    }
}

fn syntax(error: quick_xml::Error) -> XmlError {
    XmlError::Syntax(bounded(&error.to_string()))
}

fn shape<T>(what: &str) -> Result<T, XmlError> {
    Err(XmlError::Shape(what.to_owned()))
}

/// At most 3000 characters, on one line. Long enough that [`super::api`] can still find in it what must not be shown.
fn bounded(text: &str) -> String {
    on_one_line(text, 3000)
}

/// At most 300 characters, on one line: what others wrote goes into logs.
pub(super) fn short(text: &str) -> String {
    on_one_line(text, 300)
}

fn on_one_line(text: &str, longest: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect()
}

#[cfg(test)]
mod tests;
