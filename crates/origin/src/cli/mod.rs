//! The commands.

mod import;
mod look;

use std::fmt::Display;
use std::io::{IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock;
use crate::config::{Config, Secret};
use crate::db::{Db, DbError, bans, links};
use crate::model::{Name, Sha1, Sha256, Why};
use crate::origin::{self, Origin};

/// For the health document, all in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// An upload server and store that loses nothing.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration.
    #[arg(
        long,
        global = true,
        env = "WITNESS_ORIGIN_CONFIG",
        default_value = "/etc/witness/origin.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Serves until it gets SIGTERM or SIGINT.
    Run,
    /// Tells everything that is wrong with the configuration, and starts nothing.
    Check,
    /// Asks a running origin how it is: exits with 0 when it serves, with 1 when not.
    Health,
    /// Removes a name; its content goes when no other name needs it.
    Remove {
        /// As in its URL.
        name: String,
    },
    /// Bans content: nobody may upload it, and its names answer 451.
    Ban {
        /// SHA-256 or SHA-1, or a name that stands for the content.
        what: String,
        /// To be remembered.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Takes a ban back.
    Unban {
        /// SHA-256 or SHA-1.
        hash: String,
    },
    #[command(flatten)]
    Look(look::Command),
    /// Takes over what another server has: names, dates and content, so that its URLs go on working. Beside no server.
    Import(import::Import),
}

/// Why it ends, for people, and with which code: 1 the work could not be done, 2 the configuration is wrong.
#[derive(Debug)]
pub struct Failure(pub u8, pub String);

fn failed(error: &dyn Display) -> Failure {
    Failure(1, format!("witness-origin: {error}"))
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        failed(&error)
    }
}

/// Does what the command line says.
///
/// # Errors
///
/// With what there is to say about it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config).map_err(|error| Failure(2, error.to_string()))?;
    match &arguments.command {
        Command::Run => serve(&config),
        Command::Check => check(&arguments.config, &config),
        Command::Health => health(&config),
        Command::Remove { name } => remove(&config, name),
        Command::Ban { what, reason } => ban(&config, what, reason),
        Command::Unban { hash } => unban(&config, hash),
        Command::Look(command) => look::run(&config, command),
        Command::Import(wanted) => import::run(&config, wanted),
    }
}

fn say(line: &str) {
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn serve(config: &Config) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WITNESS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // Each client takes a descriptor, and each file that is received or sent another one.
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_err() {
        tracing::warn!("failed to raise the limit of open files");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
    runtime.block_on(async {
        for key in origin::not_yet(config) {
            tracing::warn!(key, "this is not done yet");
        }
        let origin = Origin::start(config).await.map_err(|error| failed(&error))?;
        tracing::info!(listen = %origin.listen(), admin = %origin.admin(), "serving");
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return Err(failed(&"failed to listen for signals"));
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        origin.stop().await;
        Ok(())
    })
}

fn check(path: &Path, config: &Config) -> Result<(), Failure> {
    let directory = &config.store.directory;
    let parent = directory.parent().unwrap_or(directory);
    if !directory.is_dir() && !parent.is_dir() {
        let remedy = "make the folder it is in, or write another one";
        let (path, parent) = (path.display(), parent.display());
        return Err(Failure(2, format!("{path}: store.directory: there is no {parent}; {remedy}")));
    }
    for key in origin::not_yet(config) {
        say(&format!("{}: {key}: this is not done yet", path.display()));
    }
    say(&format!("{}: nothing is wrong", path.display()));
    Ok(())
}

/// Where the running server listens for whoever runs it.
fn admin_address(config: &Config) -> SocketAddr {
    let mut address = config.server.admin_listen;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(loopback);
    }
    address
}

fn health(config: &Config) -> Result<(), Failure> {
    let address = admin_address(config);
    let (_, document) = ask(address, "/.witness/health", None, PATIENCE)
        .map_err(|error| failed(&format!("{address} does not answer: {error}")))?;
    say(&document);
    let parsed: serde_json::Value =
        serde_json::from_str(&document).map_err(|_| failed(&"this is no health document"))?;
    match parsed["status"].as_str() {
        Some("ok" | "busy") => Ok(()),
        status => Err(failed(&status.unwrap_or("this is no health document"))),
    }
}

/// Asks a listener of ours; gives the status and the body.
fn ask(
    address: SocketAddr,
    target: &str,
    token: Option<&Secret>,
    patience: Duration,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let token = token.map(|token| format!("Authorization: Bearer {}\r\n", token.reveal())).unwrap_or_default();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4 << 20).read_to_string(&mut answer)?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
    status.zip(body).ok_or_else(|| std::io::Error::other("not with HTTP"))
}

/// Works on the database beside a server that may be running.
fn with_database<T>(
    config: &Config,
    work: impl FnOnce(&rusqlite::Connection) -> Result<T, DbError> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
{
    let path = config.store.directory.join("meta.db");
    if !path.exists() {
        return Err(failed(&format!("there is no {}; it is made by the first run", path.display())));
    }
    let db = Db::open(&path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| failed(&error))?;
    let done = runtime.block_on(db.write(work));
    db.close();
    Ok(done?)
}

fn name_of(text: &str) -> Result<Name, Failure> {
    let last = text.rsplit('/').next().unwrap_or_default();
    Name::from_path(last).ok_or_else(|| Failure(2, format!("{text:?} is no name")))
}

fn remove(config: &Config, name: &str) -> Result<(), Failure> {
    let (name, now) = (name_of(name)?, clock::now());
    let wanted = name.clone();
    if !with_database(config, move |db| links::remove(db, &wanted, Why::Operator, now))? {
        return Err(failed(&format!("there is no {name}")));
    }
    say(&format!("{name} is removed"));
    Ok(())
}

/// Of SHA-256 or SHA-1.
fn hash(text: &str) -> Option<Vec<u8>> {
    let long = text.parse::<Sha256>().map(|hash| hash.0.to_vec());
    long.or_else(|()| text.parse::<Sha1>().map(|hash| hash.0.to_vec())).ok()
}

fn ban(config: &Config, what: &str, reason: &str) -> Result<(), Failure> {
    let (now, reason) = (clock::now(), reason.to_owned());
    let name = if hash(what).is_none() { Some(name_of(what)?) } else { None };
    let given = hash(what);
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
            bans::add(db, hash, &reason, now)?;
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

fn unban(config: &Config, text: &str) -> Result<(), Failure> {
    let now = clock::now();
    let hash = hash(text).ok_or_else(|| Failure(2, format!("{text:?} is neither a SHA-256 nor a SHA-1")))?;
    if !with_database(config, move |db| bans::remove(db, &hash, now))? {
        return Err(failed(&format!("{text} is not banned")));
    }
    say(&format!("{text} is not banned any more"));
    Ok(())
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
