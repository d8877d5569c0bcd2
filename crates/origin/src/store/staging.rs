//! What is being received.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use bytes::Bytes;
use md5::Digest as _;

use super::StoreError;
use crate::crash;
use crate::model::{Hashes, Md5, Sha1, Sha256};

/// How much of the beginning is kept to be looked at.
pub const HEAD: usize = 64 << 10;

/// A file that is being received. Dropped, it leaves nothing.
pub struct Staging {
    part: Part,
    file: Option<File>,
    hashing: Hashing,
    size: u64,
    head: Vec<u8>,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("part", &self.part).field("size", &self.size).finish_non_exhaustive()
    }
}

/// A file that was received whole, and is on the disk. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    part: Part,
    file: File,
    /// Of all of it.
    pub sha256: Sha256,
    /// Of all of it.
    pub sha1: Sha1,
    /// Of all of it.
    pub md5: Md5,
    /// In bytes.
    pub size: u64,
    /// Its beginning, [`HEAD`] bytes at most.
    pub head: Vec<u8>,
}

/// A path that is removed with its value.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    exists: bool,
}

/// All hashes at once.
struct Hashing {
    sha256: Context,
    sha1: Context,
    md5: md5::Md5,
}

impl Hashing {
    fn new() -> Self {
        Self { sha256: Context::new(&SHA256), sha1: Context::new(&SHA1_FOR_LEGACY_USE_ONLY), md5: md5::Md5::new() }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha1.update(bytes);
        self.md5.update(bytes);
    }

    fn finish(self) -> Hashes {
        Hashes {
            sha256: Sha256(self.sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")),
            sha1: Sha1(self.sha1.finish().as_ref().try_into().expect("SHA-1 has 20 bytes")),
            md5: Md5(self.md5.finalize().into()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.exists
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "failed to remove what was being received");
        }
    }
}

impl Staging {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { part: Part { path, exists: false }, file: None, hashing: Hashing::new(), size: 0, head: Vec::new() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes in what has come. Blocks.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn write(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        if self.file.is_none() {
            self.create()?;
        }
        let mut file = self.file.as_ref().expect("made above");
        for chunk in chunks {
            file.write_all(chunk).map_err(|error| StoreError::new("failed to write what is received", error))?;
            self.hashing.update(chunk);
            self.size += chunk.len() as u64;
            let room = HEAD.saturating_sub(self.head.len());
            self.head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        crash::point("received");
        Ok(())
    }

    /// What was received so far, for those who read it meanwhile. Blocks.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn share(&mut self) -> Result<File, StoreError> {
        if self.file.is_none() {
            self.create()?;
        }
        let file = self.file.as_ref().expect("made above");
        file.try_clone().map_err(|error| StoreError::new("failed to share what is received", error))
    }

    fn create(&mut self) -> Result<(), StoreError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.part.path);
        self.file = Some(file.map_err(|error| StoreError::new("failed to begin to receive", error))?);
        self.part.exists = true;
        Ok(())
    }

    /// That was all: what was received is on the disk, though not yet in its place. Blocks.
    ///
    /// # Errors
    ///
    /// When the disk did not take it.
    pub fn finish(mut self) -> Result<Staged, StoreError> {
        if self.file.is_none() {
            self.create()?;
        }
        let file = self.file.take().expect("made above");
        crash::point("syncing");
        file.sync_data().map_err(|error| StoreError::new("failed to sync what was received", error))?;
        crash::point("synced");
        Ok(Staged::new(self.part, file, self.hashing, self.size, self.head))
    }
}

impl Staged {
    fn new(part: Part, file: File, hashing: Hashing, size: u64, head: Vec<u8>) -> Self {
        let Hashes { sha256, sha1, md5 } = hashing.finish();
        Self { part, file, sha256, sha1, md5, size, head }
    }

    /// What is there already at `from`, under another name, too: whatever becomes of this one, that stays. All of it is
    /// read. Blocks.
    pub(super) fn link(from: &Path, path: PathBuf) -> Result<Self, StoreError> {
        let fail = |error| StoreError::new("failed to read what was received", error);
        std::fs::hard_link(from, &path).map_err(fail)?;
        let part = Part { path, exists: true };
        let file = File::open(&part.path).map_err(fail)?;
        file.sync_data().map_err(fail)?;
        let (mut hashing, mut size, mut head) = (Hashing::new(), 0_u64, Vec::new());
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read_at(&mut buffer, size).map_err(fail)?;
            if read == 0 {
                return Ok(Self::new(part, file, hashing, size, head));
            }
            hashing.update(&buffer[..read]);
            head.extend_from_slice(&buffer[..read.min(HEAD - head.len())]);
            size += read as u64;
        }
    }

    /// All of its hashes.
    #[must_use]
    pub fn hashes(&self) -> Hashes {
        Hashes { sha256: self.sha256, sha1: self.sha1, md5: self.md5 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.part.path
    }

    /// It is somewhere else now.
    pub(super) fn forget(mut self) {
        self.part.exists = false;
    }

    /// Reads some of it, as much as there is. Blocks.
    ///
    /// # Errors
    ///
    /// When the disk does not give it.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }
}
