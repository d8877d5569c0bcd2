//! Other people's programs against ours: clients that upload, and a scanner that looks at what they send. What they need
//! is installed by `cargo xtask origin-clients`, in the folder that `WITNESS_CLIENTS` names.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until};

/// In pieces, so that nobody's scanner takes this file for one.
const EICAR: &str = concat!("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*");

/// A running origin.
struct Scene {
    folder: tempfile::TempDir,
    at: SocketAddr,
    _process: Guard,
}

impl Scene {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
        let admin = witness_lab::ports::free();
        let config = format!(
            "[server]\nlisten = \"{at}\"\nadmin_listen = \"127.0.0.1:{admin}\"\nfiles_url = \"http://{at}\"\n\
             [store]\ndirectory = \"store\"\nmin_free = \"0B\"\n{more}"
        );
        let path = folder.path().join("origin.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness-origin"));
        let process = Guard::start(command.args(["run", "--config"]).arg(&path)).unwrap();
        assert!(wait_until(Duration::from_secs(60), || TcpStream::connect(at).is_ok()), "it does not listen");
        Self { folder, at, _process: process }
    }

    /// A file with so many bytes.
    fn file(&self, name: &str, length: u32) -> (PathBuf, Vec<u8>) {
        let content: Vec<u8> = (0..length).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let path = self.folder.path().join(name);
        std::fs::write(&path, &content).unwrap();
        (path, content)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// What is told is a URL, and what is there is what was sent.
    fn check(&self, told: &str, content: &[u8]) {
        let start = told.find(&self.url("/")).unwrap_or_else(|| panic!("there is no URL in {told}"));
        let url: String = told[start..].chars().take_while(|c| !c.is_whitespace() && !"\"<,\\".contains(*c)).collect();
        let got = Command::new("curl").args(["-sS", "--fail", &url]).output().unwrap();
        assert!(got.status.success() && got.stdout == content, "{url}: {}", String::from_utf8_lossy(&got.stderr));
    }
}

/// What a program says; it has to succeed.
fn says(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}\n{complained}");
    said.replace("\\/", "/")
}

/// Where programs are that were installed for this.
fn clients() -> PathBuf {
    std::env::var_os("WITNESS_CLIENTS").expect("cargo xtask origin-clients says where clients are").into()
}

fn python(script: &str) -> Command {
    let mut command = Command::new(clients().join("python/bin/python"));
    command.args(["-c", script]);
    command
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.current_dir(clients().join("node")).args(["--input-type=module", "-e", script]);
    command
}

#[test]
#[ignore = "needs other people's programs; cargo xtask origin-clients"]
fn clients_that_send_forms() {
    let scene = Scene::start("");
    let (path, content) = scene.file("a picture.bin", 700_000);
    let (file, url) = (path.to_str().unwrap(), scene.url("/upload.php"));
    scene.check(&says(Command::new("curl").args(["-sS", "-F", &format!("files[]=@{file}"), &url])), &content);
    scene.check(&says(Command::new("curl").args(["-sS", "-T", file, &scene.url("/")])), &content);
    // wget cannot make forms, so scripts make them for it.
    let form = scene.folder.path().join("form");
    let head = b"--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a.bin\"\r\n\r\n";
    std::fs::write(&form, [head.as_slice(), &content, b"\r\n--b--\r\n"].concat()).unwrap();
    let posts =
        [format!("--post-file={}", form.display()), "--header=Content-Type: multipart/form-data; boundary=b".into()];
    scene.check(&says(Command::new("wget").args(["-q", "-O", "-"]).args(&posts).arg(&url)), &content);
    let http = clients().join("python/bin/http");
    let told = says(Command::new(http).args(["--ignore-stdin", "--body", "--form", &url, &format!("files[]@{file}")]));
    scene.check(&told, &content);
    let script = "import sys, requests; print(requests.post(sys.argv[1], \
        files=[('files[]', open(sys.argv[2], 'rb'))]).json()['files'][0]['url'])";
    scene.check(&says(python(script).args([&url, file])), &content);
    let script = "import fs from 'fs'; const form = new FormData(); \
        form.append('files[]', new Blob([fs.readFileSync(process.argv[2])]), 'a.bin'); \
        const answer = await fetch(process.argv[1], { method: 'POST', body: form }); \
        console.log((await answer.json()).files[0].url)";
    scene.check(&says(node(script).args([&url, file])), &content);
}

