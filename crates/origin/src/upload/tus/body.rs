//! From a request's body to the end of an upload.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use bytes::Bytes;

use super::protocol::{Algorithm, Checksum};
use super::turns::Turn;
use super::{Fault, LOCKED, Tus};
use crate::clock;
use crate::crash;
use crate::db::resumable::{self, Upload};
use crate::store::{Appending, Reservation};
use crate::upload::receive::{Source, blocking};
use crate::upload::refusal::Refusal;

/// What is written to the disk at once.
const BATCH: usize = 256 << 10;
/// After so much it is made to last, so that a crash costs no more than that.
const CHECKPOINT: u64 = 8 << 20;

/// A body that is being received.
struct Receiving<'u> {
    tus: &'u Tus,
    upload: &'u mut Upload,
    /// Away while it is being written.
    file: Option<Appending>,
    room: Reservation,
    waiting: Vec<Bytes>,
    bytes: usize,
    check: Option<(Context, Checksum)>,
}

impl Tus {
    /// Takes in a body. What came of it counts whatever ends it, unless it should have been checked: then all of it does,
    /// or nothing.
    pub(super) async fn receive(
        &self,
        turn: &Turn,
        upload: &mut Upload,
        source: &mut Source<'_>,
        checksum: Option<Checksum>,
    ) -> Result<(), Fault> {
        if upload.is_complete() {
            // There may be a body all the same, which says nothing.
            return match source.next().await? {
                None => Ok(()),
                Some(_) => Err(Refusal::TooLarge.into()),
            };
        }
        let (store, hash, received) = (self.store.clone(), upload.hash, upload.received);
        let file = blocking(move || store.append(&hash, received)).await??;
        let check = checksum.map(|checksum| {
            let algorithm = match checksum.algorithm {
                Algorithm::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
                Algorithm::Sha256 => &SHA256,
            };
            (Context::new(algorithm), checksum)
        });
        let room = self.store.reserve(0)?;
        let mut receiving =
            Receiving { tus: self, upload, file: Some(file), room, waiting: Vec::new(), bytes: 0, check };
        let ended = receiving.take(turn, source).await;
        receiving.end(ended).await
    }
}

impl Receiving<'_> {
    async fn take(&mut self, turn: &Turn, source: &mut Source<'_>) -> Result<(), Fault> {
        loop {
            let next = tokio::select! {
                biased;
                () = turn.wanted() => return Err(LOCKED),
                next = source.next() => next?,
            };
            let Some(bytes) = next else { return Ok(()) };
            if let Some((context, _)) = &mut self.check {
                context.update(&bytes);
            }
            self.bytes += bytes.len();
            self.waiting.push(bytes);
            if self.bytes >= BATCH {
                self.write().await?;
            }
            let size = self.file.as_ref().map_or(0, Appending::size);
            if self.check.is_none() && size - self.upload.received >= CHECKPOINT {
                self.keep().await?;
            }
        }
    }

    async fn write(&mut self) -> Result<(), Fault> {
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.bytes);
        self.room.written(bytes as u64)?;
        let mut file = self.file.take().expect("it comes back from each write");
        let (file, written) = blocking(move || {
            let written = file.write(&waiting);
            (file, written)
        })
        .await?;
        self.file = Some(file);
        Ok(written?)
    }

    /// Makes what is there last, and says so.
    async fn keep(&mut self) -> Result<(), Fault> {
        let file = self.file.take().expect("it comes back from each write");
        let (file, synced) = blocking(move || {
            let synced = file.sync();
            (file, synced)
        })
        .await?;
        let size = file.size();
        self.file = Some(file);
        synced?;
        let expires = clock::now().after(self.tus.settings.expire);
        let hash = self.upload.hash;
        crash::point("keeping");
        if !self.tus.db.write(move |db| resumable::received(db, &hash, size, expires)).await? {
            // Taken back, or expired.
            return Err(Fault::UNKNOWN);
        }
        crash::point("kept");
        (self.upload.received, self.upload.expires) = (size, expires);
        Ok(())
    }

    async fn end(mut self, ended: Result<(), Fault>) -> Result<(), Fault> {
        // A write that could not be done left its file behind, or lost it with its thread.
        if self.file.is_none() {
            return ended;
        }
        let Some((context, checksum)) = self.check.take() else {
            let kept = if self.waiting.is_empty() { Ok(()) } else { self.write().await };
            let kept = match kept {
                Ok(()) => self.keep().await,
                Err(fault) => Err(fault),
            };
            // The first thing that went wrong is the one to tell.
            return ended.and(kept);
        };
        ended?;
        // Whether the body is what it should be is known before the last of it is written; nothing of it counts yet.
        if context.finish().as_ref() != checksum.digest {
            return Err(Fault::Mismatch);
        }
        self.write().await?;
        self.keep().await
    }
}
