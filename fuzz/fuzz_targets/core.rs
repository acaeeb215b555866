// SPDX-License-Identifier: GPL-2.0
//! Bytes become operations, which the bus and the model must do alike.
//!
//! The bus as a subject of the model is that of `net/core/tests/against_model.rs`; there the operations are random.

#![no_main]

#[path = "../../net/core/tests/against_model.rs"]
#[allow(dead_code, unused_imports)]
mod against_model;

use against_model::config;
use against_model::nothing_remains;
use against_model::Core;
use against_model::MAX_MSG;
use against_model::USERS;
use kbus_model::message::flags;
use kbus_model::name::BIND_EVENT;
use kbus_model::op::Fault;
use kbus_model::op::Kind;
use kbus_model::op::Setting;
use kbus_model::op::NAMES;
use kbus_model::run::Tally;
use kbus_model::Op;
use libfuzzer_sys::fuzz_target;

/// Operations of one program at most.
const MOST: usize = 400;
/// What bindings have besides names.
const WILD: [&str; 7] = [
    "$.*", "$.%", "$.A.*", "$.A.%", "$.A.A.*", "$.KBUS.*", "$.KBUS.%",
];
/// The bus's own names.
const OWN: [&str; 3] = ["$.KBUS", "$.KBUS.X", BIND_EVENT];

/// The input, byte by byte; `None` is its end.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> Option<usize> {
        self.0.next().copied().map(usize::from)
    }

    /// A number below `n`, and a few bits that it leaves over.
    fn below(&mut self, n: usize) -> Option<(usize, usize)> {
        self.next().map(|byte| (byte % n, byte / n))
    }

    fn name(&mut self) -> Option<String> {
        let at = self.next()?;
        let own = at.checked_sub(250).map(|at| OWN[at % OWN.len()]);
        Some(own.unwrap_or(NAMES[at % NAMES.len()]).to_string())
    }

    fn text(&mut self) -> Option<String> {
        let at = self.next()?;
        let all = NAMES.iter().chain(&WILD).chain(&OWN);
        let count = NAMES.len() + WILD.len() + OWN.len();
        all.copied().nth(at % count).map(str::to_string)
    }

    fn op(&mut self) -> Option<Op> {
        let what = self.next()?;
        let (slot, bits) = self.below(USERS.len())?;
        let flag = bits & 1 != 0;
        Some(match what % 32 {
            0..3 => Op::Open {
                slot,
                bus: bits % 2,
            },
            3 if bits % 3 == 0 => Op::Kill { slot },
            3 => Op::Close { slot },
            4 if flag => Op::ShutRead { slot },
            4 => Op::ShutWrite { slot },
            5..8 => Op::Listen {
                slot,
                text: self.text()?,
            },
            8 => Op::Unlisten {
                slot,
                text: self.text()?,
            },
            9..11 => Op::Bind {
                slot,
                text: self.text()?,
                blocking: flag,
            },
            11 => Op::Unbind {
                slot,
                text: self.text()?,
                blocking: flag,
            },
            12..20 => {
                let (kind, bits) = self.below(8)?;
                Op::Send {
                    slot,
                    name: self.name()?,
                    kind: match kind {
                        0..4 => Kind::Announce,
                        4..7 => Kind::Request,
                        _ => Kind::Stateful(bits % USERS.len()),
                    },
                    all: [0, flags::ALL_OR_FAIL, flags::ALL_OR_WAIT][bits % 3],
                    urgent: bits > 27,
                    blocking: flag,
                    len: self.below(MAX_MSG + 2)?.0,
                    reply_max: self.below(30)?.0,
                }
            }
            20..23 => Op::Reply {
                slot,
                which: bits % 4,
                fault: [Fault::None, Fault::Named, Fault::Peer, Fault::Name][bits / 4 % 4],
                urgent: bits & 16 != 0,
                len: self.below(MAX_MSG + 2)?.0,
            },
            23 => Op::Ignore {
                slot,
                which: bits % 4,
            },
            24..28 => Op::Read { slot },
            28 | 29 => Op::Set {
                slot,
                setting: self.setting()?,
            },
            30 => Op::GiveUp { slot },
            _ => Op::WhoReplies {
                slot,
                name: self.name()?,
            },
        })
    }

    fn setting(&mut self) -> Option<Setting> {
        let (what, bits) = self.below(6)?;
        let on = bits & 1 != 0;
        Some(match what {
            0 => Setting::QueueLen(1 + bits % 18),
            1 => Setting::QueueBytes(1 + bits * 3),
            2 => Setting::Once(on),
            3 => Setting::Lossy(on),
            4 => Setting::ReportLost(on),
            _ => Setting::ReportBinds(on),
        })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes.iter());
    let size = |byte| match byte {
        byte if byte < 192 => 60 + 2 * byte,
        _ => 1_000_000,
    };
    let (Some(bytes_max), Some(budget), Some((unbinds, rest))) =
        (bytes.next(), bytes.next(), bytes.below(6))
    else {
        return;
    };
    let messages = match rest / 3 % 2 {
        0 => 4 + rest,
        _ => 1_000_000,
    };
    let groups = match rest / 6 % 2 {
        0 => [0; USERS.len()],
        _ => [0, 1, 0, 1, 2],
    };
    let config = config(
        size(bytes_max),
        (size(budget), messages),
        (unbinds, rest % 3),
        groups,
    );
    let ops: Vec<Op> = std::iter::from_fn(|| bytes.op()).take(MOST).collect();
    let mut core = Core::new(&config);
    if let Err(difference) = kbus_model::run(&config, &mut core, &ops, &mut Tally::default()) {
        panic!("the bus differs from the model:\n{difference}");
    }
    nothing_remains(&mut core);
});
