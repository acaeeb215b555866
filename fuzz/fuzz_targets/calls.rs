// SPDX-License-Identifier: GPL-2.0
//! Bytes become system calls, with whatever addresses, control data and option values, on the module's own code.
//!
//! It runs between the stand-ins of `interleavings/`, in one thread. Nothing may panic, and at the end nothing may be left.

#![no_main]

use kbus_interleavings::Namespace;
use kbus_interleavings::Socket;
use kbus_uapi as uapi;
use libfuzzer_sys::fuzz_target;
use shuttle::scheduler::RandomScheduler;
use shuttle::Config;
use shuttle::Runner;

/// Calls of one input at most.
const MOST: usize = 200;
/// The family of the sockets.
const FAMILY: u16 = 18;
const SOL_SOCKET: u32 = 1;

/// The input; `None` is its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A length, and so many bytes.
    fn take(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.next()?);
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// An address, mostly of the right family.
    fn address(&mut self) -> Option<Vec<u8>> {
        let path = self.take()?;
        Some(match path.first() {
            None => vec![],
            Some(0xff) => path[1..].to_vec(),
            Some(_) => [&FAMILY.to_ne_bytes(), path].concat(),
        })
    }

    /// Control data: pieces with a header that is mostly right.
    fn control(&mut self) -> Option<Vec<u8>> {
        let mut control = vec![];
        for _ in 0..self.next()? % 4 {
            let (kind, data) = (self.next()?, self.take()?);
            let (level, kind) = match kind {
                1..=4 => (uapi::SOL_KBUS, u32::from(kind)),
                // No descriptors and no credentials here: the stand-ins have none.
                5 => (u32::from(self.next()?), u32::from(self.next()?)),
                _ => {
                    control.extend_from_slice(data);
                    continue;
                }
            };
            control.extend_from_slice(&(16 + data.len()).to_ne_bytes());
            control.extend_from_slice(&level.to_ne_bytes());
            control.extend_from_slice(&kind.to_ne_bytes());
            control.extend_from_slice(data);
            control.resize(control.len().next_multiple_of(8), 0);
        }
        Some(control)
    }

    /// Makes one call.
    fn call(&mut self, sockets: &[Socket], heard: &mut Vec<u8>) -> Option<()> {
        let what = self.next()?;
        let sock = &sockets[usize::from(what) / 16 % sockets.len()];
        let level = if what & 128 == 0 {
            uapi::SOL_KBUS
        } else {
            SOL_SOCKET
        } as i32;
        // Errors are as good as anything.
        match what % 16 {
            0..5 => {
                let (address, control, payload) = (self.address()?, self.control()?, self.take()?);
                let _ = sock.send_raw(&address, &control, payload, u32::from(self.next()?));
            }
            // To where the last message came from.
            5 | 6 => drop(sock.send_raw(heard, &self.control()?, self.take()?, 0)),
            7..10 => {
                if let Ok(address) = sock.receive_raw(u32::from(self.next()? & 0x22)) {
                    *heard = address;
                }
            }
            10..13 => drop(sock.set_raw(level, i32::from(self.next()?), self.take()?)),
            13 => drop(sock.get_raw(level, i32::from(self.next()?), self.take()?)),
            14 => drop(sock.connect_raw(&self.address()?)),
            _ => match self.next()? % 64 {
                0 => drop(sock.shut(true, false)),
                1 => drop(sock.shut(false, true)),
                _ => drop(sock.bind_raw(&self.address()?)),
            },
        }
        Some(())
    }
}

fn run(bytes: &[u8]) {
    let net = Namespace::default();
    {
        let sockets = [net.socket(), net.socket(), net.socket()];
        let (mut bytes, mut heard) = (Bytes(bytes), vec![]);
        for _ in 0..MOST {
            if bytes.call(&sockets, &mut heard).is_none() {
                break;
            }
        }
    }
    net.is_empty();
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = bytes.to_vec();
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    let once = RandomScheduler::new_from_seed(0, 1);
    Runner::new(once, config).run(move || run(&bytes));
});
