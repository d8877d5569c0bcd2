//! What two hundred uploads at once take of memory.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Scale;
use crate::server::{Server, form};

const CLIENTS: usize = 200;
const PIECE: usize = 64 << 10;

pub(crate) fn run(scale: Scale) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let before = server.peak_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let uploads: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(upload(server.at, client, scale.each))).collect();
        for upload in uploads {
            upload.await.unwrap();
        }
    });
    println!("| {CLIENTS} uploads of {} MiB at once | peak MB | aim |", scale.each >> 20);
    println!("|---|---|---|");
    println!("| before | {before:.0} | |");
    println!("| with them | {:.0} | < 100 |", server.peak_memory());
}

/// Slow enough that all are there at once.
async fn upload(at: SocketAddr, client: usize, length: usize) {
    let (head, after) = form(length as u64);
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut piece = vec![b'x'; PIECE];
    piece[..8].copy_from_slice(&client.to_le_bytes());
    for _ in 0..length / PIECE {
        stream.write_all(&piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream.write_all(after.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
