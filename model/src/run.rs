// SPDX-License-Identifier: GPL-2.0

//! Runs a program on the model and on a subject, side by side.

use crate::adapt::adapt;
use crate::errno::*;
use crate::message::flags;
use crate::message::Debt;
use crate::message::Msg;
use crate::name;
use crate::op::Fault;
use crate::op::Kind;
use crate::op::Op;
use crate::op::Setting;
use crate::send::Policy;
use crate::send::Send;
use crate::send::Sent;
use crate::state::Config;
use crate::state::Model;
use crate::Errno;
use std::collections::BTreeMap;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done; an id, a key, or 0.
    Ok(u64),
    /// It was refused.
    Err(Errno),
    /// It waits.
    Waits,
    /// What was read, if anything.
    Read(Option<Msg>),
}

/// What a step came to, and whose waits it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The step itself.
    pub done: Done,
    /// Waits that ended, by slot.
    pub ended: Vec<(usize, Result<u64, Errno>)>,
}

/// What can be seen of a socket at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // As their names say.
pub struct Seen {
    pub unread: usize,
    pub bytes: usize,
    pub reserved: usize,
    pub owed: usize,
    pub lost: u64,
    pub readable: bool,
    pub urgent: bool,
    pub writable: bool,
}

/// What can be seen of a bus: bytes alive, sockets of the program, bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // As their names say.
pub struct SeenBus {
    pub used: usize,
    pub members: usize,
    pub bindings: usize,
}

/// A bus that is compared with the model.
///
/// It names sockets by the keys that the model gave them, and counts ids from the beginning of the program.
pub trait Subject {
    /// Does a step that the model has found to be possible.
    fn apply(&mut self, step: &Step<'_>) -> Outcome;
    /// Looks at a socket.
    fn look(&mut self, slot: usize) -> Seen;
    /// Whether it can tell the id of a message that was sent after a wait; else only whether it was.
    fn knows_ids_of_waits(&self) -> bool {
        true
    }
    /// The names of the replier bindings of a socket in the order in which their events come when it goes.
    fn order_of_repliers(&mut self, slot: usize) -> Vec<String>;
    /// Looks at a bus.
    fn look_at_bus(&mut self, bus: usize) -> SeenBus;
}

/// A step with what its numbers stand for.
pub struct Step<'a> {
    /// The step.
    pub op: &'a Op,
    /// Of an `Open`: the new key.
    pub key: u64,
    /// Of a send: what is sent.
    pub send: Option<Send>,
    /// Of a reply or `Ignore`: the requester's key, the request's id, and its name if it is to be given.
    pub debt: (u64, u64, Option<String>),
    /// Whether the model sees the step wait.
    pub waits: bool,
    /// What it comes to in the model.
    done: Done,
}

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Tally(pub BTreeMap<String, u64>);

