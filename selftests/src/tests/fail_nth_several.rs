// SPDX-License-Identifier: GPL-2.0
//! Each allocation fails once: several messages in one call, and calls that io_uring makes.

use std::cell::Cell;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;

use io_uring::opcode;
use io_uring::squeue;
use io_uring::types::Fd;
use io_uring::IoUring;
use kbus_selftests::fault::Ready;
use kbus_selftests::fault::Trial;
use kbus_selftests::sys::empty_part;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Room;
use kbus_selftests::sys::Sock;

super::tests! { sends_in_one_call receives_in_one_call sends_by_io_uring receives_by_io_uring }

/// A sender, and a reader who hears `$.A`, answers `$.B` and takes descriptors.
fn two() -> [Sock; 2] {
    let bus = fresh_bus();
    let [sender, reader] = [(); 2].map(|()| Sock::on(&bus));
    reader.set_u32(uapi::KBUS_PASS, 15).expect("KBUS_PASS");
    reader.listen("$.A").expect("listening");
    reader.replier("$.B").expect("a replier");
    [sender, reader]
}

/// An announcement, a request, and an announcement with a descriptor.
fn messages(file: &File) -> [Ready; 3] {
    let request = Cmsg::send(uapi::KBUS_REQUEST, 0, 0);
    [
        Out::to("$.A", &[1; 3000]),
        Out::to("$.B", b"question").with(request),
        Out::to("$.A", b"with a file").with(Cmsg::rights(file.as_raw_fd())),
    ]
    .map(Ready::new)
}

/// What could not be sent for want of memory is not, nor is what comes after it; what comes before it is: its
/// number is returned.
fn sends_in_one_call() {
    let mut trial = Trial::new();
    let null = File::open("/dev/null").expect("/dev/null");
    let all = messages(&null);
    let partly = Cell::new([0; 4]);
    trial.every(
        "sendmmsg()",
        two,
        |[sender, _]| Ready::several(&all, sender),
        |[sender, reader], done| {
            let sent = done.value;
            assert!(sent == 3 || done.poor, "{done:?}");
            let mut count = partly.get();
            count[sent] += 1;
            partly.set(count);
            assert_eq!(reader.unread() as usize, sent);
            assert_eq!(sender.last_sent(), done.last + sent as u64);
            for id in done.last + 1..=sender.last_sent() {
                let msg = reader.recv().expect("what was sent");
                assert_eq!(msg.info.id, id);
                assert_eq!(msg.rights().len(), usize::from(id == done.last + 3));
                if msg.must_reply() {
                    reader.reply(&msg, b"answer").expect("a reply");
                    let answer = sender.recv().expect("the answer");
                    assert_eq!(answer.info.in_reply_to, id);
                }
            }
            super::silent!(reader);
            // It is told once, by the number.
            assert_eq!(sender.get_socket(libc::SO_ERROR), Ok(0));
        },
    );
    let [_, one, two, _] = partly.get();
    eprintln!("# one of three was sent {one} times, two {two} times");
    assert!(one > 0 && two > 0, "each message needs memory");
    trial.end();
}

/// What could not be received for want of memory is still there, and so is what comes after it.
fn receives_in_one_call() {
    let mut trial = Trial::new();
    let null = File::open("/dev/null").expect("/dev/null");
    let rooms = RefCell::new([(); 3].map(|()| Room::new(RecvOptions::default()).touch()));
    let sent = || {
        let [sender, reader] = two();
        for _ in 0..3 {
            let out = Out::to("$.A", b"data").with(Cmsg::rights(null.as_raw_fd()));
            sender.send_msg(&out).expect("sending");
        }
        [sender, reader]
    };
    let partly = Cell::new(0);
    trial.every(
        "recvmmsg()",
        sent,
        |[_, reader]| reader.recv_several(&mut rooms.borrow_mut()),
        |[_, reader], done| {
            let whole = |msg: &kbus_selftests::sys::Msg| {
                assert_eq!((&msg.data[..], msg.rights().len()), (&b"data"[..], 1));
                assert_eq!(msg.flags & libc::MSG_CTRUNC, 0);
                msg.info.id
            };
            let rooms = rooms.borrow();
            let taken = rooms[..done.value]
                .iter()
                .map(|room| whole(&room.message(4)));
            let mut ids: Vec<u64> = taken.collect();
            assert_eq!(reader.unread() as usize, 3 - done.value);
            // The core keeps the error for the next call, or for who asks.
            let error = match done.value {
                3 => 0,
                _ => libc::ENOMEM,
            };
            assert_eq!(reader.get_socket(libc::SO_ERROR), Ok(error));
            partly.set(partly.get() + i32::from(error != 0));
            while let Ok(msg) = reader.recv() {
                ids.push(whole(&msg));
            }
            assert_eq!(ids, [1, 2, 3].map(|n| done.last - 3 + n));
        },
    );
    eprintln!("# {} times a part was received", partly.get());
    assert!(partly.get() > 0, "each message needs memory");
    trial.end();
}

