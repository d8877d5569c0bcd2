//! Copies files into the store, several at once: each waits for the disk by itself.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::source::Told;
use super::{Wanted, Wish};
use crate::db::links::Publication;
use crate::rules;
use crate::store::{Staged, Store, StoreError};

/// Files that are copied at once.
const THREADS: usize = 8;
/// What is read at once.
const PIECE: usize = 256 << 10;

/// A file that is on our disk, and not yet in its place.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) staged: Staged,
    kind: String,
    xxh3: u64,
}

/// Why a file is not.
#[derive(Debug)]
pub(super) enum BringError {
    /// Our disk: nothing more can be brought.
    Store(StoreError),
    /// The file itself.
    Read(String),
}

impl From<StoreError> for BringError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Copies all of them, in no order. Blocks.
pub(super) fn all(store: &Store, wishes: Vec<Wish>) -> Vec<(Wish, Result<Brought, BringError>)> {
    let share = wishes.len().div_ceil(THREADS).max(1);
    let shares: Vec<Vec<Wish>> = wishes.chunks(share).map(<[Wish]>::to_vec).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || {
                    let bring = |wish: Wish| {
                        let done = one(store, &wish.path, wish.name.as_str());
                        (wish, done)
                    };
                    share.into_iter().map(bring).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

fn one(store: &Store, path: &Path, name: &str) -> Result<Brought, BringError> {
    let read = |error: std::io::Error| BringError::Read(error.to_string());
    let mut file = File::open(path).map_err(read)?;
    let mut room = store.reserve(file.metadata().map_err(read)?.len())?;
    let mut staging = store.stage();
    let mut xxh3 = XxHash3_64::new();
    loop {
        let mut piece = vec![0; PIECE];
        let length = file.read(&mut piece).map_err(read)?;
        if length == 0 {
            break;
        }
        piece.truncate(length);
        xxh3.write(&piece);
        room.written(length as u64)?;
        staging.write(&[Bytes::from(piece)])?;
    }
    let staged = staging.finish()?;
    let read_at = |buffer: &mut [u8], at: u64| staged.read_at(buffer, at);
    let kinds = rules::kinds(name, &staged.head, staged.size, &read_at);
    Ok(Brought { kind: kinds.kind, staged, xxh3: xxh3.finish() })
}

impl Brought {
    /// What is not as its row says.
    pub(super) fn differs(&self, wish: &Wish) -> Option<String> {
        if let Some(size) = wish.row.size
            && size != self.staged.size
        {
            return Some(format!("its row says {size} bytes, and it has {}", self.staged.size));
        }
        let is_same = match wish.row.hash {
            Told::Sha1(sha1) => sha1 == self.staged.sha1,
            Told::Xxh3(hash) => hash == self.xxh3,
            Told::Nothing => true,
        };
        (!is_same).then(|| "its row has another hash".to_owned())
    }

    pub(super) fn publication(&self, wish: &Wish, wanted: &Wanted) -> Publication {
        let called = wish.row.original.as_deref().map(|text| rules::clean(text.as_bytes())).filter(|it| !it.is_empty());
        Publication {
            sha256: self.staged.sha256,
            sha1: self.staged.sha1,
            md5: self.staged.hashes().md5,
            size: self.staged.size,
            kind: self.kind.clone(),
            original: called.unwrap_or_else(|| wish.name.to_string()),
            address: wish.row.address.clone().filter(|_| wanted.addresses),
            expires: wish.expires,
            max_views: None,
            shared: wanted.shared,
            token: None,
        }
    }
}
