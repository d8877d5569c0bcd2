//! A session that is logged in before anybody has a question, and answers one after the other.
//!
//! A login is a dozen packets each way, one after the other; through a link that loses a quarter of them it takes longer
//! than a question may. On a session that stands a question is one packet, and so is the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use ssh2::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::reach::{CHANNEL_FAILURE, Quest, close, reach};
use super::session::{Line, Progress, Stop};
use crate::model::AskOutcome;
use crate::probe::brief;

/// What a session is for.
#[derive(Debug)]
pub(super) enum After {
    /// The probe's own business.
    Probe,
    /// One quest.
    Reach(Quest),
    /// Whatever is asked from now on, until nobody can ask any more. The flag says while it cannot be asked.
    Stand(mpsc::Receiver<Question>, Arc<AtomicBool>),
}

/// A session that is logged in, and who asks it.
pub(super) struct Standing {
    pub(super) line: Line,
    pub(super) late: Arc<AtomicBool>,
    pub(super) questions: mpsc::Receiver<Question>,
}

/// Waits for the end of what was not answered in time: a channel that is being opened cannot be given up, and no other can
/// be opened beside it. Returns whether the session can be asked again.
async fn abandon(line: &Line) -> bool {
    // What is under way is gone on with, whatever the arguments are.
    match line.until_done(|session| session.channel_direct_tcpip("", 0, None)).await {
        Ok(channel) => {
            close(line, channel).await;
            true
        }
        Err(error) => error.code() == ErrorCode::Session(CHANNEL_FAILURE),
    }
}

/// One quest of a session that is kept.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) quest: Quest,
    pub(super) timeout: Duration,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What came of it.
#[derive(Debug)]
pub(in crate::probe) struct Answer {
    pub(in crate::probe) outcome: AskOutcome,
    pub(in crate::probe) note: Option<String>,
    /// Whether the session can be asked again, if perhaps not yet.
    pub(in crate::probe) lasts: bool,
}

/// Answers, one question after the other, until nobody can ask any more or the session is of no use.
pub(super) async fn stand(standing: Standing) {
    let Standing { line, mut questions, late } = standing;
    // A server that is gone without a word is noticed while nobody asks.
    let alive = TcpKeepalive::new().with_time(KEPT_ALIVE).with_interval(KEPT_ALIVE / 3);
    let _ = SockRef::from(&*line.socket).set_tcp_keepalive(&alive);
    loop {
        let Question { quest, timeout, reply } = match timeout_at(Instant::now() + LOOK, questions.recv()).await {
            Ok(Some(question)) => question,
            Ok(None) => break,
            Err(_) if line.is_hung_up() => return,
            Err(_) => continue,
        };
        let mut progress = Progress::new();
        let ended = timeout_at(Instant::now() + timeout, reach(&line, quest, timeout, &mut progress)).await;
        let is_late = ended.is_err();
        let lasts = is_late || matches!(ended, Ok(Ok(())));
        late.store(is_late, Ordering::Relaxed);
        let note = match ended {
            Ok(Err(Stop(_, why))) => Some(why),
            Ok(Ok(())) | Err(_) => progress.note,
        };
        let outcome = progress.reached.unwrap_or(AskOutcome::Unknown);
        let _ = reply.send(Answer { outcome, note: note.as_deref().map(brief), lasts });
        if !lasts || is_late && timeout_at(Instant::now() + LINGER, abandon(&line)).await != Ok(true) {
            return;
        }
        late.store(false, Ordering::Relaxed);
    }
    let _ = line.session.disconnect(None, "done", None);
}

/// How long a session that was not answered in time may take to be of use again.
const LINGER: Duration = Duration::from_secs(10);
/// After this long without a word TCP asks whether the server of a session that stands is still there.
const KEPT_ALIVE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has hung up.
const LOOK: Duration = Duration::from_secs(5);
