//! A bucket as the last source: behind a stand-in that believes no signature it has not worked out itself, and behind
//! moto, where that is installed.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use witness_lab::process::{Guard, wait_until_async};

use crate::client::{ask, get, raw};
use crate::origin::{Origin, body};
use crate::{MIB, configuration};

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const BUCKET: &str = "files";

/// An edge with an origin before a bucket, whose key is in files.
async fn start(folder: &std::path::Path, origins: &[&str], endpoint: &str, secret: &str) -> witness_edge::edge::Edge {
    for (name, text) in [("id", ID), ("secret", secret)] {
        std::fs::write(folder.join(name), text).unwrap();
        std::fs::set_permissions(folder.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let mut text = configuration(folder, "e1", origins, "");
    write!(
        text,
        "\n[[sources]]\nname = \"bucket\"\ns3 = {{ endpoint = \"{endpoint}\", bucket = \"{BUCKET}\", \
         region = \"us-east-1\", access_key_id_file = \"id\", secret_key_file = \"secret\" }}\n"
    )
    .unwrap();
    let config = witness_edge::config::Config::parse(&text, &folder.join("edge.toml")).unwrap();
    witness_edge::edge::Edge::start(&config).await.unwrap()
}

/// A server of one bucket, in which everything is that the toy origin has; its keys begin with `SIZE/`.
struct StandIn {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = noted.clone();
                tokio::spawn(async move {
                    let _ = serve(stream, &noted).await;
                });
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => fields.push((name.to_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut words = first.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        asked.lock().unwrap().push(format!("{method} {target}"));
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let right = signature(method, target, &fields).is_some_and(|right| {
            field("authorization").is_some_and(|told| told.ends_with(&format!("Signature={right}")))
        });
        let key = target.strip_prefix(&format!("/{BUCKET}/")).filter(|key| !key.is_empty());
        let size: Option<u64> = key.and_then(|key| key.split('/').next()?.parse().ok());
        let (status, range, text) = match (right, key, size) {
            (false, ..) => ("403 Forbidden", None, "<Error><Code>SignatureDoesNotMatch</Code></Error>"),
            (true, None, _) => ("200 OK", None, "<ListBucketResult>all our secrets</ListBucketResult>"),
            (true, Some(_), None) => ("404 Not Found", None, "<Error><Code>NoSuchKey</Code></Error>"),
            (true, Some(_), Some(size)) => {
                let range = field("range").and_then(|range| {
                    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
                    let first: u64 = first.parse().ok()?;
                    Some(first..last.parse().map_or(size, |last: u64| last + 1).min(size))
                });
                let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
                (status, Some((range.unwrap_or(0..size), size)), "")
            }
        };
        let mut head = format!("HTTP/1.1 {status}\r\nServer: StandIn\r\nx-amz-request-id: 1234\r\n");
        let bytes = match range {
            Some((range, size)) => {
                write!(head, "ETag: \"e{size}\"\r\nLast-Modified: Tue, 14 Nov 2023 00:00:00 GMT\r\n").unwrap();
                if status.starts_with("206") {
                    write!(head, "Content-Range: bytes {}-{}/{size}\r\n", range.start, range.end - 1).unwrap();
                }
                body(&format!("/{}", key.unwrap_or("")), 1, range)
            }
            None => text.as_bytes().to_vec(),
        };
        write!(head, "Content-Length: {}\r\n\r\n", bytes.len()).unwrap();
        stream.write_all(head.as_bytes()).await?;
        if method != "HEAD" {
            stream.write_all(&bytes).await?;
        }
    }
}

/// What the signature of a request must be (AWS Signature Version 4), worked out from what came over the wire.
fn signature(method: &str, target: &str, fields: &[(String, String)]) -> Option<String> {
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let told = field("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let part = |name: &str| told.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let (credential, signed) = (part("Credential")?, part("SignedHeaders")?);
    let (id, scope) = credential.split_once('/')?;
    let [date, region, "s3", "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else { return None };
    // What is not signed could be changed on the way.
    if id != ID || !["host", "x-amz-date"].iter().all(|name| signed.split(';').any(|known| known == *name)) {
        return None;
    }
    let mut canonical =
        format!("{method}\n{}\n{}\n", target.split('?').next()?, target.split_once('?').map_or("", |q| q.1));
    for name in signed.split(';') {
        writeln!(canonical, "{name}:{}", field(name)?).unwrap();
    }
    write!(canonical, "\n{signed}\n{}", field("x-amz-content-sha256")?).unwrap();
    let stamp = field("x-amz-date")?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
    let mac =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let mut key = mac(format!("AWS4{SECRET}").as_bytes(), date);
    for text in [region, "s3", "aws4_request"] {
        key = mac(&key, text);
    }
    Some(hex(&mac(&key, &text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_does_not_have_comes_from_the_bucket_and_is_kept() {
    let (origin, bucket) = (Origin::start().await, StandIn::start().await);
    origin.set(|manner| manner.status = Some(404));
    origin.set(|manner| manner.fields.clear());
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), &[&origin.url], &bucket.url, SECRET).await;
    let at = edge.http()[0];
    let size = 3 * MIB + 7;
    // A name that has to be written another way to be signed.
    let target = format!("/{size}/a%20(1)+%E4%BD%A0.mp4");
    let key = format!("/{size}/a%20%281%29%2B%E4%BD%A0.mp4");
    for _ in 0..2 {
        let answer = get(at, &target, &[]).await;
        assert!(answer.status == 200 && answer.whole && answer.body == body(&key, 1, 0..size), "{answer:?}");
        assert_eq!((answer.field("x-amz-request-id"), answer.field("server")), (String::new(), String::new()));
    }
    assert_eq!((origin.count(), bucket.asked()), (1, vec![format!("GET /{BUCKET}{key}")]));
    // In ranges as well, cold.
    let cold = format!("/{}/cold", 9 * MIB);
    let range = format!("bytes={}-{}", 5 * MIB + 1, 5 * MIB + 100);
    let answer = get(at, &cold, &[("range", &range)]).await;
    assert_eq!((answer.status, answer.body), (206, body(&cold, 1, 5 * MIB + 1..5 * MIB + 101)));
    let head = ask(at, "HEAD", "/1234/head", &[], "").await;
    assert_eq!((head.status, head.field("content-length")), (200, "1234".to_owned()));
    // What neither has is missing, and what its bucket says is nobody's business.
    let missing = get(at, "/missing", &[]).await;
    assert_eq!((missing.status, missing.body), (404, body("/missing", 1, 0..9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_make_the_edge_sign_a_command() {
    let bucket = StandIn::start().await;
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), &[], &bucket.url, SECRET).await;
    let at = edge.http()[0];
    for target in ["/", "/?list-type=2", "//", "/.", "/..", "/%2e%2e/", "/a/..", "/%2F", "/?acl"] {
        let answer = get(at, target, &[]).await;
        assert!(answer.status == 404 || answer.status == 400, "{target}: {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secrets"), "{target}");
    }
    assert_eq!(bucket.asked(), Vec::<String>::new());
    let answer = get(at, "/10/a?policy&delete", &[("authorization", "Basic eA=="), ("x-amz-acl", "public-read")]).await;
    assert_eq!(answer.status, 200);
    for method in ["PUT", "DELETE", "POST"] {
        assert_eq!(ask(at, method, "/10/a", &[], "x").await.status, 405);
    }
    assert_eq!(bucket.asked(), [format!("GET /{BUCKET}/10/a")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_a_source_that_fails_and_tells_nothing() {
    let (origin, bucket) = (Origin::start().await, StandIn::start().await);
    origin.set(|manner| manner.status = Some(404));
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), &[&origin.url], &bucket.url, "another secret").await;
    let answer = get(edge.http()[0], "/10/a", &[]).await;
    assert!(answer.status >= 500, "{answer:?}");
    assert!(!String::from_utf8_lossy(&answer.body).contains("Signature"));
    assert_eq!(bucket.asked().len(), 1);
    // Nobody may take it for missing either.
    origin.set(|manner| manner.status = None);
    assert_eq!(get(edge.http()[0], "/10/a", &[]).await.status, 200);
}

/// moto works out signatures itself once it is told to: after three requests, by which a user with a key is made.
#[tokio::test(flavor = "multi_thread")]
async fn moto_gives_what_was_put_into_it() {
    let suite = "a bucket of moto";
    let server = std::env::var("WITNESS_MOTO_SERVER").unwrap_or_else(|_| "moto_server".into());
    if !Command::new(&server).arg("--help").output().is_ok_and(|output| output.status.success()) {
        // It takes minutes and 300 MB to install, so that nobody does so for this: the stand-in is there.
        return witness_lab::skip_machine(suite, "moto_server is not installed (pip has it as moto[server,s3])");
    }
    let port = witness_lab::ports::free();
    let mut command = Command::new(&server);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let _moto = Guard::start(&mut command).unwrap();
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let up = wait_until_async(Duration::from_secs(100), async || TcpStream::connect(at).await.is_ok());
    assert!(up.await, "moto does not listen");
    let signed = "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
    // Its own name in `Host`: of another it would be the bucket.
    let put = async |path: &str, body: &str| {
        let head = format!(
            "PUT /{BUCKET}{path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAuthorization: {signed}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(at, head.as_bytes(), false).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    };
    put("", "").await;
    let text = String::from_utf8_lossy(&vec![b'w'; 300_000]).into_owned();
    put("/folder/a%20b.txt", &text).await;
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), &[], &format!("http://{at}"), SECRET).await;
    for _ in 0..2 {
        let answer = get(edge.http()[0], "/folder/a%20b.txt", &[]).await;
        assert!(answer.status == 200 && answer.body == text.as_bytes(), "{}", answer.status);
    }
    let part = get(edge.http()[0], "/folder/a%20b.txt", &[("range", "bytes=200000-200009")]).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &text.as_bytes()[..10]));
    assert_eq!(edge.engine().source_counts().0, 1);
    assert_eq!(get(edge.http()[0], "/folder/none", &[]).await.status, 404);
}
