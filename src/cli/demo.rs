//! `witness demo`: the whole loop on loopback, with a fleet, a registrar and a name server of its own.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use witness_lab::fleet::{Fleet, FleetConfig};

use super::args::DemoArgs;
use super::format::{WIDTH, local, wrap};
use super::print::say;
use super::{block_on, open};
use crate::config::Config;
use crate::dns;
use crate::exit::{Exit, Failure};
use crate::model::{ActionKind, NodeId, RecordType};
use crate::probe::{Prober, sweep};
use crate::publish;
use crate::tick::{Gathered, Report, Shell};

/// The name that the demo's users would use.
const HOST: &str = "files.example.com";
/// Between two ticks.
const BEAT: Duration = Duration::from_secs(1);
/// Which of them dies.
const VICTIM: usize = 2;
/// Ticks after which something that should have happened has not.
const PATIENCE: u32 = 20;

pub(super) fn demo(args: &DemoArgs) -> Result<Exit, Failure> {
    let linger = Duration::from_secs(args.linger);
    block_on(async move {
        let folder = own_folder()?;
        let ended = tokio::select! {
            // First, so that it is heard from the very start.
            biased;
            _ = tokio::signal::ctrl_c() => {
                say(&[""])?;
                say(&["Stopped. Nothing is left running."])?;
                Ok(())
            }
            shown = show(&folder, linger) => shown,
        };
        ended?;
        Ok(Exit::Done)
    })
}

/// A new folder that nobody else can have prepared or can look into.
fn own_folder() -> Result<PathBuf, Failure> {
    let (place, process) = (std::env::temp_dir(), std::process::id());
    let mut tries = 0;
    loop {
        let folder = place.join(format!("witness-demo-{process}{}", "x".repeat(tries)));
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < 16 => tries += 1,
            Err(error) => return Err(Failure::failed(format!("failed to make {}: {error}", folder.display()))),
        }
    }
}

/// What runs while the demo does.
struct Stage {
    fleet: Fleet,
    config: Arc<Config>,
    config_file: PathBuf,
}

async fn show(folder: &Path, linger: Duration) -> Result<(), Failure> {
    let stage = set_up(folder)?;
    let port = stage.fleet.https_port();
    say(&["A fleet of four on loopback, each behind the same name:", ""])?;
    for (node, lab) in stage.config.fleet.nodes.values().zip(&stage.fleet.nodes) {
        say(&[&format!("  {:<8} https://{}", node.id, lab.address())])?;
    }
    let dig = format!("dig +short @{} -p {} {HOST}", stage.fleet.dns.address().ip(), stage.fleet.dns.address().port());
    say(&[
        "",
        "A registrar that keeps the zone in a file, and a name server that answers from",
        "it. Ask it yourself:",
        "",
        &format!("  {dig}"),
        "",
        "The rule: 4 failing rounds within 60 min withdraw a node, at least 2 stay. To",
        "make it short, a round is taken every second and each may be a strike; on a real",
        "fleet it is one a minute.",
        "",
    ])?;
    let ledger = open::writer(&stage.config)?;
    let mut shell = Shell::new(stage.config.clone(), ledger, "demo")
        .map_err(|error| Failure::failed(format!("failed to set up the registrar: {error}")))?;
    let prober = Arc::new(
        Prober::new(stage.config.probes.clone())
            .map_err(|error| Failure::failed(format!("failed to set up the probes: {error}")))?,
    );
    let mut play =
        Play { shell: &mut shell, prober, dns: stage.fleet.dns.address(), beat: Instant::now(), first: true };
    let victim = stage.config.fleet.nodes.keys().nth(VICTIM).cloned().expect("the fleet has more nodes");

    play.say(&format!("all four serve; DNS answers {}", play.answer().await)).await?;
    for _ in 0..4 {
        play.tick().await?;
    }
    let failed = |error: std::io::Error| Failure::failed(format!("failed to change a node: {error}"));
    stage.fleet.nodes[VICTIM].power_off().map_err(failed)?;
    play.say(&format!("{victim} is killed: its port refuses connections")).await?;
    play.until(&victim, ActionKind::Withdraw).await?;
    play.say(&format!("DNS answers {}", play.answer().await)).await?;
    for _ in 0..3 {
        play.tick().await?;
    }
    stage.fleet.nodes[VICTIM].power_on().map_err(failed)?;
    play.say(&format!("{victim} is started again, and has to prove itself for 5 s")).await?;
    play.until(&victim, ActionKind::Reinstate).await?;
    play.say(&format!("DNS answers {}", play.answer().await)).await?;
    play.tick().await?;

    let file = stage.config_file.display();
    // As it was called: it need not be installed yet.
    let me = std::env::args().next().unwrap_or_else(|| "witness".to_owned());
    say(&[
        "",
        "That was the whole loop: probe, strike, judge, change the DNS, prove it. It is",
        "all in the ledger:",
        "",
        &format!("  {me} -c {file} history"),
        &format!("  {me} -c {file} explain {victim}"),
        &format!("  {me} -c {file} zone snapshots"),
        "",
        "On your own fleet: write a witness.toml (docs/reference/configuration.md), then",
        "",
        "  witness check --live      every mistake at once; what registrar and nodes say",
        "  witness once --dry-run    what it would do",
        "  witness run               the daemon; or `witness once` from cron",
    ])?;
    if !linger.is_zero() {
        say(&["", &format!("The fleet stays for {} s (port {port}); Ctrl-C ends it.", linger.as_secs())])?;
        tokio::time::sleep(linger).await;
    }
    Ok(())
}

