//! The pages in a real browser: `cargo xtask origin-browser`.
//!
//! Pictures of them are in `target/origin-browser` afterwards.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod driver;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use driver::{Browser, PATIENCE};
use serde_json::{Value, json};
use witness_lab::process::wait_until;
use witness_origin::config::Config;
use witness_origin::origin::Origin;

const TOKEN: &str = "a-token-of-these-tests";

struct Scene {
    origin: Origin,
    browser: Browser,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Option<Self> {
        if !Browser::is_there() {
            witness_lab::skip(
                "pages in a browser",
                "chromium and chromedriver are not installed (Debian packages chromium, chromium-driver)",
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let port = witness_lab::ports::free();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\nadmin_listen = \"127.0.0.1:0\"\nadmin_token_file = \"token\"\n\
             files_url = \"http://127.0.0.1:{port}\"\n[store]\ndirectory = \"store\"\nmin_free = \"0B\"\n\
             [upload]\nmax_size = \"4MiB\"\n"
        );
        let config = Config::parse(&text, &folder.path().join("origin.toml")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let origin = runtime.block_on(Origin::start(&config)).unwrap();
        Some(Self { origin, browser: Browser::start(), folder, runtime })
    }

    fn open(&self) {
        self.browser.go(&format!("http://{}/", self.origin.listen()));
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Files in a folder of the store.
    fn files(&self, folder: &str) -> usize {
        fn count(folder: PathBuf) -> usize {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(path) } else { 1 }).sum()
        }
        count(self.folder.path().join("store").join(folder))
    }

    /// What is behind each link of the page.
    fn contents(&self) -> Vec<String> {
        let all = "Promise.all([...document.querySelectorAll('li .told a[rel]:first-child')].map(async (a) => (await fetch(a.href)).text()))";
        let texts = self.browser.value(all);
        texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    fn slow(&self, bytes_a_second: i64) {
        self.browser.devtools("Network.enable", &json!({}));
        let conditions =
            json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second });
        self.browser.devtools("Network.emulateNetworkConditions", &conditions);
    }

    fn picture(&self, name: &str) {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
        self.browser.picture(&target.join("origin-browser").join(format!("{name}.png")));
    }

