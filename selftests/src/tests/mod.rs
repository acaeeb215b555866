// SPDX-License-Identifier: GPL-2.0
//! The tests, one file per subject. The doc comment of each says its rule.

mod addresses;
mod ancillary;
mod bindings;
mod buses;
mod connect;
mod descriptors;
mod guarantee;
mod later;
mod limits;
mod messages;
mod options;
mod reading;
mod sending;
mod shut;
mod sockets;
mod stress;
mod waiting;

/// One test: fails by panicking.
pub struct Test {
    module: &'static str,
    name: &'static str,
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
            run: $name,
        }),*];
    };
}
use tests;

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

/// Every test there is.
pub fn all() -> impl Iterator<Item = &'static Test> {
    [
        sockets::TESTS,
        buses::TESTS,
        addresses::TESTS,
        bindings::TESTS,
        messages::TESTS,
        guarantee::TESTS,
        sending::TESTS,
        ancillary::TESTS,
        reading::TESTS,
        limits::TESTS,
        options::TESTS,
        connect::TESTS,
        shut::TESTS,
        waiting::TESTS,
        descriptors::TESTS,
        later::TESTS,
        stress::TESTS,
    ]
    .into_iter()
    .flatten()
}
