//! `[registrars.NAME]`: what edits the DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Section, Takes};
use super::raw::{Found, Reading, Secrets, Spot, Table, Value, may_be_secret};
use super::secret;
use crate::model::{
    ExecSettings, MockSettings, Name, NamecheapSettings, RegistrarKind, RegistrarSettings, Rfc2136Settings, Secret,
    TsigAlgorithm,
};

/// Every registrar that was written, with its place; none of the settings where something was wrong.
pub(super) type Registrars = BTreeMap<Name, (Spot, Option<RegistrarSettings>)>;

/// Reads the tables below `[registrars]`.
pub(super) fn read<'r>(reading: &'r Reading<'r>, root: &'r DeTable<'r>) -> Registrars {
    let mut registrars = Registrars::new();
    let Some(value) = root.get("registrars") else { return registrars };
    let spot = |key: String, span| Spot { key, span, shown: None, written: true };
    let DeValue::Table(named) = value.get_ref() else {
        let remedy = "begin each with a line [registrars.NAME]";
        reading.error(
            &spot("registrars".to_owned(), value.span()),
            "each registrar is a table with a name of its own",
            remedy,
        );
        return registrars;
    };
    for (key, value) in named {
        let at = spot(format!("registrars.{}", key.get_ref()), value.span());
        let DeValue::Table(entries) = value.get_ref() else {
            reading.error(&at, "this is a table", "begin it with a line [registrars.NAME]; its keys follow below");
            continue;
        };
        match Name::new(key.get_ref()) {
            Ok(name) => {
                let settings = registrar(reading, &name, at.clone(), entries);
                registrars.insert(name, (at, settings));
            }
            Err(error) => reading.error(&at, error.to_string(), "choose such a name"),
        }
    }
    registrars
}

fn registrar<'r>(
    reading: &'r Reading<'r>,
    name: &Name,
    spot: Spot,
    entries: &'r DeTable<'r>,
) -> Option<RegistrarSettings> {
    let common = Table::open(reading, &keys::REGISTRARS, spot.clone(), entries);
    let section = kind(&common)?;
    let table = Table::of(reading, vec![&keys::REGISTRARS, section], spot, entries);
    let timeout = table.duration("timeout");
    let refresh = table.duration("refresh");
    let kind = match section.name {
        "registrars.namecheap" => namecheap(&table).map(RegistrarKind::Namecheap),
        "registrars.rfc2136" => rfc2136(&table).map(RegistrarKind::Rfc2136),
        "registrars.mock" => mock(&table).map(RegistrarKind::Mock),
        _ => exec(&table).map(RegistrarKind::Exec),
    };
    Some(RegistrarSettings { name: name.clone(), timeout: timeout?.value, refresh: refresh?.value, kind: kind? })
}

