// SPDX-License-Identifier: GPL-2.0

//! Who waits, who is woken, and what happens when a reader comes in between.

mod peer;

use kbus_core::bus::Bound;
use kbus_core::bus::Bus;
use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::bus::Sent;
use kbus_core::error::Error;
use kbus_core::hash::Key;
use kbus_core::mem::AllocError;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_URGENT;
use kbus_core::name::Pattern;
use kbus_core::payer::Payer;
use kbus_core::queue::Queue;
use kbus_core::wakes::Wakes;
use kbus_core::wakes::Why;
use peer::Peer;
use peer::Users;
use peer::World;
use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const READ: Why = Why {
    read: true,
    write: false,
};
const WRITE: Why = Why {
    read: false,
    write: true,
};

/// Everybody who is on the list, by peer id.
fn woken<M: Member>(mut wakes: Wakes<M>) -> Vec<(u64, Why)> {
    let mut all: Vec<_> = std::iter::from_fn(|| wakes.pop())
        .map(|(member, why)| (member.id(), why))
        .collect();
    all.sort_by_key(|one| one.0);
    all
}

fn announcement<M: Member>(name: &str, flags: u32) -> Outgoing<'_, M> {
    Outgoing {
        dest: Some(Dest::Name(name.as_bytes())),
        flags,
        ..Default::default()
    }
}

/// Sends, and tells what became of it and who is woken.
fn send<M: Member>(
    bus: &mut Bus<M>,
    member: &M,
    flags: u32,
    blocking: bool,
) -> (Result<Sent, Error>, Vec<(u64, Why)>) {
    let (mut wakes, mut out) = (Wakes::new(), announcement("$.A", flags));
    let sent = bus.send(member, &mut out, blocking, &mut || 7, &mut wakes);
    (sent, woken(wakes))
}

/// A sender, and a listener whose queue of one message is full.
fn full() -> (World, Peer, Peer) {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    b.with(|queue| queue.set_limit(1));
    w.announce(&a, "$.A", b"").unwrap();
    (w, a, b)
}

/// Each recipient is woken, once however many copies it gets; nobody else is.
#[test]
fn recipients_are_woken_once() {
    let mut w = World::new(0, 1 << 20);
    let (a, b, c) = (w.join(1, 1), w.join(2, 1), w.join(3, 1));
    for text in ["$.A", "$.*"] {
        w.listen(&b, text).unwrap();
        w.listen(&c, text).unwrap();
    }
    let mut wakes = Wakes::new();
    for _ in 0..2 {
        let mut out = announcement("$.A", 0);
        w.bus
            .send(&a, &mut out, false, &mut || 7, &mut wakes)
            .unwrap();
    }
    assert_eq!(woken(wakes), [(2, READ), (3, READ)]);
    // And again for the next message.
    assert_eq!(send(&mut w.bus, &a, 0, false).1, [(2, READ), (3, READ)]);
}

/// Who is on a list that is dropped can be put on the next one.
#[test]
fn a_list_that_is_dropped_leaves_nobody_marked() {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    let mut wakes = Wakes::new();
    let mut out = announcement("$.A", 0);
    w.bus
        .send(&a, &mut out, false, &mut || 7, &mut wakes)
        .unwrap();
    drop(wakes);
    assert_eq!(send(&mut w.bus, &a, 0, false).1, [(2, READ)]);
}

/// Who may both read and send again is told of both, with one wake-up.
#[test]
fn both_reasons_come_with_one_wake_up() {
    let (mut w, a, b) = full();
    w.listen(&a, "$.B").unwrap();
    assert_eq!(
        send(&mut w.bus, &a, KBUS_ALL_OR_WAIT, false).0,
        Err(Error::Again)
    );
    for release_first in [true, false] {
        let mut wakes = Wakes::new();
        let mut out = announcement("$.B", 0);
        if release_first {
            w.bus.settings_changed(&b, &mut wakes);
        }
        w.bus
            .send(&b, &mut out, false, &mut || 7, &mut wakes)
            .unwrap();
        if !release_first {
            w.bus.settings_changed(&b, &mut wakes);
        }
        let both = Why {
            read: true,
            write: true,
        };
        assert_eq!(woken(wakes), [(1, both)]);
        let _ = send(&mut w.bus, &a, KBUS_ALL_OR_WAIT, false);
    }
}

