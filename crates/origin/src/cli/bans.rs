//! Bans: what nobody may upload or see, and who may do neither.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, failed, name_of, say, with_database};
use crate::clock;
use crate::config::units::{self, DURATION};
use crate::config::{Config, Network};
use crate::db::{addresses, bans, links};
use crate::model::{Md5, Sha1, Sha256, Time};

/// What to ban.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Ban {
    #[command(subcommand)]
    other: Option<BanOther>,
    /// SHA-256, SHA-1 or MD5, or a name that stands for the content.
    #[arg(required = true)]
    what: Option<String>,
    #[command(flatten)]
    how: Option<How>,
}

#[derive(Clone, Debug, Subcommand)]
enum BanOther {
    /// An address or a network.
    Address {
        /// Such as 192.0.2.7 or 2001:db8::/48.
        network: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Clone, Debug, Args)]
struct How {
    /// To be remembered.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// So long, such as 30d; without it, until it is taken back.
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,
}

impl How {
    fn until(&self, now: Time) -> Result<Option<Time>, Failure> {
        let Some(text) = &self.lasts else { return Ok(None) };
        match DURATION.read(text) {
            Ok(lasts) if lasts > 0 => Ok(Some(now.after(units::duration(lasts)))),
            Ok(_) => Err(Failure(2, format!("--for {text:?}: it would be over at once"))),
            Err((message, remedy)) => Err(Failure(2, format!("--for {text:?}: {message}; {remedy}"))),
        }
    }
}

/// What to take back.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Unban {
    #[command(subcommand)]
    other: Option<UnbanOther>,
    /// SHA-256, SHA-1 or MD5, as it was banned.
    #[arg(required = true)]
    hash: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
enum UnbanOther {
    /// An address or a network.
    Address {
        /// As it was banned.
        network: String,
    },
}

fn network_of(text: &str) -> Result<Network, Failure> {
    text.parse().map_err(|()| Failure(2, format!("{text:?} is neither an address nor a network")))
}

/// Of any kind.
fn hash_of(text: &str) -> Option<Vec<u8>> {
    let sha256 = text.parse::<Sha256>().map(|hash| hash.0.to_vec());
    let sha1 = || text.parse::<Sha1>().map(|hash| hash.0.to_vec());
    sha256.or_else(|()| sha1()).or_else(|()| text.parse::<Md5>().map(|hash| hash.0.to_vec())).ok()
}

pub(super) fn ban(config: &Config, ban: &Ban) -> Result<(), Failure> {
    let now = clock::now();
    if let Some(BanOther::Address { network, how }) = &ban.other {
        let (banned, until, reason) = (network_of(network)?, how.until(now)?, how.reason.clone());
        with_database(config, move |db| addresses::add(db, banned, &reason, until, now))?;
        say(&format!("{banned} is banned"));
        return Ok(());
    }
    let (Some(what), Some(how)) = (&ban.what, &ban.how) else {
        return Err(Failure(2, "say what to ban, and --reason".to_owned()));
    };
    let (until, reason) = (how.until(now)?, how.reason.clone());
    let given = hash_of(what);
    let name = if given.is_none() { Some(name_of(what)?) } else { None };
    let banned = with_database(config, move |db| {
        let found = match (given, name) {
            (Some(hash), _) => Some(hash),
            (None, Some(name)) => match links::lookup(db, &name, now)? {
                Some(links::Found::File(_, object)) => Some(object.sha256.0.to_vec()),
                _ => None,
            },
            (None, None) => None,
        };
        if let Some(hash) = &found {
            bans::add(db, hash, &reason, until, now)?;
        }
        Ok(found)
    })?;
    match banned {
        Some(hash) => {
            say(&format!("{} is banned", hex(&hash)));
            Ok(())
        }
        None => Err(failed(&format!("{what} stands for nothing, and is no hash"))),
    }
}

pub(super) fn unban(config: &Config, unban: &Unban) -> Result<(), Failure> {
    let now = clock::now();
    let (text, was_banned) = if let Some(UnbanOther::Address { network }) = &unban.other {
        let unbanned = network_of(network)?;
        (network, with_database(config, move |db| addresses::remove(db, unbanned))?)
    } else {
        let Some(text) = &unban.hash else { return Err(Failure(2, "say what to unban".to_owned())) };
        let hash = hash_of(text).ok_or_else(|| Failure(2, format!("{text:?} is no SHA-256, SHA-1 or MD5")))?;
        (text, with_database(config, move |db| bans::remove(db, &hash, now))?)
    };
    if !was_banned {
        return Err(failed(&format!("{text} is not banned")));
    }
    say(&format!("{text} is not banned any more"));
    Ok(())
}

pub(super) fn list(config: &Config, wants_json: bool) -> Result<(), Failure> {
    let (contents, networks) = with_database(config, |db| Ok((bans::all(db)?, addresses::all(db)?)))?;
    let contents = contents.into_iter().map(|ban| (ban.created, hex(&ban.hash), ban.reason, ban.until));
    let networks = networks.into_iter().map(|ban| (ban.created, ban.network.to_string(), ban.reason, ban.until));
    let mut all: Vec<_> = contents.chain(networks).collect();
    all.sort();
    if wants_json {
        let one = |(created, what, reason, until): (Time, String, String, Option<Time>)| json!({ "what": what, "reason": reason, "created": created.rfc3339(), "until": until.map(Time::rfc3339) });
        say(&serde_json::Value::from(all.into_iter().map(one).collect::<Vec<_>>()).to_string());
        return Ok(());
    }
    for (created, what, reason, until) in all {
        let until = until.map(|until| format!("  until {}", until.rfc3339())).unwrap_or_default();
        say(&format!("{}  {what}  {reason}{until}", created.rfc3339()));
    }
    Ok(())
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