    fn end(self) {
        assert_eq!(self.browser.complaints(), [""; 0]);
        drop(self.browser);
        self.runtime.block_on(self.origin.stop());
    }
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn files_are_chosen_dropped_and_pasted() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    scene.open();
    let chosen = [scene.file("one.txt", b"one"), scene.file("two.txt", b"two")].join("\n");
    browser.keys("input[type=file]", &chosen);
    browser.wait("document.querySelector('[role=status]').textContent === '2 uploaded'");
    browser.value(
        "(() => { const data = new DataTransfer(); data.items.add(new File(['dropped'], 'three.txt')); \
         for (const what of ['dragenter', 'dragover', 'drop']) \
         document.body.dispatchEvent(new DragEvent(what, { dataTransfer: data, bubbles: true, cancelable: true })); })()",
    );
    browser.wait("document.querySelector('[role=status]').textContent === '3 uploaded'");
    assert_eq!(browser.value("document.body.classList.contains('over')"), false);
    browser.value(
        "(() => { const data = new DataTransfer(); data.items.add(new File(['picture'], 'image.png')); \
         document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, cancelable: true })); \
         const text = new DataTransfer(); text.setData('text/plain', 'written'); \
         document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: text, cancelable: true })); })()",
    );
    browser.wait("document.querySelector('[role=status]').textContent === '5 uploaded'");
    assert_eq!(scene.contents(), ["one", "two", "dropped", "picture", "written"]);
    scene.picture("uploaded");
    scene.end();
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn links_are_copied_one_or_all() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    scene.open();
    let wanted = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", &wanted);
    browser.keys("input[type=file]", &[scene.file("one.txt", b"one"), scene.file("two.txt", b"two")].join("\n"));
    browser.wait("document.querySelector('[role=status]').textContent === '2 uploaded'");
    let links = browser.value("[...document.querySelectorAll('li .told a:first-child')].map((a) => a.href)");
    browser.click("li:nth-child(2) .copy");
    browser.wait("document.querySelector('li:nth-child(2) .copy').textContent === 'Copied'");
    assert_eq!(browser.value("navigator.clipboard.readText()"), links[1]);
    browser.click("[data-copy-all]");
    browser.wait("document.querySelector('[data-copy-all]').textContent === 'Copied'");
    let both = format!("{}\n{}", links[0].as_str().unwrap(), links[1].as_str().unwrap());
    assert_eq!(browser.value("navigator.clipboard.readText()"), both);
    browser.click("[data-clear]");
    browser.wait("document.querySelectorAll('li').length === 0 && document.querySelector('[data-all]').hidden");
    scene.end();
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn progress_is_seen_and_what_is_cancelled_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    scene.open();
    scene.slow(100_000);
    browser.keys("input[type=file]", &scene.file("big.bin", &vec![b'x'; 3 << 20]));
    browser.wait("document.querySelector('li progress').value > 0 && document.querySelector('li progress').value < 1");
    scene.picture("progress");
    browser.click("li .cancel");
    browser.wait("document.querySelectorAll('li').length === 0");
    scene.slow(-1);
    assert!(wait_until(PATIENCE, || scene.files("incoming") == 0), "something is left of what was being received");
    assert_eq!(scene.files("objects"), 0);
    browser.keys("input[type=file]", &scene.file("small.txt", b"small"));
    browser.wait("document.querySelector('[role=status]').textContent === '1 uploaded'");
    scene.end();
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn what_is_not_taken_is_told_beside_its_name() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    scene.open();
    let chosen =
        [scene.file("a.exe", b"x"), scene.file("big.bin", &vec![b'x'; 5 << 20]), scene.file("good.txt", b"good")];
    browser.keys("input[type=file]", &chosen.join("\n"));
    browser.wait("document.querySelector('[role=status]').textContent === '1 uploaded, 2 failed'");
    let told = browser.value("[...document.querySelectorAll('.told')].map((p) => p.textContent)");
    assert_eq!((&told[0], &told[1]), (&json!("Filetype not allowed."), &json!("larger than 4.0 MiB")));
    assert_eq!(browser.value("[...document.querySelectorAll('.again')].every((b) => b.hidden)"), true);
    // A name is a text, whatever is in it.
    browser.value(
        "(() => { const data = new DataTransfer(); data.items.add(new File(['x'], '<img src=x onerror=alert(1)>.txt')); \
         document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); })()",
    );
    browser.wait("document.querySelector('[role=status]').textContent === '2 uploaded, 2 failed'");
    assert_eq!(browser.value("document.querySelectorAll('li img').length"), 0);
    scene.picture("refused");
    // Of the refusal, the browser says so itself.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|line| line.contains("415")), "{complaints:?}");
    scene.end();
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn without_scripts_it_is_a_form() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    scene.open();
    scene.picture("plain");
    browser.keys("input[type=file]", &[scene.file("one.txt", b"one"), scene.file("two.txt", b"two")].join("\n"));
    browser.click("form button");
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": false }));
    browser.wait("document.querySelectorAll('a').length === 2");
    browser.click("a");
    browser.wait("document.body.innerText.trim() === 'one'");
    scene.end();
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn it_can_be_read_by_day_and_by_night_and_heard() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    let contrast = "(() => { \
        const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map((c) => c / 255) \
          .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; \
        const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; \
          if (!c.startsWith('rgba(0, 0, 0, 0')) return c; } return 'rgb(255, 255, 255)'; }; \
        const texts = [...document.querySelectorAll('body *')].filter((e) => e.offsetParent && \
          [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())); \
        return Math.min(...texts.map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x); \
          return (a + 0.05) / (b + 0.05); })); })()";
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", &media);
        scene.open();
        browser.keys("input[type=file]", &[scene.file("one.txt", b"one"), scene.file("a.exe", b"x")].join("\n"));
        browser.wait("document.querySelector('[role=status]').textContent === '1 uploaded, 1 failed'");
        let paper = browser.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]");
        assert_eq!(paper.as_u64().unwrap() < 128, is_dark, "{scheme}");
        let lowest = browser.value(contrast).as_f64().unwrap();
        assert!(lowest >= 4.5, "{scheme}: the lowest contrast of a text is {lowest}");
        scene.picture(scheme);
    }
    for (css, expected) in [
        ("select", "Keep"),
        ("input[type=checkbox]", "Gone after one download"),
        ("input[type=file]", "Choose files"),
        ("li progress", "Progress of one.txt"),
        ("li .copy", "Copy link"),
    ] {
        // What is hidden has no name; the bar is, once it has done its work.
        if css.contains("progress") {
            assert_eq!(browser.value("document.querySelector('li progress').getAttribute('aria-label')"), expected);
        } else {
            assert!(browser.label(css).contains(expected), "{css} is called {:?}", browser.label(css));
        }
    }
    // All of it can be reached without a mouse.
    browser.value("document.activeElement.blur()");
    let mut reached = Vec::new();
    for _ in 0..12 {
        browser.devtools(
            "Input.dispatchKeyEvent",
            &json!({ "type": "keyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 }),
        );
        browser.devtools(
            "Input.dispatchKeyEvent",
            &json!({ "type": "keyUp", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 }),
        );
        reached.push(browser.value("document.activeElement.tagName + (document.activeElement.type || '')"));
    }
    for wanted in ["SELECTselect-one", "INPUTcheckbox", "INPUTfile", "BUTTONbutton", "A"] {
        assert!(reached.contains(&Value::from(wanted)), "{wanted} is not among {reached:?}");
    }
    // On a telephone nothing is cut off.
    browser.devtools(
        "Emulation.setDeviceMetricsOverride",
        &json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true }),
    );
    assert_eq!(browser.value("document.documentElement.scrollWidth <= window.innerWidth"), true);
    scene.picture("telephone");
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|line| line.contains("415")), "{complaints:?}");
    scene.end();
}

