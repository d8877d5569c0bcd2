//! `[relays]` and `[shed]`: what the nodes are asked to do for us.

use super::raw::Table;
use super::registrars::command;
use super::secret;
use crate::model::{ExecSettings, HttpsProbe, RelaySettings, Secret, ShedKind, ShedSettings};

/// `[relays]`.
pub(super) fn relays(table: &Table<'_>) -> Option<RelaySettings> {
    let user = table.text("user");
    let key_file = table
        .get("key_file")
        .and_then(|value| value.text())
        .and_then(|text| secret::private_file(table.reading, &text.spot, &text.value));
    let port = table.count("port");
    let timeout = table.duration("timeout");
    let max = table.count("max");
    let sessions = table.count("sessions");
    Some(RelaySettings {
        user: user?.value,
        key_file: key_file?,
        port: u16::try_from(port?.value).ok()?,
        timeout: timeout?.value,
        max: usize::try_from(max?.value).ok()?,
        sessions: usize::try_from(sessions?.value).ok()?,
    })
}

/// `[shed]`; the edges are told as they are probed.
pub(super) fn shed(table: &Table<'_>, https: Option<&HttpsProbe>, is_probed: bool) -> Option<ShedSettings> {
    let reading = table.reading;
    let before = reading.errors();
    let kind = table.word("kind");
    let token = secret::secret(table, "token");
    let command = table.get("command").and_then(|value| command(&value));
    let timeout = table.duration("timeout");
    if reading.errors() > before {
        return None;
    }
    let only_for = |name: &str, kind: &str| {
        let remedy = format!("write kind = {kind:?}, or leave it out");
        reading.warn(&table.spot_of(name), format!("it is used for kind {kind:?} only"), remedy);
    };
    let kind = if kind?.value == "edge" {
        if command.is_some() {
            only_for("command", "exec");
        }
        if !is_probed {
            let remedy = "add a table [probes.https]; the edges are told under its name and port";
            reading.error(
                &table.spot_of("kind"),
                "edges are told over https as the probe connects, and there is none",
                remedy,
            );
        }
        // A probe that was not understood has been complained of.
        let https = https?;
        match token.map(|token| token.value).or_else(|| https.token.clone()) {
            Some(token) => ShedKind::Edge(token),
            None => {
                let remedy = "add token_file = \"PATH\" here or in [probes.https]";
                reading.error(&table.spot_of("kind"), "edges take this from those only who have their token", remedy);
                return None;
            }
        }
    } else {
        if token.is_some() {
            only_for(if table.spot_of("token_file").written { "token_file" } else { "token_env" }, "edge");
        }
        match command {
            Some(command) => ShedKind::Exec(ExecSettings { command, environment: Vec::<(String, Secret)>::new() }),
            None => {
                let remedy = "add command = [\"/usr/local/bin/shed\"]";
                reading.error(&table.spot_of("kind"), "there is no program to run", remedy);
                return None;
            }
        }
    };
    Some(ShedSettings { kind, timeout: timeout?.value })
}
