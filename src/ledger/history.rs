//! What happened, in one line of time.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::{
    Action, FleetVerdict, Hold, IntentState, NodeId, Observation, Pin, Plan, Request, Strike, Time, Vantage,
};

use super::error::Trouble;
use super::names::{find_node, to_name};
use super::states::{self, NodeState, from_json};
use super::{Publication, Standpoint, code, intents, pins, rounds};

/// Which events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Of this node only; none: of all, and of the fleet.
    pub node: Option<NodeId>,
    /// Not before.
    pub from: Time,
    /// Not after.
    pub to: Time,
    /// Of these kinds.
    pub kinds: BTreeSet<EventKind>,
    /// The newest so many.
    pub limit: usize,
}

/// The kinds that `history --kind` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Single observations.
    Probes,
    /// Strikes.
    Strikes,
    /// Changed verdicts and standings of nodes and of the fleet, and alerts.
    Verdicts,
    /// Refused changes.
    Holds,
    /// What was asked for, decided, done and published, and pins.
    Changes,
}

impl EventKind {
    /// Every kind, from cause to effect.
    pub const ALL: [Self; 5] = [Self::Probes, Self::Strikes, Self::Verdicts, Self::Holds, Self::Changes];

    /// The name used in commands and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Probes => "probes",
            Self::Strikes => "strikes",
            Self::Verdicts => "verdicts",
            Self::Holds => "holds",
            Self::Changes => "changes",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// In which judgement, where it was in one: what `explain` takes.
    pub judgement: Option<i64>,
    /// To which node; none for what concerns a pool or the fleet.
    pub node: Option<NodeId>,
    /// What.
    pub what: Happening,
}

/// What happened, from cause to effect: events of the same moment are in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A probe ended.
    Observed(Observation),
    /// A failing round was remembered.
    Struck(Strike),
    /// The fleet's verdict or our vantage changed to this.
    Fleet { fleet: FleetVerdict, vantage: Vantage },
    /// A node's verdict or standing changed to this.
    Judged(Box<NodeState>),
    /// A change was wanted and refused.
    Held(Standpoint<Hold>),
    /// A person asked for a change.
    Requested(Request),
    /// Something was decided.
    Decided(Standpoint<Action>),
    /// A write to a registrar came to this state.
    Intent { id: i64, state: IntentState, note: String, plan: Box<Plan> },
    /// An authoritative server was seen to show a change, or was not within its deadline.
    Published(Publication),
    /// An operator pinned the node.
    Pinned(Pin),
    /// A pin was taken off, replaced, or ran out.
    Unpinned(Pin),
}

impl Happening {
    fn rank(&self) -> u8 {
        match self {
            Self::Observed(_) => 0,
            Self::Struck(_) => 1,
            Self::Fleet { .. } => 2,
            Self::Judged(_) => 3,
            Self::Held(_) => 4,
            Self::Requested(_) => 5,
            Self::Decided(_) => 6,
            Self::Intent { .. } => 7,
            Self::Published(_) => 8,
            Self::Unpinned(_) => 9,
            Self::Pinned(_) => 10,
        }
    }
}

/// See [`super::View::history`].
pub(crate) fn events(db: &Connection, query: &HistoryQuery) -> Result<Vec<Event>, Trouble> {
    let number = match &query.node {
        None => None,
        Some(node) => match find_node(db, node)? {
            Some(number) => Some(number),
            None => return Ok(Vec::new()),
        },
    };
    let mut found = Vec::new();
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let search = Search { db, query, number, limit, first: first_since(db, query.from)? };
    for kind in &query.kinds {
        match kind {
            EventKind::Probes => search.probes(&mut found)?,
            EventKind::Strikes => search.strikes(&mut found)?,
            EventKind::Verdicts => search.verdicts(&mut found)?,
            EventKind::Holds => search.holds(&mut found)?,
            EventKind::Changes => search.changes(&mut found)?,
        }
    }
    // Sorting is stable, and each source gives its own events in the order they were written.
    found.sort_by(|one, other| (one.at, one.what.rank(), &one.node).cmp(&(other.at, other.what.rank(), &other.node)));
    let surplus = found.len().saturating_sub(query.limit);
    found.drain(..surplus);
    Ok(found)
}

struct Search<'a> {
    db: &'a Connection,
    query: &'a HistoryQuery,
    number: Option<i64>,
    limit: i64,
    /// The first judgement to look at.
    first: i64,
}

