//! What the PHP originals answered, and what we answer to the same bytes.

use std::net::SocketAddr;

use serde_json::Value;
use witness_origin::model::{Sha1, Sha256};

use crate::client::{Answer, raw, raw_and_shut};
use crate::{Scene, files};

/// One exchange.
struct Exchange {
    case: String,
    head: String,
    body: Vec<u8>,
    status: u16,
    kind: String,
    answer: String,
}

fn read(text: &str) -> Vec<Exchange> {
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let (request, response) = (&line["request"], &line["response"]);
            let field = |name: &str| {
                let fields = response["headers"].as_array().unwrap().iter().filter_map(Value::as_str);
                let found = fields.filter_map(|field| field.split_once(": ")).find(|(known, _)| *known == name);
                found.map(|(_, value)| value.to_owned()).unwrap_or_default()
            };
            Exchange {
                case: line["case"].as_str().unwrap().to_owned(),
                head: request["head"].as_str().unwrap().to_owned(),
                body: body(&request["body"]),
                status: u16::try_from(response["status"].as_u64().unwrap_or(0)).unwrap(),
                kind: field("Content-Type"),
                answer: response["body"]["text"].as_str().unwrap_or_default().to_owned(),
            }
        })
        .collect()
}

fn body(recorded: &Value) -> Vec<u8> {
    if let Some(text) = recorded["text"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(text) = recorded["b64"].as_str() {
        return base64(text);
    }
    let Some(head) = recorded["head"].as_str() else { return Vec::new() };
    // Too long to be kept: one letter, many times; and a page behind it, in one case.
    let start = head.find("\r\n\r\n").unwrap() + 4;
    let page = "\n<!DOCTYPE html>\n<html><head><title>x</title></head><body><script>alert(1)</script></body></html>\n";
    let end = "\r\n------lab7MA4YWxkTrZu0gW--\r\n";
    let length = usize::try_from(recorded["len"].as_u64().unwrap()).unwrap();
    let wanted = recorded["sha256"].as_str().unwrap();
    let servers = ["pomf-2.8.2", "pomf-2.3.0", "uguu-1.9.8"];
    let behind = servers.iter().map(|server| format!("{page}{server}-ha\n")).chain([String::new()]);
    let mut made = behind.map(|behind| {
        let mut made = head.as_bytes()[..start].to_vec();
        made.resize(length - end.len() - behind.len(), head.as_bytes()[start]);
        made.extend_from_slice(behind.as_bytes());
        made.extend_from_slice(end.as_bytes());
        made
    });
    let is_it = |made: &Vec<u8>| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, made);
        Sha256(digest.as_ref().try_into().unwrap()).to_string() == wanted
    };
    made.find(is_it).expect("it can be made again")
}

