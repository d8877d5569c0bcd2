//! A real sshd with keys of its own, on any address and port, also inside a network namespace.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Guard, is_root, wait_until, which};

/// How long sshd may take to listen; generous, a busy machine is no failure.
const START: Duration = Duration::from_secs(15);

/// Whether sshd can be started here, or why not.
///
/// # Errors
///
/// With the reason, in words for [`crate::skip()`].
pub fn available() -> Result<(), String> {
    for program in ["sshd", "ssh-keygen"] {
        if which(program).is_none() {
            return Err(format!("{program} is not installed (Debian package openssh-server)"));
        }
    }
    Ok(())
}

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct SshdConfig {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The name of the network namespace it runs in, as [`crate::netns::Network::namespace`] gives it.
    pub namespace: Option<String>,
    /// Kind of the host key, as `ssh-keygen -t` takes it.
    pub key_type: String,
    /// Further lines of `sshd_config`, such as `AuthenticationMethods publickey,password`.
    pub lines: Vec<String>,
}

impl SshdConfig {
    /// With an Ed25519 host key, in this process's own network.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, namespace: None, key_type: "ed25519".to_owned(), lines: Vec::new() }
    }
}

/// A running sshd; dropping it ends the server and removes its keys.
///
/// One user can log in, the one that runs this process ([`Sshd::user`]), with [`Sshd::client_key`].
#[derive(Debug)]
pub struct Sshd {
    config: SshdConfig,
    folder: TempDir,
    server: Guard,
    user: String,
}

impl Sshd {
    /// Makes keys, starts the server and waits until it listens.
    ///
    /// # Errors
    ///
    /// When a program is missing, or sshd does not like its configuration; the message has what it wrote.
    pub fn start(mut config: SshdConfig) -> io::Result<Self> {
        available().map_err(io::Error::other)?;
        if config.listen.port() == 0 {
            config.listen.set_port(crate::ports::free_on(config.listen.ip()));
        }
        if is_root() {
            // Where sshd puts its unprivileged half; made at boot on a real server.
            std::fs::create_dir_all("/run/sshd")?;
        }
        let folder = tempfile::Builder::new().prefix("witness-sshd-").tempdir()?;
        let user = output_of(Command::new("id").arg("-un"))?;
        make_key(&folder.path().join("host"), &config.key_type)?;
        make_key(&folder.path().join("client"), "ed25519")?;
        std::fs::copy(folder.path().join("client.pub"), folder.path().join("authorized_keys"))?;
        write_config(&config, folder.path())?;
        let server = launch(&config, folder.path())?;
        Ok(Self { config, folder, server, user })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.config.listen
    }

    /// The user that can log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The private key that lets [`Sshd::user`] in, in OpenSSH's format, without a passphrase.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// The host key's fingerprint, as `SHA256:` and Base64 without padding.
    ///
    /// # Errors
    ///
    /// When `ssh-keygen` fails.
    pub fn fingerprint(&self) -> io::Result<String> {
        let shown = output_of(Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join("host.pub")))?;
        let fingerprint = shown.split_whitespace().nth(1);
        fingerprint.map(str::to_owned).ok_or_else(|| io::Error::other(format!("ssh-keygen says {shown:?}")))
    }

    /// A line for a `known_hosts` file.
    ///
    /// # Errors
    ///
    /// When the key's file has gone.
    pub fn known_hosts_line(&self) -> io::Result<String> {
        let key = std::fs::read_to_string(self.folder.path().join("host.pub"))?;
        let key = key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Ok(format!("[{}]:{} {key}", self.config.listen.ip(), self.config.listen.port()))
    }

    /// The process id of the server itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends the server, which refuses connections from now on; [`Sshd::restart`] brings it back.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts the server again with the same keys.
    ///
    /// # Errors
    ///
    /// As [`Sshd::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        self.server.stop();
        self.server = launch(&self.config, self.folder.path())?;
        Ok(())
    }

    /// Starts the server again with a new host key, as after a reinstallation or an attack.
    ///
    /// # Errors
    ///
    /// As [`Sshd::start`].
    pub fn restart_with_new_host_key(&mut self) -> io::Result<()> {
        let host = self.folder.path().join("host");
        std::fs::remove_file(&host)?;
        make_key(&host, &self.config.key_type)?;
        self.restart()
    }
}

fn make_key(path: &Path, key_type: &str) -> io::Result<()> {
    output_of(Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "lab", "-t", key_type, "-f"]).arg(path)).map(drop)
}

fn write_config(config: &SshdConfig, folder: &Path) -> io::Result<()> {
    let at = folder.display();
    let mut lines = vec![
        format!("ListenAddress {}", config.listen),
        format!("HostKey {at}/host"),
        format!("PidFile {at}/pid"),
        format!("AuthorizedKeysFile {at}/authorized_keys"),
        // The folder is under /tmp, which sshd would distrust.
        "StrictModes no".to_owned(),
        "UsePAM no".to_owned(),
        "PasswordAuthentication no".to_owned(),
        "KbdInteractiveAuthentication no".to_owned(),
        "PermitRootLogin prohibit-password".to_owned(),
        "UseDNS no".to_owned(),
        "LogLevel VERBOSE".to_owned(),
        // A monitor's probes all come from one address and never log in; the default turns them away at ten.
        "MaxStartups 2000".to_owned(),
        "LoginGraceTime 20".to_owned(),
    ];
    // The first mention of a keyword counts in sshd_config, so the caller's come first.
    lines.splice(0..0, config.lines.iter().cloned());
    std::fs::write(folder.join("config"), lines.join("\n") + "\n")?;
    // Since 9.8 sshd punishes addresses that connect and do not log in; older ones do not know the word.
    let with_penalties_off = lines.join("\n") + "\nPerSourcePenalties no\n";
    let newer = folder.join("config.newer");
    std::fs::write(&newer, with_penalties_off)?;
    if output_of(Command::new(sshd()?).arg("-t").arg("-f").arg(&newer)).is_ok() {
        std::fs::rename(newer, folder.join("config"))?;
    }
    Ok(())
}

fn launch(config: &SshdConfig, folder: &Path) -> io::Result<Guard> {
    let sshd = sshd()?;
    let mut command = match &config.namespace {
        None => Command::new(sshd),
        Some(namespace) => crate::netns::command_in(namespace, sshd),
    };
    let log = folder.join("log");
    command.arg("-D").arg("-f").arg(folder.join("config")).arg("-E").arg(&log);
    // What it says before it has opened the log.
    let early = std::fs::File::create(folder.join("early"))?;
    let mut server = Guard::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(early))?;
    let mut ended = false;
    wait_until(START, || {
        ended = !server.is_running();
        ended || is_listening(config, &log)
    });
    if ended || !is_listening(config, &log) {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        return Err(io::Error::other(format!("sshd does not listen: {}{}", read("early"), read("log"))));
    }
    Ok(server)
}

fn is_listening(config: &SshdConfig, log: &Path) -> bool {
    if config.namespace.is_some() {
        // Out of reach from here; the log tells. It is appended to over restarts, so the last lines count.
        let log = std::fs::read_to_string(log).unwrap_or_default();
        return log.lines().next_back().is_some_and(|line| line.starts_with("Server listening on"));
    }
    TcpStream::connect_timeout(&config.listen, Duration::from_millis(200)).is_ok()
}

/// sshd wants to be called by its whole path.
fn sshd() -> io::Result<PathBuf> {
    which("sshd").ok_or_else(|| io::Error::other("sshd is not installed"))
}

fn output_of(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let program = command.get_program().display();
    Err(io::Error::other(format!("failed to run {program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