/// The first judgement that was made at `from` or after it, by the clock; a number that none has where there is none.
///
/// What was written before it does not count even if its time is later: that clock was ahead, and was set back since.
pub(crate) fn first_since(db: &Connection, from: Time) -> Result<i64, Trouble> {
    let first: Option<i64> = db
        .prepare_cached("SELECT id FROM judgement WHERE at >= ?1 ORDER BY at, id LIMIT 1")?
        .query_row([from.0], |row| row.get(0))
        .optional()?;
    Ok(first.unwrap_or(i64::MAX))
}

/// From the newest judgement back until there are enough, for a table `alias` whose rows belong to judgements.
fn backwards(alias: &str) -> String {
    format!("{alias}.judgement >= ?5 AND +j.at BETWEEN ?2 AND ?3 ORDER BY {alias}.judgement DESC")
}

impl Search<'_> {
    fn one(&self, column: &str) -> String {
        if self.number.is_some() { format!("{column} = ?1") } else { "?1 IS NULL".to_owned() }
    }

    fn probes(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let (columns, one) = (rounds::COLUMNS, self.one("o.node"));
        // CROSS JOIN keeps SQLite to this order.
        let mut find = self.db.prepare_cached(&format!(
            "SELECT {columns}, n.name, j.id FROM judgement j CROSS JOIN observation o ON o.judgement = j.id \
             JOIN node n ON n.id = o.node JOIN address a ON a.id = o.address LEFT JOIN note t ON t.id = o.note \
             WHERE {one} AND j.id >= ?5 AND +j.at BETWEEN ?2 AND ?3 \
             ORDER BY j.id DESC, o.ended DESC, n.name DESC LIMIT ?4"
        ))?;
        let mut rows = find.query(self.range())?;
        let first = into.len();
        while let Some(row) = rows.next()? {
            let (_, seen) = rounds::read(row, 0)?;
            into.push(Event {
                at: seen.at,
                judgement: row.get(rounds::WIDTH + 1)?,
                node: Some(to_name(row.get_ref(rounds::WIDTH)?.as_str().unwrap_or_default())?),
                what: Happening::Observed(seen),
            });
        }
        into[first..].reverse();
        Ok(())
    }

    fn strikes(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let one = self.one("s.node");
        let mut find = self.db.prepare_cached(&format!(
            "SELECT s.at, s.judgement, n.name, s.faults FROM strike s JOIN node n ON n.id = s.node \
             WHERE {one} AND s.at BETWEEN ?2 AND ?3 ORDER BY s.at DESC, n.name DESC, s.id DESC LIMIT ?4"
        ))?;
        let mut rows = find.query(params![self.number, self.query.from.0, self.query.to.0, self.limit])?;
        let first = into.len();
        while let Some(row) = rows.next()? {
            let at = Time(row.get(0)?);
            let faults: String = row.get(3)?;
            into.push(Event {
                at,
                judgement: row.get(1)?,
                node: Some(to_name(row.get_ref(2)?.as_str().unwrap_or_default())?),
                what: Happening::Struck(Strike { at, faults: from_json("strike.faults", &faults)? }),
            });
        }
        into[first..].reverse();
        Ok(())
    }

    fn verdicts(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let first = into.len();
        for state in states::news(self.db, &self.range())? {
            into.push(Event {
                at: state.at,
                judgement: Some(state.judgement),
                node: Some(state.judged.node.clone()),
                what: Happening::Judged(Box::new(state)),
            });
        }
        into[first..].reverse();
        self.actions("c.kind = 'alert'", into)?;
        if self.number.is_some() {
            return Ok(());
        }
        let mut find = self.db.prepare_cached(
            "SELECT at, id, fleet, vantage FROM judgement WHERE news = 1 AND at BETWEEN ?1 AND ?2 \
             ORDER BY at DESC, id DESC LIMIT ?3",
        )?;
        let mut rows = find.query([self.query.from.0, self.query.to.0, self.limit])?;
        let first = into.len();
        while let Some(row) = rows.next()? {
            let what =
                Happening::Fleet { fleet: code::to_fleet(row.get(2)?)?, vantage: code::to_vantage(row.get(3)?)? };
            into.push(Event { at: Time(row.get(0)?), judgement: row.get(1)?, node: None, what });
        }
        into[first..].reverse();
        Ok(())
    }

    fn holds(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let which = format!("{} AND {}, n.name DESC, h.id DESC LIMIT ?4", self.one("h.node"), backwards("h"));
        let found = states::select_holds(self.db, &which, &self.range())?;
        into.extend(found.into_iter().rev().map(|(_, hold)| Event {
            at: hold.at,
            judgement: Some(hold.judgement),
            node: Some(hold.what.node.clone()),
            what: Happening::Held(hold),
        }));
        Ok(())
    }

    fn actions(&self, kind: &str, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let (one, back) = (self.one("c.node"), backwards("c"));
        let which = format!("{one} AND {kind} AND {back}, n.name DESC, c.id DESC LIMIT ?4");
        let found = states::select_actions(self.db, &which, &self.range())?;
        into.extend(found.into_iter().rev().map(|(_, action)| Event {
            at: action.at,
            judgement: Some(action.judgement),
            node: action.what.node.clone(),
            what: Happening::Decided(action),
        }));
        Ok(())
    }

    fn changes(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        self.actions("c.kind <> 'alert'", into)?;
        self.requests(into)?;
        self.intents(into)?;
        self.publications(into)?;
        for past in pins::past(self.db, self.number, self.query.from, self.query.to)? {
            let (pin, end) = (past.pin, past.ended_at);
            let event = |at, what| Event { at, judgement: None, node: Some(pin.node.clone()), what };
            let ends = end.unwrap_or(pin.until);
            let within = |at: Time| (self.query.from..=self.query.to).contains(&at);
            into.extend(within(pin.since).then(|| event(pin.since, Happening::Pinned(pin.clone()))));
            into.extend(within(ends).then(|| event(ends, Happening::Unpinned(pin.clone()))));
        }
        Ok(())
    }

    fn requests(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let mut find = self.db.prepare_cached(
            "SELECT at, id, request FROM judgement WHERE request IS NOT NULL AND at BETWEEN ?1 AND ?2 \
             AND (?3 IS NULL OR request ->> 'node' = ?3) ORDER BY at DESC, id DESC LIMIT ?4",
        )?;
        let node = self.query.node.as_ref().map(NodeId::as_str);
        let mut rows = find.query(params![self.query.from.0, self.query.to.0, node, self.limit])?;
        while let Some(row) = rows.next()? {
            let json: String = row.get(2)?;
            let request: Request = from_json("judgement.request", &json)?;
            into.push(Event {
                at: Time(row.get(0)?),
                judgement: row.get(1)?,
                node: Some(request.node.clone()),
                what: Happening::Requested(request),
            });
        }
        Ok(())
    }

    fn intents(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let concerns = concerns("i.plan");
        let mut find = self.db.prepare_cached(&format!(
            "SELECT e.at, i.judgement, i.id, e.state, e.note, i.plan FROM intent_state e JOIN intent i ON i.id = e.intent \
             WHERE e.at BETWEEN ?1 AND ?2 AND {concerns} ORDER BY e.at DESC, e.id DESC LIMIT ?4"
        ))?;
        let node = self.query.node.as_ref().map(NodeId::as_str);
        let mut rows = find.query(params![self.query.from.0, self.query.to.0, node, self.limit])?;
        let first = into.len();
        while let Some(row) = rows.next()? {
            let state: String = row.get(3)?;
            let plan: String = row.get(5)?;
            into.push(Event {
                at: Time(row.get(0)?),
                judgement: row.get(1)?,
                node: None,
                what: Happening::Intent {
                    id: row.get(2)?,
                    state: code::to_intent(&state)?,
                    note: row.get(4)?,
                    plan: from_json("intent.plan", &plan)?,
                },
            });
        }
        into[first..].reverse();
        Ok(())
    }

    fn publications(&self, into: &mut Vec<Event>) -> Result<(), Trouble> {
        let concerns = concerns("i.plan");
        let mut find = self.db.prepare_cached(&format!(
            "SELECT p.intent, p.server, p.at, p.seen, p.note, i.judgement FROM intent i JOIN publication p ON p.intent = i.id \
             WHERE coalesce(p.seen, p.at) BETWEEN ?1 AND ?2 AND {concerns} ORDER BY coalesce(p.seen, p.at) DESC LIMIT ?4"
        ))?;
        let node = self.query.node.as_ref().map(NodeId::as_str);
        let mut rows = find.query(params![self.query.from.0, self.query.to.0, node, self.limit])?;
        while let Some(row) = rows.next()? {
            let publication = intents::to_publication(row)?;
            into.push(Event {
                at: publication.seen.unwrap_or(publication.at),
                judgement: row.get(5)?,
                node: None,
                what: Happening::Published(publication),
            });
        }
        Ok(())
    }

    /// Node, from, to, limit, first judgement.
    fn range(&self) -> [Option<i64>; 5] {
        [self.number, Some(self.query.from.0), Some(self.query.to.0), Some(self.limit), Some(self.first)]
    }
}

/// Whether a plan was made because of the node `?3`.
fn concerns(plan: &str) -> String {
    format!("(?3 IS NULL OR EXISTS (SELECT 1 FROM json_each({plan}, '$.because') b WHERE b.value ->> 'n' = ?3))")
}
