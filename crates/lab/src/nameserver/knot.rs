//! knot 3: one YAML file, the zone kept in a journal.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{KEY_NAME, KEY_SECRET, Kind, Spec, StartError, found, write};

pub(super) fn prepare(spec: &Spec, address: SocketAddr, folder: &Path) -> Result<Command, StartError> {
    let here = folder.display();
    let zone = &spec.zone;
    let owners: Vec<String> = spec.owner_names().collect();
    write(
        &folder.join("knot.conf"),
        &format!(
            "server:
    rundir: {here}
    listen: {ip}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {here}
key:
  - id: {KEY_NAME}
    algorithm: hmac-sha256
    secret: {KEY_SECRET}
acl:
  - id: update
    key: {KEY_NAME}
    action: update
    update-type: [A, AAAA]
    update-owner: name
    update-owner-match: equal
    update-owner-name: [{owners}]
  - id: transfer
    key: {KEY_NAME}
    action: transfer
template:
  - id: default
    storage: {here}
    file: \"%s.zone\"
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
zone:
  - domain: {zone}
    acl: [update, transfer]
",
            ip = address.ip(),
            port = address.port(),
            owners = owners.join(", "),
        ),
    )?;
    write(&folder.join(format!("{zone}.zone")), &spec.zone_file())?;
    let mut command = spec.command(&found(Kind::Knot, "knotd")?);
    command.arg("-c").arg(folder.join("knot.conf"));
    Ok(command)
}
