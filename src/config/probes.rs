//! `[probes.*]`: how nodes are probed.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::keys;
use super::raw::{Found, Spot, Table, Value};
use super::secret;
use super::units::duration_text;
use crate::model::{HttpsProbe, PingProbe, SshLevel, SshLogin, SshProbe, StatusRange};

/// What the https probe asks of the pools: a URL for when none is written.
pub(super) fn https(table: &Table<'_>, usual_url: Option<String>) -> Option<HttpsProbe> {
    let reading = table.reading;
    let before = reading.errors();
    let url = match table.get("url") {
        Some(value) => url(&value),
        None => usual_url,
    };
    let method = table.word("method");
    let headers = match table.get("headers") {
        Some(value) => headers(&value),
        None => Some(Vec::new()),
    };
    let expect_status = table.get("expect_status").and_then(|value| statuses(&value));
    let expect_body = table.get("expect_body").and_then(|value| pattern(&value));
    let body_limit = table.size("body_limit");
    let ca_file = roots(table);
    let token = secret::secret(table, "token");
    let redirects = table.count("redirects");
    let min_tls = table.word("min_tls");
    let warn_certificate = table.duration("warn_certificate");
    let connect_timeout = table.duration("connect_timeout");
    let timeout = table.duration("timeout");

    if let (Some(body), Some(method)) = (&expect_body, &method)
        && method.value == "HEAD"
    {
        reading.error(&body.spot, "the answer to HEAD has no body", "write method = \"GET\", or leave expect_body out");
    }
    let connect_timeout = within(table, connect_timeout, timeout.as_ref(), "timeout");
    let days = warn_certificate.map(|span| i32::try_from(span.value.as_secs() / 86_400).expect("bounded to ten years"));

    if reading.errors() > before {
        return None;
    }
    Some(HttpsProbe {
        url: url?,
        method: method?.value,
        headers: headers?,
        expect_status: expect_status?,
        expect_body: expect_body.map(|body| body.value),
        body_limit: usize::try_from(body_limit?.value).ok()?,
        ca_file,
        token: token.map(|token| token.value),
        redirects: redirects?.value,
        tls12: min_tls?.value == "1.2",
        warn_certificate_days: days?,
        connect_timeout: connect_timeout?,
        timeout: timeout?.value,
    })
}

/// `[probes.ping]`.
pub(super) fn ping(table: &Table<'_>) -> Option<PingProbe> {
    let count = table.count("count");
    let spacing = table.duration("spacing");
    let timeout = table.duration("timeout");
    let size = table.size("size");
    let (count, timeout, spacing) = (count?.value, timeout?.value, spacing?);
    let gaps = count - 1;
    let mut between = spacing.value;
    if between.saturating_mul(gaps) >= timeout {
        if spacing.spot.written {
            table.reading.error(
                &spacing.spot,
                format!(
                    "the last of {count} echoes would be sent after {}, and the round ends after {}",
                    duration_text(between.saturating_mul(gaps)),
                    duration_text(timeout)
                ),
                "write a shorter spacing, fewer echoes or a longer timeout",
            );
            return None;
        }
        between = timeout / (count + 1);
    }
    Some(PingProbe {
        count: u16::try_from(count).ok()?,
        spacing: between,
        timeout,
        size: usize::try_from(size?.value).ok()?,
    })
}

/// `[probes.ssh]`.
pub(super) fn ssh(table: &Table<'_>) -> Option<SshProbe> {
    let reading = table.reading;
    let before = reading.errors();
    let port = table.count("port");
    let level = table.word("level");
    let known_hosts = readable_file(table, "known_hosts");
    let user = table.text("user");
    let key_file = table
        .get("key_file")
        .and_then(|value| value.text())
        .and_then(|text| secret::private_file(reading, &text.spot, &text.value));
    let command = table.text("command");
    let timeout = table.duration("timeout");

    let level = match level.as_ref()?.value.as_str() {
        "banner" => SshLevel::Banner,
        "handshake" => SshLevel::Handshake,
        _ => SshLevel::Login,
    };
    let login = if level == SshLevel::Login {
        if user.is_none() && reading.errors() == before {
            reading.error(
                &table.spot_of("level"),
                "logging in needs a user",
                "add user = \"NAME\", or write level = \"handshake\"",
            );
        }
        user.zip(command).map(|(user, command)| SshLogin { user: user.value, key_file, command: command.value })
    } else {
        for (name, there) in [("user", user.is_some()), ("key_file", key_file.is_some())] {
            if there {
                reading.warn(
                    &table.spot_of(name),
                    "it is used for level \"login\" only",
                    "write level = \"login\", or leave it out",
                );
            }
        }
        None
    };
    if reading.errors() > before {
        return None;
    }
    Some(SshProbe { port: u16::try_from(port?.value).ok()?, level, known_hosts, login, timeout: timeout?.value })
}

