//! The access log: a line for each answer, written by a thread of its own.
//!
//! Serving never waits for it. What it cannot take in is dropped and counted.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{self, HeaderValue};
use http::{Method, Request, Uri, Version};
use serde::Serialize;

use crate::clock::{self, Stopwatch};
use crate::config::{self, LogFormat, LogTo};

/// Lines that wait to be written: a second's worth of a busy edge, and a few megabytes.
const MOST_WAITING: usize = 16_384;
/// Written at once.
const PIECE: usize = 64 << 10;
/// For the last lines.
const END: Duration = Duration::from_secs(2);

enum Message {
    Line(Box<Record>),
    Reopen,
    End,
}

/// Where lines are given to.
#[derive(Clone, Debug)]
pub struct AccessLog {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl AccessLog {
    /// Opens it, and starts its thread.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or no thread started.
    pub fn start(config: &config::AccessLog) -> io::Result<(Self, JoinHandle<()>)> {
        let output = Output::open(&config.to)?;
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            format: config.format,
            to: config.to.clone(),
            output,
            dropped: dropped.clone(),
            is_failing: false,
        };
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&receiver))?;
        Ok((Self { sender, dropped }, thread))
    }

    /// Lines that were not written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Opens the file again: the old one may have been moved away.
    pub fn reopen(&self) {
        let sender = self.sender.clone();
        // The way in may be full for a moment.
        std::thread::spawn(move || sender.send(Message::Reopen));
    }

    /// Ends the thread when it has written what it was given, or after a while.
    pub fn end(&self, thread: JoinHandle<()>) {
        let began = Stopwatch::start();
        let mut is_told = false;
        while began.elapsed() < END && !thread.is_finished() {
            is_told = is_told || self.sender.try_send(Message::End).is_ok();
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            // One that panicked has ended, too.
            let _ = thread.join();
        } else {
            tracing::warn!("the access log does not take its last lines");
        }
    }

    /// A line for `request` of `client`, written when it is dropped.
    #[must_use]
    pub fn entry<B>(&self, request: &Request<B>, client: IpAddr, secure: bool) -> Box<Entry> {
        let field = |name| request.headers().get(name).cloned();
        let record = Record {
            client,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: field(header::HOST),
            referer: field(header::REFERER),
            agent: field(header::USER_AGENT),
            secure,
            status: 0,
            cache: "",
            sent: 0,
            is_whole: false,
            at: clock::unix_milliseconds(),
            took: Duration::ZERO,
        };
        Box::new(Entry { log: self.clone(), began: Stopwatch::start(), record: Some(Box::new(record)) })
    }

    fn write(&self, record: Box<Record>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(Message::Line(record))
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line that is not complete yet.
#[derive(Debug)]
pub struct Entry {
    log: AccessLog,
    began: Stopwatch,
    record: Option<Box<Record>>,
}

/// How the cache answered, as an extension of a response.
#[derive(Clone, Copy, Debug)]
pub struct CacheWord(pub &'static str);

impl Entry {
    /// The answer has begun.
    pub fn set_answer<B>(&mut self, response: &http::Response<B>) {
        if let Some(record) = &mut self.record {
            record.status = response.status().as_u16();
            record.cache = response.extensions().get::<CacheWord>().map_or("", |word| word.0);
        }
    }

    /// Bytes of its body went to the client.
    pub fn add_sent(&mut self, bytes: u64) {
        if let Some(record) = &mut self.record {
            record.sent += bytes;
        }
    }

    /// Whether that was all of it.
    pub fn set_whole(&mut self, is_whole: bool) {
        if let Some(record) = &mut self.record {
            record.is_whole = is_whole;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.took = self.began.elapsed();
            self.log.write(record);
        }
    }
}

#[derive(Debug)]
struct Record {
    client: IpAddr,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    secure: bool,
    status: u16,
    cache: &'static str,
    sent: u64,
    is_whole: bool,
    /// Milliseconds since 1970, when it was asked.
    at: u64,
    took: Duration,
}

#[derive(Serialize)]
struct Line<'r> {
    time: String,
    client: IpAddr,
    method: &'r str,
    scheme: &'static str,
    host: String,
    target: &'r str,
    protocol: &'static str,
    status: u16,
    bytes: u64,
    complete: bool,
    duration_ms: u64,
    cache: &'static str,
    referer: Option<String>,
    user_agent: Option<String>,
}

impl Record {
    fn write(&self, format: LogFormat, line: &mut String) {
        let target = self.uri.path_and_query().map_or("-", |target| target.as_str());
        let protocol = match self.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        match format {
            LogFormat::Combined => {
                let (client, status, sent) = (self.client, self.status, self.sent);
                let _ = write!(line, "{client} - - [{}] \"", common_time(self.at));
                escape(line, self.method.as_str().as_bytes());
                line.push(' ');
                escape(line, target.as_bytes());
                let _ = write!(line, " {protocol}\" {status} {sent} \"");
                escape(line, self.referer.as_ref().map_or(b"-", HeaderValue::as_bytes));
                line.push_str("\" \"");
                escape(line, self.agent.as_ref().map_or(b"-", HeaderValue::as_bytes));
                line.push_str("\"\n");
            }
            LogFormat::Json => {
                let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                let host = self.uri.authority().map(|authority| authority.as_str().to_owned());
                let json = serde_json::to_string(&Line {
                    time: precise_time(self.at),
                    client: self.client,
                    method: self.method.as_str(),
                    scheme: if self.secure { "https" } else { "http" },
                    host: host.or(self.host.as_ref().map(text)).unwrap_or_default(),
                    target,
                    protocol,
                    status: self.status,
                    bytes: self.sent,
                    complete: self.is_whole,
                    duration_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
                    cache: self.cache,
                    referer: self.referer.as_ref().map(text),
                    user_agent: self.agent.as_ref().map(text),
                });
                // Texts and numbers can always be written so.
                line.push_str(&json.unwrap_or_default());
                line.push('\n');
            }
        }
    }
}

/// What a client sent, so that it can neither end the line nor be taken for its quotes.
fn escape(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                line.push('\\');
                line.push(char::from(*byte));
            }
            0x20..=0x7e => line.push(char::from(*byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

/// `06/Nov/1994:08:49:37 +0000`.
fn common_time(milliseconds: u64) -> String {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(milliseconds));
    format!("{}/{}/{}:{} +0000", &date[5..7], &date[8..11], &date[12..16], &date[17..25])
}

/// `1994-11-06T08:49:37.123Z`.
fn precise_time(milliseconds: u64) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(milliseconds));
    let month = MONTHS.find(&date[8..11]).map_or(0, |at| at / 3 + 1);
    format!("{}-{month:02}-{}T{}.{:03}Z", &date[12..16], &date[5..7], &date[17..25], milliseconds % 1000)
}

