// SPDX-License-Identifier: GPL-2.0
//! Sockets of both kinds, used as a plain program would: `sendto()`, `recvfrom()` and no more.

use std::fs;
use std::os::fd::AsRawFd;

use kbus_selftests::sys::bus_address;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::sockaddr;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

/// Messages that a queue holds: a bus's default, to which AF_UNIX is set.
pub const QUEUE: u64 = 100;
/// More than all that AF_UNIX has in its queues here: a sender's own limit is not what is compared.
const SEND_BUFFER: i32 = 64 << 20;
/// Room for the largest payload that is measured.
const ROOM: usize = 64 << 10;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Datagram sockets of the kernel's own.
    Unix,
    /// A bus.
    Kbus,
}

/// Both, in the order in which they take turns.
pub const KINDS: [Kind; 2] = [Kind::Unix, Kind::Kbus];

/// A receive buffer and what it holds.
pub struct Inbox {
    data: Vec<u8>,
    len: usize,
    from: [u8; 128],
    from_len: u32,
}

impl Inbox {
    pub fn new() -> Inbox {
        Inbox {
            data: vec![0; ROOM],
            len: 0,
            from: [0; 128],
            from_len: 0,
        }
    }

    /// `recvfrom()`; false when nothing was there.
    pub fn receive(&mut self, sock: &Sock, flags: i32) -> bool {
        self.from_len = self.from.len() as u32;
        // SAFETY: Both buffers are ours and as long as said.
        let len = unsafe {
            libc::recvfrom(
                sock.as_raw_fd(),
                self.data.as_mut_ptr().cast(),
                self.data.len(),
                flags,
                self.from.as_mut_ptr().cast(),
                &mut self.from_len,
            )
        };
        self.len = usize::try_from(len).unwrap_or(0);
        len >= 0
    }

    /// Reads a message of this length, which must be there or come.
    pub fn expect(&mut self, sock: &Sock, len: usize) {
        assert!(self.receive(sock, 0), "recvfrom()");
        assert_eq!(self.len, len, "length of what came");
    }

    /// Reads all that is there and says how many that were.
    pub fn drain(&mut self, sock: &Sock) -> u64 {
        let mut messages = 0;
        while self.receive(sock, libc::MSG_DONTWAIT) {
            messages += 1;
        }
        messages
    }

    /// Sends what was received back to where it came from.
    pub fn send_back(&self, sock: &Sock) {
        let to = &self.from[..self.from_len as usize];
        sock.send_raw(to, &self.data[..self.len], 0)
            .expect("send back");
    }
}

/// Gives `AF_UNIX` queues the length that a bus's have, for sockets that are made from now on.
pub fn equal_queues() {
    // The kernel's limit is the number that may already be there when one more is taken.
    let limit = (QUEUE - 1).to_string();
    fs::write("/proc/sys/net/unix/max_dgram_qlen", limit).expect("set net.unix.max_dgram_qlen");
}

/// A socket on this bus, to whose messages nothing is attached.
pub fn on_bus(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.turn_off(uapi::KBUS_RECV_INFO);
    sock
}

/// An `AF_UNIX` datagram socket with a name of its own, and that name.
pub fn unix() -> (Sock, Vec<u8>) {
    let mut address = sockaddr(libc::AF_UNIX, b"\0");
    address.extend_from_slice(&bus_address(&fresh_bus())[3..]);
    let sock = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).expect("socket()");
    sock.bind_raw(&address).expect("bind()");
    sock.set_socket(libc::SO_SNDBUFFORCE, SEND_BUFFER)
        .expect("SO_SNDBUFFORCE");
    (sock, address)
}

/// A sender, and receivers that get each of its messages.
pub struct Group {
    pub sender: Sock,
    pub receivers: Vec<Sock>,
    pub addresses: Vec<Vec<u8>>,
}

impl Group {
    /// On a bus the receivers listen to one name; as `AF_UNIX` sockets they have one each.
    pub fn new(kind: Kind, receivers: usize) -> Group {
        match kind {
            Kind::Unix => {
                let (receivers, addresses) = (0..receivers).map(|_| unix()).unzip();
                Group {
                    sender: unix().0,
                    receivers,
                    addresses,
                }
            }
            Kind::Kbus => {
                let bus = fresh_bus();
                let listener = |_| {
                    let sock = on_bus(&bus);
                    sock.listen("$.Bench.Hit").expect("listen");
                    sock
                };
                Group {
                    sender: on_bus(&bus),
                    receivers: (0..receivers).map(listener).collect(),
                    addresses: vec![message_address("$.Bench.Hit")],
                }
            }
        }
    }

    /// Sends a message to all receivers: one call, or one for each of them.
    ///
    /// Whoever has no room does not get it.
    pub fn send(&self, payload: &[u8]) {
        for address in &self.addresses {
            let _ = self.sender.send_raw(address, payload, libc::MSG_DONTWAIT);
        }
    }
}
