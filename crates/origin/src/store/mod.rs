//! Bytes: what is being received, what is kept, and how much room there is.
//!
//! ```text
//! Staging ──▶ Staged ──▶ place       incoming/ID.part, fdatasync, rename to objects/ab/SHA-256, fsync of the folder
//!                │
//!                └─ dropped: the file is gone
//! ```
//!
//! Nothing here knows a row. Whoever places content shares it from before it is placed until its row is there; whoever
//! removes content that no row needs excludes the others from before the rows are looked at until it is gone.

mod folders;
mod resumable;
mod space;
mod staging;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use folders::Folders;
pub use resumable::Appending;
use rustix::fs::{FlockOperation, flock};
pub use space::Reservation;
use space::Space;
pub use staging::{HEAD, Staged, Staging};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::crash;
use crate::model::{Sha256, random};

/// Locks that all content shares.
const STRIPES: usize = 1024;
/// Folders in `objects`: two digits of the hash.
pub const FOLDERS: usize = 256;

/// Why something is not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room above what is to be left free.
    #[error("there is no room on the disk")]
    Full,
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    Used(PathBuf),
    /// The disk, or the folder.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

impl StoreError {
    fn new(what: impl Into<String>, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { what: what.into(), error },
        }
    }
}

/// The folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    stripes: Vec<Arc<RwLock<()>>>,
    space: Arc<Space>,
    folders: Folders,
    parts: AtomicU64,
    run: String,
    /// Of the whole folder, as long as this lives.
    _lock: File,
}

