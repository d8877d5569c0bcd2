//! Numbers for what is stored by the thousand, and names for what is stored by the dozen.
//!
//! The numbers are part of the schema: a variant may be added at the end of a list, and none ever moves.

use crate::model::{
    ActionKind, AskHow, AskOutcome, Evidence, Fault, FleetVerdict, Guard, IntentState, LoadSource, NodeVerdict,
    Outcome, OwnFault, PinState, ProbeKind, Stage, Standing, TlsFault, Vantage,
};

use super::error::Trouble;

const STAGES: [Stage; 8] = [
    Stage::Connect,
    Stage::Tls,
    Stage::Request,
    Stage::Body,
    Stage::Banner,
    Stage::Handshake,
    Stage::Login,
    Stage::Command,
];

const TLS: [TlsFault; 7] = [
    TlsFault::Expired,
    TlsFault::NotYetValid,
    TlsFault::UnknownIssuer,
    TlsFault::WrongName,
    TlsFault::BadCertificate,
    TlsFault::Version,
    TlsFault::Protocol,
];

const OWN: [OwnFault; 7] = [
    OwnFault::NoRoute,
    OwnFault::Resources,
    OwnFault::Dns,
    OwnFault::Firewall,
    OwnFault::Starved,
    OwnFault::Unavailable,
    OwnFault::Cancelled,
];

const FLEETS: [FleetVerdict; 9] = [
    FleetVerdict::Normal,
    FleetVerdict::SingleFault,
    FleetVerdict::MultiFault,
    FleetVerdict::Overload,
    FleetVerdict::PathTrouble,
    FleetVerdict::CommonFault,
    FleetVerdict::Isolated,
    FleetVerdict::Dark,
    FleetVerdict::Blind,
];

const VANTAGES: [Vantage; 3] = [Vantage::Clear, Vantage::Isolated, Vantage::Blind];

const VERDICTS: [NodeVerdict; 12] = [
    NodeVerdict::Healthy,
    NodeVerdict::Suspect,
    NodeVerdict::Degraded,
    NodeVerdict::Hung,
    NodeVerdict::Broken,
    NodeVerdict::Down,
    NodeVerdict::Dead,
    NodeVerdict::Partitioned,
    NodeVerdict::Flapping,
    NodeVerdict::Recovering,
    NodeVerdict::Maintenance,
    NodeVerdict::Unknown,
];

const STANDINGS: [Standing; 4] = [Standing::Serving, Standing::Suspect, Standing::Withdrawn, Standing::Probation];

const ACTIONS: [ActionKind; 4] = [ActionKind::Withdraw, ActionKind::Reinstate, ActionKind::Shed, ActionKind::Alert];

const PINS: [PinState; 3] = [PinState::In, PinState::Out, PinState::Ignore];

const GUARDS: [Guard; 23] = [
    Guard::Keep,
    Guard::MaxWithdrawn,
    Guard::Settle,
    Guard::EmptySet,
    Guard::Foreign,
    Guard::Vantage,
    Guard::Warmup,
    Guard::Clock,
    Guard::StillServes,
    Guard::ZoneUnknown,
    Guard::Pin,
    Guard::ChangedByHand,
    Guard::Overload,
    Guard::Unhealthy,
    Guard::Dark,
    Guard::Unconfirmed,
    Guard::Capacity,
    Guard::PathTrouble,
    Guard::CommonFault,
    Guard::Peers,
    Guard::Regret,
    Guard::Flapping,
    Guard::Quarantine,
];

/// Inconclusive outcomes: `INCONCLUSIVE + 256 * OwnFault`. Faults are 1 to 13, passed is 0.
const INCONCLUSIVE: i64 = 64;

/// An outcome as one number: its kind, and its detail times 256.
pub(crate) fn of_outcome(outcome: Outcome) -> i64 {
    let (kind, detail) = match outcome {
        Outcome::Passed => (0, 0),
        Outcome::Failed(fault) => of_fault(fault),
        Outcome::Inconclusive(own) => (INCONCLUSIVE, index(&OWN, &own)),
    };
    kind + (detail << 8)
}

