//! A toy origin on loopback: any object of any size, and any lie about it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How it answers. Paths are `/SIZE/NAME`.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Before the head of an answer.
    pub(crate) latency: Duration,
    /// Between pieces of 64 KiB.
    pub(crate) pause: Duration,
    /// Answers ranges with 206; otherwise with all of it.
    pub(crate) ranges: bool,
    /// Ends bodies after so many bytes, whatever it promised.
    pub(crate) cut: Option<u64>,
    /// Tells no length.
    pub(crate) chunked: bool,
    /// Another body and another tag each time it is raised.
    pub(crate) version: u64,
    /// Raises the version with each answer.
    pub(crate) fickle: bool,
    /// Sends no tag.
    pub(crate) untagged: bool,
    /// Instead of what was asked for.
    pub(crate) status: Option<u16>,
    /// Further fields of each answer.
    pub(crate) fields: Vec<(String, String)>,
    /// Surrogate keys, by the beginning of what is asked for.
    pub(crate) keys: Vec<(String, String)>,
    /// Closes connections without an answer.
    pub(crate) dead: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            pause: Duration::ZERO,
            ranges: true,
            cut: None,
            chunked: false,
            version: 1,
            fickle: false,
            untagged: false,
            status: None,
            fields: vec![("Cache-Control".into(), "max-age=3600".into())],
            keys: Vec::new(),
            dead: false,
        }
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In small letters.
    pub(crate) fields: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    asked: Mutex<Vec<Asked>>,
    sent: AtomicU64,
    running: AtomicU64,
    most: AtomicU64,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            manner: Mutex::default(),
            asked: Mutex::default(),
            sent: AtomicU64::new(0),
            running: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                tokio::spawn(async move {
                    let _ = serve(stream, &shared).await;
                });
            }
        });
        Self { url, shared }
    }

    /// Changes how it answers from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.shared.manner.lock().unwrap());
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }

    /// How many answers it was giving at once, at most.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.shared.most.load(Ordering::Relaxed)
    }

    /// Bytes of bodies it has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

/// These bytes of the object at `target`. Eight at a time: there are many of them.
pub(crate) fn body(target: &str, version: u64, range: std::ops::Range<u64>) -> Vec<u8> {
    let seed = target.bytes().fold(version, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let seed = seed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let (first, last) = (range.start / 8, range.end.div_ceil(8));
    let mut bytes = Vec::with_capacity(usize::try_from((last - first) * 8).unwrap());
    for word in first..last {
        let mixed = (word.wrapping_add(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&(mixed ^ mixed >> 29).to_le_bytes());
    }
    bytes.truncate(usize::try_from(range.end - first * 8).unwrap());
    bytes.drain(..usize::try_from(range.start - first * 8).unwrap());
    bytes
}

async fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let mut words = first.split_whitespace();
        let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => fields.push((name.to_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let asked = Asked { method, target, fields };
        if let Some(length) = asked.field("content-length").and_then(|length| length.parse::<u64>().ok()) {
            let mut upload = tokio::io::AsyncReadExt::take(&mut stream, length);
            tokio::io::copy(&mut upload, &mut tokio::io::sink()).await?;
        }
        let manner = {
            let mut manner = shared.manner.lock().unwrap();
            if manner.fickle {
                manner.version += 1;
            }
            manner.clone()
        };
        shared.asked.lock().unwrap().push(asked.clone());
        let running = shared.running.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most.fetch_max(running, Ordering::Relaxed);
        let answered = if manner.dead { Ok(false) } else { answer(stream.get_mut(), &asked, &manner, shared).await };
        shared.running.fetch_sub(1, Ordering::Relaxed);
        if !answered? {
            return Ok(());
        }
    }
}

/// Returns whether the connection can be used again.
async fn answer(stream: &mut TcpStream, asked: &Asked, manner: &Manner, shared: &Shared) -> std::io::Result<bool> {
    tokio::time::sleep(manner.latency).await;
    let size: Option<u64> = asked.target.split('/').nth(1).and_then(|size| size.parse().ok());
    let status = manner.status.or(if size.is_some() { None } else { Some(404) });
    let size = if status.is_some() { 9 } else { size.unwrap_or(0) };
    let tag = format!("\"v{}\"", manner.version);
    let mut head = String::new();
    if !manner.untagged {
        head.push_str(&format!("ETag: {tag}\r\n"));
    }
    for (_, keys) in manner.keys.iter().filter(|(prefix, _)| asked.target.starts_with(prefix.as_str())) {
        head.push_str(&format!("Surrogate-Key: {keys}\r\n"));
    }
    for (name, value) in &manner.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if asked.field("if-none-match") == Some(&tag) && status.is_none() {
        stream.write_all(format!("HTTP/1.1 304 Not Modified\r\n{head}\r\n").as_bytes()).await?;
        return Ok(true);
    }
    let holds = asked.field("if-range").is_none_or(|condition| condition == tag);
    let range = asked.field("range").filter(|_| manner.ranges && holds && status.is_none());
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (line, range) = match (range, status) {
        (Some((first, last)), _) => {
            let (first, end): (u64, u64) = if first.is_empty() {
                (size.saturating_sub(last.parse().unwrap()), size)
            } else {
                (first.parse().unwrap(), last.parse::<u64>().map_or(size, |last| last + 1).min(size))
            };
            if first >= size {
                let line = format!(
                    "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n"
                );
                stream.write_all(line.as_bytes()).await?;
                return Ok(true);
            }
            head.push_str(&format!("Content-Range: bytes {first}-{}/{size}\r\n", end - 1));
            ("206 Partial Content".to_owned(), first..end)
        }
        (None, Some(status)) => (format!("{status} As Told"), 0..size),
        (None, None) => ("200 OK".to_owned(), 0..size),
    };
    let framing = if manner.chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {}", range.end - range.start)
    };
    stream.write_all(format!("HTTP/1.1 {line}\r\n{head}{framing}\r\n\r\n").as_bytes()).await?;
    if asked.method == "HEAD" {
        return Ok(true);
    }
    let mut at = range.start;
    let mut left = manner.cut.unwrap_or(u64::MAX);
    while at < range.end {
        let end = (at + (64 << 10)).min(range.end).min(at.saturating_add(left));
        let piece = body(&asked.target, manner.version, at..end);
        if manner.chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        }
        stream.write_all(&piece).await?;
        if manner.chunked {
            stream.write_all(b"\r\n").await?;
        }
        shared.sent.fetch_add(end - at, Ordering::Relaxed);
        left -= end - at;
        at = end;
        if left == 0 && at < range.end {
            return Ok(false);
        }
        if !manner.pause.is_zero() {
            tokio::time::sleep(manner.pause).await;
        }
    }
    if manner.chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(true)
}