/// Content that nobody removes meanwhile.
#[derive(Debug)]
pub struct Shared(#[expect(dead_code, reason = "held, not looked at")] Vec<OwnedRwLockReadGuard<()>>);

/// Content that nobody else places or removes meanwhile.
#[derive(Debug)]
pub struct Exclusive(#[expect(dead_code, reason = "held, not looked at")] OwnedRwLockWriteGuard<()>);

impl Store {
    /// Opens the folder at `root`; makes it, and removes what was being received when the last process ended. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be used, or somebody else uses it.
    pub fn open(root: &Path, min_free: u64) -> Result<Self, StoreError> {
        let fail = |what: &Path| {
            let what = format!("failed to prepare {}", what.display());
            move |error| StoreError::new(what, error)
        };
        make(root).map_err(fail(root))?;
        let lock_path = root.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(fail(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => StoreError::Used(root.to_owned()),
            other => fail(&lock_path)(other.into()),
        })?;
        for folder in ["incoming", "quarantine", "objects", "resumable"] {
            make(&root.join(folder)).map_err(fail(&root.join(folder)))?;
        }
        let objects = root.join("objects");
        // Made last, so that its being there means that all are.
        if !objects.join(format!("{:02x}", FOLDERS - 1)).is_dir() {
            for number in 0..FOLDERS {
                make(&objects.join(format!("{number:02x}"))).map_err(fail(&objects))?;
            }
        }
        for folder in [&objects, &root.to_owned()] {
            sync_folder(folder).map_err(fail(folder))?;
        }
        let incoming = root.join("incoming");
        for entry in std::fs::read_dir(&incoming).map_err(fail(&incoming))? {
            let path = entry.map_err(fail(&incoming))?.path();
            std::fs::remove_file(&path).map_err(fail(&path))?;
        }
        let incoming = File::open(&incoming).map_err(fail(&incoming))?;
        Ok(Self {
            root: root.to_owned(),
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
            space: Arc::new(Space::new(incoming, min_free)),
            folders: Folders::default(),
            parts: AtomicU64::new(0),
            run: random(12),
            _lock: lock,
        })
    }

    /// Begins to receive something.
    #[must_use]
    pub fn stage(&self) -> Staging {
        Staging::new(self.new_part())
    }

    fn new_part(&self) -> PathBuf {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        self.root.join("incoming").join(format!("{}-{number}.part", self.run))
    }

    /// Sets `bytes` of the disk aside. Blocks a little.
    ///
    /// # Errors
    ///
    /// When less than that is free above what is to be left free.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, StoreError> {
        Space::reserve(&self.space, bytes)
    }

    /// Bytes that are free, and bytes that are set aside.
    #[must_use]
    pub fn room(&self) -> (u64, u64) {
        self.space.room()
    }

    /// How often a folder was to be synced, and how often one was: several uploads share one.
    #[must_use]
    pub fn folder_syncs(&self) -> (u64, u64) {
        self.folders.counts()
    }

    /// Bytes of the disk that are in use by everybody, and all that there are.
    #[must_use]
    pub fn usage(&self) -> Option<(u64, u64)> {
        self.space.usage()
    }

    /// Keeps others from removing these contents, until the guard is dropped. Many may place the same meanwhile.
    pub async fn share(&self, hashes: impl IntoIterator<Item = Sha256>) -> Shared {
        let mut stripes: Vec<usize> = hashes.into_iter().map(|hash| stripe(&hash)).collect();
        // Everybody takes them in the same order, so that nobody waits in a circle.
        stripes.sort_unstable();
        stripes.dedup();
        let mut guards = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            guards.push(self.stripes[stripe].clone().read_owned().await);
        }
        Shared(guards)
    }

    /// Keeps others from placing or removing this content, until the guard is dropped.
    pub async fn exclude(&self, sha256: &Sha256) -> Exclusive {
        Exclusive(self.stripes[stripe(sha256)].clone().write_owned().await)
    }

    /// Where this content is, if it is here.
    #[must_use]
    pub fn path(&self, sha256: &Sha256) -> PathBuf {
        object_path(&self.root, sha256)
    }

    /// Puts what was received where it belongs, durably. If that content is there already, this one takes its place:
    /// it is known to be right. The caller shares the content until its row is there. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be put there; then it is gone.
    pub fn place(&self, staged: Staged, _held: &Shared) -> Result<(), StoreError> {
        let path = self.path(&staged.sha256);
        let sha256 = staged.sha256;
        let fail = |error| StoreError::new(format!("failed to put {sha256} in its place"), error);
        std::fs::rename(staged.path(), &path).map_err(fail)?;
        // Where both names are of one file, the old one stays.
        match std::fs::remove_file(staged.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        staged.forget();
        crash::point("placed");
        self.folders.sync(path.parent().expect("it is in a folder")).map_err(fail)?;
        crash::point("folder-synced");
        Ok(())
    }

    /// Opens content that is here. Blocks.
    ///
    /// # Errors
    ///
    /// When it is not, or is not as long as it should be.
    pub fn open_object(&self, sha256: &Sha256, size: u64) -> Result<File, StoreError> {
        let fail = |error| StoreError::new(format!("failed to open the content {sha256}"), error);
        let file = File::open(self.path(sha256)).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.size();
        if length != size {
            return Err(fail(io::Error::other(format!("it has {length} bytes, and should have {size}"))));
        }
        Ok(file)
    }

    /// Removes content. The caller excludes others, and has seen since that no row needs it. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be removed. That it is not there is no error.
    pub fn remove(&self, sha256: &Sha256, _held: &Exclusive) -> Result<(), StoreError> {
        match std::fs::remove_file(self.path(sha256)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::new(format!("failed to remove the content {sha256}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Puts content that no row knows aside. The caller excludes others. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be moved.
    pub fn quarantine(&self, sha256: &Sha256, _held: &Exclusive) -> Result<(), StoreError> {
        std::fs::rename(self.path(sha256), self.root.join("quarantine").join(sha256.to_string()))
            .map_err(|error| StoreError::new(format!("failed to put {sha256} aside"), error))
    }

    /// Where the database is.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("meta.db")
    }

    /// The content in one of the folders, with when it was written. Blocks.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn in_folder(&self, number: usize) -> io::Result<Vec<(Sha256, std::time::SystemTime)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.root.join("objects").join(format!("{number:02x}")))? {
            let entry = entry?;
            if let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                match entry.metadata().and_then(|metadata| metadata.modified()) {
                    Ok(modified) => found.push((hash, modified)),
                    // Removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }
}

/// Where content is in the store whose folder is at `root`.
#[must_use]
pub fn object_path(root: &Path, sha256: &Sha256) -> PathBuf {
    let name = sha256.to_string();
    root.join("objects").join(&name[..2]).join(name)
}

fn stripe(sha256: &Sha256) -> usize {
    (usize::from(sha256.0[0]) << 8 | usize::from(sha256.0[1])) % STRIPES
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
