// SPDX-License-Identifier: GPL-2.0
//! Many processes, some of which are killed at random.

use std::collections::HashSet;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Random;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::silent;

super::tests! { one_answer_per_request_whoever_dies }

const SERVICES: u64 = 4;
const REQUESTERS: u64 = 4;
const VICTIMS: u64 = 2;
const REQUESTS: usize = 400;
const IN_FLIGHT: usize = 16;

fn service(n: u64) -> String {
    format!("$.Stress.S{n}")
}

/// Becomes the replier for its name and answers in every way there is.
fn serve(bus: &str, n: u64, seed: u64) {
    let mut random = Random::new(seed);
    let sock = Sock::on(bus);
    sock.replier(&service(n)).expect("its predecessor is dead");
    let mut owed = Vec::new();
    loop {
        let request = sock.recv_wait().unwrap();
        if !request.must_reply() {
            continue;
        }
        match random.below(20) {
            // Kept for later, or for ever.
            0..=3 => owed.push(request),
            4 => sock.ignore(request.info.id).unwrap(),
            5 => {
                sock.unreplier(&service(n)).unwrap();
                sock.replier(&service(n)).unwrap();
                answer(&sock, &request);
            }
            _ => answer(&sock, &request),
        }
        // Nobody may wait for ever: requesters have room for a few only.
        if owed.len() > 2 {
            for request in owed.drain(..) {
                answer(&sock, &request);
            }
        }
        if random.below(100) == 0 {
            return;
        }
    }
}

/// Replies, unless the requester was killed meanwhile.
fn answer(sock: &Sock, request: &kbus_selftests::sys::Msg) {
    match sock.reply(request, &request.data) {
        Ok(_) => (),
        Err(errno) => assert_eq!(errno.0, libc::EADDRNOTAVAIL, "reply"),
    }
}

/// Takes one answer to a request that is still open.
fn settle(sock: &Sock, open: &mut HashSet<u64>) {
    let msg = sock.recv_wait().unwrap();
    assert!(msg.info.flags & (uapi::KBUS_REPLY | uapi::KBUS_STATUS) != 0);
    assert!(
        open.remove(&msg.info.in_reply_to),
        "unexpected answer {msg:?}"
    );
}

/// Sends requests and insists on one answer to each.
fn ask(bus: &str, seed: u64) {
    let mut random = Random::new(seed);
    let sock = Sock::on(bus);
    let mut open = HashSet::new();
    let mut sent = 0;
    while sent < REQUESTS {
        let data = vec![seed as u8; random.below(2000) as usize];
        match sock.request(&service(random.below(SERVICES)), &data) {
            Ok(id) => {
                sent += 1;
                assert!(open.insert(id), "an id was used twice");
            }
            // Between two lives of a service, or too busy.
            Err(errno) if [libc::EADDRNOTAVAIL, libc::EBUSY].contains(&errno.0) => {
                process::sleep_ms(1);
            }
            Err(errno) => panic!("request: {errno}"),
        }
        while open.len() > IN_FLIGHT || (!open.is_empty() && sock.unread() > 0) {
            settle(&sock, &mut open);
        }
    }
    // The last ones: whoever still owes them is made to end by the parent.
    while !open.is_empty() {
        settle(&sock, &mut open);
    }
    silent!(sock);
}

/// Every request that was sent is followed by exactly one reply or status,
/// whatever dies.
fn one_answer_per_request_whoever_dies() {
    let bus = fresh_bus();
    let keeper = Sock::on(&bus);
    let mut random = Random::new(u64::from(std::process::id()));
    let done = Gate::new();
    let mut services: Vec<Option<Child>> = (0..SERVICES)
        .map(|n| Some(Child::fork(|| serve(&bus, n, n))))
        .collect();
    let mut victims: Vec<Child> = (0..VICTIMS)
        .map(|n| Child::fork(|| ask(&bus, 50 + n)))
        .collect();
    let requesters: Vec<Child> = (0..REQUESTERS)
        .map(|n| {
            Child::fork(|| {
                ask(&bus, 100 + n);
                done.open(n);
            })
        })
        .collect();

    // Kill and replace services, and requesters, until all survivors are done.
    let mut round = 1000;
    let mut finished = 0;
    while finished < REQUESTERS {
        process::sleep_ms(random.below(5));
        round += 1;
        let n = random.below(SERVICES);
        let old = services[n as usize].take();
        drop(old);
        services[n as usize] = Some(Child::fork(|| serve(&bus, n, round)));
        if random.below(4) == 0 {
            drop(victims.swap_remove(random.below(VICTIMS) as usize));
            victims.push(Child::fork(|| ask(&bus, round)));
        }
        while done.is_open() {
            done.pass();
            finished += 1;
        }
    }
    requesters.into_iter().for_each(Child::join);
    drop(victims);
    drop(services);
    let info = keeper.bus_info().unwrap();
    assert_eq!((info.members, info.bindings, info.bytes), (1, 0, 0));
}
