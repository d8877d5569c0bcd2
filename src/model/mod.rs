//! The nouns: plain values that everything else speaks in.
//!
//! Nothing here reads a clock, a socket or a file, and nothing here imports another module of ours.

mod address;
mod ask;
mod evidence;
mod fleet;
mod intent;
mod judgement;
mod load;
mod memory;
mod observation;
mod plan;
mod policy;
mod probe;
mod recent;
mod record;
mod registrar;
mod relay;
mod secret;
mod shed;
mod standing;
mod strike;
mod time;
mod verdict;

pub use address::{Fingerprint, FingerprintError};
pub use ask::{Abilities, Ask, AskHow, AskOutcome};
pub use evidence::Evidence;
pub use fleet::{Fleet, Name, NameError, Node, NodeId, Pool, PoolId};
pub use intent::{Intent, IntentState, Request, RequestKind};
pub use judgement::{Judgement, NodeJudgement, ProbeAdvice, Situation};
pub use load::{LoadFigure, LoadSource};
pub use memory::{Calm, Memory, NodeMemory, PoolMemory, ShedMemory, Withdrawal};
pub use observation::{
    AnchorRound, Fault, Measured, Observation, Outcome, OwnFault, ProbeKind, Round, Stage, TlsFault,
};
pub use plan::{Change, Plan};
pub use policy::{
    ComebackPolicy, EvidencePolicy, OverloadPolicy, Policy, Reinstatement, RuleSet, ShedPolicy, Shortage,
};
pub use probe::{HttpsProbe, PingProbe, ProbeSettings, SshLevel, SshLogin, SshProbe, StatusRange};
pub use recent::{Asked, Check, Failing, Load, Recent, ServiceStreak, Streak};
pub use record::{PublishedSets, RecordSet, RecordType, SetKey, sets_as_list};
pub use registrar::{
    ExecSettings, MockSettings, NamecheapSettings, RegistrarKind, RegistrarSettings, Rfc2136Settings, TsigAlgorithm,
};
pub use relay::RelaySettings;
pub use secret::Secret;
pub use shed::{ShedKind, ShedSettings};
pub use standing::{Pin, PinState, Standing};
pub use strike::Strike;
pub use time::{ClockReading, Time};
pub use verdict::{Action, ActionKind, FleetVerdict, Guard, Hold, NodeVerdict, RuleId, Vantage};
