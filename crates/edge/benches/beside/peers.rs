//! The edge as users run it, and the peers beside it: each a cache in front of the same origin, pinned to core 0.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::ports;
use witness_lab::process::{Guard, wait_until};
use witness_lab::tls::{Authority, Validity};

use crate::measure::cpu_of;

/// One that serves.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    guard: Guard,
    pub(crate) http: SocketAddr,
    /// Varnish as Debian has it speaks no TLS.
    pub(crate) https: Option<SocketAddr>,
}

impl Server {
    /// CPU time it has used, its children included.
    pub(crate) fn cpu(&self) -> f64 {
        cpu_of(self.guard.pid())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.guard.pid()
    }
}

/// Where certificates and caches are.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Result<Self, String> {
        let make = || -> Result<_, Box<dyn std::error::Error>> {
            let folder = tempfile::Builder::new().prefix("edge-bench-").tempdir()?;
            let leaf = Authority::new()?.issue(&["files.example.com"], Validity::Good)?;
            fs::write(folder.path().join("chain.pem"), leaf.chain_pem())?;
            fs::write(folder.path().join("key.pem"), leaf.key_pem())?;
            fs::write(folder.path().join("token"), "the fleet's token")?;
            for secret in ["key.pem", "token"] {
                fs::set_permissions(folder.path().join(secret), fs::Permissions::from_mode(0o600))?;
            }
            // nginx's worker and varnish's may be another user.
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            Ok(folder)
        };
        make().map(|folder| Self { folder }).map_err(|error| format!("failed to prepare a folder: {error}"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path().join(name);
        fs::write(&path, text).map_err(|error| format!("failed to write {}: {error}", path.display()))?;
        Ok(path)
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports::free()))
}

fn start(
    name: &'static str,
    mut command: Command,
    http: SocketAddr,
    https: Option<SocketAddr>,
) -> Result<Server, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut guard = Guard::start(&mut command).map_err(|error| error.to_string())?;
    let listens = wait_until(Duration::from_secs(60), || {
        !guard.is_running() || [Some(http), https].into_iter().flatten().all(|at| TcpStream::connect(at).is_ok())
    });
    if !listens || !guard.is_running() {
        return Err(format!("{name} does not listen"));
    }
    Ok(Server { name, guard, http, https })
}

/// On core 0, where nothing else of the benchmark runs.
fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

/// `cache` is a folder's name; what is in it already is served.
pub(crate) fn edge(folder: &Folder, origin: SocketAddr, cache: &str) -> Result<Server, String> {
    let (http, https, health) = (address(), address(), address());
    let config = folder.write(
        &format!("{cache}.toml"),
        &format!(
            "[node]\nname = \"bench\"\nfleet = \"files.example.com\"\ncapacity = \"400Gbit/s\"\ntoken_file = \"token\"\n\
             [listen]\nhttp = [\"{http}\"]\nhttps = [\"{https}\"]\nhealth_listen = \"{health}\"\n\
             [[listen.certificates]]\nchain_file = \"chain.pem\"\nkey_file = \"key.pem\"\n\
             [cache]\ndirectory = \"{cache}\"\nmax_size = \"20GB\"\nmin_free = \"1GB\"\n\
             [limits]\nrate_per_client = \"\"\n\
             [[sources]]\nname = \"origin\"\nurls = [\"http://{origin}\"]\n"
        ),
    )?;
    let mut command = pinned(env!("CARGO_BIN_EXE_witness-edge"));
    command.args(["run", "--config"]).arg(config).env("WITNESS_LOG", "warn");
    start("witness-edge", command, http, Some(https))
}

/// How nginx is to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// The whole object, as it comes: its default, with the lock that lets one request fill.
    Whole,
    /// In slices of 1 MiB.
    Slices,
}

pub(crate) fn nginx(folder: &Folder, origin: SocketAddr, filling: Filling) -> Result<Server, String> {
    let (http, https) = (address(), address());
    let name = match filling {
        Filling::Whole => "nginx",
        Filling::Slices => "nginx with slices",
    };
    let cache = folder.path().join(name.replace(' ', "-"));
    let slices = match filling {
        Filling::Whole => "proxy_cache_key $uri;",
        Filling::Slices => "slice 1m; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;",
    };
    let at = folder.path().display();
    let config = folder.write(
        &format!("{}.conf", name.replace(' ', "-")),
        &format!(
            "worker_processes 1;\ndaemon off;\nuser root;\npid {pid};\nerror_log {at}/nginx.log warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  sendfile on;\n  keepalive_requests 100000000;\n\
               proxy_cache_path {cache} levels=1:2 keys_zone=files:32m max_size=20g inactive=1d use_temp_path=off;\n\
               server {{\n    listen {http};\n    listen {https} ssl;\n\
                 ssl_certificate {at}/chain.pem;\n    ssl_certificate_key {at}/key.pem;\n    ssl_protocols TLSv1.3;\n\
                 location / {{\n      proxy_pass http://{origin};\n      proxy_http_version 1.1;\n\
                   proxy_set_header Connection \"\";\n      proxy_cache files;\n      proxy_cache_lock on;\n\
                   proxy_cache_valid 200 206 1d;\n      {slices}\n    }}\n  }}\n}}\n",
            pid = folder.path().join(format!("{}.pid", name.replace(' ', "-"))).display(),
            cache = cache.display(),
        ),
    )?;
    let mut command = pinned("nginx");
    command.arg("-c").arg(config).arg("-p").arg(folder.path());
    start(name, command, http, Some(https))
}

pub(crate) fn varnish(folder: &Folder, origin: SocketAddr) -> Result<Server, String> {
    let http = address();
    let config = folder.write(
        "varnish.vcl",
        &format!(
            "vcl 4.1;\nbackend origin {{ .host = \"{}\"; .port = \"{}\"; }}\n\
             sub vcl_backend_response {{ set beresp.ttl = 1d; }}\n",
            origin.ip(),
            origin.port()
        ),
    )?;
    let mut command = pinned("varnishd");
    command.args(["-F", "-a", &http.to_string(), "-s", "malloc,2G", "-p", "thread_pools=1", "-n"]);
    command.arg(folder.path().join("varnish")).arg("-f").arg(config);
    start("Varnish", command, http, None)
}