fn of_fault(fault: Fault) -> (i64, i64) {
    match fault {
        Fault::Refused => (1, 0),
        Fault::Unreachable => (2, 0),
        Fault::Reset => (3, 0),
        Fault::Timeout(stage) => (4, index(&STAGES, &stage)),
        Fault::Tls(why) => (5, index(&TLS, &why)),
        Fault::Status(code) => (6, i64::from(code)),
        Fault::Shedding(code) => (7, i64::from(code)),
        Fault::Body => (8, 0),
        Fault::Lost => (9, 0),
        Fault::Protocol => (10, 0),
        Fault::HostKey => (11, 0),
        Fault::Auth => (12, 0),
        Fault::Exit(code) => (13, i64::from(code)),
    }
}

/// The outcome that a number stands for.
pub(crate) fn to_outcome(number: i64) -> Result<Outcome, Trouble> {
    let detail = number >> 8;
    let odd = || Trouble::unreadable("observation.outcome", number);
    let small = || u16::try_from(detail).map_err(|_| odd());
    if detail != 0 && matches!(number & 255, 0..=3 | 8..=12) {
        return Err(odd());
    }
    Ok(Outcome::Failed(match number & 255 {
        0 => return Ok(Outcome::Passed),
        1 => Fault::Refused,
        2 => Fault::Unreachable,
        3 => Fault::Reset,
        4 => Fault::Timeout(at(&STAGES, detail).ok_or_else(odd)?),
        5 => Fault::Tls(at(&TLS, detail).ok_or_else(odd)?),
        6 => Fault::Status(small()?),
        7 => Fault::Shedding(small()?),
        8 => Fault::Body,
        9 => Fault::Lost,
        10 => Fault::Protocol,
        11 => Fault::HostKey,
        12 => Fault::Auth,
        13 => Fault::Exit(i32::try_from(detail).map_err(|_| odd())?),
        INCONCLUSIVE => return at(&OWN, detail).map(Outcome::Inconclusive).ok_or_else(odd),
        _ => return Err(odd()),
    }))
}

/// A probe's number.
pub(crate) fn of_probe(probe: ProbeKind) -> i64 {
    index(&ProbeKind::ALL, &probe)
}

/// A number's probe.
pub(crate) fn to_probe(number: i64) -> Result<ProbeKind, Trouble> {
    at(&ProbeKind::ALL, number).ok_or_else(|| Trouble::unreadable("observation.probe", number))
}

/// The number of a load figure's source.
pub(crate) fn of_source(source: LoadSource) -> i64 {
    index(&LoadSource::ALL, &source)
}

/// A number's source of load figures.
pub(crate) fn to_source(number: i64) -> Result<LoadSource, Trouble> {
    at(&LoadSource::ALL, number).ok_or_else(|| Trouble::unreadable("load.source", number))
}

/// The number of a way to ask.
pub(crate) fn of_how(how: AskHow) -> i64 {
    match how {
        AskHow::Tcp => 0,
        AskHow::Ping => 1,
    }
}

/// A number's way to ask.
pub(crate) fn to_how(number: i64) -> Result<AskHow, Trouble> {
    at(&[AskHow::Tcp, AskHow::Ping], number).ok_or_else(|| Trouble::unreadable("ask.how", number))
}

/// The number of what came of asking.
pub(crate) fn of_asked(outcome: AskOutcome) -> i64 {
    match outcome {
        AskOutcome::Reached => 0,
        AskOutcome::Nothing => 1,
        AskOutcome::Unknown => 2,
    }
}

/// A number's outcome of asking.
pub(crate) fn to_asked(number: i64) -> Result<AskOutcome, Trouble> {
    let all = [AskOutcome::Reached, AskOutcome::Nothing, AskOutcome::Unknown];
    at(&all, number).ok_or_else(|| Trouble::unreadable("ask.outcome", number))
}