enum Output {
    Stdout,
    File(File),
}

impl Output {
    fn open(to: &LogTo) -> io::Result<Self> {
        match to {
            LogTo::Stdout => Ok(Self::Stdout),
            // Whole lines at the end of the file, whoever else writes to it.
            LogTo::File(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path).map(Self::File),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(lines),
        }
    }
}

struct Writer {
    format: LogFormat,
    to: LogTo,
    output: Output,
    dropped: Arc<AtomicU64>,
    is_failing: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut lines = String::new();
        let mut count = 0;
        while let Ok(first) = receiver.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(record) => {
                        record.write(self.format, &mut lines);
                        count += 1;
                    }
                    Message::Reopen => {
                        self.write(&mut lines, &mut count);
                        self.reopen();
                    }
                    Message::End => return self.write(&mut lines, &mut count),
                }
                next = if lines.len() < PIECE { receiver.try_recv().ok() } else { None };
            }
            self.write(&mut lines, &mut count);
        }
    }

    fn write(&mut self, lines: &mut String, count: &mut u64) {
        if *count == 0 {
            return;
        }
        match self.output.write(lines.as_bytes()) {
            Ok(()) if std::mem::take(&mut self.is_failing) => tracing::info!("the access log is written again"),
            Ok(()) => {}
            Err(error) => {
                self.dropped.fetch_add(*count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "failed to write the access log; its lines are dropped");
                }
            }
        }
        lines.clear();
        *count = 0;
    }

    fn reopen(&mut self) {
        match Output::open(&self.to) {
            Ok(output) => self.output = output,
            Err(error) => tracing::error!(%error, "failed to open the access log again; the old file is written to"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let value = |text: &[u8]| Some(HeaderValue::from_bytes(text).unwrap());
        Record {
            client: "192.0.2.7".parse().unwrap(),
            method: Method::GET,
            uri: "/a%20b.mp4?x='\\1'".parse().unwrap(),
            version: Version::HTTP_11,
            host: value(b"files.example.com"),
            referer: value(b"https://example.com/\"page"),
            agent: value(b"player \xe4\\1"),
            secure: true,
            status: 206,
            cache: "hit",
            sent: 1234,
            is_whole: true,
            at: 784_111_777_123,
            took: Duration::from_millis(56),
        }
    }

    #[test]
    fn a_line_cannot_be_broken_by_what_a_client_sends() {
        let mut line = String::new();
        record().write(LogFormat::Combined, &mut line);
        let expected = "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \"GET /a%20b.mp4?x='\\\\1' HTTP/1.1\" 206 1234 \
                        \"https://example.com/\\\"page\" \"player \\xe4\\\\1\"\n";
        assert_eq!(line, expected);
        let mut line = String::new();
        record().write(LogFormat::Json, &mut line);
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], "1994-11-06T08:49:37.123Z");
        assert_eq!((&json["target"], &json["bytes"]), (&"/a%20b.mp4?x='\\1'".into(), &1234.into()));
        assert_eq!(
            (&json["cache"], &json["complete"], &json["duration_ms"]),
            (&"hit".into(), &true.into(), &56.into())
        );
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_counted_and_nobody_waits() {
        // A pipe that nobody reads: its first 64 KiB go in, then the thread hangs.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let config = config::AccessLog { to: LogTo::File(path), format: LogFormat::Combined };
        let (log, thread) = AccessLog::start(&config).unwrap();
        let lines = MOST_WAITING as u64 + 4000;
        for _ in 0..lines {
            log.write(Box::new(record()));
        }
        let dropped = log.dropped();
        assert!(dropped > 0 && dropped < lines, "{dropped}");
        // When somebody reads again, what was taken in comes out, whole.
        let reading = std::thread::spawn(move || {
            let mut reader = io::BufReader::new(reader);
            for _ in dropped..lines {
                let mut line = String::new();
                io::BufRead::read_line(&mut reader, &mut line).unwrap();
                assert!(line.starts_with("192.0.2.7 ") && line.ends_with("\\\\1\"\n"), "{line}");
            }
        });
        reading.join().unwrap();
        log.end(thread);
    }
}
