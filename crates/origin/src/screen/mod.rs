//! What happens to a file between the last byte and the first name: what a camera wrote is taken out, and a scanner
//! looks at what is left.
//!
//! Whether its kind is wanted at all is decided before, in [`rules`](crate::rules).

mod clamd;
pub mod strip;

use std::sync::Arc;

use bytes::Bytes;

use crate::config::{OnFailure, Scan};
use crate::metrics::Metrics;
use crate::model::Hashes;
use crate::store::{Staged, Store, StoreError};

/// What is copied at once.
const PIECE: u64 = 256 << 10;

/// Looks at files.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Whether pictures are stripped, and what becomes of those that cannot be.
    pub strip: Option<OnFailure>,
    /// Who looks for viruses.
    pub scan: Option<Scan>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why a file is not taken.
#[derive(Debug)]
pub enum Rejection {
    /// It cannot be taken apart, so what is in it stays unknown.
    Unstrippable(strip::Malformed),
    /// Something was found in it.
    Infected(String),
    /// Nobody could look at it.
    Unscanned(String),
    /// The disk.
    Store(StoreError),
}

impl Screen {
    /// Looks at a file that was received: what is to be kept, and, where that is not what came, the hashes of what did.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// When it is not taken.
    pub fn look(&self, staged: Staged, kind: &str, store: &Store) -> Result<(Staged, Option<Hashes>), Rejection> {
        let came = staged.hashes();
        let staged = self.strip(staged, kind, store)?;
        self.scan(&staged)?;
        let changed = staged.hashes() != came;
        Ok((staged, changed.then_some(came)))
    }

    fn strip(&self, staged: Staged, kind: &str, store: &Store) -> Result<Staged, Rejection> {
        let Some(on_failure) = self.strip else { return Ok(staged) };
        let read_at = |buffer: &mut [u8], at: u64| staged.read_at(buffer, at);
        let plan = match strip::plan(kind, staged.size, &read_at) {
            None => return Ok(staged),
            Some(Ok(plan)) => plan,
            Some(Err(why)) => {
                self.metrics.unstrippable_files.add(1);
                return match on_failure {
                    OnFailure::Keep => Ok(staged),
                    OnFailure::Refuse => Err(Rejection::Unstrippable(why)),
                };
            }
        };
        if plan.is_whole(staged.size) {
            return Ok(staged);
        }
        self.metrics.stripped_files.add(1);
        // It is never larger than what it is made from, but for a few bytes.
        let mut room = store.reserve(staged.size).map_err(Rejection::Store)?;
        let mut stripped = store.stage();
        for piece in plan.pieces() {
            match piece {
                strip::Piece::New(bytes) => stripped.write(&[Bytes::from(bytes.clone())]).map_err(Rejection::Store)?,
                strip::Piece::Old(range) => {
                    let mut at = range.start;
                    while at < range.end {
                        let length = usize::try_from((range.end - at).min(PIECE)).expect("a piece is small");
                        let mut buffer = vec![0; length];
                        let read = staged.read_at(&mut buffer, at).map_err(strip::Malformed::from);
                        if read.map_err(Rejection::Unstrippable)? != length {
                            return Err(Rejection::Unstrippable(strip::Malformed::new("it has become shorter")));
                        }
                        stripped.write(&[Bytes::from(buffer)]).map_err(Rejection::Store)?;
                        room.written(length as u64).map_err(Rejection::Store)?;
                        at += length as u64;
                    }
                }
            }
        }
        stripped.finish().map_err(Rejection::Store)
    }

    fn scan(&self, staged: &Staged) -> Result<(), Rejection> {
        let Some(scan) = &self.scan else { return Ok(()) };
        let read_at = |buffer: &mut [u8], at: u64| staged.read_at(buffer, at);
        let found = if staged.size > scan.max_size {
            Err(format!("it has {} bytes, and {} are looked at", staged.size, scan.max_size))
        } else {
            clamd::scan(&scan.clamd, scan.timeout, staged.size, &read_at).map_err(|error| error.to_string())
        };
        match found {
            Ok(clamd::Found::Nothing) => {
                self.metrics.scanned_files.add(1);
                Ok(())
            }
            Ok(clamd::Found::Virus(name)) => {
                self.metrics.scanned_files.add(1);
                self.metrics.infected_files.add(1);
                tracing::warn!(signature = name, sha256 = %staged.sha256, "a virus was uploaded, and not kept");
                Err(Rejection::Infected(name))
            }
            Err(why) => {
                self.metrics.unscanned_files.add(1);
                match scan.on_failure {
                    OnFailure::Keep => {
                        tracing::warn!(why, sha256 = %staged.sha256, "a file is kept that was not looked at");
                        Ok(())
                    }
                    OnFailure::Refuse => Err(Rejection::Unscanned(why)),
                }
            }
        }
    }
}
