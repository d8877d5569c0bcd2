//! The program `witness-edge`: parse, start tracing, run a command, map failure to an exit code.

use std::io::{IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use witness_edge::config::Config;
use witness_edge::edge::{self, Edge};

/// Answers are made of many small pieces of memory that live for a moment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// For the health document, all in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// A caching reverse proxy for big files.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration.
    #[arg(
        long,
        global = true,
        env = "WITNESS_EDGE_CONFIG",
        default_value = "/etc/witness/edge.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Serves until it gets SIGTERM or SIGINT. SIGHUP: reads the certificates again.
    Run,
    /// Tells everything that is wrong with the configuration, and starts nothing.
    Check,
    /// Asks a running edge how it is: exits with 0 when it should get traffic, with 1 when it should not.
    Health,
}

/// Why it ends, for people, and with which code: 1 the work could not be done, 2 the configuration is wrong.
struct Failure(u8, String);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run => read(&arguments).and_then(|config| run(&arguments, &config)),
        Command::Check => read(&arguments).and_then(|config| check(&arguments, &config)),
        Command::Health => read(&arguments).and_then(|config| health(&config)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, message)) => {
            // Nobody may be listening any more.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(code)
        }
    }
}

fn read(arguments: &Arguments) -> Result<Config, Failure> {
    Config::read(&arguments.config).map_err(|error| Failure(2, error.to_string()))
}

fn run(arguments: &Arguments, config: &Config) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WITNESS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    raise_descriptor_limit();
    let failed = |error: &dyn std::fmt::Display| Failure(1, format!("witness-edge: {error}"));
    let in_file = |error: &dyn std::fmt::Display| Failure(2, format!("{}:{error}", arguments.config.display()));
    edge::refuse_ourselves(config).map_err(|error| in_file(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
    runtime.block_on(async {
        let edge = Edge::start(config).await.map_err(|error| failed(&error))?;
        tracing::info!(node = config.node.name, http = ?edge.http(), https = ?edge.https(), health = %edge.health(), "serving");
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
            return Err(Failure(1, "witness-edge: failed to listen for signals".to_owned()));
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => match edge.reload() {
                    Ok(()) => tracing::info!("read the certificates again"),
                    Err(error) => tracing::error!(%error, "failed to read the certificates again"),
                },
            }
        }
        tracing::info!("ending");
        edge.stop().await;
        Ok(())
    })
}

/// Each client takes one or two descriptors, and each open object one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_err() {
        tracing::warn!("failed to raise the limit of open files");
    }
}

fn check(arguments: &Arguments, config: &Config) -> Result<(), Failure> {
    let found = edge::check(config);
    if found.is_empty() {
        let _ = writeln!(std::io::stdout(), "{}: nothing is wrong", arguments.config.display());
        return Ok(());
    }
    let lines = found.iter().map(|line| format!("{}:{line}", arguments.config.display()));
    Err(Failure(2, lines.collect::<Vec<_>>().join("\n")))
}

fn health(config: &Config) -> Result<(), Failure> {
    let mut address = config.listen.health;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        address.set_ip(loopback);
    }
    let document =
        ask(address).map_err(|error| Failure(1, format!("witness-edge: {address} does not answer: {error}")))?;
    let _ = writeln!(std::io::stdout(), "{document}");
    let status = serde_json::from_str::<serde_json::Value>(&document)
        .ok()
        .and_then(|document| document.get("status").and_then(serde_json::Value::as_str).map(str::to_owned));
    // One that is busy or overloaded is alive: to take it out would make it worse for the others.
    match status.as_deref() {
        Some("ok" | "busy" | "overload") => Ok(()),
        Some(status) => Err(Failure(1, format!("witness-edge: {status}"))),
        None => Err(Failure(1, "witness-edge: this is no health document".to_owned())),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /.witness/health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
    body.filter(|_| answer.starts_with("HTTP/1.1 200")).ok_or_else(|| std::io::Error::other("not with 200"))
}