/// An `https` URL with a host name, as it is then sent.
fn url(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let error = |message: &str, remedy: &str| -> Option<String> {
        value.reading.error(&value.spot, message, remedy);
        None
    };
    let example = "write it like \"https://www.example.com/health\"";
    let url = match Url::parse(&text.value) {
        Ok(url) => url,
        Err(_) if !text.value.contains("://") => return error("this is no URL", example),
        Err(problem) => return error(&format!("this is no URL: {problem}"), example),
    };
    if url.scheme() != "https" {
        return error("the https probe speaks https only", "write a URL that begins with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return error(
            "a user and a password do not belong into a URL",
            "take them out; use token_file for a bearer token",
        );
    }
    if url.fragment().is_some() {
        return error("what follows # is never sent", "leave it out");
    }
    if url.port() == Some(0) {
        return error("0 is no port", "write the port, or leave it out for 443");
    }
    match url.domain() {
        Some(domain) if !domain.trim_end_matches('.').is_empty() => Some(url.to_string()),
        _ => error(
            "the host is an address, and a name is needed for SNI, Host and the certificate",
            "write the name that users use; the connection goes to each node's own address anyway",
        ),
    }
}

fn headers(value: &Value<'_>) -> Option<Vec<(String, String)>> {
    let table = value.entries(&keys::HTTPS, "{ \"Accept\" = \"text/html\" }")?;
    let before = value.reading.errors();
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in table.all(keys::Takes::Text) {
        let error = |message: &str, remedy: &str| value.reading.error(&value.spot, message, remedy);
        let lower = name.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            error("this is no name of a header", "header names have letters, digits and -");
        } else if ["authorization", "proxy-authorization", "cookie"].contains(&lower.as_str()) {
            error("a secret is never written into this file", "use token_file or token_env for a bearer token");
        } else if ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade"]
            .contains(&lower.as_str())
        {
            error("the probe sets this header itself", "leave it out; Host comes from url");
        } else if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            error("this header is there twice", "keep one of them");
        } else if let Some(text) = value.any_text() {
            if HeaderValue::from_str(&text.value).is_err() || !text.value.is_ascii() {
                error("a header's value is ASCII", "write it without other characters");
            } else {
                headers.push((name, text.value));
            }
        }
    }
    (value.reading.errors() == before).then_some(headers)
}

fn statuses(value: &Value<'_>) -> Option<Vec<StatusRange>> {
    let items = value.items()?;
    let before = value.reading.errors();
    if items.is_empty() {
        value.reading.error(&value.spot, "no answer would ever pass", "write [\"200-299\"]");
    }
    let mut ranges = Vec::new();
    for item in items {
        let Some(text) = item.text_or_number() else { continue };
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        let (from, to) = text.value.split_once('-').unwrap_or((&text.value, &text.value));
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => ranges.push(StatusRange { from, to }),
            (Some(from), Some(to)) => {
                item.reading.error(&item.spot, "this range is upside down", format!("write \"{to}-{from}\""))
            }
            _ => item.reading.error(
                &item.spot,
                "this is no HTTP status and no range of them",
                "write \"200\" or \"200-299\", from 100 to 599",
            ),
        }
    }
    let shedding = ranges.iter().any(|range| [429, 503].iter().any(|status| (range.from..=range.to).contains(status)));
    if shedding && value.reading.errors() == before {
        value.reading.warn(
            &value.spot,
            "429 and 503 would pass, and these are how a node says that it is overloaded",
            "leave them out, unless yours mean something else by them",
        );
    }
    (value.reading.errors() == before).then_some(ranges)
}

fn pattern(value: &Value<'_>) -> Option<Found<regex::bytes::Regex>> {
    let text = value.text()?;
    match regex::bytes::Regex::new(&text.value) {
        Ok(pattern) => Some(Found { value: pattern, spot: text.spot }),
        Err(error) => {
            let told = error.to_string();
            // The first lines repeat the pattern with a mark below; the last one says what it is.
            let last = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_lowercase();
            value.reading.error(
                &value.spot,
                format!("this is no regular expression: {last}"),
                "correct it; in '...' a backslash needs no second one",
            );
            None
        }
    }
}

/// PEM roots.
fn roots(table: &Table<'_>) -> Option<PathBuf> {
    let file = readable_file(table, "ca_file")?;
    let has_one =
        std::fs::read(&file).is_ok_and(|bytes| bytes.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----"));
    if !has_one {
        table.reading.error(
            &table.spot_of("ca_file"),
            format!("there is no certificate in {}", file.display()),
            "write the path of a file with PEM certificates",
        );
        return None;
    }
    Some(file)
}

/// The path of a file that can be opened.
fn readable_file(table: &Table<'_>, name: &str) -> Option<PathBuf> {
    let path = table.path(name)?;
    match std::fs::File::open(&path.value).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => Some(path.value),
        Ok(_) => {
            table.reading.error(
                &path.spot,
                format!("{} is not a file", path.value.display()),
                "write the path of a file",
            );
            None
        }
        Err(error) => {
            let told = format!("{} cannot be read: {}", path.value.display(), secret::plain(&error));
            table.reading.error(
                &path.spot,
                told,
                format!("correct the path, which is relative to {}", table.reading.folder_name()),
            );
            None
        }
    }
}

/// A part's time-out within the whole's; a default gives way.
fn within(
    table: &Table<'_>,
    part: Option<Found<Duration>>,
    whole: Option<&Found<Duration>>,
    whole_name: &str,
) -> Option<Duration> {
    let (part, Some(whole)) = (part?, whole) else { return None };
    if part.value <= whole.value {
        return Some(part.value);
    }
    let spot: &Spot = if part.spot.written { &part.spot } else { return Some(whole.value) };
    table.reading.error(
        spot,
        format!("it never comes to this: {whole_name} is {}", duration_text(whole.value)),
        format!("write at most {:?}, or a longer {whole_name}", duration_text(whole.value)),
    );
    None
}
