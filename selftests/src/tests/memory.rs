// SPDX-License-Identifier: GPL-2.0
//! Who pays for the memory of messages.

use kbus_selftests::cgroup::Group;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Sock;

super::tests! { queued_messages_are_charged_to_their_receiver }

const COUNT: u64 = 64;
const LEN: u64 = 65_536;

/// What waits in a queue is charged to the memory cgroup of who made the receiving socket, not to
/// the sender's, and no more when it has been read.
fn queued_messages_are_charged_to_their_receiver() {
    let (senders, readers) = (Group::new("sender"), Group::new("reader"));
    let bus = fresh_bus();
    let [ready, send, sent, read, done, end] = [(); 6].map(|()| Gate::new());
    let reader = Child::fork(|| {
        readers.enter();
        let sock = Sock::on(&bus);
        sock.listen("$.A").unwrap();
        ready.open(0);
        read.pass();
        let got = sock.drain();
        assert!(got.iter().all(|data| data.len() as u64 == LEN));
        done.open(got.len() as u64);
        end.pass();
    });
    ready.pass();
    let sender = Child::fork(|| {
        senders.enter();
        let sock = Sock::on(&bus);
        let data = vec![1; LEN as usize];
        // What the process itself needs for a send, it has from now on.
        sock.send_to("$.Nobody", &data).unwrap();
        ready.open(0);
        send.pass();
        for _ in 0..COUNT {
            sock.send_to("$.A", &data).unwrap();
        }
        sent.open(0);
        end.pass();
    });
    ready.pass();
    let before = (senders.kernel_bytes(), readers.kernel_bytes());
    send.open(0);
    sent.pass();
    let queued = (senders.kernel_bytes(), readers.kernel_bytes());
    read.open(0);
    assert_eq!(done.pass(), COUNT);
    let after = readers.kernel_bytes();
    end.open(0);
    end.open(0);
    [reader, sender].into_iter().for_each(Child::join);

    let payload = COUNT * LEN;
    let (senders_grown, grown) = (queued.0.saturating_sub(before.0), queued.1 - before.1);
    eprintln!(
        "# {payload} bytes of payload: {senders_grown} charged to the sender, {grown} to the receiver"
    );
    assert!(grown >= payload, "the receiver pays for all of it");
    assert!(grown <= payload + payload / 8, "and for little more");
    assert!(senders_grown <= payload / 8, "the sender pays for none");
    assert!(after <= before.1 + payload / 8, "and it is given back");
}
