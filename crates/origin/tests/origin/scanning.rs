//! A scanner for viruses, which may be away, silent or wrong. A stand-in speaks as clamd does.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::client::{ask, get};
use crate::{Scene, form, many, path, post, upload};

/// In pieces, so that nobody's scanner takes this file for one.
const EICAR: &str = concat!("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*");

const HONEST: u8 = 0;
const SILENT: u8 = 1;
const BROKEN: u8 = 2;
const FULL: u8 = 3;

/// Answers until the socket is gone.
fn stand_in(socket: &Path) -> Arc<AtomicU8> {
    let manner = Arc::new(AtomicU8::new(HONEST));
    let (listener, how) = (UnixListener::bind(socket).unwrap(), manner.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), manner) = (stream, how.load(Ordering::SeqCst)) else { return };
            std::thread::spawn(move || scan(stream, manner));
        }
    });
    manner
}

fn scan(mut stream: UnixStream, manner: u8) {
    if manner == FULL {
        let _ = stream.write_all(b"INSTREAM size limit exceeded. ERROR\0");
        return;
    }
    let mut command = [0; 10];
    stream.read_exact(&mut command).unwrap();
    assert_eq!(&command, b"zINSTREAM\0");
    let mut content = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            break;
        }
        let start = content.len();
        content.resize(start + length, 0);
        stream.read_exact(&mut content[start..]).unwrap();
    }
    match manner {
        // Until the other side has had enough.
        SILENT => drop(stream.read(&mut [0; 1])),
        BROKEN => {}
        _ => {
            let is_virus = content.windows(EICAR.len()).any(|part| part == EICAR.as_bytes());
            let answer: &[u8] = if is_virus { b"stream: Eicar-Signature FOUND\0" } else { b"stream: OK\0" };
            let _ = stream.write_all(answer);
        }
    }
}

async fn scene(socket: &Path, more: &str) -> Scene {
    Scene::with(&format!("[scan]\nclamd = {:?}\ntimeout = \"1s\"\n{more}", socket.to_str().unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scanner_finds_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clamd.ctl");
    let _manner = stand_in(&socket);
    let scene = scene(&socket, "").await;
    let clean = upload(scene.at(), "a.txt", b"something").await;
    assert_eq!(get(scene.at(), &path(&clean["url"]), &[]).await.status, 200);
    let large = vec![b'x'; 3 << 20];
    upload(scene.at(), "b.txt", &large).await;
    upload(scene.at(), "empty", b"").await;
    for content in [EICAR.as_bytes().to_vec(), [&large[..], EICAR.as_bytes(), &large[..500_000]].concat()] {
        let answer = post(scene.at(), "/upload.php", &form("c.txt", &content)).await;
        assert_eq!(answer.status, 415);
        assert_eq!(answer.json()["description"], "There is a virus in this file");
    }
    // All files of a request, or none.
    let mixed = many(&[("files[]", "d.txt", b"clean"), ("files[]", "e.txt", EICAR.as_bytes())]);
    assert_eq!(post(scene.at(), "/upload.php", &mixed).await.status, 415);
    // In parts, too, and then nothing is left of it.
    let fields =
        [("tus-resumable", "1.0.0"), ("upload-length", "68"), ("content-type", "application/offset+octet-stream")];
    assert_eq!(ask(scene.at(), "POST", "/resumable", &fields, EICAR).await.status, 415);
    assert_eq!(
        (scene.files("objects").len(), scene.files("incoming").len(), scene.files("resumable").len()),
        (3, 0, 0)
    );
    assert_eq!(scene.origin.metrics().infected_files.get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_scanner_it_is_refused_or_kept_as_was_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clamd.ctl");
    let refusing = scene(&socket, "").await;
    let keeping = scene(&socket, "on_failure = \"keep\"\n").await;
    let both = async |what: &str, content: &[u8]| {
        let refused = post(refusing.at(), "/upload.php", &form("a.txt", content)).await;
        assert_eq!((refused.status, refused.field("retry-after").as_str()), (503, "60"), "{what}");
        let kept = upload(keeping.at(), "a.txt", content).await;
        assert_eq!(get(keeping.at(), &path(&kept["url"]), &[]).await.body, content, "{what}");
    };
    both("nobody listens", b"one").await;
    let manner = stand_in(&socket);
    for (what, how) in [("silent", SILENT), ("broken", BROKEN), ("full", FULL)] {
        manner.store(how, Ordering::SeqCst);
        both(what, what.as_bytes()).await;
    }
    // So large that it hangs up before all was sent.
    both("full", &vec![b'x'; 3 << 20]).await;
    manner.store(HONEST, Ordering::SeqCst);
    upload(refusing.at(), "a.txt", b"one").await;
    assert_eq!((refusing.files("objects").len(), keeping.files("objects").len()), (1, 5));
    assert_eq!(refusing.files("incoming"), [""; 0]);
    assert_eq!(refusing.origin.metrics().unscanned_files.get(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_be_looked_at_is_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clamd.ctl");
    let _manner = stand_in(&socket);
    let scene = scene(&socket, "max_size = \"1MiB\"\n").await;
    upload(scene.at(), "a.bin", &vec![b'x'; 1 << 20]).await;
    assert_eq!(post(scene.at(), "/upload.php", &form("b.bin", &vec![b'x'; (1 << 20) + 1])).await.status, 503);
}
