//! Which edge of the fleet fetches what: rendezvous hashing by object and by segment, among those that are well.
//!
//! Every edge weighs every member by the same hash and the heaviest is the owner, so that all agree without a word, and
//! when a member goes, only what it owned moves. Long files are spread by segments of 64 MiB.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Full, Limited};

use super::{Source, SourceOptions, chain};
use crate::clock;

/// What of an object has an owner of its own. Slices are at most as long.
pub const SEGMENT: u64 = 64 << 20;
/// How often siblings are asked how they are.
const LOOK: Duration = Duration::from_secs(2);
/// Looks without an answer, one after the other, until a sibling is no longer asked for anything.
const SILENT: u32 = 2;
/// For the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of the word that everybody may read.
const LARGEST: usize = 64 << 10;

/// The segment that this offset is in, by its number.
#[must_use]
pub fn segment_of(offset: u64) -> u64 {
    offset / SEGMENT
}

pub(super) struct Siblings {
    pub(super) source: Source,
    own: Option<usize>,
    /// What each said last. One that has not been asked yet counts as well: the first request should not depend on a
    /// look that has not been taken.
    well: Vec<AtomicBool>,
}

impl Siblings {
    pub(super) fn new(options: SourceOptions, own: Option<usize>) -> Self {
        let well = options.urls.iter().map(|_| AtomicBool::new(true)).collect();
        Self { source: Source::new(options), own, well }
    }

    /// Who of those that are well owns this segment of an object; none: this edge does.
    pub(super) fn owner(&self, name: &str, segment: u64) -> Option<usize> {
        let answers = |at: &usize| Some(*at) == self.own || self.is_well(*at);
        let urls = &self.source.options.urls;
        let owner = (0..urls.len()).filter(answers).max_by_key(|at| weight(&urls[*at], name, segment));
        owner.filter(|owner| Some(*owner) != self.own)
    }

    fn is_well(&self, at: usize) -> bool {
        self.well[at].load(Ordering::Relaxed)
            && self.source.resting[at].load(Ordering::Relaxed) <= clock::unix_seconds()
    }

    /// Members other than this edge, and how many of them are well.
    pub(super) fn counts(&self) -> (u64, u64) {
        let others = (0..self.well.len()).filter(|at| Some(*at) != self.own);
        (others.clone().count() as u64, others.filter(|at| self.is_well(*at)).count() as u64)
    }

    /// Asks each of the others how it is, again and again.
    pub(super) async fn watch(&self) {
        let mut silent = vec![0_u32; self.well.len()];
        loop {
            tokio::time::sleep(LOOK).await;
            for at in (0..self.well.len()).filter(|at| Some(*at) != self.own) {
                let look = tokio::time::timeout(PATIENCE, self.look(at)).await.ok().flatten();
                silent[at] = if look.is_some() { 0 } else { silent[at] + 1 };
                // One that is silent for once may be busy.
                let well = look.unwrap_or(silent[at] < SILENT && self.well[at].load(Ordering::Relaxed));
                if self.well[at].swap(well, Ordering::Relaxed) != well {
                    tracing::info!(member = base(&self.source.options.urls[at]), well, "a sibling changed");
                }
                if look == Some(true) {
                    self.source.resting[at].store(0, Ordering::Relaxed);
                }
            }
        }
    }

    /// Posts this to each of the others.
    pub(super) async fn tell(&self, path: &str, token: &str, body: &str) -> Vec<(String, Result<(), String>)> {
        let mut told = Vec::new();
        for at in (0..self.well.len()).filter(|at| Some(*at) != self.own) {
            let member = base(&self.source.options.urls[at]);
            let posted = self.post(at, &member, path, token, body);
            let answer = match tokio::time::timeout(PATIENCE * 5, posted).await {
                Ok(answer) => answer,
                Err(_) => Err("it does not answer".to_owned()),
            };
            told.push((member, answer));
        }
        told
    }

    async fn post(&self, at: usize, member: &str, path: &str, token: &str, body: &str) -> Result<(), String> {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
        let request = Request::post(format!("{member}{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(body)
            .map_err(|error| error.to_string())?;
        let response = self.source.client(at).request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        status.is_success().then_some(()).ok_or_else(|| format!("it answers {status}"))
    }

    /// Whether it can fetch for others. One that is busy can: what it owns is what others do not have.
    async fn look(&self, at: usize) -> Option<bool> {
        let url = base(&self.source.options.urls[at]);
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().method(Method::GET).uri(format!("{url}/.witness/health")).body(body).ok()?;
        let response = self.source.client(at).request(request).await.ok()?;
        let bytes = Limited::new(response.into_body(), LARGEST).collect().await.ok()?.to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some(matches!(document["status"].as_str(), Some("ok" | "busy" | "overload")))
    }
}

/// Scheme and authority, without a path.
pub(super) fn base(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", url.scheme_str().unwrap_or("http"))
}

fn weight(url: &Uri, name: &str, segment: u64) -> u64 {
    let digest = digest(&SHA256, format!("{} {segment} {name}", base(url)).as_bytes());
    u64::from_le_bytes(digest.as_ref()[..8].try_into().expect("eight of many bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(count: usize) -> Vec<Uri> {
        (1..=count).map(|number| format!("https://192.0.2.{number}").parse().unwrap()).collect()
    }

    fn owner(urls: &[Uri], name: &str, segment: u64) -> usize {
        (0..urls.len()).max_by_key(|at| weight(&urls[*at], name, segment)).unwrap()
    }

    #[test]
    fn a_long_file_is_spread_evenly_and_only_what_a_member_owned_moves_when_it_goes() {
        let all = urls(5);
        let mut owned = [0; 5];
        for object in 0..100 {
            let name = format!("files.example.com/{object}.mp4");
            for segment in 0..20 {
                let before = owner(&all, &name, segment);
                owned[before] += 1;
                // The last one goes.
                let after = owner(&all[..4], &name, segment);
                assert!(before == 4 || before == after, "{name} {segment}");
            }
        }
        assert!(owned.iter().all(|count| (320..480).contains(count)), "{owned:?}");
    }

    #[test]
    fn a_member_is_the_same_however_its_url_is_written() {
        let (one, other): (Uri, Uri) = ("https://192.0.2.1".parse().unwrap(), "https://192.0.2.1/".parse().unwrap());
        assert_eq!(weight(&one, "a", 3), weight(&other, "a", 3));
    }
}