fn base64(text: &str) -> Vec<u8> {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.chars().filter_map(|c| digits.find(c)) {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

/// Names are random: of each only its extension is looked at.
fn without_names(answer: &str) -> String {
    let mut out = String::new();
    let mut rest = answer;
    let site = ["://a.example.test/", ":\\/\\/a.example.test\\/"];
    while let Some((at, found)) = site.iter().filter_map(|site| Some((rest.find(site)?, *site))).min() {
        let (before, after) = rest.split_at(at + found.len());
        out.push_str(before);
        out.push_str("NAME");
        rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    }
    out + rest
}

/// Where we answer otherwise, and why: the case, our status, what our body is or begins with.
const DIFFERENT: &[(&str, u16, &str, &str)] = &[
    ("output-unknown-xml", 200, "{\n    \"success\": true", "two documents, one behind the other, are none"),
    ("output-empty", 200, "{\n    \"success\": true", "two documents, one behind the other, are none"),
    (
        "nofile-empty-filename",
        400,
        "{\n    \"success\": false,\n    \"errorcode\": 400,\n    \"description\": \"No file was uploaded\"",
        "an error has a status and a body",
    ),
    ("field-file", 200, "{\n    \"success\": true", "other upload servers take this field"),
    ("blocked-ext-uppercase-EXE", 415, "", "EXE is exe"),
    ("blocked-ext-trailing-dot", 415, "", "systems that run programs drop the dot"),
    (
        "blacklisted-hash",
        451,
        "{\n    \"success\": false,\n    \"errorcode\": 451,\n    \"description\": \"File blacklisted.\"",
        "one could not ask, the other did not",
    ),
    (
        "toolarge-upload_max_filesize-text",
        413,
        "ERROR: (413) The uploaded file is too large",
        "an error has a status and a body",
    ),
    (
        "toolarge-web-server-413",
        413,
        "{\n    \"success\": false,\n    \"errorcode\": 413",
        "clients of Pomf read JSON, not the page of a web server",
    ),
    ("name-quote-csv", 200, "\"name\",\"url\",\"hash\",\"size\"\r\n\"a\"\"b.txt\",", "a quote in a field is doubled"),
    ("name-long", 200, "{\n    \"success\": true", "names are cut at 255 bytes"),
    ("name-rfc5987-only", 200, "{\n    \"success\": true", "it is a file, and has a name"),
    ("name-latin1-raw", 200, "{\n    \"success\": true", "an upload that was stored has an answer"),
    (
        "missing-final-boundary",
        400,
        "{\n    \"success\": false,\n    \"errorcode\": 400,\n    \"description\": \"The uploaded file was only partially uploaded\"",
        "an error has a status and a body",
    ),
    (
        "truncated-body-halfclose",
        400,
        "{\n    \"success\": false,\n    \"errorcode\": 400",
        "who still listens gets an answer",
    ),
    ("get-missing-file", 404, "there is no such file", "no page of a web server"),
];

/// Where we answer as the other of the two does.
const AS_THE_OTHER: &[(&str, &str, &str)] = &[
    ("pomf-2.8.2", "name-tar-gz", ".tar.gz is kept, as in 2.3.0"),
    ("pomf-2.8.2", "name-ext-quote-tag", "a dot with nothing behind it is left out, as in 2.3.0"),
];

/// A configuration as theirs was.
fn configured(files_url: &str, size: &str, kinds: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfiles_url = \"{files_url}\"\n\
         [upload]\nmax_size = \"1MiB\"\nblock_mime = {kinds}\n[compat]\nextras = false\nsize = \"{size}\"\n"
    )
}

async fn ask(at: SocketAddr, exchange: &Exchange) -> Answer {
    let request = [exchange.head.as_bytes(), &exchange.body].concat();
    if exchange.case.ends_with("halfclose") { raw_and_shut(at, &request).await } else { raw(at, &request, false).await }
}

/// The error of 2.8.2 that 2.3.0 told in other words and with other numbers.
fn in_new_words(server: &str, exchange: &Exchange) -> (u16, String) {
    let words = [
        ("(500) File upload stopped by extension", "(415) Filetype not allowed."),
        (
            "\"errorcode\": 500,\n    \"description\": \"File upload stopped by extension\"",
            "\"errorcode\": 415,\n    \"description\": \"Filetype not allowed.\"",
        ),
        ("File upload stopped by extension", "Filetype not allowed."),
    ];
    if server != "pomf-2.3.0" {
        return (exchange.status, exchange.answer.clone());
    }
    let answer = words.iter().fold(exchange.answer.clone(), |answer, (old, new)| answer.replace(old, new));
    let is_error = answer.contains("No input file(s)");
    (if is_error { 400 } else { exchange.status }, answer)
}

async fn replay(server: &str, recording: &str, scene: &Scene) {
    let exchanges = read(recording);
    assert!(exchanges.len() > 50);
    let mut compared = 0;
    for exchange in &exchanges {
        let (case, answer) = (&exchange.case, ask(scene.at(), exchange).await);
        let text = answer.text();
        let told =
            || format!("{server} {case}: {} {text}\nrecorded: {} {}", answer.status, exchange.status, exchange.answer);
        let (status, expected) = in_new_words(server, exchange);
        let is_equal = answer.status == status && without_names(&text) == without_names(&expected);
        if AS_THE_OTHER.iter().any(|(listed, known, _)| *listed == server && known == case) {
            assert!(!is_equal, "no difference any more: {}", told());
            continue;
        }
        if let Some((_, status, begins, _)) = DIFFERENT.iter().find(|(known, ..)| known == case) {
            assert!(!is_equal, "no difference any more: {}", told());
            assert!(answer.status == *status && text.starts_with(begins), "{}", told());
            continue;
        }
        compared += 1;
        assert!(is_equal, "{}", told());
        assert_eq!(answer.field("content-type"), exchange.kind, "{}", told());
        // Every URL that was told leads to what was sent.
        if answer.status == 200 && text.starts_with('{') {
            for file in answer.json()["files"].as_array().unwrap() {
                let url = file["url"].as_str().unwrap();
                let got = crate::client::get(scene.at(), &url[url.find("test/").unwrap() + 4..], &[]).await;
                let size = file["size"].as_u64().unwrap_or_else(|| file["size"].as_str().unwrap().parse().unwrap());
                assert_eq!((got.status, got.body.len() as u64), (200, size), "{url}");
            }
        }
    }
    assert!(compared > 35, "only {compared} were compared");
    assert_eq!(files(&scene.folder.path().join("store").join("incoming")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn we_answer_as_pomf_2_8_2_does() {
    let kinds = "[\"application/x-dosexec\", \"application/java-archive\", \"text/html\", \"image/svg+xml\"]";
    let scene = Scene::with(&configured("https://a.example.test", "text", kinds)).await;
    ban(&scene).await;
    replay("pomf-2.8.2", include_str!("../../fixtures/pomf/pomf-2.8.2.jsonl"), &scene).await;
    scene.origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_answer_as_pomf_2_3_0_does() {
    let scene = Scene::with(&configured("http://a.example.test", "number", "[\"application/x-dosexec\"]")).await;
    ban(&scene).await;
    replay("pomf-2.3.0", include_str!("../../fixtures/pomf/pomf-2.3.0.jsonl"), &scene).await;
    scene.origin.stop().await;
}

/// The content that was on their lists.
async fn ban(scene: &Scene) {
    let banned: Sha1 = "8e658dee723ca9943c009794bab91f5b0e108cbb".parse().unwrap();
    let now = witness_origin::clock::now();
    scene.origin.db().write(move |db| witness_origin::db::bans::add(db, &banned.0, "a test", None, now)).await.unwrap();
}

/// What Uguu told that we tell, too: its keys are ours, beside Pomf's.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_read_uguu_find_what_they_read() {
    let scene = Scene::new().await;
    let recorded = read(include_str!("../../fixtures/pomf/uguu-1.9.8.jsonl"));
    let mut compared = 0;
    for exchange in recorded.iter().filter(|exchange| {
        ["ok-json-default", "dedupe-first", "dedupe-second-same-name"].contains(&exchange.case.as_str())
    }) {
        let theirs: Value = serde_json::from_str(&exchange.answer).unwrap();
        let ours = ask(scene.at(), exchange).await.json();
        let (theirs, ours) = (&theirs["files"][0], &ours["files"][0]);
        for (key, value) in theirs.as_object().unwrap() {
            let (a, b) = (&ours[key], value);
            assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{key}");
        }
        assert_eq!((&ours["dupe"], &ours["size"]), (&theirs["dupe"], &theirs["size"]));
        assert!(ours["url"].as_str().unwrap().ends_with(ours["filename"].as_str().unwrap()));
        compared += 1;
    }
    assert_eq!(compared, 3);
}
