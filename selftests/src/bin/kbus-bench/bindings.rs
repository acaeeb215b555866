// SPDX-License-Identifier: GPL-2.0
//! A bus with many bindings that do not match.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Sock;

use crate::clock::median;
use crate::clock::ticks;
use crate::plain;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::report::per_cent_more;
use crate::report::progress;
use crate::report::ratio;
use crate::report::Table;

const COUNTS: [u32; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
/// By how much a figure may differ from the one with a single binding.
const FLAT_PER_CENT: f64 = 5.0;
/// Bindings that one user holds: fewer than the bus allows.
const EACH: u32 = 4000;
const FIRST_UID: u32 = 1000;
const PAYLOAD: [u8; 64] = [0x5a; 64];
const TIMES: usize = 200;

/// Where the bindings are that do not match.
struct Shape {
    title: &'static str,
    text: &'static str,
    hit: &'static str,
    further: &'static str,
    name: fn(u32) -> String,
}

const SHAPES: [Shape; 2] = [
    Shape {
        title: "Bindings that do not match: siblings",
        text: "All are `$.Bench.N…`, next to the name that is announced and the one that is bound.",
        hit: "$.Bench.Hit",
        further: "$.Bench.Further",
        name: |n| format!("$.Bench.N{n}"),
    },
    Shape {
        title: "Bindings that do not match: deep",
        text: "They are `$.Bench.A.B.C.D….E….F….*`, ten at each place.",
        hit: "$.Bench.A.B.C.D0.E0.Hit",
        further: "$.Bench.A.B.C.D0.E0.Further.*",
        name: |n| format!("$.Bench.A.B.C.D{}.E{}.F{n}.*", n / 1000, n / 10),
    },
];

/// Sockets of as many users as it takes.
struct Crowd {
    bus: String,
    holders: Vec<Sock>,
    bindings: u32,
}

impl Crowd {
    /// Binds further names until there are so many.
    fn grow(&mut self, bindings: u32, name: fn(u32) -> String) {
        while self.bindings < bindings {
            if self.bindings % EACH == 0 {
                self.holders
                    .push(as_user(FIRST_UID + self.bindings / EACH, || {
                        Sock::on(&self.bus)
                    }));
            }
            let holder = self.holders.last().expect("there is one");
            holder.listen(&name(self.bindings)).expect("listen");
            self.bindings += 1;
        }
    }
}

/// Does something as another user, and is root again.
fn as_user<T>(uid: u32, f: impl FnOnce() -> T) -> T {
    let become_effective = |uid| {
        // SAFETY: Always safe.
        let r = unsafe { libc::seteuid(uid) };
        assert_eq!(r, 0, "seteuid({uid}): {:?}", Errno::last());
    };
    become_effective(uid);
    let result = f();
    become_effective(0);
    result
}

/// Measures with 1 … 100,000 bindings and returns whether all figures are flat.
pub fn run() -> bool {
    let mut flat = true;
    for shape in SHAPES {
        flat &= run_shape(&shape);
    }
    flat
}

/// What one number of bindings costs.
#[derive(Clone, Copy)]
struct Figures {
    unix_send: u64,
    announce: u64,
    bind: u64,
    unbind: u64,
}

/// The sockets that are measured, each with a binding or none.
struct Bench<'a> {
    shape: &'a Shape,
    sender: Sock,
    listener: Sock,
    binder: Sock,
    unix: Group,
    inbox: Inbox,
}

impl<'a> Bench<'a> {
    fn new(shape: &'a Shape, bus: &str) -> Bench<'a> {
        let listener = plain::on_bus(bus);
        listener.listen(shape.hit).expect("listen");
        Bench {
            shape,
            sender: plain::on_bus(bus),
            listener,
            binder: plain::on_bus(bus),
            unix: Group::new(Kind::Unix, 1),
            inbox: Inbox::new(),
        }
    }

    /// All in turn.
    fn measure(&mut self) -> Figures {
        let to = message_address(self.shape.hit);
        let further = self.shape.further;
        let (mut unix_send, mut announce) = (Vec::new(), Vec::new());
        let (mut bind, mut unbind) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            unix_send.push(ticks(|| self.unix.send(&PAYLOAD)));
            self.inbox.expect(&self.unix.receivers[0], PAYLOAD.len());
            announce.push(ticks(|| {
                self.sender.send_raw(&to, &PAYLOAD, 0).expect("announce");
            }));
            self.inbox.expect(&self.listener, PAYLOAD.len());
            bind.push(ticks(|| self.binder.listen(further).expect("bind")));
            unbind.push(ticks(|| self.binder.unlisten(further).expect("unbind")));
        }
        Figures {
            unix_send: median(unix_send),
            announce: median(announce),
            bind: median(bind),
            unbind: median(unbind),
        }
    }
}

fn run_shape(shape: &Shape) -> bool {
    let mut crowd = Crowd {
        bus: fresh_bus(),
        holders: Vec::new(),
        bindings: 0,
    };
    let mut bench = Bench::new(shape, &crowd.bus);
    let mut table = Table::new(&[
        "bindings",
        "AF_UNIX send",
        "announce",
        "ratio",
        "change",
        "bind",
        "change",
        "unbind",
        "change",
    ]);
    let mut first = None;
    let mut worst = 0.0_f64;
    for count in COUNTS {
        progress(&format!("{count} bindings"));
        crowd.grow(count, shape.name);
        let now = bench.measure();
        let base: Figures = *first.get_or_insert(now);
        let mut change = |figure: fn(Figures) -> u64| {
            let per_cent = per_cent_more(figure(now), figure(base));
            worst = worst.max(per_cent.abs());
            format!("{per_cent:+.1} %")
        };
        table.row(vec![
            count.to_string(),
            now.unix_send.to_string(),
            now.announce.to_string(),
            ratio(now.announce, now.unix_send),
            change(|figures| figures.announce),
            now.bind.to_string(),
            change(|figures| figures.bind),
            now.unbind.to_string(),
            change(|figures| figures.unbind),
        ]);
    }
    let flat = worst <= FLAT_PER_CENT;
    let verdict = match flat {
        true => "Flat",
        false => "NOT FLAT",
    };
    let text = shape.text;
    table.print(
        shape.title,
        &format!("{text}\n{verdict}: the largest change is {worst:.1} %, allowed are {FLAT_PER_CENT:.0} %."),
    );
    flat
}
