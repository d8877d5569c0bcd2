//! The command line, as typed.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::model::{Name, PinState};

/// Keeps the DNS of a small fleet honest: nodes that do not serve leave it, nodes that do come back, and the last ones
/// are never taken.
#[derive(Debug, Parser)]
#[command(name = "witness", version, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    /// The configuration; otherwise $WITNESS_CONFIG, ./witness.toml, /etc/witness/witness.toml
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say more on stderr; twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "Exit codes: 0 done (also when a guard held a change); 1 the work could not be completed; 2 bad usage \
                     or configuration; 3 a guard refused what you asked for.\nStart with `witness demo`.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it all on a fleet of its own on loopback: no configuration, no root
    Demo(DemoArgs),
    /// One tick, then exit: for cron and systemd timers
    Once(OnceArgs),
    /// The daemon
    Run,
    /// Where every node stands
    Status(StatusArgs),
    /// What was observed, judged and done, newest last
    History(HistoryArgs),
    /// Why: from observations to decision, in words and numbers
    Explain(ExplainArgs),
    /// Put a node back into DNS; probes it first
    Reinstate(HandArgs),
    /// Take a node out of DNS
    Withdraw(HandArgs),
    /// Lay an order over a node for a while
    Pin(PinArgs),
    /// End a pin
    Unpin(UnpinArgs),
    /// The rule over stdio: JSON Lines of observations in, one judgement a tick out
    Judge(JudgeArgs),
    /// A small world of nodes, users and name servers, in which the rule's decisions have consequences
    Simulate(SimulateArgs),
    /// Recordings against a policy: what would have been decided, beside what was
    Backtest(BacktestArgs),
    /// What the ledger recorded as a trace for `backtest`, without names and addresses
    Export(ExportArgs),
    /// The configuration and this machine: every problem at once
    Check(CheckArgs),
    /// What the registrar holds, and copies of it
    #[command(subcommand)]
    Zone(ZoneCommand),
    /// Completions for a shell, on stdout
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// `witness demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the fleet running for this many seconds afterwards, to look at it with dig and curl
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub linger: u64,
}

/// `witness once`
#[derive(Debug, Args)]
pub struct OnceArgs {
    /// Probe and judge, and change nothing: not the DNS, not the ledger
    #[arg(long)]
    pub dry_run: bool,
    /// The judgement as JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this node, and in detail
    pub node: Option<Name>,
    /// As a monitoring plugin: one line, and exit code 0 all serving, 1 something withdrawn, suspect or pinned, 2 a pool at
    /// its floor, overload or isolation, 3 unknown
    #[arg(long, conflicts_with = "json")]
    pub check: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `history` can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Remembered failures
    Strikes,
    /// Verdicts and standings that changed
    Verdicts,
    /// Changes of the DNS, and what became of them
    Changes,
    /// Changes that a guard refused
    Holds,
    /// Every probe's result
    Probes,
}

/// `witness history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only this node
    pub node: Option<Name>,
    /// How far back
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    pub since: String,
    /// What to show
    #[arg(long, value_delimiter = ',', default_value = "strikes,verdicts,changes,holds")]
    pub kind: Vec<Kind>,
    /// The newest this many
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    pub limit: usize,
    /// As JSON Lines
    #[arg(long)]
    pub json: bool,
}

/// `witness explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A node, or the number of a judgement; otherwise the newest judgement
    pub target: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness reinstate`, `witness withdraw`
#[derive(Debug, Args)]
pub struct HandArgs {
    /// Which node
    pub node: Name,
    /// Over the guards that protect the pool; never over those that protect the zone
    #[arg(long)]
    pub force: bool,
    /// Why, for the ledger
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// The judgement as JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness pin`
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Which node
    pub node: Name,
    /// Which order
    #[arg(value_parser = pin_state())]
    pub state: PinState,
    /// Pin it out although the others could not do without it; the guards go on going by what is
    #[arg(long)]
    pub force: bool,
    /// For how long: every pin ends by itself
    #[arg(long = "for", value_name = "SPAN")]
    pub span: String,
    /// Why, for the ledger
    #[arg(long)]
    pub reason: String,
}

/// `witness unpin`
#[derive(Debug, Args)]
pub struct UnpinArgs {
    /// Which node
    pub node: Name,
}

/// `witness judge`
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// A file with a [policy], or `classic` for the original script's rule; otherwise the trace's own
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
}

/// `witness simulate`
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// A scenario's name or file, or `random` for the random world of the seed; none lists the names
    pub scenario: Option<String>,
    /// Which of the worlds that the scenario describes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// A file with a [policy], or nothing, classic, 3/3, 3/2+panic, eject10, gdnsd, oracle; otherwise the defaults
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// What the witness is told: 0 outcomes, 1 and latencies, 2 and load figures, 3 and what other nodes reach
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub level: u8,
    /// The nodes cannot be told to shed load
    #[arg(long)]
    pub no_shed: bool,
    /// In the same world, beside it: another policy, or several with commas
    #[arg(long, value_name = "POLICY", value_delimiter = ',')]
    pub against: Vec<String>,
    /// Leave with 1 when something that the scenario expects did not hold
    #[arg(long)]
    pub check: bool,
    /// One line of JSON for each policy
    #[arg(long)]
    pub json: bool,
    /// Draw it
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write what the witness was told, with the truth, as a trace
    #[arg(long, value_name = "FILE.jsonl")]
    pub trace: Option<PathBuf>,
}

/// `witness backtest`
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// Recordings in the trace format; `-` is stdin
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<PathBuf>,
    /// A file with a [policy], or `classic` for the original script's rule; otherwise each trace's own
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// Exit with 1 when an expectation of a trace did not hold
    #[arg(long)]
    pub check: bool,
    /// As JSON, an object for each trace
    #[arg(long)]
    pub json: bool,
}

/// `witness export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// How far back
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    pub since: String,
    /// Which pool; needed where there are several
    #[arg(long)]
    pub pool: Option<Name>,
}

/// `witness check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also ask registrars, name servers, nodes and anchors; changes nothing
    #[arg(long)]
    pub live: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness zone`
#[derive(Debug, Subcommand)]
pub enum ZoneCommand {
    /// What the registrar holds right now
    Show {
        /// Only this pool
        #[arg(long)]
        pool: Option<Name>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The copies from before each write
    Snapshots {
        /// Only this pool
        #[arg(long)]
        pool: Option<Name>,
        /// The newest this many
        #[arg(long, default_value_t = 20, value_parser = at_least_one)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put the nodes' addresses back to where they stood in a copy; nothing else in the zone is touched
    Restore {
        /// The number of the copy, as `zone snapshots` lists it
        #[arg(value_parser = number)]
        snapshot: i64,
        /// Only say what would be changed
        #[arg(long)]
        dry_run: bool,
        /// Over the guards that protect the pool
        #[arg(long)]
        force: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn pin_state() -> impl TypedValueParser<Value = PinState> {
    PossibleValuesParser::new([
        PossibleValue::new("in").help("Keep it in DNS whatever the probes say"),
        PossibleValue::new("out").help("Keep it out of DNS whatever the probes say"),
        PossibleValue::new("ignore").help("Leave it exactly as it is"),
    ])
    .map(|text| match text.as_str() {
        "in" => PinState::In,
        "out" => PinState::Out,
        _ => PinState::Ignore,
    })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "a whole number, as `witness zone snapshots` lists them".to_owned())
}