/// Has io_uring make one call, in this thread, and returns what came of it.
fn by(ring: &mut IoUring, entry: &squeue::Entry) -> Res<usize> {
    // What has not been taken up before is still there.
    if ring.submission().is_empty() {
        // SAFETY: What the entry points at outlives this call, which waits for the end.
        unsafe { ring.submission().push(entry) }.expect("an empty ring");
    }
    let submitted = ring.submit_and_wait(1);
    submitted.map_err(|error| Errno(error.raw_os_error().expect("an errno")))?;
    let done = ring.completion().next().expect("it is done");
    usize::try_from(done.result()).map_err(|_| Errno(-done.result()))
}

/// A ring that has what it keeps from one call for the next.
fn ring(warm: &squeue::Entry) -> RefCell<IoUring> {
    let mut ring = IoUring::new(4).expect("io_uring");
    by(&mut ring, warm).expect("a call by io_uring");
    RefCell::new(ring)
}

/// io_uring's sends are all or nothing too.
fn sends_by_io_uring() {
    let mut trial = Trial::new();
    let null = File::open("/dev/null").expect("/dev/null");
    for (n, ready) in messages(&null).iter().enumerate() {
        let mut part = empty_part();
        let header = ready.header(&mut part);
        let entry = |sock: &Sock| opcode::SendMsg::new(Fd(sock.as_raw_fd()), &header).build();
        let with_ring = || {
            let socks = two();
            let ring = ring(&entry(&socks[0]));
            drop(socks[1].recv().expect("the first").rights());
            (socks, ring)
        };
        trial.every(
            &format!("IORING_OP_SENDMSG of message {n}"),
            with_ring,
            |([sender, _], ring)| by(&mut ring.borrow_mut(), &entry(sender)),
            |([sender, reader], _), done| {
                assert_eq!(sender.last_sent(), done.last + 1);
                let msg = reader.recv().expect("what was sent");
                assert_eq!((msg.info.id, msg.data.len()), (done.last + 1, done.value));
                assert_eq!(msg.rights().len(), usize::from(n == 2));
            },
        );
    }
    trial.end();
}

/// What io_uring could not receive is still there.
fn receives_by_io_uring() {
    let mut trial = Trial::new();
    let null = File::open("/dev/null").expect("/dev/null");
    let room = RefCell::new(Room::new(RecvOptions::default()).touch());
    let part = RefCell::new(empty_part());
    let header = RefCell::new(room.borrow_mut().header(&mut part.borrow_mut()));
    let entry = |sock: &Sock| {
        // The call before has written to it.
        *header.borrow_mut() = room.borrow_mut().header(&mut part.borrow_mut());
        opcode::RecvMsg::new(Fd(sock.as_raw_fd()), header.as_ptr()).build()
    };
    let message = |len| {
        let mut room = room.borrow_mut();
        // SAFETY: The call has received a message by this header.
        unsafe { room.filled(&header.borrow()) };
        room.message(len)
    };
    let sent = || {
        let [sender, reader] = two();
        for _ in 0..2 {
            let out = Out::to("$.A", b"data").with(Cmsg::rights(null.as_raw_fd()));
            sender.send_msg(&out).expect("sending");
        }
        let ring = ring(&entry(&reader));
        assert_eq!(message(4).rights().len(), 1);
        ([sender, reader], ring)
    };
    trial.every(
        "IORING_OP_RECVMSG",
        sent,
        |([_, reader], ring)| by(&mut ring.borrow_mut(), &entry(reader)),
        |([_, reader], _), done| {
            assert_eq!((done.value, reader.unread()), (4, 0));
            let msg = message(done.value);
            assert_eq!((&msg.data[..], msg.rights().len()), (&b"data"[..], 1));
        },
    );
    trial.end();
}
