// SPDX-License-Identifier: GPL-2.0
//! What a socket leaves in the kernel's memory when it closes, as long as somebody owes it an answer.

use kbus_selftests::attack::raise_file_limit;
use kbus_selftests::attack::ATTACKER;
use kbus_selftests::cgroup::Group;
use kbus_selftests::process::become_user;
use kbus_selftests::process::scaled;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    requesters_that_asked_and_closed
}

/// Who asks and closes leaves the request and what is left of the socket: less than 4096 bytes for each of the
/// messages that its user pays for meanwhile, two while the request is unread and one while the answer is owed.
fn requesters_that_asked_and_closed() {
    let many = scaled(4000);
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let name = format!("$.{}", "x".repeat(998));
    let group = Group::new("closed");
    let gates: [Gate; 4] = std::array::from_fn(|_| Gate::new());
    let [ready, go, unread, owed] = &gates;
    let child = Child::fork(|| {
        group.enter();
        raise_file_limit(100);
        become_user(ATTACKER, ATTACKER);
        let replier = Sock::on(&bus);
        replier.set_queue_len(many as u32);
        replier.replier(&name).unwrap();
        ready.open(0);
        go.pass();
        for _ in 0..many {
            let ask = Out::nowhere(b"").with(Cmsg::name(&name));
            let ask = ask.with(Cmsg::send(uapi::KBUS_REQUEST, 1, 0));
            Sock::on(&bus).send_msg(&ask).unwrap();
        }
        unread.open(0);
        go.pass();
        let mut last = None;
        for _ in 0..many {
            last = Some(replier.recv().unwrap());
        }
        assert_eq!(u64::from(replier.unreplied()), many);
        owed.open(0);
        go.pass();
        fails!(EADDRNOTAVAIL, replier.reply(&last.unwrap(), b""));
    });
    ready.pass();
    let before = group.kernel_bytes();
    let pinned = |done: &Gate| {
        go.open(0);
        done.pass();
        group.kernel_bytes().saturating_sub(before) / many
    };
    let (waiting, answering) = (pinned(unread), pinned(owed));
    go.open(0);
    child.join();
    eprintln!(
        "# a requester that has closed pins {waiting} bytes with its request unread, {answering} while the answer is owed"
    );
    assert!((1000..2 * 4096).contains(&waiting), "{waiting}");
    assert!((500..4096).contains(&answering), "{answering}");
}
