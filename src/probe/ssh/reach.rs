//! A connection that the server makes for us: `direct-tcpip`, as `ssh -W` asks for it. No program runs on the node.
//!
//! What the server says is taken for no more than it is worth:
//!
//! | it says | taken for | since |
//! |---|---|---|
//! | the channel is open | reached | a handshake completed |
//! | connect failed | unknown | one text of libssh2's for a refusal, which would be a sign of life, for "no route to host", which would be none, and for a relay without a network of its own |
//! | administratively prohibited | unknown | the server was never going to try |
//! | nothing, for half of the time at least, while it answers other things | nothing | it tried, and nothing came back |
//! | nothing at all | unknown | it may have died itself |

use std::net::SocketAddr;
use std::time::Duration;

use ssh2::ErrorCode;
use tokio::time::{Instant, timeout_at};

use super::session::{Line, Progress, Stop, stop, would_block};
use crate::model::{AskOutcome, Fault, Outcome, Stage};

/// Has the server connect to `target`, and waits for what comes of it until the session's time is up. What is known so
/// far is in `progress`, `timeout` being the time for the whole session.
pub(super) async fn reach(
    line: &Line,
    target: SocketAddr,
    timeout: Duration,
    progress: &mut Progress,
) -> Result<(), Stop> {
    progress.reached = Some(AskOutcome::Unknown);
    let (host, port) = (target.ip().to_string(), target.port());
    let check = Instant::now() + timeout / 2;
    let mut checked = false;
    let opened = loop {
        match line.session.channel_direct_tcpip(&host, port, None) {
            Err(error) if would_block(&error) => {}
            done => break done,
        }
        if checked {
            // Only a server that is still there sends anything.
            line.wait().await.map_err(|error| lost(&error, progress))?;
            progress.reached = Some(AskOutcome::Nothing);
        } else if let Ok(ready) = timeout_at(check, line.wait()).await {
            ready.map_err(|error| lost(&error, progress))?;
        } else {
            // It answers this with a refusal, which is all that is wanted of it.
            line.session.set_keepalive(true, 2);
            line.session.keepalive_send().map_err(|error| lost(&error, progress))?;
            checked = true;
        }
    };
    match opened {
        Ok(_) => {
            progress.reached = Some(AskOutcome::Reached);
            progress.note = Some(format!("{target} is reached"));
            Ok(())
        }
        Err(error) if error.code() == ErrorCode::Session(CHANNEL_FAILURE) => {
            progress.reached = Some(AskOutcome::Unknown);
            Err(Stop(Outcome::Failed(Fault::Protocol), refusal(target, error.message())))
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
    } else if said.contains("connect failed") {
        format!("{target} refused the connection, or there is no way to it")
    } else {
        format!("no connection to {target}: {said}")
    }
}

const FORBIDDEN: &str = "allow it there with AllowTcpForwarding, PermitOpen and the key's permitopen";

// libssh2.h
const CHANNEL_FAILURE: i32 = -21;

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