impl Tally {
    fn count(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        for (what, times) in &other.0 {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }

    fn outcome(&mut self, op: &Op, outcome: &Outcome) {
        let text = format!("{op:?}");
        let verb = text.split([' ', '{']).next().unwrap_or_default();
        match &outcome.done {
            Done::Ok(_) => self.count(format!("{verb} ok")),
            Done::Err(error) => self.count(format!("{verb} errno {error}")),
            Done::Waits => self.count(format!("{verb} waits")),
            Done::Read(None) => self.count("Read nothing".to_string()),
            Done::Read(Some(msg)) => {
                let kind = match msg.flags {
                    f if f & flags::STATUS != 0 => msg.name.clone(),
                    f if f & flags::REPLY != 0 => "reply".to_string(),
                    f if f & flags::YOU_REPLY != 0 => "request to answer".to_string(),
                    f if f & flags::REQUEST != 0 => "copy of a request".to_string(),
                    _ => "announcement".to_string(),
                };
                self.count(format!("Read {kind}"));
                if msg.lost > 0 && msg.name != name::LOST {
                    self.count("Read after a gap".to_string());
                }
            }
        }
        for (_, end) in &outcome.ended {
            match end {
                Ok(0) => self.count("wait of a binding ended well".to_string()),
                Ok(_) => self.count("wait ended well".to_string()),
                Err(error) => self.count(format!("wait ended with errno {error}")),
            }
        }
    }
}

/// Runs a program; tells the first difference.
///
/// # Errors
///
/// What was done, and what differs after the last step of that.
pub fn run(config: &Config, subject: &mut dyn Subject, ops: &[Op], tally: &mut Tally) -> Result<u64, String> {
    let mut model = Model::new(config.clone());
    let mut steps = 0;
    let mut trace = String::new();
    for op in ops {
        let op = &adapt(&model, op);
        if !possible(&model, op) {
            continue;
        }
        let order = match op {
            Op::Close { slot } | Op::Kill { slot } | Op::ShutRead { slot } | Op::ShutWrite { slot }
                if model.tells_of_several(*slot) =>
            {
                subject.order_of_repliers(*slot)
            }
            _ => vec![],
        };
        let step = model_step(&mut model, op, &order);
        steps += 1;
        trace += &format!("  {op}\n");
        let mut got = subject.apply(&step);
        let want = Outcome {
            ended: model.settle_waits(&got.ended),
            done: step.done,
        };
        if !subject.knows_ids_of_waits() {
            let ids = want.ended.iter().zip(&mut got.ended);
            ids.for_each(|(want, got)| got.1 = got.1.and(want.1.or(got.1)));
        }
        let fail = |what: &str, want: String, got: String| {
            Err(format!("{trace}{what} of this last step\n  in the model: {want}\n  on the bus:   {got}"))
        };
        if got != want {
            return fail("outcome", format!("{want:?}"), format!("{got:?}"));
        }
        tally.outcome(op, &want);
        for slot in 0..config.users.len() {
            if model.socks[slot].is_none() {
                continue;
            }
            let got = subject.look(slot);
            // Such a socket may be told too early that it can send again: any bytes that come back may be enough.
            let is_broke = model.sock(slot).blocked_by.is_some_and(|blocked| blocked.broke.is_some());
            if is_broke && got.writable {
                model.sock_mut(slot).blocked_by = None;
            }
            let want = seen(&model, slot);
            if want != got {
                return fail(&format!("socket {slot}"), format!("{want:?}"), format!("{got:?}"));
            }
        }
        for bus in 0..config.buses {
            let want = SeenBus {
                used: model.used(bus),
                members: model.members(bus).count(),
                bindings: model.bindings.iter().filter(|b| b.bus == bus).count(),
            };
            let got = subject.look_at_bus(bus);
            if want != got {
                return fail(&format!("bus {bus}"), format!("{want:?}"), format!("{got:?}"));
            }
        }
    }
    Ok(steps)
}

fn seen(model: &Model, slot: usize) -> Seen {
    let sock = model.sock(slot);
    Seen {
        unread: sock.queue.len(),
        bytes: model.bytes(slot),
        reserved: sock.reserved,
        owed: sock.owed.len(),
        lost: sock.lost,
        readable: model.front(slot).is_some(),
        urgent: sock.queue.first().is_some_and(|copy| copy.is_urgent()),
        writable: !sock.write_shut && sock.blocked_by.is_none(),
    }
}

/// Whether a step can be done at all: its socket is there, and not in the midst of another that this one excludes.
fn possible(model: &Model, op: &Op) -> bool {
    let slot = op.slot();
    let Op::Open { .. } = op else {
        if model.socks[slot].is_none() {
            return false;
        }
        let waiting = model.is_waiting(slot);
        let many = model.waiters.len() >= model.config.waiters;
        return match op {
            // The last reference is held by who waits.
            Op::Close { .. } | Op::Kill { .. } => !waiting,
            // One thread of a socket waits, and one binding anywhere: what two would do next is the scheduler's choice.
            Op::Bind { blocking, .. } | Op::Unbind { blocking, .. } => {
                !(*blocking && (waiting || many || model.a_bind_waits()))
            }
            Op::Send { blocking, all, .. } => !((waiting || many) && *blocking && *all == flags::ALL_OR_WAIT),
            Op::GiveUp { .. } => waiting,
            _ => true,
        };
    };
    model.socks[slot].is_none()
}

fn result<T>(result: Result<T, Errno>, ok: impl FnOnce(T) -> Done) -> Done {
    match result {
        Ok(value) => ok(value),
        Err(error) => Done::Err(error),
    }
}

fn sent(sent: Sent) -> Done {
    match sent {
        Sent::Id(id) => Done::Ok(id),
        Sent::Waits => Done::Waits,
    }
}

/// Does a step on the model.
fn model_step<'a>(model: &mut Model, op: &'a Op, order: &[String]) -> Step<'a> {
    let slot = op.slot();
    let mut step = Step {
        op,
        key: 0,
        send: None,
        debt: (0, 0, None),
        waits: false,
        done: Done::Waits,
    };
    let ok = |()| Done::Ok(0);
    let done = match op {
        Op::Open { bus, .. } => {
            step.key = model.open(slot, *bus);
            Done::Ok(0)
        }
        Op::Close { .. } | Op::Kill { .. } => {
            model.close(slot, order);
            Done::Ok(0)
        },
        Op::ShutRead { .. } => {
            model.shut_read(slot, order);
            Done::Ok(0)
        },
        Op::ShutWrite { .. } => {
            model.shut_write(slot, order);
            Done::Ok(0)
        },
        Op::Listen { text, .. } => result(model.listen(slot, text), ok),
        Op::Unlisten { text, .. } => result(model.unlisten(slot, text), ok),
        Op::Bind { text, blocking, .. } => result(model.bind_or_not(slot, true, text, *blocking), sent),
        Op::Unbind { text, blocking, .. } => result(model.bind_or_not(slot, false, text, *blocking), sent),
        Op::Send {
            name,
            kind,
            all,
            urgent,
            blocking,
            len,
            reply_max,
            ..
        } => {
            let send = Send {
                name: name.clone(),
                peer: match kind {
                    // A key that never was, if nobody is there.
                    Kind::Stateful(of) => Some(model.socks[*of].as_ref().map_or(u64::MAX, |s| s.key)),
                    _ => None,
                },
                request: *kind != Kind::Announce,
                policy: match *all {
                    flags::ALL_OR_FAIL => Policy::Fail,
                    flags::ALL_OR_WAIT => Policy::Wait,
                    _ => Policy::Miss,
                },
                urgent: *urgent,
                len: *len,
                reply_max: *reply_max,
                cookie: match kind {
                    Kind::Announce => 0,
                    _ => 1000 + *len as u64,
                },
            };
            step.send = Some(send.clone());
            result(model.send(slot, &send, *blocking), sent)
        }
        Op::Reply {
            which,
            fault,
            urgent,
            len,
            ..
        } => {
            let (mut peer, id, name) = owed(model, slot, *which);
            let name = match fault {
                Fault::None => None,
                Fault::Named => Some(name),
                Fault::Peer => {
                    peer += 1;
                    None
                }
                Fault::Name => Some("$.Q".to_string()),
            };
            step.debt = (peer, id, name.clone());
            let reply = model.reply(slot, (peer, id), name.as_deref(), *len, *urgent);
            result(reply, Done::Ok)
        }
        Op::Ignore { which, .. } => {
            let (peer, id, _) = owed(model, slot, *which);
            step.debt = (peer, id, None);
            result(model.ignore(slot, id), ok)
        }
        Op::Read { .. } => Done::Read(model.read(slot)),
        Op::Set { setting, .. } => {
            let mut set = Ok(());
            match *setting {
                Setting::QueueLen(len) => model.set_limit(slot, len),
                Setting::QueueBytes(bytes) => model.set_bytes(slot, bytes),
                Setting::Once(on) => model.set_once(slot, on),
                Setting::Lossy(on) => model.set_lossy(slot, on),
                Setting::ReportLost(on) => model.sock_mut(slot).report_lost = on,
                Setting::ReportBinds(on) => set = model.report_binds(slot, on),
            }
            result(set, ok)
        }
        Op::GiveUp { .. } => {
            model.give_up(slot);
            Done::Err(EAGAIN)
        }
        Op::WhoReplies { name, .. } => {
            let bus = model.sock(slot).bus;
            let slot = model.replier(bus, name).map(|b| b.slot);
            Done::Ok(slot.map_or(0, |slot| model.sock(slot).key))
        }
    };
    step.waits = done == Done::Waits;
    step.done = done;
    step
}