/// A message that is missed wakes nobody, unless the reader of an empty queue wants to be told of it.
#[test]
fn a_miss_wakes_only_who_asked_and_has_nothing_to_read() {
    let (mut w, a, b) = full();
    assert_eq!(send(&mut w.bus, &a, 0, false).1, []);
    b.with(|queue| queue.set_report_lost(true));
    assert_eq!(send(&mut w.bus, &a, 0, false).1, []);
    b.read().unwrap();
    b.with(|queue| queue.set_limit(0));
    assert_eq!(send(&mut w.bus, &a, 0, false).1, [(2, READ)]);
    b.with(|queue| queue.set_report_lost(false));
    assert_eq!(send(&mut w.bus, &a, 0, false).1, []);
}

/// A queue is waited for when somebody waits for it, and only then.
#[test]
fn a_queue_knows_that_it_is_waited_for() {
    let (mut w, a, b) = full();
    assert!(!b.with(|queue| queue.is_waited_for()));
    assert_eq!(w.announce_all(&a, "$.A", true), Ok(None));
    assert!(b.with(|queue| queue.is_waited_for()));
}

/// A read that leaves the queue full, of messages or of bytes, is no news to the bus.
#[test]
fn a_read_that_makes_no_room_is_not_told() {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    for len in [1, 10, 10, 1] {
        w.announce(&a, "$.A", &vec![0; len]).unwrap();
    }
    let tell = |(messages, bytes): (u32, u64)| {
        b.with(|queue| {
            queue.set_limit(messages);
            queue.set_byte_limit(bytes);
            let token = queue.front().unwrap().token;
            queue.consume(token).unwrap().tell_bus
        })
    };
    b.with(|queue| queue.set_limit(1));
    assert_eq!(w.announce_all(&a, "$.A", true), Ok(None));
    assert!(!tell((3, 100)));
    assert!(!tell((100, 11)));
    assert!(tell((2, 11)));
}

/// A new send that may wait goes behind one that waited and has room now, though the bus has not
/// been told of the read yet.
#[test]
fn who_waited_goes_before_a_new_send() {
    let (mut w, a, b) = full();
    let c = w.join(3, 1);
    assert_eq!(w.announce_all(&a, "$.A", true), Ok(None));
    let consumed = b.with(|queue| {
        let token = queue.front().unwrap().token;
        queue.consume(token).unwrap()
    });
    assert!(consumed.tell_bus);
    assert_eq!(w.announce_all(&c, "$.A", true), Ok(None));
    assert_eq!(w.read(&b).unwrap().sender, 1);
    assert_eq!(w.read(&b).unwrap().sender, 3);
}

/// One waits for room, another wants to know when to try again: the first gets the room, and the other is
/// told of the next.
#[test]
fn who_tries_again_is_told_after_who_waited() {
    let (mut w, a, b) = full();
    let (c, d) = (w.join(3, 1), w.join(4, 1));
    assert_eq!(w.announce_all(&a, "$.A", true), Ok(None));
    assert_eq!(w.announce_all(&c, "$.A", false), Err(Error::Again));
    let token = b.with(|queue| queue.front()).unwrap().token;
    b.with(|queue| queue.consume(token)).unwrap();
    // What lets those go who waited is another's send, which has no room itself.
    assert_eq!(w.announce_all(&d, "$.A", false), Err(Error::Again));
    assert!(!c.with(|queue| queue.is_writable()));
    assert_eq!(w.read(&b).unwrap().sender, 1);
    assert!(c.with(|queue| queue.is_writable()));
    assert!(d.with(|queue| queue.is_writable()));
    assert!(!b.with(|queue| queue.is_waited_for()));
}

/// A binding that waits for room for its event ends when its socket is shut down.
#[test]
fn a_binding_stops_waiting_when_its_socket_is_shut() {
    type Op = fn(&mut World, &Peer);
    let ops: [Op; 2] = [World::shut_read, World::shut_write];
    for shut in ops {
        let (mut w, a, b) = full();
        w.report_binds(&a, true).unwrap();
        w.listen(&b, "$.KBUS.ReplierBindEvent").unwrap();
        let pattern = Pattern::parse(b"$.R").unwrap();
        let wakes = &mut Wakes::new();
        let bound = w.bus.bind_replier(&a, &pattern, true, &mut || 7, wakes);
        let Ok(Bound::Wait(ticket)) = bound else {
            panic!("there is room for the event");
        };
        assert!(w.bus.finished(&a, ticket).is_none());
        shut(&mut w, &a);
        assert_eq!(w.bus.finished(&a, ticket).unwrap().result, Ok(0));
        assert_eq!(w.replier(&a, "$.R"), Err(Error::Inval));
    }
}

