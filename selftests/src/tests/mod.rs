// SPDX-License-Identifier: GPL-2.0
//! The tests, one file per subject. The doc comment of each says its rule.

mod abi;
mod addresses;
mod ancillary;
mod as_af_unix;
mod attacks_bindings;
mod attacks_cgroups;
mod attacks_closed;
mod attacks_descriptors;
mod attacks_leaks;
mod attacks_memory;
mod attacks_preempted;
mod attacks_preempted_calls;
mod attacks_preempted_otherwise;
mod attacks_promises;
mod attacks_sandbox;
mod attacks_sockets;
mod attacks_traffic;
mod bindings;
mod blocked;
mod blocked_changes;
mod blocked_order;
mod budgets;
mod budgets_messages;
mod buses;
mod claims;
mod connect;
mod containers;
mod credentials;
mod descriptors;
mod events;
mod events_closing;
mod events_room;
mod events_switching;
mod exclusive;
mod fail_nth_closing;
mod fail_nth_options;
mod fail_nth_reading;
mod fail_nth_sending;
mod fail_nth_several;
mod fail_nth_sockets;
mod fdinfo;
mod full;
mod guarantee;
mod histories;
mod labels;
mod large;
mod limits;
mod lossy;
mod lost;
mod maker;
mod memory;
mod merge;
mod messages;
mod model;
mod mounts;
mod namespaces;
mod once;
mod options;
mod order;
mod paths;
mod pollout;
mod proc;
mod quotas;
mod reading;
mod rights;
mod rights_in_flight;
mod rights_receiving;
mod room;
mod sending;
mod shut;
mod signals;
mod sockets;
mod stall;
mod storm;
mod stress;
mod tracing;
mod urgent;
mod waiting;

use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

/// One test: fails by panicking.
pub struct Test {
    module: &'static str,
    name: &'static str,
    /// Whether its verdict depends on the clock, so that it is one for a machine whose clock counts instructions.
    pub timed: bool,
    /// The test itself.
    pub run: fn(),
}

impl Test {
    /// `subject::rule`.
    pub fn full_name(&self) -> String {
        let subject = self.module.rsplit("::").next().unwrap_or(self.module);
        format!("{subject}::{}", self.name)
    }
}

/// Lists the tests of a file.
macro_rules! tests {
    ($($name:ident)*) => {
        /// The tests of this subject.
        pub const TESTS: &[crate::tests::Test] = &[$(crate::tests::Test {
            module: module_path!(),
            name: stringify!($name),
            timed: false,
            run: $name,
        }),*];
    };
}
use tests;

/// Lists the tests of a file whose verdict depends on the clock: they run where that counts instructions.
macro_rules! timed {
    ($($name:ident)*) => {
        /// The tests of this subject that measure time.
        pub const TIMED: &[crate::tests::Test] = &[$(crate::tests::Test {
            module: module_path!(),
            name: stringify!($name),
            timed: true,
            run: $name,
        }),*];
    };
}
use timed;

/// Insists that a call fails in just this way.
macro_rules! fails {
    ($errno:ident, $call:expr) => {
        match $call {
            Err(errno) => assert_eq!(
                errno,
                kbus_selftests::sys::Errno(libc::$errno),
                "{}",
                stringify!($call)
            ),
            Ok(value) => panic!(
                "{} gave {value:?}, not {}",
                stringify!($call),
                stringify!($errno)
            ),
        }
    };
}
use fails;

/// Insists that nothing is there to be read.
macro_rules! silent {
    ($sock:expr) => {
        $crate::tests::fails!(EAGAIN, $sock.recv())
    };
}
use silent;

/// Sends a socket messages of its own until its queue is full.
fn fill(sock: &Sock) {
    let name = format!("$.Fill.F{:x}", sock.peer_id());
    sock.listen(&name).expect("listening to the filling");
    let limit = sock.get_u32(uapi::KBUS_QUEUE_LEN).expect("KBUS_QUEUE_LEN");
    while sock.unread() < limit {
        sock.send_to(&name, b"fill").expect("filling a queue");
    }
}

/// A listener whose queue holds one message, and is full.
fn full_listener(bus: &str, name: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_queue_len(1);
    sock.listen(name).expect("listening");
    fill(&sock);
    sock
}

/// A replier whose queue holds one message, and is full.
fn full_replier(bus: &str, name: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_queue_len(1);
    sock.replier(name).expect("becoming replier");
    fill(&sock);
    sock
}

/// Insists on one status about this request, and on nothing more.
#[track_caller]
fn expect_status(sock: &Sock, id: u64, error: u32) {
    let msg = sock.recv().expect("a status");
    assert!(msg.is(uapi::KBUS_STATUS), "{msg:?}");
    assert_eq!((msg.info.in_reply_to, msg.info.error), (id, error as i32));
    silent!(sock);
}

/// A number from the environment: `N=` asks for the long form of a test, `SEED=` repeats a run.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// Every test there is.
pub fn all() -> impl Iterator<Item = &'static Test> {
    [
        sockets::TESTS,
        budgets::TESTS,
        budgets::TIMED,
        budgets_messages::TESTS,
        quotas::TESTS,
        containers::TESTS,
        buses::TESTS,
        paths::TESTS,
        mounts::TESTS,
        namespaces::TESTS,
        addresses::TESTS,
        bindings::TESTS,
        messages::TESTS,
        model::TESTS,
        guarantee::TESTS,
        histories::TESTS,
        sending::TESTS,
        ancillary::TESTS,
        reading::TESTS,
        limits::TESTS,
        options::TESTS,
        as_af_unix::TESTS,
        abi::TESTS,
        connect::TESTS,
        shut::TESTS,
        waiting::TESTS,
        exclusive::TESTS,
        descriptors::TESTS,
        credentials::TESTS,
        claims::TESTS,
        labels::TESTS,
        maker::TESTS,
        rights::TESTS,
        rights_in_flight::TESTS,
        rights_receiving::TESTS,
        urgent::TESTS,
        once::TESTS,
        full::TESTS,
        room::TESTS,
        blocked::TESTS,
        blocked_order::TESTS,
        blocked_order::TIMED,
        blocked_changes::TESTS,
        pollout::TESTS,
        signals::TESTS,
        lossy::TESTS,
        lost::TESTS,
        events::TESTS,
        events_switching::TESTS,
        events_room::TESTS,
        events_closing::TESTS,
        order::TESTS,
        merge::TESTS,
        large::TESTS,
        proc::TESTS,
        fdinfo::TESTS,
        attacks_bindings::TESTS,
        attacks_bindings::TIMED,
        attacks_cgroups::TESTS,
        attacks_closed::TESTS,
        attacks_descriptors::TIMED,
        attacks_leaks::TESTS,
        attacks_memory::TESTS,
        attacks_memory::TIMED,
        attacks_preempted::TIMED,
        attacks_preempted_calls::TIMED,
        attacks_preempted_otherwise::TIMED,
        attacks_promises::TESTS,
        attacks_sandbox::TESTS,
        attacks_sockets::TESTS,
        attacks_sockets::TIMED,
        attacks_traffic::TIMED,
        fail_nth_sockets::TESTS,
        fail_nth_options::TESTS,
        fail_nth_sending::TESTS,
        fail_nth_reading::TESTS,
        fail_nth_several::TESTS,
        fail_nth_closing::TESTS,
        memory::TESTS,
        stall::TIMED,
        stress::TESTS,
        tracing::TESTS,
        storm::TESTS,
    ]
    .into_iter()
    .flatten()
}
