//! Drives a browser by its WebDriver: <https://www.w3.org/TR/webdriver2/>.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use witness_lab::process::{Guard, signal, wait_until, which};

/// For whatever a page does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The key under which an element's id is told.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct Browser {
    port: u16,
    session: String,
    /// The browser's own process, where chromedriver tells it.
    pid: Option<u32>,
    /// Ends the browser, too.
    _driver: Guard,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Whether there is one.
    pub(crate) fn is_there() -> bool {
        which("chromium").is_some() && which("chromedriver").is_some()
    }

    pub(crate) fn start() -> Self {
        let port = witness_lab::ports::free();
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(which("chromedriver").unwrap());
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Guard::start(&mut command).unwrap();
        let mut browser = Self { port, session: String::new(), pid: None, _driver: driver, _profile: profile };
        assert!(
            wait_until(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok()),
            "chromedriver does not listen"
        );
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1000,900",
            format!("--user-data-dir={}", browser._profile.path().display()),
        ]);
        let options = json!({ "binary": which("chromium").unwrap(), "args": arguments });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let made = browser.ask("POST", "", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.pid = made["capabilities"]["goog:processID"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        browser.session = format!("/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} /session{}{path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.session,
            self.port,
            body.len()
        )
        .unwrap();
        let text = body_of(stream);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(value["value"]["error"].is_null(), "{method} {path}: {}", value["value"]);
        value["value"].clone()
    }

    pub(crate) fn go(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// What an expression is, after its promise was kept.
    pub(crate) fn value(&self, expression: &str) -> Value {
        let script = format!("return (async () => ({expression}))()");
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&self, expression: &str) {
        let held = wait_until(PATIENCE, || self.value(expression).as_bool() == Some(true));
        assert!(held, "{expression}: {}", self.value("document.body.innerText"));
    }

    fn element(&self, css: &str) -> String {
        let found = self.ask("POST", "/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    pub(crate) fn click(&self, css: &str) {
        self.ask("POST", &format!("/element/{}/click", self.element(css)), &json!({}));
    }

    pub(crate) fn keys(&self, css: &str, text: &str) {
        self.ask("POST", &format!("/element/{}/value", self.element(css)), &json!({ "text": text }));
    }

    /// What those who do not see the page are told that an element is called.
    pub(crate) fn label(&self, css: &str) -> String {
        self.ask("GET", &format!("/element/{}/computedlabel", self.element(css)), &Value::Null)
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A command of the browser's own protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the page had to complain about, policies that were broken among it.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().unwrap().iter().filter(|line| line["level"] == "SEVERE");
        // Browsers ask for it by themselves.
        let texts = lines.map(|line| line["message"].as_str().unwrap().to_owned());
        texts.filter(|text| !text.contains("/favicon.ico")).collect()
    }

    /// Takes a picture of the whole page.
    pub(crate) fn picture(&self, path: &Path) {
        let shot = self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, base64(shot["data"].as_str().unwrap())).unwrap();
    }
}

/// It keeps the connection open, whatever it is asked to do.
fn body_of(stream: TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap()
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A test that failed must not fail twice; but the browser has to go, too.
        let _ = catch_unwind(AssertUnwindSafe(|| self.ask("DELETE", "", &Value::Null)));
        if let Some(pid) = self.pid {
            let gone = || !Path::new(&format!("/proc/{pid}")).exists();
            if !wait_until(Duration::from_secs(10), gone) {
                signal(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}
