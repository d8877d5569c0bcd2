//! The origin that all of them fill from: objects of any size, at the pace and with the latency that their path tells.
//!
//! Paths are `/SIZE/NAME`; a NAME may tell more, such as `/8388608/pace=33554432,wait=50,a`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::measure::stopwatch;

const PIECE: u64 = 64 << 10;

pub(crate) struct Origin {
    pub(crate) at: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Origin {
    /// On a thread of its own, for as long as the process runs.
    pub(crate) fn start() -> Result<Self, String> {
        let failed = |error| format!("failed to start the origin: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let asked = Arc::new(AtomicU64::new(0));
        let counting = asked.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    let asked = counting.clone();
                    // How a connection ends is the client's matter.
                    tokio::spawn(async move { serve(stream, &asked).await.ok() });
                }
            });
        });
        Ok(Self { at, asked })
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, asked: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let mut range = None;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("range") => range = Some(value.trim().to_owned()),
                Some(_) => {}
                None => break,
            }
        }
        asked.fetch_add(1, Ordering::Relaxed);
        let mut words = first.split_ascii_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        answer(stream.get_mut(), method, target, range.as_deref()).await?;
    }
}

async fn answer(stream: &mut TcpStream, method: &str, target: &str, range: Option<&str>) -> std::io::Result<()> {
    let mut parts = target.split('/').skip(1);
    let size: u64 = parts.next().and_then(|size| size.parse().ok()).unwrap_or(0);
    let manner = |key: &str| {
        let mut words = target.split(['/', ',']);
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    tokio::time::sleep(Duration::from_millis(manner("wait").unwrap_or(0))).await;
    let asked_for = range.and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let first: u64 = first.parse().ok()?;
        let end = last.parse::<u64>().map_or(size, |last| size.min(last + 1));
        (first < end).then_some((first, end))
    });
    let (start, end) = asked_for.unwrap_or((0, size));
    let status = match asked_for {
        Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}", end - 1),
        None => "200 OK".to_owned(),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/octet-stream\r\nETag: \"v1\"\r\n\
         Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nAccept-Ranges: bytes\r\nCache-Control: max-age=86400\r\n\r\n",
        end - start
    );
    stream.write_all(head.as_bytes()).await?;
    if method == "HEAD" {
        return Ok(());
    }
    let began = stopwatch();
    let pace = manner("pace");
    let mut at = start;
    while at < end {
        let piece = body(at, PIECE.min(end - at));
        stream.write_all(&piece).await?;
        at += piece.len() as u64;
        if let Some(pace) = pace {
            let due = Duration::from_secs_f64((at - start) as f64 / pace as f64);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
    Ok(())
}

/// These bytes of any object.
pub(crate) fn body(at: u64, length: u64) -> Vec<u8> {
    (at..at + length).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