/// A fleet verdict's number.
pub(crate) fn of_fleet(fleet: FleetVerdict) -> i64 {
    index(&FLEETS, &fleet)
}

/// A number's fleet verdict.
pub(crate) fn to_fleet(number: i64) -> Result<FleetVerdict, Trouble> {
    at(&FLEETS, number).ok_or_else(|| Trouble::unreadable("judgement.fleet", number))
}

/// A vantage's number.
pub(crate) fn of_vantage(vantage: Vantage) -> i64 {
    index(&VANTAGES, &vantage)
}

/// A number's vantage.
pub(crate) fn to_vantage(number: i64) -> Result<Vantage, Trouble> {
    at(&VANTAGES, number).ok_or_else(|| Trouble::unreadable("judgement.vantage", number))
}

/// The verdict of this name.
pub(crate) fn to_verdict(name: &str) -> Result<NodeVerdict, Trouble> {
    named("node_state.verdict", &VERDICTS, NodeVerdict::name, name)
}

/// The class of evidence of this name.
pub(crate) fn to_class(name: &str) -> Result<Evidence, Trouble> {
    named("node_state.class", &Evidence::ALL, Evidence::name, name)
}

/// The standing of this name.
pub(crate) fn to_standing(name: &str) -> Result<Standing, Trouble> {
    named("node_state.standing", &STANDINGS, Standing::name, name)
}

/// The action of this name.
pub(crate) fn to_action(name: &str) -> Result<ActionKind, Trouble> {
    named("action.kind", &ACTIONS, ActionKind::name, name)
}

/// The guard of this name.
pub(crate) fn to_guard(name: &str) -> Result<Guard, Trouble> {
    named("hold.guard", &GUARDS, Guard::name, name)
}

/// The pin of this name.
pub(crate) fn to_pin(name: &str) -> Result<PinState, Trouble> {
    named("pin.state", &PINS, PinState::name, name)
}

/// The intent's state of this name.
pub(crate) fn to_intent(name: &str) -> Result<IntentState, Trouble> {
    named("intent.state", &IntentState::ALL, IntentState::name, name)
}

fn index<T: PartialEq>(all: &[T], one: &T) -> i64 {
    let place =
        all.iter().position(|other| other == one).expect("the lists here name every variant, which a test checks");
    i64::try_from(place).expect("a short list")
}

fn at<T: Copy>(all: &[T], number: i64) -> Option<T> {
    usize::try_from(number).ok().and_then(|place| all.get(place)).copied()
}

