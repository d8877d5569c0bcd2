//! Commands that ask a running edge something, on its health listener.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use witness_edge::config::Config;

use crate::Failure;

/// For an answer that is known already.
const PATIENCE: Duration = Duration::from_secs(3);
/// For one that others have to be asked for.
const LONG: Duration = Duration::from_secs(120);
/// Of an answer.
const LARGEST: u64 = 4 << 20;

pub(crate) fn health(config: &Config) -> Result<(), Failure> {
    let document = ask(config, "GET", "/.witness/health", None, PATIENCE)?;
    print(&document);
    let document: Value = serde_json::from_str(&document).unwrap_or_default();
    // One that is busy or overloaded is alive: to take it out would make it worse for the others.
    match document["status"].as_str() {
        Some("ok" | "busy" | "overload") => Ok(()),
        Some(status) => Err(Failure(1, format!("witness-edge: {status}"))),
        None => Err(Failure(1, "witness-edge: this is no health document".to_owned())),
    }
}

pub(crate) fn purge(config: &Config, url: Option<&str>, key: Option<&str>, fleet: bool) -> Result<(), Failure> {
    let told = ask(config, "POST", "/.witness/purge", Some(&json!({ "url": url, "key": key, "fleet": fleet })), LONG)?;
    let told: Value = parse(&told)?;
    print(match (key, told["purged"].as_bool()) {
        (Some(_), _) => "all with this key is purged",
        (None, Some(true)) => "purged",
        (None, _) => "nothing was known of it; what is being fetched now is not kept",
    });
    let mut failed = Vec::new();
    for (member, state) in told["siblings"].as_object().into_iter().flatten() {
        match state.as_str() {
            None => print(&format!("{member}: purged")),
            Some(error) => failed.push(format!("witness-edge: {member}: {error}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure(1, failed.join("\n"))) }
}

pub(crate) fn inspect(config: &Config, url: &str, fields: &[String], as_json: bool) -> Result<(), Failure> {
    let mut headers = serde_json::Map::new();
    for field in fields {
        let (name, value) = field.split_once(':').ok_or_else(|| {
            Failure(2, format!("witness-edge: {field:?} is no field; write it like \"Accept-Language: de\""))
        })?;
        headers.insert(name.trim().to_owned(), json!(value.trim()));
    }
    let body = json!({ "url": url, "headers": headers });
    let told = ask(config, "POST", "/.witness/inspect", Some(&body), PATIENCE)?;
    if as_json {
        print(told.trim_end());
        return Ok(());
    }
    let told: Value = parse(&told)?;
    for (name, value) in told.as_object().into_iter().flatten() {
        match value {
            Value::Bool(false) => {}
            Value::Object(inner) => {
                for (part, value) in inner {
                    print(&format!("{:<30} {}", words(&format!("{name}.{part}")), plain(value)));
                }
            }
            value => print(&format!("{:<30} {}", words(name), plain(value))),
        }
    }
    Ok(())
}

pub(crate) fn top(config: &Config, count: usize, as_json: bool) -> Result<(), Failure> {
    let told = ask(config, "POST", "/.witness/top", Some(&json!({ "count": count })), PATIENCE)?;
    if as_json {
        print(told.trim_end());
        return Ok(());
    }
    let told: Value = parse(&told)?;
    print(&format!("{:>12}  in all", rate(&told["egress_bps"])));
    for (list, title) in [("objects", "objects"), ("referers", "pages")] {
        print(&format!("\n{:>12}  {title}", "bit/s"));
        for heavy in told[list].as_array().into_iter().flatten() {
            print(&format!("{:>12}  {}", rate(&heavy["bps"]), plain(&heavy["name"])));
        }
    }
    let refused: Vec<String> = told["refused_referers"].as_array().into_iter().flatten().map(plain).collect();
    if !refused.is_empty() {
        print(&format!("\nrefused until the brownout is over: {}", refused.join(", ")));
    }
    Ok(())
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Without quotes, and without what would move the cursor: names are others' texts.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn rate(bps: &Value) -> String {
    let mut value = bps.as_f64().unwrap_or(0.0);
    for unit in ["", "k", "M"] {
        if value < 1000.0 {
            return format!("{value:.1}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1}G")
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|_| Failure(1, "witness-edge: the answer cannot be read".to_owned()))
}

fn print(line: &str) {
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Asks the edge that runs with this configuration.
fn ask(config: &Config, method: &str, path: &str, body: Option<&Value>, patience: Duration) -> Result<String, Failure> {
    let mut address = config.listen.health;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(loopback);
    }
    let token = match (body, &config.node.token) {
        (None, _) => String::new(),
        (Some(_), Some(token)) => format!("Authorization: Bearer {}\r\n", token.reveal()),
        (Some(_), None) => {
            return Err(Failure(
                2,
                "node.token_file: it is missing, and the edge does this for its holder alone".into(),
            ));
        }
    };
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(address, &request, patience)
        .map_err(|error| Failure(1, format!("witness-edge: {address} does not answer: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200") {
        return Ok(body.trim_end().to_owned());
    }
    let status = head.lines().next().unwrap_or_default().trim_start_matches("HTTP/1.1 ");
    Err(Failure(1, format!("witness-edge: it answers {status}: {}", body.trim())))
}

fn exchange(address: SocketAddr, request: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(LARGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
