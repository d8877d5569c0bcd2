//! PowerDNS 4 with its SQLite back end: the zone loaded with `pdnsutil`, the key by SQL.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{KEY_NAME, KEY_SECRET, Kind, Spec, StartError, found, io_error, write};

/// Where Debian's package keeps the tables' definition.
pub(super) fn schema() -> Option<PathBuf> {
    [
        "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
        "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|file| file.is_file())
}

pub(super) fn prepare(spec: &Spec, address: SocketAddr, folder: &Path) -> Result<Command, StartError> {
    let kind = Kind::PowerDns;
    let here = folder.display();
    let zone = &spec.zone;
    // The cache lines keep answers from lagging behind updates.
    write(
        &folder.join("pdns.conf"),
        &format!(
            "launch=gsqlite3
gsqlite3-database={here}/pdns.sqlite3
local-address={ip}
local-port={port}
socket-dir={here}
daemon=no
guardian=no
setuid=
setgid=
webserver=no
security-poll-suffix=
dnsupdate=yes
allow-dnsupdate-from={allow}
disable-axfr=no
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
receiver-threads=1
distributor-threads=1
",
            ip = address.ip(),
            port = address.port(),
            allow = spec.allow_from.join(","),
        ),
    )?;
    let database = folder.join("pdns.sqlite3");
    let schema = schema().ok_or_else(|| StartError::NotInstalled { kind, packages: kind.packages().join(" ") })?;
    let tables = File::open(&schema).map_err(io_error(&schema.display().to_string()))?;
    run(Command::new(found(kind, "sqlite3")?).arg(&database).stdin(tables), "sqlite3")?;

    let file = folder.join("zone");
    write(&file, &spec.zone_file())?;
    let config = format!("--config-dir={here}");
    run(Command::new(found(kind, "pdnsutil")?).arg(&config).args(["load-zone", zone]).arg(&file), "pdnsutil")?;
    let sql = format!(
        "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('{KEY_NAME}', 'hmac-sha256', '{KEY_SECRET}');
         INSERT INTO domainmetadata (domain_id, kind, content)
         SELECT id, kind, content FROM domains, (
             SELECT 'TSIG-ALLOW-DNSUPDATE' AS kind, '{KEY_NAME}' AS content
             UNION ALL SELECT 'TSIG-ALLOW-AXFR', '{KEY_NAME}'
             UNION ALL SELECT 'SOA-EDIT-DNSUPDATE', 'INCREASE');"
    );
    run(Command::new(found(kind, "sqlite3")?).arg(&database).arg(sql), "sqlite3")?;

    let mut command = spec.command(&found(kind, "pdns_server")?);
    command.arg(config);
    Ok(command)
}

fn run(command: &mut Command, what: &str) -> Result<(), StartError> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(io_error(what))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(StartError::Io { what: what.to_owned(), source: std::io::Error::other(said) })
}
