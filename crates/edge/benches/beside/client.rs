//! Clients: a plain one that notes when the first byte came, and wrk for load.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::measure::stopwatch;

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// From the request to the first byte of the body, and to the last.
    pub(crate) first: Duration,
    pub(crate) last: Duration,
}

/// Over a connection of its own.
pub(crate) fn get(at: SocketAddr, target: &str, range: Option<(u64, u64)>) -> Result<Answer, String> {
    let failed = |error: std::io::Error| format!("failed to get {target} of {at}: {error}");
    let mut stream = TcpStream::connect(at).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let range = range.map_or(String::new(), |(start, end)| format!("Range: bytes={start}-{}\r\n", end - 1));
    let began = stopwatch();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: files.example.com\r\n{range}Connection: close\r\n\r\n")
        .map_err(failed)?;
    let mut stream = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    stream.read_line(&mut line).map_err(failed)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut length = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line).map_err(failed)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    let some = if length > 0 { stream.read(&mut body).map_err(failed)? } else { 0 };
    let first = began.elapsed();
    stream.read_exact(&mut body[some..]).map_err(failed)?;
    Ok(Answer { status, body, first, last: began.elapsed() })
}

/// What a run of wrk came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
}

/// What is asked for: paths, each with a range or whole, in turn.
#[derive(Clone, Debug)]
pub(crate) struct Requests(pub(crate) Vec<(String, Option<(u64, u64)>)>);

impl Requests {
    /// Sends them for so long, from the core of the clients. Every answer must have the status and come whole.
    pub(crate) fn send(&self, url: &str, connections: usize, seconds: u32, folder: &Path) -> Result<Load, String> {
        let script = folder.join("requests.lua");
        let mut text = String::from("local list = {\n");
        for (path, range) in &self.0 {
            let field =
                range.map_or(String::new(), |(start, end)| format!("[\"Range\"]=\"bytes={start}-{}\"", end - 1));
            text.push_str(&format!("{{\"{path}\",{{{field}}}}},\n"));
        }
        text.push_str(
            "}
            local made, at = {}, 0
            function init(args)
               wrk.headers[\"Host\"] = \"files.example.com\"
               for i, one in ipairs(list) do
                  local fields = { Host = \"files.example.com\" }
                  for name, value in pairs(one[2]) do fields[name] = value end
                  made[i] = wrk.format(\"GET\", one[1], fields)
               end
            end
            function request()
               at = at % #made + 1
               return made[at]
            end\n",
        );
        std::fs::write(&script, text).map_err(|error| format!("failed to write {}: {error}", script.display()))?;
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "10s"])
            .arg("-s")
            .arg(&script)
            .arg(url)
            .output()
            .map_err(|error| format!("failed to start wrk: {error}"))?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = || format!("wrk on {url}: {told}{}", String::from_utf8_lossy(&output.stderr));
        if !output.status.success() || told.contains("Non-2xx") || told.contains("Socket errors") {
            return Err(failed());
        }
        let line = told.lines().find(|line| line.contains(" requests in ")).ok_or_else(failed)?;
        let requests: f64 =
            line.trim().split(' ').next().and_then(|requests| requests.parse().ok()).ok_or_else(failed)?;
        let per_request: u64 =
            self.0.iter().map(|(path, range)| range.map_or_else(|| size_of(path), |(start, end)| end - start)).sum();
        let bytes = requests * per_request as f64 / self.0.len() as f64;
        if requests < 1.0 {
            return Err(failed());
        }
        Ok(Load { requests, bytes })
    }
}

fn size_of(path: &str) -> u64 {
    path.split('/').nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}
