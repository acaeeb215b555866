// SPDX-License-Identifier: GPL-2.0

//! System calls, as a program of a test makes them.

use crate::domain::Domain;
use crate::domain::Machine;
use crate::endpoint::Endpoint;
use crate::prelude::Result;
use crate::sync::atomic::Relaxed;
use crate::sync::Arc;
use crate::sys::memory::CURRENT;
use crate::sys::msg::Received;
use crate::sys::msg::RecvMsg;
use crate::sys::msg::SendMsg;
use crate::sys::net_ns::Net;
use crate::sys::net_ns::NetState;
use crate::sys::sock::Sock;
use crate::sys::socket::Operations;
use crate::sys::socket::Shutdown;
use crate::sys::sockopt::OptIn;
use crate::sys::sockopt::OptOut;
use crate::uapi;
use crate::users;
use std::sync::atomic::Ordering;

pub(crate) const MSG_DONTWAIT: u32 = 0x40;
const FAMILY: u16 = 18;
/// The bus of a test.
const BUS: &[u8] = b"\0bus";
/// Another one.
const ELSEWHERE: &[u8] = b"\0elsewhere";

/// A network namespace.
pub struct Namespace(Arc<Domain>);

/// A socket. It is closed when it is dropped, as a file is by the last one who has it.
pub struct Socket {
    pub(crate) endpoint: Arc<Endpoint>,
    /// Whether no call may wait.
    dont_wait: bool,
}

/// What a program receives.
pub struct Message {
    /// The payload.
    pub text: String,
    /// The address it came from, and its length.
    address: Vec<u8>,
    /// Its id.
    pub id: u64,
    /// The request that it answers, or 0.
    pub in_reply_to: u64,
    /// `KBUS_REPLY` and its like.
    pub flags: u32,
    /// Of a status: why there is no reply.
    pub error: u32,
}

impl Default for Namespace {
    fn default() -> Self {
        let machine = Machine::new().unwrap();
        Namespace(Domain::create(&Net, None, &machine).unwrap())
    }
}

/// Sets `net.kbus.user_bytes` of the machine, which all tests of a program share.
pub fn budget_of_users(bytes: u64) {
    let [limit, ..] = &users::SYSCTLS;
    assert_eq!(limit.name, c"user_bytes");
    limit.value.store(bytes, Relaxed);
}

impl Namespace {
    /// A socket on the bus of the test.
    pub fn socket(&self) -> Socket {
        self.socket_on(BUS)
    }

    /// A socket on the bus of the test, of a process in this memory cgroup; others are in that of number 1.
    pub fn socket_in(&self, cgroup: usize) -> Socket {
        let before = CURRENT.with(|current| current.replace(cgroup));
        let socket = self.socket();
        CURRENT.with(|current| current.set(before));
        socket
    }

    /// A socket on another bus.
    pub fn socket_elsewhere(&self) -> Socket {
        self.socket_on(ELSEWHERE)
    }

    fn socket_on(&self, bus: &[u8]) -> Socket {
        let sock = std::sync::Arc::new(Sock::default());
        let endpoint = Endpoint::new(FAMILY, self.0.clone(), sock).unwrap();
        self.0.add(&endpoint).unwrap();
        Endpoint::bind(&endpoint, &address(bus), 0o777).unwrap();
        Socket {
            endpoint,
            dont_wait: false,
        }
    }

    /// Insists that no socket is left, nor a bus, nor anything that a user has.
    pub fn is_empty(&self) {
        assert!(self.0.socket_from(0).is_none(), "a socket is left");
        if let Some(payer) = self.0.users.payer(0) {
            assert!(payer.is_clear(), "something of a user is left: {payer:?}");
        }
    }
}

fn address(path: &[u8]) -> Vec<u8> {
    let mut address = FAMILY.to_ne_bytes().to_vec();
    address.extend_from_slice(path);
    address
}

impl Socket {
    /// Lets no call wait.
    pub fn nonblocking(mut self) -> Self {
        self.dont_wait = true;
        self
    }

    /// Lets each call wait for some time only; then, or on a signal, it gives up.
    pub fn impatient(self) -> Self {
        self.endpoint.sock.send_limit.store(1, Ordering::Relaxed);
        self.endpoint.sock.receive_limit.store(1, Ordering::Relaxed);
        self
    }

    /// Sends to an address, with flags.
    pub fn send(&self, to: &str, flags: u32, text: &str) -> Result {
        self.send_to(&address(to.as_bytes()), flags, text)
    }

    /// Answers a request.
    pub fn reply(&self, to: &Message, text: &str) -> Result {
        self.send_to(&to.address, 0, text)
    }

    fn send_to(&self, name: &[u8], flags: u32, text: &str) -> Result {
        let mut control = (size_of::<usize>() + 24).to_ne_bytes().to_vec();
        for word in [uapi::SOL_KBUS, uapi::SCM_KBUS_SEND, flags, 16, 0, 0] {
            control.extend_from_slice(&word.to_ne_bytes());
        }
        let msg = SendMsg {
            name,
            control: &control,
            payload: text.as_bytes(),
            flags: if self.dont_wait { MSG_DONTWAIT } else { 0 },
        };
        Endpoint::sendmsg(&self.endpoint, msg).map(drop)
    }

