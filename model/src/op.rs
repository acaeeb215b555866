// SPDX-License-Identifier: GPL-2.0

//! The steps of a program, how they are chosen, and how they are printed.

use crate::name::BIND_EVENT;
use proptest::prelude::*;
use std::fmt;

/// How a send is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not at all.
    Announce,
    /// By whoever is the replier.
    Request,
    /// By the socket in this slot.
    Stateful(usize),
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; the name is left out.
    None,
    /// Nothing; the name is there.
    Named,
    /// It is addressed to another peer.
    Peer,
    /// It has another name.
    Name,
}

/// What may be set for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They are the interface's options.
pub enum Setting {
    QueueLen(usize),
    QueueBytes(usize),
    Once(bool),
    Lossy(bool),
    ReportLost(bool),
    ReportBinds(bool),
}

/// One step. Sockets are in slots; a step for an empty slot is left out.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // As their names say.
pub enum Op {
    Open { slot: usize, bus: usize },
    Close { slot: usize },
    /// The socket's process is killed.
    Kill { slot: usize },
    ShutRead { slot: usize },
    ShutWrite { slot: usize },
    Listen { slot: usize, text: String },
    Unlisten { slot: usize, text: String },
    Bind { slot: usize, text: String, blocking: bool },
    Unbind { slot: usize, text: String, blocking: bool },
    Send {
        slot: usize,
        name: String,
        kind: Kind,
        /// 0, or one of the flags `ALL_OR_FAIL` and `ALL_OR_WAIT`.
        all: u32,
        urgent: bool,
        blocking: bool,
        len: usize,
        reply_max: usize,
    },
    /// Of the requests owed the one of this number, or one that is not.
    Reply { slot: usize, which: usize, fault: Fault, urgent: bool, len: usize },
    Ignore { slot: usize, which: usize },
    Read { slot: usize },
    Set { slot: usize, setting: Setting },
    /// What waits is interrupted.
    GiveUp { slot: usize },
    WhoReplies { slot: usize, name: String },
}

impl Op {
    /// Whose step it is.
    pub fn slot(&self) -> usize {
        match self {
            Op::Open { slot, .. }
            | Op::Close { slot }
            | Op::Kill { slot }
            | Op::ShutRead { slot }
            | Op::ShutWrite { slot }
            | Op::Listen { slot, .. }
            | Op::Unlisten { slot, .. }
            | Op::Bind { slot, .. }
            | Op::Unbind { slot, .. }
            | Op::Send { slot, .. }
            | Op::Reply { slot, .. }
            | Op::Ignore { slot, .. }
            | Op::Read { slot }
            | Op::Set { slot, .. }
            | Op::GiveUp { slot }
            | Op::WhoReplies { slot, .. } => *slot,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.slot())?;
        let waits = |blocking: &bool| if *blocking { "" } else { " without waiting" };
        match self {
            Op::Open { bus, .. } => write!(f, "open on bus {bus}"),
            Op::Close { .. } => write!(f, "close"),
            Op::Kill { .. } => write!(f, "kill"),
            Op::ShutRead { .. } => write!(f, "shutdown for reading"),
            Op::ShutWrite { .. } => write!(f, "shutdown for writing"),
            Op::Listen { text, .. } => write!(f, "listen {text}"),
            Op::Unlisten { text, .. } => write!(f, "unlisten {text}"),
            Op::Bind { text, blocking, .. } => write!(f, "replier {text}{}", waits(blocking)),
            Op::Unbind { text, blocking, .. } => write!(f, "unreplier {text}{}", waits(blocking)),
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
                match kind {
                    Kind::Announce => write!(f, "announce {name}")?,
                    Kind::Request => write!(f, "request {name}")?,
                    Kind::Stateful(slot) => write!(f, "request {name} of {slot}")?,
                }
                write!(f, ", {len} bytes")?;
                if *kind != Kind::Announce && *reply_max > 0 {
                    write!(f, " for {reply_max}")?;
                }
                write!(f, "{}", if *urgent { ", urgent" } else { "" })?;
                match *all {
                    crate::message::flags::ALL_OR_FAIL => write!(f, ", to all or fail"),
                    crate::message::flags::ALL_OR_WAIT => write!(f, ", to all{}", waits(blocking)),
                    _ => Ok(()),
                }
            }
            Op::Reply {
                which,
                fault,
                urgent,
                len,
                ..
            } => {
                let urgent = if *urgent { ", urgent" } else { "" };
                write!(f, "reply to no. {which}, {len} bytes{urgent} ({fault:?})")
            }
            Op::Ignore { which, .. } => write!(f, "ignore no. {which}"),
            Op::Read { .. } => write!(f, "read"),
            Op::Set { setting, .. } => write!(f, "set {setting:?}"),
            Op::GiveUp { .. } => write!(f, "give up waiting"),
            Op::WhoReplies { name, .. } => write!(f, "who replies to {name}?"),
        }
    }
}

