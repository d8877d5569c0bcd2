//! A toy node as a process of its own, for tests that kill processes or put them into network namespaces.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use witness_lab::egress::Egress;
use witness_lab::node::{Health, Mode, Node, NodeConfig};
use witness_lab::tls::{Identity, Leaf};

const USAGE: &str = "\
usage: witness-lab-node --listen IP:PORT --cert FILE --key FILE
           [--name NAME] [--ssh IP:PORT] [--token-file FILE]
           [--expired-cert FILE --expired-key FILE]
           [--mode MODE] [--mode-file FILE] [--mode-done FILE] [--health-file FILE] [--pid-file FILE]
           [--egress DEVICE --capacity BIT/S]

Serves HTTPS until it is killed. MODE is healthy, refuse, reset, hang-tls, hang-http, hang-body, slow MILLISECONDS,
status CODE, shedding SECONDS, bad-body, redirect URL, cut, endless, expired, tls12 or plain. --mode-file is read
again ten times a second, and what it holds is the mode; once it is, --mode-done holds it, too. --health-file is read
as often and holds the health document. With --egress, that document tells what this network interface has sent in the
last two seconds, and --capacity what it can send. Prints `listening on IP:PORT` when it does, and writes its process id to
--pid-file after that.
";

/// How often the files are read again.
const PERIOD: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("witness-lab-node: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let leaf =
        |chain: &Path, key: &Path| -> Result<Leaf, Box<dyn Error>> { Ok(Leaf::from_pem(&read(chain)?, &read(key)?)?) };
    let mut identity = Identity::of(leaf(&arguments.cert, &arguments.key)?);
    if let (Some(chain), Some(key)) = (&arguments.expired_cert, &arguments.expired_key) {
        identity.expired = Some(leaf(chain, key)?);
    }
    let mut config = NodeConfig::new(&arguments.name, arguments.listen, identity);
    config.ssh = arguments.ssh;
    config.token = match &arguments.token_file {
        Some(path) => Some(read(path)?.trim().to_owned()),
        None => None,
    };
    let node = Node::start(config)?;
    node.set(arguments.mode)?;
    println!("listening on {}", node.address());
    if let Some(path) = &arguments.pid_file {
        fs::write(path, std::process::id().to_string())?;
    }

    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupted = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let (mut mode_text, mut health_text) = (String::new(), String::new());
    let mut egress = arguments.egress.as_deref().map(Egress::of);
    loop {
        // A file that is not there, half written or wrong changes nothing; what is wrong is said once.
        if let Some(text) = changed(arguments.mode_file.as_deref(), &mut mode_text) {
            match text.parse::<Mode>() {
                Ok(mode) => match (node.set(mode.clone()), &arguments.mode_done) {
                    (Ok(()), Some(path)) => fs::write(path, mode.to_string())?,
                    (Ok(()), None) => {}
                    (Err(error), _) => eprintln!("witness-lab-node: {error}"),
                },
                Err(error) => eprintln!("witness-lab-node: {error}"),
            }
        }
        if let Some(text) = changed(arguments.health_file.as_deref(), &mut health_text) {
            match serde_json::from_str(text) {
                Ok(health) => node.set_health(health),
                Err(error) => eprintln!("witness-lab-node: the health document cannot be read: {error}"),
            }
        }
        if let Some(bps) = egress.as_mut().and_then(Egress::look) {
            let told = node.health();
            let capacity_bps = arguments.capacity.unwrap_or(told.capacity_bps);
            node.set_health(Health { egress_bps: bps, capacity_bps, ..told });
        }
        tokio::select! {
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
    node.stop().await;
    Ok(())
}

struct Arguments {
    name: String,
    listen: SocketAddr,
    cert: PathBuf,
    key: PathBuf,
    expired_cert: Option<PathBuf>,
    expired_key: Option<PathBuf>,
    ssh: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    mode: Mode,
    mode_file: Option<PathBuf>,
    mode_done: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    health_file: Option<PathBuf>,
    egress: Option<String>,
    capacity: Option<u64>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut given = std::collections::BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word} is no option\n{USAGE}"))?;
            if name == "help" {
                print!("{USAGE}");
                std::process::exit(0);
            }
            let value = words.next().ok_or_else(|| format!("--{name} wants a value\n{USAGE}"))?;
            given.insert(name.to_owned(), value);
        }
        let mut take = |name: &str| given.remove(name);
        let missing = |name: &str| format!("--{name} is missing\n{USAGE}");
        let arguments = Self {
            name: take("name").unwrap_or_else(|| "node".to_owned()),
            listen: take("listen").ok_or_else(|| missing("listen"))?.parse()?,
            cert: take("cert").ok_or_else(|| missing("cert"))?.into(),
            key: take("key").ok_or_else(|| missing("key"))?.into(),
            expired_cert: take("expired-cert").map(Into::into),
            expired_key: take("expired-key").map(Into::into),
            ssh: take("ssh").map(|address| address.parse()).transpose()?,
            token_file: take("token-file").map(Into::into),
            mode: take("mode").map(|mode| mode.parse()).transpose()?.unwrap_or_default(),
            mode_file: take("mode-file").map(Into::into),
            mode_done: take("mode-done").map(Into::into),
            pid_file: take("pid-file").map(Into::into),
            health_file: take("health-file").map(Into::into),
            egress: take("egress"),
            capacity: take("capacity").map(|capacity| capacity.parse()).transpose()?,
        };
        match given.keys().next() {
            Some(name) => Err(format!("--{name} is no option\n{USAGE}").into()),
            None => Ok(arguments),
        }
    }
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    fs::read_to_string(path).map_err(|error| format!("failed to read {}: {error}", path.display()).into())
}

/// The file's text if it differs from `last`, which it becomes.
fn changed<'a>(path: Option<&Path>, last: &'a mut String) -> Option<&'a str> {
    let text = fs::read_to_string(path?).ok()?;
    if text == *last || text.trim().is_empty() {
        return None;
    }
    *last = text;
    Some(last)
}
