//! How many small uploads a second are answered, each when it is on the disk, beside how often the disk can be synced.
//!
//! ```sh
//! cargo bench --package witness-origin --bench uploads
//! ```
//!
//! It uses the folder for temporary files; `TMPDIR` chooses another disk.

#![expect(clippy::unwrap_used, reason = "a benchmark may unwrap as tests do")]

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use witness_origin::clock::Stopwatch;
use witness_origin::config::Config;
use witness_origin::origin::Origin;

const SIZE: usize = 4096;
const CLIENTS: [usize; 3] = [1, 8, 32];
const LASTS: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("clients   uploads/s   commits/s   disk alone/s   uploads of disk alone   (medians of {ROUNDS})");
    for clients in CLIENTS {
        let (mut uploads, mut commits, mut disk, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let alone = disk_alone(clients);
            let (answered, committed) = runtime.block_on(answered(clients));
            uploads.push(answered);
            commits.push(committed);
            disk.push(alone);
            ratios.push(answered / alone);
        }
        println!(
            "{clients:7} {:11.0} {:11.0} {:14.0} {:23.2}",
            median(uploads),
            median(commits),
            median(disk),
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What an upload needs at least, without a server: a file, synced, and its folder, synced. So many threads at once.
fn disk_alone(threads: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    let since = Stopwatch::start();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (count, folder) = (&count, folder.path());
            scope.spawn(move || {
                for number in 0_u64.. {
                    if since.elapsed() > LASTS {
                        return;
                    }
                    write(folder, &format!("{thread}-{number}"));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    per_second(count.into_inner(), since.elapsed())
}

fn write(folder: &Path, name: &str) {
    let mut file = File::create_new(folder.join(name)).unwrap();
    file.write_all(&[7; SIZE]).unwrap();
    file.sync_data().unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

/// Uploads that were answered, and commits that they took, a second.
async fn answered(clients: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let text = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfiles_url = \"http://127.0.0.1\"\n\
                [store]\ndirectory = \"store\"\nmin_free = \"0B\"\n";
    let config = Config::parse(text, &folder.path().join("origin.toml")).unwrap();
    let origin = Origin::start(&config).await.unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let since = Stopwatch::start();
    let tasks: Vec<_> =
        (0..clients).map(|client| tokio::spawn(upload_many(origin.listen(), client, since, count.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let passed = since.elapsed();
    let (commits, _) = origin.db().commits();
    origin.stop().await;
    (per_second(count.load(Ordering::Relaxed), passed), per_second(commits, passed))
}

async fn upload_many(at: SocketAddr, client: usize, since: Stopwatch, count: Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut number = 0_u64;
    while since.elapsed() < LASTS {
        number += 1;
        let mut content = format!("{client} {number} ").into_bytes();
        content.resize(SIZE, b'x');
        let head = "--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a.txt\"\r\n\r\n";
        let form = [head.as_bytes(), &content, b"\r\n--b--\r\n"].concat();
        let request = format!(
            "POST /upload.php HTTP/1.1\r\nHost: files.example.com\r\nContent-Type: multipart/form-data; boundary=b\r\n\
             Content-Length: {}\r\n\r\n",
            form.len()
        );
        stream.write_all(&[request.as_bytes(), &form].concat()).await.unwrap();
        let mut answer = Vec::new();
        // The answer's JSON ends with a brace at the beginning of a line.
        while !answer.ends_with(b"\n}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: u64, passed: Duration) -> f64 {
    count as f64 / passed.as_secs_f64()
}
