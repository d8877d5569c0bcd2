//! BIND 9: `named` in the foreground.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{KEY_NAME, KEY_SECRET, Kind, Spec, StartError, found, write};

pub(super) fn prepare(spec: &Spec, address: SocketAddr, folder: &Path) -> Result<Command, StartError> {
    let here = folder.display();
    let zone = &spec.zone;
    let (ip, port) = (address.ip(), address.port());
    let (v4, v6) = match address {
        SocketAddr::V4(_) => (format!("port {port} {{ {ip}; }}"), "{ none; }".to_owned()),
        SocketAddr::V6(_) => ("{ none; }".to_owned(), format!("port {port} {{ {ip}; }}")),
    };
    let grants: Vec<String> =
        spec.owner_names().map(|owner| format!("grant {KEY_NAME} name {owner} A AAAA;")).collect();
    write(
        &folder.join("named.conf"),
        &format!(
            "key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{KEY_SECRET}\"; }};
options {{
    directory \"{here}\"; pid-file none; lock-file none;
    session-keyfile \"{here}/session.key\"; managed-keys-directory \"{here}\";
    listen-on {v4}; listen-on-v6 {v6};
    recursion no; notify no; dnssec-validation no; allow-transfer {{ key \"{KEY_NAME}\"; }};
}};
controls {{ }};
zone \"{zone}\" {{ type primary; file \"{zone}.zone\"; update-policy {{ {grants} }}; }};
",
            grants = grants.join(" "),
        ),
    )?;
    write(&folder.join(format!("{zone}.zone")), &spec.zone_file())?;
    let mut command = spec.command(&found(Kind::Bind, "named")?);
    command.args(["-g", "-n", "1", "-c"]).arg(folder.join("named.conf"));
    Ok(command)
}