#[test]
#[ignore = "it needs a browser: cargo xtask origin-browser"]
fn the_admin_page_works_by_forms_alone() {
    let Some(scene) = Scene::new() else { return };
    let browser = &scene.browser;
    scene.open();
    browser.keys("input[type=file]", &[scene.file("one.txt", b"one"), scene.file("two.txt", b"two")].join("\n"));
    browser.wait("document.querySelector('[role=status]').textContent === '2 uploaded'");
    let link = browser.value("document.querySelector('li .told a').href");
    browser.go(&format!("http://{}/admin", scene.origin.admin()));
    browser.keys("#token", "wrong");
    browser.click("button.main");
    browser.wait("document.body.innerText.includes('This is not the token.')");
    browser.keys("#token", TOKEN);
    browser.click("button.main");
    browser.wait("document.querySelectorAll('tbody tr').length === 2");
    assert_eq!(browser.value("document.cookie"), "", "no script sees the session");
    scene.picture("admin");
    browser.keys("input[type=search]", "one.txt\u{e007}");
    browser.wait("document.querySelectorAll('tbody tr').length === 1");
    browser.click("tbody a");
    browser.wait("document.body.innerText.includes('SHA-256')");
    scene.picture("admin-show");
    browser.keys("form[action='/admin/ban'] input[name=reason]", "spam");
    browser.click("form[action='/admin/ban'] button");
    browser.wait("document.body.innerText.includes('1 content is banned.')");
    browser.go(link.as_str().unwrap());
    browser.wait("document.body.innerText.includes('this is not to be seen')");
    browser.go(&format!("http://{}/admin", scene.origin.admin()));
    browser.click("tbody tr:last-child input[type=checkbox]");
    browser.click("button.grave");
    browser.wait("document.body.innerText.includes('1 name was removed.')");
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.devtools("Emulation.setEmulatedMedia", &dark);
    scene.picture("admin-dark");
    browser.click("nav form button");
    browser.wait("document.querySelector('#token') !== null");
    let complaints = browser.complaints();
    let expected = |line: &String| ["401", "403", "451"].iter().any(|status| line.contains(status));
    assert!(complaints.iter().all(expected), "{complaints:?}");
    scene.end();
}
