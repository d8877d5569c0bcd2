//! The commands.

mod backup;
mod bans;
mod follow;
mod import;
mod look;
mod restore;

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
use crate::db::{Db, DbError, links};
use crate::model::{Name, Why};
use crate::origin::Origin;

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
    /// Bans content: nobody may upload it, its names answer 451, and the edges are told to forget it. With `address`
    /// before an address or a network: they may neither upload nor see anything.
    Ban(bans::Ban),
    /// Takes a ban back.
    Unban(bans::Unban),
    /// Lists what and who is banned.
    Bans {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Backups of the names, and what holds them together.
    #[command(subcommand)]
    Backup(backup::Command),
    /// Takes over from the origin that this one follows: from now on this one writes.
    Promote {
        /// The other one is off, and will not be on again before it can reach this one.
        #[arg(long)]
        old_is_off: bool,
    },
    /// Makes this origin follow the one in [follow] from the beginning: its own rows go, its content stays.
    Follow {
        /// The rows that are here are not needed any more.
        #[arg(long)]
        again: bool,
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
        Command::Ban(ban) => bans::ban(&config, ban),
        Command::Unban(unban) => bans::unban(&config, unban),
        Command::Bans { json } => bans::list(&config, *json),
        Command::Backup(command) => backup::run(&config, command),
        Command::Promote { old_is_off } => follow::promote(&config, *old_is_off),
        Command::Follow { again } => follow::again(&config, *again),
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
    // What has no folder in its path is in the one where we are.
    let parent = directory.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    if !directory.is_dir() && !parent.is_dir() {
        let remedy = "make the folder it is in, or write another one";
        let (path, parent) = (path.display(), parent.display());
        return Err(Failure(2, format!("{path}: store.directory: there is no {parent}; {remedy}")));
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
