//! The ways in which a node can serve or fail, and how they are written in a control file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::tls::Flaw;

/// How the HTTPS port behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    #[default]
    Healthy,
    /// Nobody listens; the kernel refuses.
    Refuse,
    /// Accepts, and resets the connection at the first byte.
    Reset,
    /// Accepts, and says nothing more at this stage.
    Hang(Stage),
    /// Waits this long before each answer, which is good.
    Slow(Duration),
    /// Answers with this status.
    Status(u16),
    /// Answers 503 with a `Retry-After` of this many seconds, as an edge that sheds load.
    Shedding(u32),
    /// Answers 200 with a page that nobody asked for.
    BadBody,
    /// Answers 302 with this `Location`.
    Redirect(String),
    /// Answers with exactly this.
    Answer(Answer),
    /// Announces a body, sends a part of it and closes without a word.
    Cut,
    /// Sends a body without end.
    Endless,
    /// Shows a certificate with this flaw, and answers well.
    Certificate(Flaw),
    /// Speaks no TLS newer than 1.2, and answers well.
    Tls12,
    /// Speaks no TLS at all.
    Plain,
}

/// Where a conversation stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After the TCP connection: no TLS comes.
    Tls,
    /// After the request: no answer comes.
    Http,
    /// After the head of the answer: no body comes.
    Body,
}

/// An answer word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As 200.
    pub status: u16,
    /// Beside those that every answer has.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// How the SSH port behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SshMode {
    /// Sends a banner and nothing more.
    #[default]
    Banner,
    /// Nobody listens.
    Refuse,
    /// Accepts and says nothing.
    Hang,
}

/// A text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no mode is called {0:?}; there are healthy, refuse, reset, hang-tls, hang-http, hang-body, slow MILLISECONDS, \
     status CODE, shedding SECONDS, bad-body, redirect URL, cut, endless, expired, not-yet, wrong-name, untrusted, \
     tls12, plain"
)]
pub struct BadMode(String);

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        let text = text.trim();
        let bad = || BadMode(text.to_owned());
        let (word, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let argument = argument.trim();
        let mode = match (word, argument) {
            ("healthy", "") => Self::Healthy,
            ("refuse", "") => Self::Refuse,
            ("reset", "") => Self::Reset,
            ("hang-tls", "") => Self::Hang(Stage::Tls),
            ("hang-http", "") => Self::Hang(Stage::Http),
            ("hang-body", "") => Self::Hang(Stage::Body),
            ("slow", ms) => Self::Slow(Duration::from_millis(ms.parse().map_err(|_| bad())?)),
            ("status", code) => {
                Self::Status(code.parse().ok().filter(|code| (100..=999).contains(code)).ok_or_else(bad)?)
            }
            ("shedding", seconds) => Self::Shedding(seconds.parse().map_err(|_| bad())?),
            ("bad-body", "") => Self::BadBody,
            ("redirect", url) if !url.is_empty() => Self::Redirect(url.to_owned()),
            ("cut", "") => Self::Cut,
            ("endless", "") => Self::Endless,
            ("expired", "") => Self::Certificate(Flaw::Expired),
            ("not-yet", "") => Self::Certificate(Flaw::NotYet),
            ("wrong-name", "") => Self::Certificate(Flaw::WrongName),
            ("untrusted", "") => Self::Certificate(Flaw::Untrusted),
            ("tls12", "") => Self::Tls12,
            ("plain", "") => Self::Plain,
            _ => return Err(bad()),
        };
        Ok(mode)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Refuse => f.write_str("refuse"),
            Self::Reset => f.write_str("reset"),
            Self::Hang(Stage::Tls) => f.write_str("hang-tls"),
            Self::Hang(Stage::Http) => f.write_str("hang-http"),
            Self::Hang(Stage::Body) => f.write_str("hang-body"),
            Self::Slow(time) => write!(f, "slow {}", time.as_millis()),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Shedding(seconds) => write!(f, "shedding {seconds}"),
            Self::BadBody => f.write_str("bad-body"),
            Self::Redirect(url) => write!(f, "redirect {url}"),
            // Has no place in a control file.
            Self::Answer(answer) => write!(f, "answer {}", answer.status),
            Self::Cut => f.write_str("cut"),
            Self::Endless => f.write_str("endless"),
            Self::Certificate(Flaw::Expired) => f.write_str("expired"),
            Self::Certificate(Flaw::NotYet) => f.write_str("not-yet"),
            Self::Certificate(Flaw::WrongName) => f.write_str("wrong-name"),
            Self::Certificate(Flaw::Untrusted) => f.write_str("untrusted"),
            Self::Tls12 => f.write_str("tls12"),
            Self::Plain => f.write_str("plain"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_of_a_control_file_reads_back() {
        let all = "healthy,refuse,reset,hang-tls,hang-http,hang-body,slow 300,status 500,shedding 30,bad-body,\
                   redirect https://192.0.2.1/,cut,endless,expired,not-yet,wrong-name,untrusted,tls12,plain";
        for text in all.split(',') {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        for text in ["", "dead", "status", "status 99", "slow fast", "refuse now", "redirect"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }
}
