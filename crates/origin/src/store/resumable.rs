//! What comes in parts, over hours and restarts.
//!
//! `resumable/SHA-256`, where the name is the hash of what stands in the upload's URL. How much of it counts is said by
//! its row: what is beyond that was not synced, or not checked, and is cut off before anything is appended.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use bytes::Bytes;

use super::{Staged, Store, StoreError};
use crate::crash;
use crate::model::Sha256;

/// A file to which is appended.
#[derive(Debug)]
pub struct Appending {
    file: File,
    size: u64,
}

impl Store {
    fn resumable(&self, hash: &Sha256) -> PathBuf {
        self.root.join("resumable").join(hash.to_string())
    }

    /// Opens a part of an upload, of which `received` bytes count. Blocks.
    ///
    /// # Errors
    ///
    /// When there is less than that, or it cannot be opened.
    pub fn append(&self, hash: &Sha256, received: u64) -> Result<Appending, StoreError> {
        let fail = |error| StoreError::new("failed to go on with what was received", error);
        let path = self.resumable(hash);
        let file = OpenOptions::new().append(true).create(received == 0).mode(0o600).open(&path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.size();
        if size < received {
            let message = format!("{size} bytes are there, and {received} were received");
            return Err(fail(std::io::Error::other(message)));
        }
        if received == 0 {
            // Its name has to last as long as its bytes.
            super::sync_folder(&self.root.join("resumable")).map_err(fail)?;
        }
        let mut appending = Appending { file, size };
        appending.cut(received)?;
        Ok(appending)
    }

    /// All that was received, ready to be placed; it stays where it is, too. All of it is read. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn stage_resumable(&self, hash: &Sha256, length: u64) -> Result<Staged, StoreError> {
        if length == 0 {
            return self.stage().finish();
        }
        let staged = Staged::link(&self.resumable(hash), self.new_part())?;
        if staged.size == length {
            return Ok(staged);
        }
        let message = format!("{} bytes are there, and should be {length}", staged.size);
        Err(StoreError::new("failed to read what was received", std::io::Error::other(message)))
    }

    /// Removes what was received. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be removed. That it is not there is no error.
    pub fn remove_resumable(&self, hash: &Sha256) -> Result<(), StoreError> {
        match std::fs::remove_file(self.resumable(hash)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::new("failed to remove what was received", error))
            }
            _ => Ok(()),
        }
    }

    /// All that is there. Blocks.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn all_resumable(&self) -> Result<Vec<Sha256>, StoreError> {
        let fail = |error| StoreError::new("failed to look for what was received", error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.root.join("resumable")).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            found.extend(name.to_str().and_then(|name| name.parse::<Sha256>().ok()));
        }
        Ok(found)
    }
}

impl Appending {
    /// Bytes that are there, synced or not.
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
        for chunk in chunks {
            let written = self.file.write_all(chunk);
            written.map_err(|error| StoreError::new("failed to write what is received", error))?;
            self.size += chunk.len() as u64;
        }
        crash::point("resumed");
        Ok(())
    }

    /// Makes it last. Blocks.
    ///
    /// # Errors
    ///
    /// When the disk did not take it.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::new("failed to sync what was received", error))
    }

    /// Keeps no more than `size` bytes. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be cut.
    pub fn cut(&mut self, size: u64) -> Result<(), StoreError> {
        if self.size > size {
            self.file.set_len(size).map_err(|error| StoreError::new("failed to cut what was received", error))?;
            self.size = size;
        }
        Ok(())
    }
}
