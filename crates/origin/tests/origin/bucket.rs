//! A bucket's server in a few lines, which lies and breaks as it is told: reads, writes, lists, counts who asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong with requests whose method and key begin so.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) method: &'static str,
    pub(crate) key: &'static str,
    /// How often; then it is over.
    pub(crate) times: usize,
    pub(crate) does: Does,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers with this status.
    Status(u16),
    /// Closes after so many bytes of the body.
    Cut(usize),
    /// Sends so many bytes of the body, then nothing, for a while.
    Stall(usize),
    /// Sends, or keeps, other bytes of the same length.
    Other,
    /// Says that it is done, and does nothing.
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    /// Method and key, with the range where there was one.
    pub(crate) asked: Vec<String>,
    pub(crate) faults: Vec<Fault>,
}

/// It listens until the runtime ends.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) at: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, shared.clone()));
            }
        });
        Self { at, state }
    }

    /// The section of a configuration that names it. `PATH` and `HOME` serve as keys: nobody looks at the signature.
    pub(crate) fn section(&self) -> String {
        format!(
            "[tier]\ns3 = {{ endpoint = \"http://{}\", bucket = \"files\", region = \"eu-1\", \
             access_key_id_env = \"PATH\", secret_key_env = \"PATH\" }}\n",
            self.at
        )
    }

    pub(crate) fn fault(&self, method: &'static str, key: &'static str, times: usize, does: Does) {
        self.state.lock().unwrap().faults.push(Fault { method, key, times, does });
    }

    /// How often this was asked.
    pub(crate) fn asked(&self, beginning: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| asked.starts_with(beginning)).count()
    }

    pub(crate) fn keys(&self, beginning: &str) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().filter(|key| key.starts_with(beginning)).cloned().collect()
    }
}

async fn connection(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            let mut chunk = vec![0; 64 << 10];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&chunk[..read]),
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .into_iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let length: usize = field("content-length").map_or(0, |length| length.parse().unwrap());
        if field("expect").is_some() && stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
            return;
        }
        while buffer.len() < head_end + 4 + length {
            let mut chunk = vec![0; 1 << 20];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&chunk[..read]),
            }
        }
        let body = buffer[head_end + 4..head_end + 4 + length].to_vec();
        buffer.drain(..head_end + 4 + length);
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let key = path.trim_start_matches("/files").trim_start_matches('/').to_owned();
        let range = field("range");
        let (answer, does) = answer(&state, &method, &key, query, range.as_deref(), body);
        if !send(&mut stream, answer, does, method == "HEAD").await {
            return;
        }
    }
}

struct Answer {
    status: u16,
    fields: String,
    body: Vec<u8>,
}

fn plain(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, fields: String::new(), body: body.into() }
}

fn answer(
    state: &Mutex<State>,
    method: &str,
    key: &str,
    query: &str,
    range: Option<&str>,
    body: Vec<u8>,
) -> (Answer, Option<Does>) {
    let mut state = state.lock().unwrap();
    let ranged = range.map(|range| format!(" {range}")).unwrap_or_default();
    state.asked.push(format!("{method} {key}{ranged}"));
    let fits =
        |fault: &Fault| fault.times > 0 && fault.method == method && key.starts_with(fault.key) && !key.is_empty();
    let fault = state.faults.iter_mut().find(|fault| fits(fault)).map(|fault| {
        fault.times -= 1;
        fault.does
    });
    if let Some(Does::Status(status)) = fault {
        return (plain(status, "no"), fault);
    }
    let other = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    let parameter = |name: &str| {
        let all = form_urlencoded::parse(query.as_bytes());
        all.into_iter().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let tag = "etag: \"x\"\r\nlast-modified: Sat, 21 Nov 2026 10:15:58 GMT\r\n";
    let answer = match method {
        "PUT" => {
            let body = if fault == Some(Does::Other) { other(&body) } else { body };
            match parameter("partNumber") {
                Some(number) => {
                    state.parts.insert((key.to_owned(), number.parse().unwrap()), body);
                }
                None if fault != Some(Does::Nothing) => {
                    state.objects.insert(key.to_owned(), body);
                }
                None => {}
            }
            Answer { status: 200, fields: tag.to_owned(), body: Vec::new() }
        }
        "POST" if parameter("uploads").is_some() => plain(
            200,
            format!(
                "<InitiateMultipartUploadResult><Bucket>files</Bucket><Key>{key}</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            ),
        ),
        "POST" => {
            let parts = std::mem::take(&mut state.parts);
            let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
                parts.into_iter().partition(|((known, _), _)| known == key);
            state.parts = others;
            state.objects.insert(key.to_owned(), own.into_values().flatten().collect());
            plain(200, "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>")
        }
        "DELETE" => {
            state.objects.remove(key);
            plain(204, "")
        }
        _ if key.is_empty() => {
            let prefix = parameter("prefix").unwrap_or_default();
            let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
            for (key, bytes) in state.objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                text.push_str(&format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-21T10:15:58.000Z</LastModified><ETag>\"x\"</ETag><Size>{}</Size></Contents>",
                    bytes.len()
                ));
            }
            plain(200, text + "</ListBucketResult>")
        }
        _ => match state.objects.get(key) {
            None => plain(404, "<Error><Code>NoSuchKey</Code></Error>"),
            Some(bytes) => {
                let bytes = if fault == Some(Does::Other) { other(bytes) } else { bytes.clone() };
                let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
                match bounds {
                    Some((from, to)) => {
                        let from: usize = from.parse().unwrap();
                        let to: usize = to.parse::<usize>().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
                        let fields = format!("{tag}content-range: bytes {from}-{to}/{}\r\n", bytes.len());
                        Answer { status: 206, fields, body: bytes[from..=to].to_vec() }
                    }
                    None => Answer { status: 200, fields: tag.to_owned(), body: bytes },
                }
            }
        },
    };
    (answer, fault)
}

async fn send(stream: &mut TcpStream, answer: Answer, does: Option<Does>, head_alone: bool) -> bool {
    let head =
        format!("HTTP/1.1 {} X\r\n{}content-length: {}\r\n\r\n", answer.status, answer.fields, answer.body.len());
    let body = if head_alone { &[][..] } else { &answer.body };
    let sent = match does {
        Some(Does::Cut(bytes) | Does::Stall(bytes)) => &body[..bytes.min(body.len())],
        _ => body,
    };
    if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(sent).await.is_err() {
        return false;
    }
    if let Some(Does::Stall(_)) = does {
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    !matches!(does, Some(Does::Cut(_) | Does::Stall(_)))
}
