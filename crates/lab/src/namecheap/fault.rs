//! What goes wrong, and at which call.

use std::time::Duration;

use super::markup::Host;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// At which calls.
    pub on: On,
    /// How many of those go well first.
    pub after: u32,
    /// How often it happens then.
    pub times: u32,
    /// What happens.
    pub effect: Effect,
}

impl Fault {
    /// Once, at the next such call.
    #[must_use]
    pub fn once(on: On, effect: Effect) -> Self {
        Self { on, after: 0, times: 1, effect }
    }

    /// From now on, at each such call.
    #[must_use]
    pub fn always(on: On, effect: Effect) -> Self {
        Self { on, after: 0, times: u32::MAX, effect }
    }

    /// The same, once `after` such calls have gone well.
    #[must_use]
    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }
}

/// The calls that a fault waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// `namecheap.domains.dns.getHosts`.
    GetHosts,
    /// `namecheap.domains.dns.setHosts`.
    SetHosts,
    /// Whatever is called.
    Any,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Effect {
    /// It is heard, nothing is done, and no answer ever comes.
    Silent,
    /// It is carried out, and no answer ever comes.
    SilentAfterApply,
    /// A write is answered with success, and nothing is done.
    Ignored,
    /// A reading shows the zone as it was before the last write.
    Stale,
    /// Somebody else adds this row just before the call is carried out.
    Foreign(Host),
    /// It is carried out; half of the answer comes, as if it were whole.
    Truncated,
    /// It is carried out; half of the answer comes, and then the connection is reset.
    Reset,
    /// It is not carried out; the API answers with this error.
    Error(u32, String),
    /// It is carried out, and the API answers with this error all the same.
    ErrorAfterApply(u32, String),
    /// Not carried out: too many calls. HTTP 405 with a page for people, as the original does it.
    RateLimited,
    /// Not carried out: another HTTP status; one of 3xx points to `/elsewhere`.
    Status(u16),
    /// It is carried out, and the answer comes this much later.
    Slow(Duration),
    /// Not carried out; this comes as the answer.
    Body(String),
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// What goes wrong with this call. Every fault that waits for such a call counts it.
    pub(super) fn next(&mut self, command: &str) -> Option<Effect> {
        let mut effect = None;
        for fault in &mut self.0 {
            let meant = match fault.on {
                On::GetHosts => command.ends_with(".gethosts"),
                On::SetHosts => command.ends_with(".sethosts"),
                On::Any => true,
            };
            if !meant || effect.is_some() {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times = if fault.times == u32::MAX { u32::MAX } else { fault.times - 1 };
                effect = Some(fault.effect.clone());
            }
        }
        self.0.retain(|fault| fault.times > 0);
        effect
    }
}
