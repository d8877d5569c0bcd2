//! The reference of every key, as Markdown, written from [`SECTIONS`].

use std::fmt::Write as _;

use super::keys::{Absent, SECTIONS};

/// The text of `docs/reference/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n", section.heading, section.says);
        page.push_str("| key | takes | default | meaning |\n|---|---|---|---|\n");
        for key in section.keys {
            let default = match key.absent {
                Absent::Is(value) => format!("`{value}`"),
                Absent::None(what) => what.to_owned(),
                Absent::Required(_) => "**must be there**".to_owned(),
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                key.name,
                cell(&key.takes.describe()),
                cell(&default),
                cell(key.says)
            );
        }
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from src/config/keys.rs: `WITNESS_BLESS=1 cargo test --lib config::` writes it anew. -->

One TOML file: `--config FILE`, or `$WITNESS_CONFIG`, or `./witness.toml`, or `/etc/witness/witness.toml`.
`witness check` tells everything that is wrong with it at once, with line, key, value and remedy, and stops there.
A whole commented file to begin with is [`src/config/default.toml`](../../src/config/default.toml).

- Unknown keys are mistakes; the message names the nearest key there is.
- Every key but `zone`, `registrar`, the nodes and a registrar's own account has a default.
  A probe runs when its section is there.
- Paths are relative to the file they stand in.
- An empty text (`\"\"`) is the same as leaving the key out, where there is no other default.
- A **duration** is written with its unit: `ms`, `s`, `m`, `h`, `d`, `w`, as in `\"10s\"`, `\"1h30m\"`, `\"1.5h\"`.
- A **size** is written with its unit: `B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`.
- A **rate** is written with its unit: `bit/s`, `kbit/s`, `Mbit/s`, `Gbit/s`, `Tbit/s` (or `bps`, `kbps`, ...), and in bytes
  `B/s`, `kB/s`, `MB/s`, `GB/s`.
- A **name** has 1 to 63 characters from `A-Z a-z 0-9 . _ -` and begins with a letter or digit.
- A **secret** is never written into this file.
  `NAME_file` is the path of a file that holds it, alone; a file that others than its owner can use is refused.
  (What systemd hands over in `$CREDENTIALS_DIRECTORY` may show the access list's bits for the group.)
  `NAME_env` is the name of an environment variable that holds it.
  Secrets are never printed, logged or put into a URL.
";