/// The section of the kind's own keys.
fn kind(table: &Table<'_>) -> Option<&'static Section> {
    let value = table.get("kind")?;
    if let Some(later @ ("powerdns" | "cloudflare")) = value.as_str() {
        let instead = if later == "powerdns" {
            "\"rfc2136\", which PowerDNS speaks too, or \"exec\""
        } else {
            "\"exec\" with a program of yours"
        };
        table.reading.error(&value.spot, format!("this version does not have {later:?} yet"), format!("use {instead}"));
        return None;
    }
    match value.word()?.value.as_str() {
        "namecheap" => Some(&keys::NAMECHEAP),
        "rfc2136" => Some(&keys::RFC2136),
        "mock" => Some(&keys::MOCK),
        _ => Some(&keys::EXEC),
    }
}

fn namecheap(table: &Table<'_>) -> Option<NamecheapSettings> {
    let reading = table.reading;
    let endpoint = table.get("endpoint").and_then(|value| endpoint(&value));
    let api_user = table.text("api_user");
    let username = table.text("username");
    let client_ip = table.get("client_ip").and_then(|value| {
        let found = value.address()?;
        match found.value {
            IpAddr::V4(address) if !address.is_unspecified() => Some(address),
            _ => {
                reading.error(
                    &found.spot,
                    "Namecheap knows IPv4 addresses only",
                    "write the allow-listed IPv4 address that our calls come from",
                );
                None
            }
        }
    });
    let before = reading.errors();
    let api_key = secret::secret(table, "api_key");
    if api_key.is_none() && reading.errors() == before && !table.has("api_key") {
        reading.error(
            &table.spot_of("api_key_file"),
            "the API key is missing",
            "add api_key_file = \"PATH\", of a file of mode 0600, or api_key_env = \"VARIABLE\"",
        );
    }
    let allow_ddns_downgrade = table.flag("allow_ddns_downgrade");
    let api_user = api_user?.value;
    Some(NamecheapSettings {
        endpoint: endpoint?,
        username: username.map_or_else(|| api_user.clone(), |name| name.value),
        api_user,
        client_ip: client_ip?,
        api_key: api_key?.value,
        allow_ddns_downgrade: allow_ddns_downgrade?.value,
    })
}

/// An `https` URL; `http` only to ourselves, for a server that plays Namecheap in a test.
fn endpoint(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let url = Url::parse(&text.value).ok().filter(Url::has_host);
    let Some(url) = url else {
        value.reading.error(&value.spot, "this is no URL", "leave it out for https://api.namecheap.com/xml.response");
        return None;
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let ourselves = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if url.scheme() != "https" && !(url.scheme() == "http" && ourselves) {
        value.reading.error(
            &value.spot,
            "the API key would travel in the clear",
            "write a URL that begins with https://",
        );
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        value.reading.error(&value.spot, "only scheme, host, port and path belong here", "leave the rest out");
        return None;
    }
    Some(url.to_string())
}

fn rfc2136(table: &Table<'_>) -> Option<Rfc2136Settings> {
    let reading = table.reading;
    let before = reading.errors();
    let server = table.get("server").and_then(|value| value.server(53));
    let key_name = table.text("key_name");
    let algorithm = table.word("algorithm");
    let wrong = reading.errors();
    let key = secret::secret(table, "key");
    let secret_is_fine = reading.errors() == wrong;
    if let Some(name) = &key_name {
        if hickory_proto::rr::Name::from_ascii(&name.value).is_err() {
            reading.error(
                &name.spot,
                "this is no domain name, and a TSIG key is named by one",
                "write it as the server's configuration does",
            );
        }
        if key.is_none() && secret_is_fine {
            reading.error(
                &name.spot,
                "its secret is missing",
                "add key_file = \"PATH\", of a file of mode 0600, or key_env = \"VARIABLE\"",
            );
        }
    }
    if let Some(key) = &key {
        if key_name.is_none() {
            reading.error(
                &key.spot,
                "the key's name is missing",
                "add key_name = \"NAME\", as in the server's configuration",
            );
        }
        let decoded = STANDARD.decode(key.value.expose());
        if reading.secrets == Secrets::Read && !decoded.is_ok_and(|bytes| !bytes.is_empty()) {
            reading.error(
                &key.spot,
                "what is there is not base64",
                "put there what stands in quotes behind \"secret\" in the server's configuration, alone",
            );
        }
    } else if key_name.is_none()
        && secret_is_fine
        && let Some(server) = &server
        && !server.value.ip().is_loopback()
    {
        reading.warn(
            &table.spot,
            "updates are not signed, so the server can tell us from nobody else",
            "add key_name and key_file",
        );
    }
    if reading.errors() > before {
        return None;
    }
    let algorithm = match algorithm?.value.as_str() {
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => TsigAlgorithm::HmacSha256,
    };
    Some(Rfc2136Settings {
        server: server?.value,
        key_name: key_name.map(|name| name.value),
        algorithm,
        key: key.map(|key| key.value),
    })
}

fn mock(table: &Table<'_>) -> Option<MockSettings> {
    let file = table.path("file")?;
    in_folder(table.reading, &file)?;
    Some(MockSettings { file: file.value })
}

/// Records an error when the folder of `file` is not there, or `file` is a folder.
pub(super) fn in_folder(reading: &Reading<'_>, file: &Found<PathBuf>) -> Option<()> {
    let folder = file.value.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        reading.error(
            &file.spot,
            format!("there is no folder {}", folder.display()),
            format!("run: mkdir -p {}", folder.display()),
        );
        return None;
    }
    if file.value.is_dir() {
        reading.error(&file.spot, format!("{} is a folder", file.value.display()), "write the path of a file");
        return None;
    }
    Some(())
}

fn exec(table: &Table<'_>) -> Option<ExecSettings> {
    let command = table.get("command").and_then(|value| command(&value));
    let environment = match table.get("env") {
        Some(value) => environment(&value),
        None => Some(Vec::new()),
    };
    Some(ExecSettings { command: command?, environment: environment? })
}

/// A program and its arguments, which can be run.
pub(super) fn command(value: &Value<'_>) -> Option<Vec<String>> {
    let reading = value.reading;
    let before = reading.errors();
    if let Some(line) = value.as_str() {
        let words: Vec<_> = line.split_whitespace().map(|word| format!("{word:?}")).collect();
        reading.error(
            &value.spot,
            "a list belongs here: there is no shell to split it",
            format!("write [{}]", words.join(", ")),
        );
        return None;
    }
    let items = value.items()?;
    let mut words: Vec<String> = items.iter().filter_map(|item| item.any_text()).map(|text| text.value).collect();
    if reading.errors() > before {
        return None;
    }
    let Some(program) = words.first().filter(|program| !program.is_empty()).cloned() else {
        reading.error(&value.spot, "there is no program", "write [\"/usr/local/bin/edit-dns\"]");
        return None;
    };
    let spot = &items[0].spot;
    if program.contains('/') {
        let path = reading.resolve(&program);
        if !is_program(&path) {
            reading.error(
                spot,
                format!("{} is no program that can be run", path.display()),
                "correct the path, or run chmod +x on it",
            );
            return None;
        }
        words[0] = path.display().to_string();
    } else {
        let path = (reading.env)("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| is_program(&folder.join(&program))) {
            reading.error(spot, format!("there is no program {program:?} in PATH"), "write its whole path");
            return None;
        }
    }
    Some(words)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn environment(value: &Value<'_>) -> Option<Vec<(String, Secret)>> {
    let reading = value.reading;
    let before = reading.errors();
    let table = value.entries(&keys::EXEC, "{ ZONE_ID = \"1\", API_TOKEN_file = \"token\" }")?;
    let mut variables: Vec<(String, Secret)> = Vec::new();
    for (key, value) in table.all(Takes::Text) {
        let (name, found) = if let Some(name) = key.strip_suffix("_file") {
            (name, value.text().and_then(|text| secret::from_file(reading, &text.spot, &text.value)))
        } else if let Some(name) = key.strip_suffix("_env") {
            (name, value.text().and_then(|text| secret::from_variable(reading, &text.spot, &text.value)))
        } else if may_be_secret(&key) {
            reading.error(
                &value.spot,
                "a secret is never written into this file",
                format!("put it into a file of mode 0600 and write {key}_file = \"PATH\", or {key}_env = \"VARIABLE\""),
            );
            continue;
        } else {
            (key.as_str(), value.any_text().map(|text| Secret::new(text.value)))
        };
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            reading.error(&value.spot, "this is no name of an environment variable", "use A-Z, 0-9 and _");
        } else if variables.iter().any(|(other, _)| other == name) {
            reading.error(&value.spot, "this variable is there twice", "keep one of them");
        } else if let Some(found) = found {
            variables.push((name.to_owned(), found));
        }
    }
    (reading.errors() == before).then_some(variables)
}
