// SPDX-License-Identifier: GPL-2.0

//! Reads of one socket: one at a time, each begun and ended under the lock of its queue.

mod peer;

use kbus_core::error::Error;
use kbus_core::message::KBUS_STATUS;
use kbus_core::queue::Begun;
use kbus_core::queue::Member;
use kbus_core::queue::View;
use peer::Peer;
use peer::World;

/// A sender, a reader, and so many messages that wait for it.
fn scene(messages: usize) -> (World, Peer, Peer) {
    let w = World::new(0, 1 << 20);
    let (sender, reader) = (w.join(1, 1), w.join(2, 1));
    w.listen(&reader, "$.A").unwrap();
    for _ in 0..messages {
        w.announce(&sender, "$.A", b"x").unwrap();
    }
    (w, sender, reader)
}

fn begin(reader: &Peer) -> Option<View<Peer>> {
    match reader.with(|queue| queue.begin_read()) {
        Begun::Read(view) => Some(view),
        Begun::Nothing | Begun::Busy => None,
    }
}

fn is_busy(reader: &Peer) -> bool {
    matches!(reader.with(|queue| queue.begin_read()), Begun::Busy)
}

fn is_nothing(reader: &Peer) -> bool {
    matches!(reader.with(|queue| queue.begin_read()), Begun::Nothing)
}

/// Takes out what is read; says whether others wait for that, and whether one was refused.
fn take(reader: &Peer, view: View<Peer>) -> (bool, bool) {
    let (consumed, ended) = reader.with(|queue| queue.consume_read(view.token));
    drop(view);
    consumed.expect("what is read").settle(reader);
    ended
}

/// A second read does not begin while there is one, and then reads what comes after it.
#[test]
fn reads_are_one_at_a_time() {
    let (_, _, reader) = scene(2);
    let first = begin(&reader).unwrap();
    assert!(is_busy(&reader));
    let id = first.id;
    assert_eq!(take(&reader, first), (false, false));
    let second = begin(&reader).unwrap();
    assert_eq!(second.id, id + 1);
    take(&reader, second);
    assert!(is_nothing(&reader));
}

/// A read that ends without taking anything out, as a peek or one that failed, leaves the message
/// for the next.
#[test]
fn a_read_that_takes_nothing_out_leaves_it() {
    let (_, _, reader) = scene(1);
    for _ in 0..2 {
        let view = begin(&reader).unwrap();
        assert_eq!(reader.with(|queue| queue.end_read()), (false, false));
        assert_eq!((view.id, reader.counters().0), (1, 1));
    }
}

/// Whoever must not wait and was refused is told at the end of the read, if there is something to
/// read then, and once.
#[test]
fn who_was_refused_is_told_if_there_is_something() {
    for (messages, takes, told) in [(1, true, false), (1, false, true), (3, true, true)] {
        let (_, _, reader) = scene(messages);
        let view = begin(&reader).unwrap();
        assert!(is_busy(&reader));
        reader.with(|queue| queue.wait_for_read());
        reader.with(|queue| queue.waited_for_read(true));
        let ended = match takes {
            true => take(&reader, view),
            false => reader.with(|queue| queue.end_read()),
        };
        assert_eq!(ended, (false, told), "{messages} {takes}");
        if let Some(view) = begin(&reader) {
            assert_eq!(take(&reader, view), (false, false));
        }
    }
}

/// Whoever waits for the end of a read is told of it, as long as it waits; one that ends to wait by
/// a signal was not refused.
#[test]
fn who_waits_is_told_of_the_end_of_a_read() {
    let (_, _, reader) = scene(3);
    let view = begin(&reader).unwrap();
    reader.with(|queue| queue.wait_for_read());
    reader.with(|queue| queue.wait_for_read());
    assert_eq!(take(&reader, view), (true, false));
    reader.with(|queue| queue.waited_for_read(false));
    let view = begin(&reader).unwrap();
    assert_eq!(take(&reader, view), (true, false));
    reader.with(|queue| queue.waited_for_read(false));
    let view = begin(&reader).unwrap();
    assert_eq!(take(&reader, view), (false, false));
}

/// What is removed while it is read ends the read all the same, without debt. Meanwhile there is
/// nothing to wait for, and what comes then is read after it.
#[test]
fn what_is_removed_while_it_is_read_ends_the_read() {
    type Op = fn(&World, &Peer) -> Result<(), Error>;
    let ops: [Op; 3] = [
        |w, reader| w.unreplier(reader, "$.R"),
        |w, reader| {
            w.shut_read(reader);
            Ok(())
        },
        |w, reader| {
            w.shut_write(reader);
            Ok(())
        },
    ];
    for (at, op) in ops.into_iter().enumerate() {
        let (w, sender, reader) = scene(0);
        w.replier(&reader, "$.R").unwrap();
        let id = w.request(&sender, "$.R", b"").unwrap();
        let view = begin(&reader).unwrap();
        op(&w, &reader).unwrap();
        assert!(is_nothing(&reader), "{at}");
        let _ = w.announce(&sender, "$.A", b"");
        assert_eq!(is_busy(&reader), at != 1, "{at}");
        let (consumed, ended) = reader.with(|queue| queue.consume_read(view.token));
        assert!(consumed.is_none(), "{at}");
        assert_eq!(ended, (false, false), "{at}");
        assert_eq!(reader.counters().3, 0, "{at}");
        let status = sender.read().expect("a status");
        assert_eq!(
            (status.in_reply_to, status.flags & KBUS_STATUS),
            (id, KBUS_STATUS)
        );
        assert_eq!(begin(&reader).is_some(), at != 1, "{at}");
    }
}

/// A gap is read as a message is, one read at a time.
#[test]
fn a_gap_is_read_alone() {
    let (w, sender, reader) = scene(0);
    reader.with(|queue| {
        queue.set_report_lost(true);
        queue.set_limit(0);
    });
    w.announce(&sender, "$.A", b"x").unwrap();
    let view = begin(&reader).unwrap();
    assert_eq!((view.len, view.lost), (0, 1));
    assert!(is_busy(&reader));
    // One more is missed meanwhile, of which the next read tells.
    w.announce(&sender, "$.A", b"x").unwrap();
    reader.with(|queue| queue.wait_for_read());
    reader.with(|queue| queue.waited_for_read(true));
    assert_eq!(take(&reader, view), (false, true));
    let view = begin(&reader).unwrap();
    assert_eq!(view.lost, 1);
    assert_eq!(take(&reader, view), (false, false));
    assert!(is_nothing(&reader));
}