fn set_up(folder: &Path) -> Result<Stage, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::failed(format!("failed to {what}: {error}"));
    let wanted = FleetConfig { records: vec!["files".to_owned()], ttl: 1, ssh: false, ..FleetConfig::new(folder) };
    let fleet = Fleet::start(&wanted).map_err(|error| failed("start a fleet on loopback", &error))?;
    let config_file = folder.join("witness.toml");
    std::fs::write(&config_file, configuration(&fleet))
        .map_err(|error| failed(&format!("write {}", config_file.display()), &error))?;
    let config = Config::load(&config_file).map_err(|error| failed("read the demo's configuration", &error))?;
    Ok(Stage { fleet, config: Arc::new(config), config_file })
}

fn configuration(fleet: &Fleet) -> String {
    let (port, dns) = (fleet.https_port(), fleet.dns.address());
    let mut text = format!(
        r#"# The demo's own configuration: a fleet on loopback, quick enough to watch.
[witness]
name = "demo"
database = "witness.db"
interval = "1s"
fast_interval = "1s"
anchors = []

[policy]
strike_spacing = "500ms"
probation = "5s"

[probes.https]
url = "https://{HOST}:{port}/.witness/health"
ca_file = "ca.pem"
connect_timeout = "500ms"
timeout = "900ms"

[[pools]]
name = "files"
zone = "example.com"
records = ["files"]
ttl = "1s"
registrar = "file"
nameservers = ["{dns}"]

[registrars.file]
kind = "mock"
file = "zone.json"
"#
    );
    for (node, number) in fleet.nodes.iter().zip(1..) {
        let address = node.address().ip();
        text.push_str(&format!("\n[[nodes]]\nname = \"slice{number}\"\naddresses = [\"{address}\"]\n"));
    }
    text
}

/// The loop, a beat a second, telling what happens.
struct Play<'a> {
    shell: &'a mut Shell,
    prober: Arc<Prober>,
    dns: SocketAddr,
    beat: Instant,
    first: bool,
}

impl Play<'_> {
    async fn tick(&mut self) -> Result<Report, Failure> {
        sleep_until(self.beat).await;
        self.beat += BEAT;
        let nodes = self.shell.config().fleet.nodes.clone();
        let (rounds, _) = sweep(&self.prober, nodes.into_values()).await;
        let (loads, just_started) = (self.prober.loads(), std::mem::take(&mut self.first));
        let gathered = Gathered { rounds, loads, just_started, ..Gathered::default() };
        let report = self
            .shell
            .tick(&gathered)
            .await
            .map_err(|error| Failure::failed(format!("failed to complete a tick: {error}")))?;
        for (node, strike) in &report.judgement.strikes {
            let count = report.judgement.nodes.iter().find(|one| one.node == *node).map_or(0, |one| one.strikes);
            let faults: Vec<String> = strike.faults.iter().map(|(probe, fault)| format!("{probe} {fault}")).collect();
            self.say(&format!("{node} strike {count}: {}", faults.join(", "))).await?;
        }
        for action in &report.judgement.actions {
            let node = action.node.as_ref().map(ToString::to_string).unwrap_or_default();
            self.say(&format!("{} {node}  [{}] {}", action.kind, action.rule, action.why)).await?;
        }
        for failure in &report.failures {
            self.say(failure).await?;
        }
        for change in &report.changes {
            let Some(intent) = change.intent.filter(|_| change.is_written()) else { continue };
            let lines: Vec<String> = change.plan.changes.iter().map(ToString::to_string).collect();
            self.say(&format!("zone {} changed and read back: {}", change.plan.zone, lines.join("; "))).await?;
            let pool = &self.shell.config().fleet.pools[&change.plan.pool];
            let seen = publish::prove(self.shell.ledger(), intent, pool, &change.plan, Duration::from_secs(5)).await;
            for server in seen.map_err(|error| Failure::failed(format!("failed to write the proof down: {error}")))? {
                let when = match server.after {
                    Some(after) => format!("shows it after {} ms", after.as_millis()),
                    None => format!("does not show it: {}", server.last),
                };
                self.say(&format!("name server {} {when}", server.server)).await?;
            }
        }
        Ok(report)
    }

    async fn until(&mut self, node: &NodeId, kind: ActionKind) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            let report = self.tick().await?;
            let done = |action: &crate::model::Action| action.kind == kind && action.node.as_ref() == Some(node);
            if report.judgement.actions.iter().any(done) {
                return Ok(());
            }
        }
        Err(Failure::failed(format!("{node} was not to {kind} within {PATIENCE} rounds; is this machine very busy?")))
    }

    /// What the name server says right now.
    async fn answer(&self) -> String {
        match dns::ask_addresses(self.dns, HOST, RecordType::A, Duration::from_secs(2)).await {
            Ok(answer) => answer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("nothing ({error})"),
        }
    }

    async fn say(&self, text: &str) -> Result<(), Failure> {
        let clock = &local(crate::clock::now())[11..];
        let mut lines = wrap(text, WIDTH - clock.len() - 2).into_iter();
        say(&[&format!("{clock}  {}", lines.next().unwrap_or_default())])?;
        for line in lines {
            say(&[&format!("{:1$}  {line}", "", clock.len())])?;
        }
        Ok(())
    }
}