/// The names that messages have.
pub const NAMES: [&str; 5] = ["$.A", "$.A.A", "$.A.B", "$.B", "$.A.A.A"];

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        40 => prop::sample::select(vec!["$.A", "$.A", "$.A.A", "$.A.A", "$.A.B", "$.B", "$.A.A.A"]),
        1 => prop::sample::select(vec!["$.KBUS", "$.KBUS.X", BIND_EVENT]),
    ]
    .prop_map(str::to_string)
}

fn texts() -> impl Strategy<Value = String> {
    let wild = vec!["$.*", "$.%", "$.A.*", "$.A.%", "$.A.A.*"];
    prop_oneof![
        8 => names(),
        6 => prop::sample::select(wild).prop_map(str::to_string),
        4 => prop::sample::select(vec![BIND_EVENT, BIND_EVENT, "$.KBUS.*", "$.KBUS.%"]).prop_map(str::to_string),
    ]
}

/// Random steps for so many slots and buses, and payloads up to a little more than is allowed.
pub fn strategy(slots: usize, buses: usize, max_msg: usize) -> impl Strategy<Value = Op> {
    let s = move || 0..slots;
    let len = move || 0..max_msg + 2;
    let setting = prop_oneof![
        5 => (1..5usize).prop_map(Setting::QueueLen),
        1 => (16..19usize).prop_map(Setting::QueueLen),
        2 => (1..120usize).prop_map(Setting::QueueBytes),
        2 => any::<bool>().prop_map(Setting::Once),
        1 => any::<bool>().prop_map(Setting::Lossy),
        1 => any::<bool>().prop_map(Setting::ReportLost),
        4 => prop::bool::weighted(0.8).prop_map(Setting::ReportBinds),
    ];
    let kind = prop_oneof![
        4 => Just(Kind::Announce),
        5 => Just(Kind::Request),
        1 => s().prop_map(Kind::Stateful),
    ];
    let fault = prop_oneof![
        6 => Just(Fault::None),
        2 => Just(Fault::Named),
        1 => Just(Fault::Peer),
        1 => Just(Fault::Name),
    ];
    let all = prop_oneof![4 => Just(0u32), 2 => Just(4u32), 5 => Just(8u32)];
    let urgent = || prop::bool::weighted(0.15);
    let often = || prop::bool::weighted(0.7);
    let which = || prop_oneof![5 => Just(0usize), 1 => 1..4usize];
    prop_oneof![
        40 => (s(), 0..buses).prop_map(|(slot, bus)| Op::Open { slot, bus }),
        6 => s().prop_map(|slot| Op::Close { slot }),
        3 => s().prop_map(|slot| Op::Kill { slot }),
        1 => s().prop_map(|slot| Op::ShutRead { slot }),
        1 => s().prop_map(|slot| Op::ShutWrite { slot }),
        36 => (s(), texts()).prop_map(|(slot, text)| Op::Listen { slot, text }),
        18 => (s(), texts()).prop_map(|(slot, text)| Op::Unlisten { slot, text }),
        36 => (s(), texts(), often()).prop_map(|(slot, text, blocking)| Op::Bind { slot, text, blocking }),
        24 => (s(), texts(), often()).prop_map(|(slot, text, blocking)| Op::Unbind { slot, text, blocking }),
        170 => (s(), names(), kind, all, urgent(), often(), len(), 0..30usize).prop_map(
            |(slot, name, kind, all, urgent, blocking, len, reply_max)| Op::Send {
                slot, name, kind, all, urgent, blocking, len, reply_max
            }
        ),
        60 => (s(), which(), fault, urgent(), len()).prop_map(
            |(slot, which, fault, urgent, len)| Op::Reply { slot, which, fault, urgent, len }
        ),
        8 => (s(), which()).prop_map(|(slot, which)| Op::Ignore { slot, which }),
        130 => s().prop_map(|slot| Op::Read { slot }),
        30 => (s(), setting).prop_map(|(slot, setting)| Op::Set { slot, setting }),
        8 => s().prop_map(|slot| Op::GiveUp { slot }),
        4 => (s(), names()).prop_map(|(slot, name)| Op::WhoReplies { slot, name }),
    ]
}
