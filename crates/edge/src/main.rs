//! The program `witness-edge`: parse, start tracing, run a command, map failure to an exit code.

mod ask;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use witness_edge::config::Config;
use witness_edge::edge::{self, Edge};

/// Answers are made of many small pieces of memory that live for a moment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Serves until it gets SIGTERM or SIGINT. SIGHUP: reads the certificates again.
    Run,
    /// Tells everything that is wrong with the configuration, and starts nothing.
    Check,
    /// Asks a running edge how it is: exits with 0 when it should get traffic, with 1 when it should not.
    Health,
    /// Has the running edge forget a URL with all its variants, or all that has a surrogate key.
    Purge {
        /// The whole URL.
        #[arg(required_unless_present = "key", conflicts_with = "key")]
        url: Option<String>,
        /// A key from `Surrogate-Key` or `Cache-Tag`.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// At all siblings as well.
        #[arg(long)]
        fleet: bool,
    },
    /// Tells what the running edge has of a URL: which slices, how old, and why.
    Inspect {
        /// The whole URL.
        url: String,
        /// A field of the request, such as "Accept-Language: de", for what has variants.
        #[arg(long, value_name = "FIELD")]
        header: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tells what most goes out for at the moment: objects, and pages that they are in.
    Top {
        /// How many of each.
        #[arg(long, default_value_t = 10, value_name = "N")]
        count: usize,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Why it ends, for people, and with which code: 1 the work could not be done, 2 the configuration is wrong.
struct Failure(u8, String);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Run => read(&arguments).and_then(|config| run(&arguments, &config)),
        Command::Check => read(&arguments).and_then(|config| check(&arguments, &config)),
        Command::Health => read(&arguments).and_then(|config| ask::health(&config)),
        Command::Purge { url, key, fleet } => {
            read(&arguments).and_then(|config| ask::purge(&config, url.as_deref(), key.as_deref(), *fleet))
        }
        Command::Inspect { url, header, json } => {
            read(&arguments).and_then(|config| ask::inspect(&config, url, header, *json))
        }
        Command::Top { count, json } => read(&arguments).and_then(|config| ask::top(&config, *count, *json)),
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