/// A reader has been shown the first message and something urgent comes: it takes what it was shown.
#[test]
fn a_reader_takes_what_it_was_shown() {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    let ids: Vec<_> = (0..2)
        .map(|_| w.announce(&a, "$.A", b"").unwrap())
        .collect();
    let shown = b.with(|queue| queue.front()).unwrap();
    let urgent = w.send(&a, announcement("$.A", KBUS_URGENT)).unwrap();
    assert!(b.with(|queue| queue.consume(shown.token)).is_some());
    assert_eq!(shown.id, ids[0]);
    assert_eq!(b.read().unwrap().id, urgent);
    assert_eq!(b.read().unwrap().id, ids[1]);
}

/// The same for the news of a gap: it is told once, and what is urgent has no part in it.
#[test]
fn the_news_of_a_gap_is_told_once_though_something_urgent_comes() {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    b.with(|queue| {
        queue.set_report_lost(true);
        queue.set_limit(0);
    });
    w.announce(&a, "$.A", b"").unwrap();
    b.with(|queue| queue.set_limit(9));
    let last = w.announce(&a, "$.A", b"").unwrap();
    let gap = b.with(|queue| queue.front()).unwrap();
    assert_eq!((gap.name(), gap.lost), (b"$.KBUS.Lost".as_slice(), 1));
    let urgent = w.send(&a, announcement("$.A", KBUS_URGENT)).unwrap();
    assert!(b.with(|queue| queue.consume(gap.token)).is_some());
    assert_eq!(b.read().unwrap().id, urgent);
    let view = b.read().unwrap();
    assert_eq!((view.id, view.lost), (last, 0));
}

/// A socket whose queue is read by somebody else while the bus is at work.
#[derive(Clone)]
struct Read(Rc<Reader>);

struct Reader {
    id: u64,
    payer: Arc<Payer>,
    queue: RefCell<Queue<Read>>,
    /// Before which look at the queue its reader takes a message.
    when: Cell<Option<u32>>,
    /// Whether the reader has to tell the bus.
    tells: Cell<bool>,
}

impl Read {
    fn new(id: u64, users: &Users) -> Self {
        Read(Rc::new(Reader {
            id,
            payer: users.payer(1),
            queue: RefCell::new(Queue::new()),
            when: Cell::new(None),
            tells: Cell::new(false),
        }))
    }
}

impl Member for Read {
    type Sender = ();
    type Files = ();

    fn now() -> i64 {
        0
    }

    fn id(&self) -> u64 {
        self.0.id
    }

    fn user(&self) -> u32 {
        1
    }

    fn payer(&self) -> &Arc<Payer> {
        &self.0.payer
    }

    fn await_budget(&self) -> Result<(), AllocError> {
        Ok(())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        let queue = &mut *self.0.queue.borrow_mut();
        let left = self.0.when.get();
        self.0.when.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) {
            let token = queue.front().unwrap().token;
            let tells = queue.consume(token).unwrap().tell_bus;
            self.0.tells.set(tells);
        }
        f(queue)
    }
}

/// A reader slips through while a send finds a full queue and prepares to wait: whenever that
/// happens, the send goes, or its sender is told that it may try again.
#[test]
fn a_reader_that_slips_through_is_not_missed() {
    for blocking in [true, false] {
        for when in 0.. {
            let users = Users::new(u64::MAX);
            let (a, b) = (Read::new(1, &users), Read::new(2, &users));
            let mut bus = Bus::new(0, 1 << 20, users.limits, Key(1, 2)).unwrap();
            bus.join(&a).unwrap();
            bus.join(&b).unwrap();
            bus.listen(&b, &Pattern::parse(b"$.A").unwrap()).unwrap();
            b.with(|queue| queue.set_limit(1));
            send(&mut bus, &a, 0, false).0.unwrap();
            b.0.when.set(Some(when));
            let (sent, mut wakes) = send(&mut bus, &a, KBUS_ALL_OR_WAIT, blocking);
            if b.0.when.take().is_some() {
                // The send was over before the reader came.
                assert!(when > 2);
                break;
            }
            if b.0.tells.get() {
                let mut more = Wakes::new();
                drop(bus.after_read(&b, None, &mut || 7, &mut more));
                wakes.extend(woken(more));
            }
            let came = b.with(|queue| queue.unread()) == 1;
            match sent {
                Ok(Sent::Id(_)) => assert!(came),
                Ok(Sent::Wait(ticket)) => {
                    assert!(came, "read before look {when}");
                    assert!(bus.finished(&a, ticket).is_some());
                    assert!(wakes.contains(&(1, WRITE)));
                }
                Err(error) => {
                    assert_eq!(error, Error::Again);
                    assert!(
                        a.with(|queue| queue.is_writable()),
                        "read before look {when}"
                    );
                    assert!(wakes.contains(&(1, WRITE)));
                }
            }
        }
    }
}
