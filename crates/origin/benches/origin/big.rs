//! One big upload, beside `sha256sum` and a copy of the same file that is synced.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use witness_origin::clock::Stopwatch;

use crate::server::{Server, form};
use crate::{Scale, median};

pub(crate) fn run(scale: Scale) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    fill(&file, scale.big);
    let (mut ours, mut hashing, mut copying, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..scale.rounds {
        let place = folder.path().join(format!("round-{round}"));
        std::fs::create_dir(&place).unwrap();
        let server = Server::start(&place);
        // In turn, so that neither has the better half of a disk's day.
        let theirs = |hashing: &mut Vec<f64>, copying: &mut Vec<f64>| {
            let hash = timed(Command::new("sha256sum").arg(&file));
            let copy = folder.path().join("copy");
            let copied = timed(Command::new("cp").arg(&file).arg(&copy)) + timed(Command::new("sync").arg(&copy));
            std::fs::remove_file(&copy).unwrap();
            hashing.push(hash);
            copying.push(copied);
            hash + copied
        };
        let (their, our);
        if round % 2 == 0 {
            their = theirs(&mut hashing, &mut copying);
            our = upload(&server, &file, scale.big);
        } else {
            our = upload(&server, &file, scale.big);
            their = theirs(&mut hashing, &mut copying);
        }
        ours.push(our);
        ratios.push(their / our);
        drop(server);
        std::fs::remove_dir_all(&place).unwrap();
    }
    println!("| one upload of {} MiB | s | its peers | s | ratio | aim |", scale.big >> 20);
    println!("|---|---|---|---|---|---|");
    println!(
        "| over loopback, answered when it is durable | {:.2} | sha256sum, then cp and sync | {:.2} + {:.2} | {:.2} | >= 0.80 |",
        median(ours),
        median(hashing),
        median(copying),
        median(ratios)
    );
}

/// Bytes that no disk makes smaller.
fn fill(path: &Path, length: u64) {
    let mut file = File::create(path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0_u8; 1 << 20];
    for _ in 0..length >> 20 {
        for eight in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            eight.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
}

fn timed(command: &mut Command) -> f64 {
    let since = Stopwatch::start();
    assert!(command.stdout(Stdio::null()).status().unwrap().success(), "{command:?}");
    since.elapsed().as_secs_f64()
}

fn upload(server: &Server, path: &Path, length: u64) -> f64 {
    let mut file = File::open(path).unwrap();
    let (head, after) = form(length);
    let since = Stopwatch::start();
    let mut stream = TcpStream::connect(server.at).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        stream.write_all(&piece[..read]).unwrap();
    }
    stream.write_all(after.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    since.elapsed().as_secs_f64()
}
