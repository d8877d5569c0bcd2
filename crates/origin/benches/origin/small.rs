//! How many small uploads a second are answered, each when it is on the disk, beside how often the disk can be synced.

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

use crate::server::Server;
use crate::{Scale, median};

const SIZE: usize = 4096;
const CLIENTS: [usize; 3] = [1, 8, 32];

pub(crate) fn run(scale: Scale) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| clients | uploads/s | commits/s | syncs of folders/s | the disk alone/s | ratio | aim |");
    println!("|---|---|---|---|---|---|---|");
    for clients in CLIENTS {
        let (mut uploads, mut commits, mut syncs, mut disk, mut ratios) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            let alone = disk_alone(clients, scale.lasts);
            let figures = runtime.block_on(answered(clients, scale.lasts));
            uploads.push(figures[0]);
            commits.push(figures[1]);
            syncs.push(figures[2]);
            disk.push(alone);
            ratios.push(figures[0] / alone);
        }
        println!(
            "| {clients} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | |",
            median(uploads),
            median(commits),
            median(syncs),
            median(disk),
            median(ratios)
        );
    }
}

/// What an upload needs at least, without a server: a file, synced, and its folder, synced. So many threads at once.
fn disk_alone(threads: usize, lasts: Duration) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    let since = Stopwatch::start();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (count, folder) = (&count, folder.path());
            scope.spawn(move || {
                for number in 0_u64.. {
                    if since.elapsed() > lasts {
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

/// Uploads that were answered, commits that they took, and syncs of folders, a second.
async fn answered(clients: usize, lasts: Duration) -> [f64; 3] {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let count = Arc::new(AtomicU64::new(0));
    let since = Stopwatch::start();
    let tasks: Vec<_> =
        (0..clients).map(|client| tokio::spawn(upload_many(server.at, client, since, lasts, count.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let passed = since.elapsed().as_secs_f64();
    let uploads = per_second(count.load(Ordering::Relaxed), since.elapsed());
    [uploads, server.figure("commits_total") / passed, server.figure("folder_syncs_total") / passed]
}

async fn upload_many(at: SocketAddr, client: usize, since: Stopwatch, lasts: Duration, count: Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut number = 0_u64;
    while since.elapsed() < lasts {
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