/// The requester's key, id and name of a request that is owed, or of one that is not.
fn owed(model: &Model, slot: usize, which: usize) -> (u64, u64, String) {
    let owed: &[Debt] = &model.sock(slot).owed;
    match owed.get(which) {
        Some(debt) => (debt.requester.1, debt.id, debt.name.clone()),
        // Perhaps one that is still queued, or somebody else's.
        None => (1, which as u64 + 1, "$.A".to_string()),
    }
}

/// What must have happened in a run of some size, or the programs have become too dull to show anything.
pub const MUST_HAPPEN: &[&str] = &[
    "Bind errno 1",
    "Bind errno 11",
    "Bind errno 17",
    "Bind errno 22",
    "Bind errno 35",
    "Bind ok",
    "Bind waits",
    "Ignore errno 111",
    "Ignore ok",
    "Read $.KBUS.Lost",
    "Read $.KBUS.Replier.GoneAway",
    "Read $.KBUS.Replier.Ignored",
    "Read $.KBUS.Replier.Unbound",
    "Read $.KBUS.ReplierBindEvent",
    "Read $.KBUS.UnbindEventsLost",
    "Read after a gap",
    "Read announcement",
    "Read copy of a request",
    "Read reply",
    "Read request to answer",
    "Reply errno 111",
    "Reply errno 22",
    "Reply errno 90",
    "Reply errno 99",
    "Reply ok",
    "Send errno 1",
    "Send errno 105",
    "Send errno 11",
    "Send errno 122",
    "Send errno 16",
    "Send errno 32",
    "Send errno 35",
    "Send errno 90",
    "Send errno 99",
    "Send ok",
    "Send waits",
    "Set errno 105",
    "Unbind errno 22",
    "Unbind ok",
    "Unlisten errno 22",
    "Unlisten ok",
    "wait ended well",
    "wait ended with errno 105",
    "wait ended with errno 32",
    "wait ended with errno 99",
    "wait of a binding ended well",
];