    /// Receives; `None` at the end.
    pub fn receive(&self) -> Result<Option<Message>> {
        self.receive_with(if self.dont_wait { MSG_DONTWAIT } else { 0 })
    }

    /// Receives what is there.
    pub fn receive_now(&self) -> Option<Message> {
        self.receive_with(MSG_DONTWAIT).ok().flatten()
    }

    fn receive_with(&self, flags: u32) -> Result<Option<Message>> {
        let mut got = Received::default();
        Endpoint::recvmsg(&self.endpoint, RecvMsg(&mut got), flags)?;
        if got.info.is_empty() {
            return Ok(None);
        }
        let long = |at: usize| u64::from_ne_bytes(got.info[at..at + 8].try_into().unwrap());
        let short = |at: usize| u32::from_ne_bytes(got.info[at..at + 4].try_into().unwrap());
        Ok(Some(Message {
            text: String::from_utf8_lossy(&got.payload).into_owned(),
            id: long(0),
            in_reply_to: long(8),
            flags: short(44),
            error: short(52),
            address: got.name,
        }))
    }

    /// Sets an option.
    pub fn set(&self, option: u32, value: &[u8]) -> Result {
        let value = OptIn {
            value,
            nonblock: self.dont_wait,
        };
        Endpoint::setsockopt(&self.endpoint, uapi::SOL_KBUS as i32, option as i32, &value)
    }

    /// Sets an option that is a number.
    pub fn set_number(&self, option: u32, value: u32) -> Result {
        self.set(option, &value.to_ne_bytes())
    }

    /// Sets `SO_RCVBUF`, here to be taken as it is.
    pub fn set_bytes(&self, bytes: u32) {
        let (value, nonblock) = (&bytes.to_ne_bytes()[..], false);
        Endpoint::setsockopt(&self.endpoint, 1, 8, &OptIn { value, nonblock }).unwrap();
    }

    /// Listens, after which it holds `len` messages at most.
    pub fn listens(self, name: &str, len: u32) -> Self {
        self.set_number(uapi::KBUS_QUEUE_LEN, len).unwrap();
        self.set(uapi::KBUS_LISTEN, name.as_bytes()).unwrap();
        self
    }

    /// Becomes the replier.
    pub fn replies(self, name: &str) -> Self {
        self.set(uapi::KBUS_REPLIER, name.as_bytes()).unwrap();
        self
    }

    /// Shuts a direction, or both.
    pub fn shut(&self, read: bool, write: bool) -> Result {
        Endpoint::shutdown(&self.endpoint, Shutdown { read, write })
    }

    /// Polls until there is something to read.
    pub fn until_readable(&self) {
        self.poll_until(true, 0x1);
    }

    /// Polls until it may send.
    pub fn until_writable(&self) {
        self.poll_until(false, 0x4);
    }

    /// Whether it may send.
    pub fn is_writable(&self) -> bool {
        Operations::poll(&*self.endpoint) & 0x4 != 0
    }

    fn poll_until(&self, reads: bool, mask: u32) {
        let ready = || Operations::poll(&*self.endpoint) & mask != 0;
        self.endpoint.sock.poll_until(reads, ready);
    }

    /// Messages that it missed.
    pub fn lost(&self) -> u64 {
        self.number(uapi::KBUS_LOST)
    }

    /// The length of the next message, if there is one.
    pub fn next_len(&self) -> Option<usize> {
        usize::try_from(self.number(uapi::KBUS_NEXT_LEN) as i64).ok()
    }

    fn number(&self, option: u32) -> u64 {
        let mut value = vec![0; 8];
        let (level, name) = (uapi::SOL_KBUS as i32, option as i32);
        Endpoint::getsockopt(&self.endpoint, level, name, &mut OptOut(&mut value)).unwrap();
        u64::from_ne_bytes(value.try_into().unwrap())
    }

    /// Insists that nothing is left in its queue.
    ///
    /// It has nothing to read, owes nothing, no slot is reserved in it, and nobody waits for it.
    pub fn is_quiet_itself(&self) {
        let queue = self.endpoint.queue.lock();
        assert_eq!(queue.reserved(), 0, "slots for replies");
        assert_eq!((queue.unread(), queue.bytes()), (0, 0), "messages");
        assert_eq!(queue.unreplied(), 0, "debts");
        assert!(!queue.is_waited_for(), "somebody waits");
    }

    /// Insists that nothing is left of what it and others did: also on its bus no byte is held.
    pub fn is_quiet(&self) {
        self.is_quiet_itself();
        let bus = self.endpoint.bus().unwrap();
        let used = bus.state.lock().bytes().used();
        assert_eq!(used, 0, "bytes of the bus");
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            Endpoint::release(self.endpoint.clone());
        }
    }
}
