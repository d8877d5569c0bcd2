//! Answers to uploads, in each format, to the byte as PHP wrote them.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::Receipt;
use super::refusal::Refusal;
use crate::config::{Dialect, Json, Size, Status, Url};
use crate::serve::{Outgoing, answer};

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// A URL a line.
    Text,
    /// Links.
    Html,
    /// A table.
    Csv,
}

impl Format {
    /// What the query asks for.
    #[must_use]
    pub fn of(query: Option<&str>, usual: Self) -> Self {
        let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "output");
        match asked.map(|(_, value)| value.to_lowercase()).as_deref() {
            Some("text" | "gyazo") => Self::Text,
            Some("html") => Self::Html,
            Some("csv") => Self::Csv,
            Some(_) => Self::Json,
            None => usual,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=UTF-8",
            Self::Text => "text/plain; charset=UTF-8",
            Self::Html => "text/html; charset=UTF-8",
            Self::Csv => "text/csv; charset=UTF-8",
        }
    }
}

/// Where files are, and how that is said.
#[derive(Clone, Copy, Debug)]
pub struct Teller<'t> {
    /// The format.
    pub format: Format,
    /// The dialect.
    pub dialect: Dialect,
    /// What stands before names.
    pub files_url: &'t str,
}

/// What clients can do about it, in header fields.
pub(super) fn explain(response: &mut Response<Outgoing>, refusal: &Refusal) {
    if let Some(seconds) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *refusal == Refusal::NoToken {
        let scheme = HeaderValue::from_static("Bearer realm=\"upload\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
}

impl Teller<'_> {
    /// For an upload that was taken.
    #[must_use]
    pub fn success(&self, receipts: &[Receipt]) -> Response<Outgoing> {
        self.respond(StatusCode::OK, self.success_body(receipts))
    }

    /// For one that was not.
    #[must_use]
    pub fn failure(&self, refusal: &Refusal) -> Response<Outgoing> {
        let status = match self.dialect.status {
            Status::Real => refusal.status(),
            Status::Always200 => StatusCode::OK,
        };
        let mut response = self.respond(status, self.failure_body(refusal));
        explain(&mut response, refusal);
        response
    }

    fn respond(&self, status: StatusCode, body: String) -> Response<Outgoing> {
        let mut response = answer(status, body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.format.kind()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// All of the URL, or the name alone.
    fn url(&self, receipt: &Receipt) -> String {
        match self.dialect.url {
            Url::Absolute => format!("{}/{}", self.files_url, receipt.link.name.in_url()),
            Url::Bare => receipt.link.name.in_url(),
        }
    }

    /// Where the uploader can take it back.
    #[must_use]
    pub fn delete_url(&self, receipt: &Receipt) -> Option<String> {
        let token = receipt.token.as_ref()?;
        Some(format!("{}/delete/{}/{}", self.files_url, receipt.link.name.in_url(), token.reveal()))
    }

    fn success_body(&self, receipts: &[Receipt]) -> String {
        match self.format {
            Format::Json => self.json(receipts),
            Format::Text => receipts.iter().map(|receipt| format!("{}\n", self.url(receipt))).collect(),
            Format::Html => {
                let link = |receipt| {
                    let url = escape_html(&self.url(receipt));
                    format!("<a href=\"{url}\">{url}</a><br>")
                };
                receipts.iter().map(link).collect()
            }
            Format::Csv => {
                let row = |receipt: &Receipt| {
                    let (name, url) = (field(&receipt.original), field(&self.url(receipt)));
                    format!("{name},{url},\"{}\",\"{}\"\r\n", receipt.sha1, receipt.size)
                };
                let rows = receipts.iter().map(row);
                std::iter::once("\"name\",\"url\",\"hash\",\"size\"\r\n".to_owned()).chain(rows).collect()
            }
        }
    }

    fn json(&self, receipts: &[Receipt]) -> String {
        let file = |receipt: &Receipt| {
            let text = |text: &str| Value::Text(text.to_owned());
            let size = match self.dialect.size {
                Size::Number => Value::Plain(receipt.size.to_string()),
                Size::Text => Value::Text(receipt.size.to_string()),
            };
            let mut pairs = vec![
                ("hash", text(&receipt.sha1.to_string())),
                ("name", text(&receipt.original)),
                ("url", text(&self.url(receipt))),
                ("size", size),
            ];
            if self.dialect.extras {
                pairs.push(("filename", text(receipt.link.name.as_str())));
                pairs.push(("dupe", Value::Plain(receipt.again.to_string())));
                pairs.push(("sha256", text(&receipt.sha256.to_string())));
                pairs.extend(self.delete_url(receipt).map(|url| ("delete_url", Value::Text(url))));
                pairs.extend(receipt.link.expires.map(|expires| ("expires", Value::Text(expires.rfc3339()))));
            }
            Value::Map(pairs)
        };
        let mut pairs = vec![("success", Value::Plain("true".to_owned()))];
        if self.dialect.json == Json::Compact {
            pairs.push(("error", Value::Plain("null".to_owned())));
        }
        pairs.push(("files", Value::List(receipts.iter().map(file).collect())));
        self.lay_out(&Value::Map(pairs))
    }

    fn failure_body(&self, refusal: &Refusal) -> String {
        let (code, says) = (refusal.status().as_u16(), refusal.description());
        match self.format {
            Format::Json => {
                let mut pairs = vec![("success", Value::Plain("false".to_owned()))];
                if self.dialect.json == Json::Compact {
                    pairs.push(("error", Value::Text(says.clone())));
                }
                pairs.push(("errorcode", Value::Plain(code.to_string())));
                pairs.push(("description", Value::Text(says)));
                self.lay_out(&Value::Map(pairs))
            }
            Format::Text => format!("ERROR: ({code}) {says}"),
            Format::Html => format!("<p>ERROR: ({code}) {}</p>", escape_html(&says)),
            Format::Csv => format!("\"error\"\r\n{}\r\n", field(&says)),
        }
    }

    fn lay_out(&self, value: &Value) -> String {
        let mut out = String::new();
        let depth = (self.dialect.json == Json::Pretty).then_some(0);
        value.write(&mut out, depth);
        out
    }
}

/// JSON as PHP writes it.
enum Value {
    /// As it stands: numbers, `true`, `false`, `null`.
    Plain(String),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

impl Value {
    /// With a depth: over many lines, four spaces deeper each time.
    fn write(&self, out: &mut String, depth: Option<usize>) {
        let inner = depth.map(|depth| depth + 1);
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => quote(out, text),
            Self::List(items) => {
                between(out, '[', ']', depth, items, |out, item| item.write(out, inner));
            }
            Self::Map(pairs) => between(out, '{', '}', depth, pairs, |out, (key, value)| {
                quote(out, key);
                out.push_str(if depth.is_some() { ": " } else { ":" });
                value.write(out, inner);
            }),
        }
    }
}

fn between<T>(
    out: &mut String,
    open: char,
    close: char,
    depth: Option<usize>,
    items: &[T],
    write: impl Fn(&mut String, &T),
) {
    let line = |out: &mut String, deeper: usize| {
        if let Some(depth) = depth {
            out.push('\n');
            out.push_str(&"    ".repeat(depth + deeper));
        }
    };
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        line(out, 1);
        write(out, item);
    }
    if !items.is_empty() {
        line(out, 0);
    }
    out.push(close);
}

/// `/` and everything beyond ASCII are escaped: that is what clients with regular expressions have seen for years.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='\u{7f}' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

/// For texts and attributes.
#[must_use]
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A field of a table: quotes doubled, and nothing that a spreadsheet would calculate.
fn field(text: &str) -> String {
    let calculates = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if calculates { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_php_does() {
        let mut out = String::new();
        quote(&mut out, "a/b\"\\\u{1}\u{7f}é\u{1f600}\n");
        assert_eq!(out, "\"a\\/b\\\"\\\\\\u0001\u{7f}\\u00e9\\ud83d\\ude00\\n\"");
    }

    #[test]
    fn fields_break_no_table() {
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
        assert_eq!(field("=1+1"), "\"'=1+1\"");
        assert_eq!(field("a,b"), "\"a,b\"");
    }

    #[test]
    fn formats_are_found_in_the_query() {
        for (query, expected) in [
            (None, Format::Json),
            (Some("output=text"), Format::Text),
            (Some("a=b&output=gyazo"), Format::Text),
            (Some("output=HTML"), Format::Html),
            (Some("output=csv&output=text"), Format::Csv),
            (Some("output="), Format::Json),
            (Some("output=xml"), Format::Json),
        ] {
            assert_eq!(Format::of(query, Format::Json), expected, "{query:?}");
        }
        assert_eq!(Format::of(None, Format::Text), Format::Text);
    }
}
