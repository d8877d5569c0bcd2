//! What probes come back with: packet by packet through the losses of the way and of a full node.

use crate::model::{Fault, Measured, Outcome, ProbeKind, Stage};

use super::noise::Noise;
use super::scenario::{Model, State};
use super::world::Body;

/// The round trip of a packet that is not lost, seconds.
const RTT_S: f64 = 0.02;
/// When a SYN is sent again, seconds after the first (Linux: 1 s, doubling).
const SYN_S: [f64; 3] = [0.0, 1.0, 3.0];
/// The first time-out of data without an answer, seconds; it doubles.
const RTO_S: f64 = 0.3;
/// The defaults of the program's own probes, seconds.
const CONNECT_S: f64 = 4.0;
const HTTPS_S: f64 = 8.0;
const SSH_S: f64 = 4.0;
const PING_S: f64 = 2.0;
const ECHOES: u16 = 3;

/// The way to a node, and the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    /// The share of packets that get there.
    there: f64,
    /// The share of answers that come back.
    back: f64,
    body: &'a Body,
    model: &'a Model,
}

/// A probe's result.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) probe: ProbeKind,
    pub(super) outcome: Outcome,
    pub(super) measured: Measured,
}

impl<'a> Way<'a> {
    /// The way over a path that loses `loss` of the packets in each direction.
    pub(super) fn over(loss: f64, body: &'a Body, model: &'a Model) -> Self {
        let kept = (1.0 - loss) * (1.0 - body.loss);
        Self { there: kept, back: kept * (1.0 - body.egress_loss), body, model }
    }

    /// The three probes of a round.
    pub(super) fn round(self, noise: Noise) -> [Seen; 3] {
        [self.https(noise.at(0)), self.ping(noise.at(1)), self.ssh(noise.at(2))]
    }

    fn is_silent(self) -> bool {
        self.body.state == Some(State::Silent)
    }

    /// Whether a packet gets there and its answer back.
    fn returns(self, noise: Noise) -> bool {
        !self.is_silent() && noise.at(0).is(self.there) && noise.at(1).is(self.back)
    }

    /// After how long a handshake is answered.
    fn answered_syn(self, noise: Noise) -> Option<f64> {
        let tries = SYN_S.into_iter().zip(0u64..);
        tries.filter(|(_, number)| self.returns(noise.at(*number))).map(|(after, _)| after + RTT_S).next()
    }

    /// After how long data is answered that is sent at `began`, if before `until`.
    fn answered_data(self, began: f64, until: f64, noise: Noise) -> Option<f64> {
        let (mut at, mut wait) = (began, RTO_S);
        for number in 0u64.. {
            if at + RTT_S >= until {
                return None;
            }
            if self.returns(noise.at(number)) {
                return Some(at + RTT_S);
            }
            at += wait;
            wait *= 2.0;
        }
        None
    }

    /// Whether another node reaches its port.
    pub(super) fn is_reached(self, noise: Noise) -> bool {
        self.answered_syn(noise).is_some()
    }

    fn ping(self, noise: Noise) -> Seen {
        let got = (0..u64::from(ECHOES)).filter(|number| self.returns(noise.at(*number))).count() as u16;
        let outcome = if got == 0 { Outcome::Failed(Fault::Lost) } else { Outcome::Passed };
        let total = if got == ECHOES { RTT_S } else { PING_S };
        let rtt_us = (got > 0).then_some(micros(RTT_S));
        let measured = Measured {
            sent: Some(ECHOES),
            received: Some(got),
            rtt_us,
            total_us: micros(total),
            ..Measured::default()
        };
        Seen { probe: ProbeKind::Ping, outcome, measured }
    }

    fn https(self, noise: Noise) -> Seen {
        let failed = |fault: Fault, connected: Option<f64>, total: f64| Seen {
            probe: ProbeKind::Https,
            outcome: Outcome::Failed(fault),
            measured: Measured { connect_us: connected.map(micros), total_us: micros(total), ..Measured::default() },
        };
        let Some(connected) = self.answered_syn(noise.at(0)) else {
            return failed(Fault::Timeout(Stage::Connect), None, CONNECT_S);
        };
        match self.body.state {
            Some(State::Refused) => return failed(Fault::Refused, None, connected),
            Some(State::Hung) => return failed(Fault::Timeout(Stage::Tls), Some(connected), HTTPS_S),
            Some(State::Silent | State::Slow | State::Lossy) | None => {}
        }
        let Some(secure) = self.answered_data(connected, HTTPS_S, noise.at(1)) else {
            return failed(Fault::Timeout(Stage::Tls), Some(connected), HTTPS_S);
        };
        let thinks = if self.body.utilisation > 1.0 { noise.at(3).between(0.5, self.model.slow_s) } else { 0.03 };
        let Some(first) = self.answered_data(secure + thinks, HTTPS_S, noise.at(2)) else {
            return failed(Fault::Timeout(Stage::Request), Some(connected), HTTPS_S);
        };
        let measured = Measured {
            connect_us: Some(micros(connected)),
            secure_us: Some(micros(secure)),
            first_byte_us: Some(micros(first)),
            total_us: micros(first),
            status: Some(200),
            ..Measured::default()
        };
        Seen { probe: ProbeKind::Https, outcome: Outcome::Passed, measured }
    }

    fn ssh(self, noise: Noise) -> Seen {
        let failed = |stage: Stage| Seen {
            probe: ProbeKind::Ssh,
            outcome: Outcome::Failed(Fault::Timeout(stage)),
            measured: Measured { total_us: micros(SSH_S), ..Measured::default() },
        };
        let Some(connected) = self.answered_syn(noise.at(0)) else { return failed(Stage::Connect) };
        let Some(banner) = self.answered_data(connected, SSH_S, noise.at(1)) else { return failed(Stage::Banner) };
        let measured = Measured {
            connect_us: Some(micros(connected)),
            first_byte_us: Some(micros(banner)),
            total_us: micros(banner),
            ..Measured::default()
        };
        Seen { probe: ProbeKind::Ssh, outcome: Outcome::Passed, measured }
    }
}

fn micros(seconds: f64) -> u32 {
    (seconds * 1e6).round() as u32
}