fn named<T: Copy>(column: &str, all: &[T], name_of: impl Fn(T) -> &'static str, name: &str) -> Result<T, Trouble> {
    all.iter()
        .copied()
        .find(|one| name_of(*one) == name)
        .ok_or_else(|| Trouble::unreadable(column, format!("{name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variant added to the model stops this from compiling until the lists above have it.
    #[test]
    fn every_variant_has_a_number_or_a_name() {
        let after = |stage| match stage {
            Stage::Connect => Some(Stage::Tls),
            Stage::Tls => Some(Stage::Request),
            Stage::Request => Some(Stage::Body),
            Stage::Body => Some(Stage::Banner),
            Stage::Banner => Some(Stage::Handshake),
            Stage::Handshake => Some(Stage::Login),
            Stage::Login => Some(Stage::Command),
            Stage::Command => None,
        };
        chain(Stage::Connect, after, STAGES.len(), |stage| check(Outcome::Failed(Fault::Timeout(stage))));
        let after = |why| match why {
            TlsFault::Expired => Some(TlsFault::NotYetValid),
            TlsFault::NotYetValid => Some(TlsFault::UnknownIssuer),
            TlsFault::UnknownIssuer => Some(TlsFault::WrongName),
            TlsFault::WrongName => Some(TlsFault::BadCertificate),
            TlsFault::BadCertificate => Some(TlsFault::Version),
            TlsFault::Version => Some(TlsFault::Protocol),
            TlsFault::Protocol => None,
        };
        chain(TlsFault::Expired, after, TLS.len(), |why| check(Outcome::Failed(Fault::Tls(why))));
        let after = |own| match own {
            OwnFault::NoRoute => Some(OwnFault::Resources),
            OwnFault::Resources => Some(OwnFault::Dns),
            OwnFault::Dns => Some(OwnFault::Firewall),
            OwnFault::Firewall => Some(OwnFault::Starved),
            OwnFault::Starved => Some(OwnFault::Unavailable),
            OwnFault::Unavailable => Some(OwnFault::Cancelled),
            OwnFault::Cancelled => None,
        };
        chain(OwnFault::NoRoute, after, OWN.len(), |own| check(Outcome::Inconclusive(own)));
        let after = |fleet| match fleet {
            FleetVerdict::Normal => Some(FleetVerdict::SingleFault),
            FleetVerdict::SingleFault => Some(FleetVerdict::MultiFault),
            FleetVerdict::MultiFault => Some(FleetVerdict::Overload),
            FleetVerdict::Overload => Some(FleetVerdict::PathTrouble),
            FleetVerdict::PathTrouble => Some(FleetVerdict::CommonFault),
            FleetVerdict::CommonFault => Some(FleetVerdict::Isolated),
            FleetVerdict::Isolated => Some(FleetVerdict::Dark),
            FleetVerdict::Dark => Some(FleetVerdict::Blind),
            FleetVerdict::Blind => None,
        };
        chain(FleetVerdict::Normal, after, FLEETS.len(), |it| assert_eq!(to_fleet(of_fleet(it)).unwrap(), it));
        let after = |vantage| match vantage {
            Vantage::Clear => Some(Vantage::Isolated),
            Vantage::Isolated => Some(Vantage::Blind),
            Vantage::Blind => None,
        };
        chain(Vantage::Clear, after, VANTAGES.len(), |it| assert_eq!(to_vantage(of_vantage(it)).unwrap(), it));
        let after = |verdict| match verdict {
            NodeVerdict::Healthy => Some(NodeVerdict::Suspect),
            NodeVerdict::Suspect => Some(NodeVerdict::Degraded),
            NodeVerdict::Degraded => Some(NodeVerdict::Hung),
            NodeVerdict::Hung => Some(NodeVerdict::Broken),
            NodeVerdict::Broken => Some(NodeVerdict::Down),
            NodeVerdict::Down => Some(NodeVerdict::Dead),
            NodeVerdict::Dead => Some(NodeVerdict::Partitioned),
            NodeVerdict::Partitioned => Some(NodeVerdict::Flapping),
            NodeVerdict::Flapping => Some(NodeVerdict::Recovering),
            NodeVerdict::Recovering => Some(NodeVerdict::Maintenance),
            NodeVerdict::Maintenance => Some(NodeVerdict::Unknown),
            NodeVerdict::Unknown => None,
        };
        chain(NodeVerdict::Healthy, after, VERDICTS.len(), |it| assert_eq!(to_verdict(it.name()).unwrap(), it));
        let after = |guard| match guard {
            Guard::Keep => Some(Guard::MaxWithdrawn),
            Guard::MaxWithdrawn => Some(Guard::Settle),
            Guard::Settle => Some(Guard::EmptySet),
            Guard::EmptySet => Some(Guard::Foreign),
            Guard::Foreign => Some(Guard::Vantage),
            Guard::Vantage => Some(Guard::Warmup),
            Guard::Warmup => Some(Guard::Clock),
            Guard::Clock => Some(Guard::StillServes),
            Guard::StillServes => Some(Guard::ZoneUnknown),
            Guard::ZoneUnknown => Some(Guard::Pin),
            Guard::Pin => Some(Guard::ChangedByHand),
            Guard::ChangedByHand => Some(Guard::Overload),
            Guard::Overload => Some(Guard::Unhealthy),
            Guard::Unhealthy => Some(Guard::Dark),
            Guard::Dark => Some(Guard::Unconfirmed),
            Guard::Unconfirmed => Some(Guard::Capacity),
            Guard::Capacity => Some(Guard::PathTrouble),
            Guard::PathTrouble => Some(Guard::CommonFault),
            Guard::CommonFault => Some(Guard::Peers),
            Guard::Peers => Some(Guard::Regret),
            Guard::Regret => Some(Guard::Flapping),
            Guard::Flapping => Some(Guard::Quarantine),
            Guard::Quarantine => None,
        };
        chain(Guard::Keep, after, GUARDS.len(), |it| assert_eq!(to_guard(it.name()).unwrap(), it));
        let after = |standing| match standing {
            Standing::Serving => Some(Standing::Suspect),
            Standing::Suspect => Some(Standing::Withdrawn),
            Standing::Withdrawn => Some(Standing::Probation),
            Standing::Probation => None,
        };
        chain(Standing::Serving, after, STANDINGS.len(), |it| assert_eq!(to_standing(it.name()).unwrap(), it));
        let after = |kind| match kind {
            ActionKind::Withdraw => Some(ActionKind::Reinstate),
            ActionKind::Reinstate => Some(ActionKind::Shed),
            ActionKind::Shed => Some(ActionKind::Alert),
            ActionKind::Alert => None,
        };
        chain(ActionKind::Withdraw, after, ACTIONS.len(), |it| assert_eq!(to_action(it.name()).unwrap(), it));
        let after = |pin| match pin {
            PinState::In => Some(PinState::Out),
            PinState::Out => Some(PinState::Ignore),
            PinState::Ignore => None,
        };
        chain(PinState::In, after, PINS.len(), |it| assert_eq!(to_pin(it.name()).unwrap(), it));
        for state in IntentState::ALL {
            assert_eq!(to_intent(state.name()).unwrap(), state);
        }
        for probe in ProbeKind::ALL {
            assert_eq!(to_probe(of_probe(probe)).unwrap(), probe);
        }
        for source in LoadSource::ALL {
            assert_eq!(to_source(of_source(source)).unwrap(), source);
        }
    }

    #[test]
    fn faults_keep_their_details() {
        for fault in [
            Fault::Refused,
            Fault::Unreachable,
            Fault::Reset,
            Fault::Status(0),
            Fault::Status(u16::MAX),
            Fault::Shedding(503),
            Fault::Body,
            Fault::Lost,
            Fault::Protocol,
            Fault::HostKey,
            Fault::Auth,
            Fault::Exit(-1),
            Fault::Exit(i32::MIN),
            Fault::Exit(i32::MAX),
        ] {
            check(Outcome::Failed(fault));
        }
        check(Outcome::Passed);
    }

    #[test]
    fn rubbish_is_not_understood() {
        for number in
            [14, 63, 65, 255, 4 + (8 << 8), 5 + (99 << 8), 6 - (1 << 8), 64 + (7 << 8), 256, i64::MIN, i64::MAX]
        {
            assert!(matches!(to_outcome(number), Err(Trouble::Unreadable(..))), "{number}");
        }
        assert!(to_probe(3).is_err() && to_source(3).is_err() && to_fleet(-1).is_err() && to_vantage(3).is_err());
        assert!(to_verdict("fine").is_err() && to_guard("").is_err());
    }

    fn check(outcome: Outcome) {
        assert_eq!(to_outcome(of_outcome(outcome)).unwrap(), outcome);
    }

    fn chain<T: Copy>(first: T, after: impl Fn(T) -> Option<T>, len: usize, check: impl Fn(T)) {
        let all: Vec<T> = std::iter::successors(Some(first), |one| after(*one)).collect();
        assert_eq!(all.len(), len);
        all.into_iter().for_each(check);
    }
}
