//! A connection that the server makes for us: `direct-tcpip`, as `ssh -W` asks for it. No program runs on the node.
//!
//! What the server says is taken for no more than it is worth:
//!
//! | it says | taken for | since |
//! |---|---|---|
//! | the channel is open | reached | a handshake completed |
//! | connect failed, and a channel to a third node is open | nothing | the server's own network is well; whether the target refused or there is no way to it, it serves nobody |
//! | connect failed | unknown | it may be a relay without a network of its own; libssh2 keeps the reason to itself |
//! | administratively prohibited | unknown | the server was never going to try |
//! | nothing, for half of the time at least, while it answers other things | nothing | it tried, and nothing came back |
//! | nothing at all | unknown | it may have died itself |

use std::net::SocketAddr;
use std::time::Duration;

use ssh2::{Channel, ErrorCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::session::{Line, Progress, Stop, stop, would_block};
use crate::model::{AskOutcome, Stage};

/// What a server is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Quest {
    /// Where to connect to.
    pub(in crate::probe) target: SocketAddr,
    /// Somebody else who lives, to tell a target that cannot be connected to from a server that cannot connect.
    pub(in crate::probe) control: Option<SocketAddr>,
}

/// Has the server connect to the target, and waits for what comes of it until the session's time is up. What is known so
/// far is in `progress`, `timeout` being the time for the whole. An error says that the session is of no use any more.
pub(super) async fn reach(line: &Line, quest: Quest, timeout: Duration, progress: &mut Progress) -> Result<(), Stop> {
    let Quest { target, control } = quest;
    let check = Instant::now() + timeout / 2;
    progress.note = Some(format!("it does not say in time what came of {target}"));
    match connect(line, target, Some(check), progress).await? {
        Connected::Open(channel) => {
            progress.reached = Some(AskOutcome::Reached);
            progress.note = Some(format!("{target} is reached"));
            close(line, channel).await;
        }
        Connected::Refused(said) => {
            progress.reached = Some(AskOutcome::Unknown);
            progress.note = Some(refusal(target, &said));
            let control = control.filter(|_| said.contains(FAILED));
            let Some(control) = control else { return Ok(()) };
            if let Connected::Open(channel) = connect(line, control, None, progress).await? {
                progress.reached = Some(AskOutcome::Nothing);
                progress.note = Some(format!("{}, while {control} is reached", refusal(target, &said)));
                close(line, channel).await;
            }
        }
    }
    Ok(())
}

enum Connected {
    Open(Channel),
    /// In the library's words.
    Refused(String),
}

/// A session that is asked again must not gather channels.
pub(super) async fn close(line: &Line, mut channel: Channel) {
    let _ = timeout(CLOSING, line.until_done(|_| channel.close())).await;
}

/// Opens a channel. From `check` on, a server that still answers other things has tried in vain.
async fn connect(
    line: &Line,
    target: SocketAddr,
    check: Option<Instant>,
    progress: &mut Progress,
) -> Result<Connected, Stop> {
    let (host, port) = (target.ip().to_string(), target.port());
    progress.reached = Some(AskOutcome::Unknown);
    let mut check = check;
    let mut checked = false;
    let opened = loop {
        match line.session.channel_direct_tcpip(&host, port, None) {
            Err(error) if would_block(&error) => {}
            done => break done,
        }
        match check {
            Some(at) => {
                if let Ok(ready) = timeout_at(at, line.wait()).await {
                    ready.map_err(|error| lost(&error, progress))?;
                } else {
                    // It answers this with a refusal, which is all that is wanted of it.
                    line.session.set_keepalive(true, 2);
                    line.session.keepalive_send().map_err(|error| lost(&error, progress))?;
                    (check, checked) = (None, true);
                }
            }
            None => {
                // Only a server that is still there sends anything.
                line.wait().await.map_err(|error| lost(&error, progress))?;
                if checked {
                    progress.note = Some(format!("nothing comes back from {target}"));
                    progress.reached = Some(AskOutcome::Nothing);
                }
            }
        }
    };
    match opened {
        Ok(channel) => Ok(Connected::Open(channel)),
        Err(error) if error.code() == ErrorCode::Session(CHANNEL_FAILURE) => {
            Ok(Connected::Refused(error.message().to_owned()))
        }
        Err(error) => Err(lost(&error, progress)),
    }
}

/// The session itself broke: nobody can tell what became of the target.
fn lost(error: &ssh2::Error, progress: &mut Progress) -> Stop {
    progress.reached = Some(AskOutcome::Unknown);
    stop(error, Stage::Command)
}

/// What libssh2 makes of the server's reason, for people.
fn refusal(target: SocketAddr, said: &str) -> String {
    if said.contains("prohibited") {
        format!("it may not connect to {target}: {FORBIDDEN}")
    } else if said.contains(FAILED) {
        format!("{target} refused the connection, or there is no way to it")
    } else {
        format!("no connection to {target}: {said}")
    }
}

/// In what the library says of a channel that the server could not connect.
const FAILED: &str = "connect failed";
/// How long a server may take to close a channel.
const CLOSING: Duration = Duration::from_millis(500);
const FORBIDDEN: &str = "allow it there with AllowTcpForwarding, PermitOpen and the key's permitopen";

// libssh2.h
pub(super) const CHANNEL_FAILURE: i32 = -21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_reason() {
        let check = |said: &str, expected: &str| {
            let told = refusal("192.0.2.1:443".parse().unwrap(), said);
            assert!(told.contains(expected) && told.contains("192.0.2.1:443"), "{told}");
        };
        check("Channel open failure (administratively prohibited)", "permitopen");
        check("Channel open failure (connect failed)", "refused the connection, or there is no way");
        check("Channel open failure (resource shortage)", "resource shortage");
    }
}
