//! The program, in a process and a folder of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until};

pub(crate) struct Server {
    pub(crate) process: Guard,
    pub(crate) at: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts it in `folder`, and returns when it serves.
    pub(crate) fn start(folder: &Path) -> Self {
        let free = || SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
        let (at, admin) = (free(), free());
        let text = format!(
            "[server]\nlisten = \"{at}\"\nadmin_listen = \"{admin}\"\nfiles_url = \"http://{at}\"\n\
             [store]\ndirectory = \"store\"\nmin_free = \"0B\"\n[upload]\nmax_size = \"4GiB\"\nper_address = \"\"\n"
        );
        std::fs::write(folder.join("origin.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
        command.args(["run", "--config"]).arg(folder.join("origin.toml")).env("WITNESS_LOG", "error");
        let process = Guard::start(command.stdout(Stdio::null())).unwrap();
        let server = Self { process, at, admin };
        assert!(wait_until(Duration::from_secs(120), || server.is_up()), "it does not serve");
        server
    }

    fn is_up(&self) -> bool {
        get(self.admin, "/.witness/health").is_some_and(|answer| answer.contains("\"status\":\"ok\""))
    }

    /// A value of its figures.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        let figures = get(self.admin, "/metrics").unwrap();
        let line = figures.lines().find_map(|line| line.strip_prefix(&format!("witness_origin_{name} ")));
        line.unwrap_or_else(|| panic!("there is no {name}")).parse().unwrap()
    }

    /// The most memory that it ever had, in MB of 1 000 000 bytes.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
    }
}

pub(crate) fn get(at: SocketAddr, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The head of a request that uploads `length` bytes, and what comes behind them.
pub(crate) fn form(length: u64) -> (String, &'static str) {
    let before = "--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a.bin\"\r\n\r\n";
    let after = "\r\n--b--\r\n";
    let all = before.len() as u64 + length + after.len() as u64;
    let head = format!(
        "POST /upload.php HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {all}\r\n\r\n{before}"
    );
    (head, after)
}