#[test]
#[ignore = "needs other people's programs; cargo xtask origin-clients"]
fn clients_that_send_parts() {
    let scene = Scene::start("");
    let (path, content) = scene.file("parts.bin", 3_000_000);
    let (file, url) = (path.to_str().unwrap(), scene.url("/resumable"));
    // tuspy, with checksums; another run goes on where the first one ended.
    let script = "import sys; from tusclient import client\n\
        def uploader(url=None): return client.TusClient(sys.argv[1]).uploader(sys.argv[2], chunk_size=400000, \
        metadata={'filename': 'parts.bin'}, upload_checksum=True, url=url)\n\
        first = uploader(); first.upload_chunk(); first.upload_chunk()\n\
        second = uploader(first.url); assert second.offset == 800000, second.offset\n\
        second.upload(); print(second.url)";
    let told = says(python(script).args([&url, file]));
    scene.check(&says(Command::new("curl").args(["-sS", told.trim()])), &content);
    // tus-js-client: in parts, without a length, and broken off in between.
    let script = "import fs from 'fs'; import { Upload } from 'tus-js-client'; \
        const [, url, file] = process.argv; const size = fs.statSync(file).size; \
        const upload = (options) => new Promise((done, failed) => { let upload; let broken = false; \
        upload = new Upload(fs.createReadStream(file), { endpoint: url, chunkSize: 500000, \
        metadata: { filename: 'parts.bin' }, onError: failed, onSuccess: (end) => done(end?.lastResponse?.getHeader('X-Url') ?? upload.url), \
        ...options }); upload.start() }); \
        for (const options of [{ uploadSize: size }, { uploadLengthDeferred: true }, \
        { uploadSize: size, uploadDataDuringCreation: true }]) console.log(await upload(options));";
    let told = says(node(script).args([&url, file]));
    assert_eq!(told.lines().count(), 3, "{told}");
    for line in told.lines() {
        let told =
            if line.contains("/resumable/") { says(Command::new("curl").args(["-sS", line])) } else { line.into() };
        scene.check(&told, &content);
    }
}

#[test]
#[ignore = "needs other people's programs; cargo xtask origin-clients"]
fn clamd_finds_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    // The smallest database there is: one signature, by its MD5 and length.
    std::fs::write(folder.path().join("own.hdb"), "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n")
        .unwrap();
    let socket = folder.path().join("clamd.ctl");
    let config = folder.path().join("clamd.conf");
    let text = format!(
        "LocalSocket {}\nDatabaseDirectory {}\nForeground yes\nStreamMaxLength 1M\n",
        socket.display(),
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("clamd");
    let _clamd = Guard::start(command.arg("-c").arg(&config).stdout(Stdio::null())).unwrap();
    assert!(wait_until(Duration::from_secs(120), || socket.exists()), "clamd does not start");
    let scene = Scene::start(&format!("[scan]\nclamd = {:?}\nmax_size = \"10MiB\"\n", path_text(&socket)));
    let post = |content: &[u8]| {
        let file = scene.folder.path().join("sent");
        std::fs::write(&file, content).unwrap();
        let form = format!("files[]=@{};filename=a.bin", file.display());
        let more = ["-w", "\n%{http_code}", "-F", &form, &scene.url("/upload.php")];
        says(Command::new("curl").arg("-sS").args(more))
    };
    scene.check(&post(b"harmless"), b"harmless");
    let told = post(EICAR.as_bytes());
    assert!(told.contains("There is a virus in this file") && told.ends_with("\n415"), "{told}");
    // Larger than what clamd wants to hear.
    let told = post(&vec![b'x'; 3 << 20]);
    assert!(told.ends_with("\n503"), "{told}");
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
