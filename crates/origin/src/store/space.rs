//! How much room there is, and what of it is promised.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::StoreError;

/// Files that must still be possible where a disk counts them.
const MIN_FILES: u64 = 1000;

#[derive(Debug)]
pub(super) struct Space {
    folder: File,
    min_free: u64,
    reserved: AtomicU64,
    /// Two that ask at once must not both be given the last of it.
    asking: Mutex<()>,
}

/// Bytes set aside; what is not written by then is given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    space: Arc<Space>,
    left: u64,
}

impl Space {
    pub(super) fn new(folder: File, min_free: u64) -> Self {
        Self { folder, min_free, reserved: AtomicU64::new(0), asking: Mutex::default() }
    }

    pub(super) fn room(&self) -> (u64, u64) {
        let free = rustix::fs::fstatvfs(&self.folder).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
        (free, self.reserved.load(Ordering::Relaxed))
    }

    /// Bytes in use by everybody, and all there are.
    pub(super) fn usage(&self) -> Option<(u64, u64)> {
        let disk = rustix::fs::fstatvfs(&self.folder).ok()?;
        let total = disk.f_blocks * disk.f_frsize;
        Some((total.saturating_sub(disk.f_bavail * disk.f_frsize), total))
    }

    pub(super) fn reserve(space: &Arc<Self>, bytes: u64) -> Result<Reservation, StoreError> {
        space.add(bytes)?;
        Ok(Reservation { space: space.clone(), left: bytes })
    }

    fn add(&self, bytes: u64) -> Result<(), StoreError> {
        let _one_at_a_time = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = rustix::fs::fstatvfs(&self.folder)
            .map_err(|error| StoreError::new("failed to ask how much room there is", error.into()))?;
        let free = disk.f_bavail * disk.f_frsize;
        let promised = self.reserved.load(Ordering::Relaxed);
        let wanted = self.min_free.saturating_add(promised).saturating_add(bytes);
        // Disks that do not count files say that there are none.
        let files_left = disk.f_files == 0 || disk.f_favail >= MIN_FILES;
        if wanted > free || !files_left {
            return Err(StoreError::Full);
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Reservation {
    /// So much of it is on the disk now, where it counts by itself. What exceeds it is set aside as well, a piece at a
    /// time: nobody tells beforehand how long a chunked body is.
    ///
    /// # Errors
    ///
    /// When there is no room for that.
    pub fn written(&mut self, bytes: u64) -> Result<(), StoreError> {
        const PIECE: u64 = 8 << 20;
        if bytes > self.left {
            let more = (bytes - self.left).max(PIECE);
            self.space.add(more)?;
            self.left += more;
        }
        self.left -= bytes;
        self.space.reserved.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.left, Ordering::Relaxed);
    }
}
