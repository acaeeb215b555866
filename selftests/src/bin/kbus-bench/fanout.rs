// SPDX-License-Identifier: GPL-2.0
//! One message to many receivers.

use crate::clock::median;
use crate::clock::ticks;
use crate::place::Place;
use crate::place::PLACES;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::plain::KINDS;
use crate::plain::QUEUE;
use crate::report::progress;
use crate::report::ratio;
use crate::report::Table;

const FANS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const PAYLOAD: [u8; 64] = [0x5a; 64];
/// Messages of a measurement; each is read by all before the next.
const MESSAGES: usize = 50;
/// Messages that are sent before anybody reads, in the run where queues get full.
const FLOOD: u64 = QUEUE + QUEUE / 2;

/// What one message costs.
pub struct Figures {
    pub send: u64,
    pub reads: u64,
}

/// Sends and has all read, and insists that each copy arrives.
pub fn measure(kind: Kind, fan: usize) -> Figures {
    let group = Group::new(kind, fan);
    let mut inbox = Inbox::new();
    let (mut send, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..MESSAGES {
        send.push(ticks(|| group.send(&PAYLOAD)));
        reads.push(ticks(|| {
            for receiver in &group.receivers {
                inbox.expect(receiver, PAYLOAD.len());
            }
        }));
    }
    Figures {
        send: median(send),
        reads: median(reads),
    }
}

/// Per cent of the copies that arrive when queues get full.
fn share_of_flood(kind: Kind, fan: usize) -> f64 {
    let group = Group::new(kind, fan);
    let mut inbox = Inbox::new();
    (0..FLOOD).for_each(|_| group.send(&PAYLOAD));
    let mut arrived = 0;
    for receiver in &group.receivers {
        let here = inbox.drain(receiver);
        arrived += here;
        if kind == Kind::Kbus {
            assert_eq!(here + receiver.lost(), FLOOD, "what is missed is counted");
        }
    }
    arrived as f64 * 100.0 / (FLOOD * fan as u64) as f64
}

/// Measures both for each number of receivers, the two kinds taking turns.
pub fn run(rounds: usize) {
    for place in PLACES {
        let _there = place.enter();
        in_place(rounds, place);
    }
    let mut table = Table::new(&["receivers", "AF_UNIX", "kbus"]);
    for fan in FANS {
        progress(&format!("queues that get full, {fan}"));
        let share = |kind| format!("{:.1} %", share_of_flood(kind, fan));
        table.row(vec![fan.to_string(), share(Kind::Unix), share(Kind::Kbus)]);
    }
    table.print(
        "What arrives when queues get full",
        &format!(
            "The share of the copies, where {FLOOD} messages were sent before anybody read, to queues of {QUEUE}. What was\n\
             missed was counted right by each listener."
        ),
    );
}

/// The table of one place.
fn in_place(rounds: usize, place: Place) {
    let mut table = Table::new(&[
        "receivers",
        "AF_UNIX send",
        "kbus send",
        "ratio",
        "AF_UNIX, with reads",
        "kbus, with reads",
        "ratio",
    ]);
    for fan in FANS {
        progress(&format!("fan-out to {fan}{}", place.note()));
        let mut results = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        for _ in 0..rounds {
            for (kind, (send, all)) in KINDS.into_iter().zip(&mut results) {
                let figures = measure(kind, fan);
                send.push(figures.send);
                all.push(figures.send + figures.reads);
            }
        }
        let [unix, kbus] = results.map(|(send, all)| (median(send), median(all)));
        table.row(vec![
            fan.to_string(),
            unix.0.to_string(),
            kbus.0.to_string(),
            ratio(kbus.0, unix.0),
            unix.1.to_string(),
            kbus.1.to_string(),
            ratio(kbus.1, unix.1),
        ]);
    }
    table.print(
        &format!("One message to many{}", place.note()),
        "64 bytes. On the bus one `sendto()` to a name, with AF_UNIX one to each receiver's address; with reads: and\n\
         each receiver's `recvfrom()`. All copies arrive.",
    );
}
