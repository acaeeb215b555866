// SPDX-License-Identifier: GPL-2.0
//! What a program is told: every byte of it is meant, and none is of the kernel's.
//!
//! Each result is fetched into buffers that were filled with different bytes before. What the kernel says it wrote must not
//! depend on that, and what lies behind it must be as it was.

use std::mem;
use std::os::fd::AsRawFd;

use kbus_selftests::process::new_netns;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

super::tests! {
    options_in_poisoned_buffers addresses_in_poisoned_buffers messages_in_poisoned_buffers
    event_in_a_poisoned_buffer failed_reads_leave_buffers_alone no_kernel_pointers ids_of_namespaces
}

/// What the buffers are filled with.
const POISONS: [u8; 2] = [0xa5, 0x5a];

/// Calls with buffers of `N` bytes that were poisoned in two ways; returns what was written.
fn poisoned<const N: usize>(what: &str, call: impl Fn(&mut [u8; N]) -> usize) -> Vec<u8> {
    let mut results = POISONS.map(|poison| {
        let mut buffer = [poison; N];
        let len = call(&mut buffer);
        assert!(len <= N, "{what}: {len} bytes");
        let rest = &buffer[len..];
        assert!(
            rest.iter().all(|byte| *byte == poison),
            "{what}: behind its {len} bytes: {rest:x?}"
        );
        buffer[..len].to_vec()
    });
    assert_eq!(results[0], results[1], "{what}: bytes that nobody wrote");
    mem::take(&mut results[0])
}

/// `getsockopt()` of level `SOL_KBUS` with a poisoned buffer.
fn option(sock: &Sock, option: u32, begin: &[u8]) -> Vec<u8> {
    poisoned::<128>(&format!("option {option}"), |buffer| {
        buffer[..begin.len()].copy_from_slice(begin);
        let mut len = 128_u32;
        // SAFETY: Buffer and length are ours.
        let r = unsafe {
            libc::getsockopt(
                sock.as_raw_fd(),
                uapi::SOL_KBUS as i32,
                option as i32,
                buffer.as_mut_ptr().cast(),
                &mut len,
            )
        };
        assert_eq!(r, 0, "option {option}");
        if (len as usize) < begin.len() {
            // What was asked with is still there behind the answer.
            assert_eq!(buffer[len as usize..begin.len()], begin[len as usize..]);
            let poison = buffer[127];
            buffer[len as usize..begin.len()].fill(poison);
        }
        len as usize
    })
}

/// A bus with a socket on it that has a message and is connected.
fn busy() -> Sock {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.replier("$.A").unwrap();
    sock.connect("$.A").unwrap();
    sock.request("$.A", b"payload").unwrap();
    sock
}

/// Every option that can be read, with its length.
const OPTIONS: &[(u32, usize)] = &[
    (uapi::KBUS_SEND_FLAGS, 4),
    (uapi::KBUS_ONCE, 4),
    (uapi::KBUS_LOSSY, 4),
    (uapi::KBUS_REPORT_LOST, 4),
    (uapi::KBUS_RECV_INFO, 4),
    (uapi::KBUS_PEER_ID, 8),
    (uapi::KBUS_LAST_SENT, 8),
    (uapi::KBUS_QUEUE_LEN, 4),
    (uapi::KBUS_REPLY_MAX, 4),
    (uapi::KBUS_UNREAD, 4),
    (uapi::KBUS_UNREPLIED, 4),
    (uapi::KBUS_LOST, 8),
    (uapi::KBUS_NEXT_LEN, 8),
    (uapi::KBUS_REPORT_BINDS, 4),
    (uapi::KBUS_MAX_MSG_SIZE, 4),
    (uapi::KBUS_BUS_BYTES, 8),
    (uapi::KBUS_BUS_MODE, 4),
    (uapi::KBUS_BUS_INFO, 48),
    (uapi::KBUS_SYNC, 8),
];

/// Options write as much as they say, also `struct kbus_bus_info`, all of whose bytes are meant.
fn options_in_poisoned_buffers() {
    let sock = busy();
    for (number, len) in OPTIONS {
        assert_eq!(option(&sock, *number, b"").len(), *len, "option {number}");
    }
    assert_eq!(mem::size_of::<uapi::kbus_bus_info>(), 48);
    let who = option(&sock, uapi::KBUS_REPLIER, b"$.A\0");
    assert_eq!(who, sock.peer_id().to_ne_bytes());
}

/// Addresses end where their length says.
fn addresses_in_poisoned_buffers() {
    type Call = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut u32) -> i32;
    let sock = busy();
    let unbound = Sock::new();
    let calls: [(&str, Call, &Sock); 3] = [
        ("getsockname", libc::getsockname, &sock),
        ("getpeername", libc::getpeername, &sock),
        ("getsockname, unbound", libc::getsockname, &unbound),
    ];
    for (what, call, sock) in calls {
        poisoned::<160>(what, |buffer| {
            let mut len = 160;
            // SAFETY: Buffer and length are ours.
            let r = unsafe { call(sock.as_raw_fd(), buffer.as_mut_ptr().cast(), &mut len) };
            assert_eq!(r, 0, "{what}");
            len as usize
        });
    }
    poisoned::<160>("recvfrom", |buffer| {
        let mut len = 160;
        let mut data = [0; 16];
        // SAFETY: The buffers and their lengths are ours.
        let r = unsafe {
            libc::recvfrom(
                sock.as_raw_fd(),
                data.as_mut_ptr().cast(),
                16,
                libc::MSG_PEEK,
                buffer.as_mut_ptr().cast(),
                &mut len,
            )
        };
        assert_eq!(r, 7);
        len as usize
    });
}

/// Peeks with poisoned buffers: payload and control data, as far as they were written.
fn peek(sock: &Sock) -> (Vec<u8>, Vec<u8>) {
    let fetch = |control: &mut [u8; 2048], data: &mut [u8; 128]| {
        let mut iov = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        // SAFETY: All zeros is a valid `msghdr`; everything it points at is ours.
        unsafe {
            let mut header: libc::msghdr = mem::zeroed();
            header.msg_iov = &mut iov;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control.len();
            let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
            let r = libc::recvmsg(sock.as_raw_fd(), &mut header, flags);
            assert!(r >= 0, "recvmsg");
            (r as usize, header.msg_controllen)
        }
    };
    let data = poisoned::<128>("payload", |data| fetch(&mut [0; 2048], data).0);
    let control = poisoned::<2048>("control data", |control| {
        let poison = control[0];
        let len = fetch(control, &mut [0; 128]).1;
        // Between two pieces nothing is written.
        let mut at = 0;
        while at + 16 <= len {
            let size = usize::from_ne_bytes(control[at..at + 8].try_into().unwrap());
            let end = size.next_multiple_of(8);
            for byte in &mut control[at + size..(at + end).min(len)] {
                assert!(*byte == poison || *byte == 0, "padding");
                *byte = 0;
            }
            at += end;
        }
        len
    });
    (data, control)
}

/// A message brings its payload, `SCM_KBUS_INFO`, `SCM_KBUS_NAME` and `SCM_KBUS_VIA`, and no byte more.
fn messages_in_poisoned_buffers() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(301);
    sock.listen(&name).unwrap();
    sock.set_socket(libc::SO_RXQ_OVFL, 1).unwrap();
    let via = uapi::kbus_via {
        orig_net: 1,
        orig_peer: 2,
        final_net: 3,
        final_peer: 4,
    };
    let out = Out::nowhere(b"news")
        .with(Cmsg::name(&name))
        .with(Cmsg::via(via));
    sock.send_msg(&out).unwrap();
    let (data, control) = peek(&sock);
    assert_eq!(data, b"news");
    // Lost, name, via and info with their headers, each but the last rounded up.
    assert_eq!(control.len(), 24 + 16 + 304 + 16 + 32 + 16 + 56);
}

/// So do events and statuses.
fn event_in_a_poisoned_buffer() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.KBUS.ReplierBindEvent").unwrap();
    sock.turn_on(uapi::KBUS_REPORT_BINDS);
    sock.replier("$.Odd").unwrap();
    let (data, control) = peek(&sock);
    assert_eq!(data.len(), 16 + 5);
    assert_eq!(&data[16..], b"$.Odd");
    assert_eq!(control.len(), 16 + 56);
    sock.recv().unwrap();
    let asker = Sock::on(&bus);
    asker.request("$.Odd", b"").unwrap();
    drop(sock);
    let (data, control) = peek(&asker);
    assert_eq!((data.len(), control.len()), (0, 16 + 56));
}

/// A read that has nothing, and an option that does not fit, write nothing.
fn failed_reads_leave_buffers_alone() {
    let sock = Sock::on(&fresh_bus());
    let mut buffer = [0xa5_u8; 64];
    // SAFETY: The buffer and its length are ours.
    let r = unsafe {
        libc::recv(
            sock.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            64,
            libc::MSG_DONTWAIT,
        )
    };
    assert_eq!(r, -1);
    for (number, len) in OPTIONS.iter().filter(|option| option.1 <= 8) {
        let mut short = *len as u32 - 1;
        // SAFETY: As above.
        let r = unsafe {
            libc::getsockopt(
                sock.as_raw_fd(),
                uapi::SOL_KBUS as i32,
                *number as i32,
                buffer.as_mut_ptr().cast(),
                &mut short,
            )
        };
        assert_eq!(r, -1, "option {number}");
    }
    assert_eq!(buffer, [0xa5; 64]);
}

/// No word of what a program is told is an address of the kernel's.
fn no_kernel_pointers() {
    let sock = busy();
    let mut all: Vec<Vec<u8>> = OPTIONS
        .iter()
        .map(|(number, _)| option(&sock, *number, b""))
        .collect();
    let (data, control) = peek(&sock);
    all.extend([
        data,
        control,
        sock.name().unwrap(),
        sock.peer_name().unwrap(),
    ]);
    for bytes in &all {
        for at in 0..bytes.len().saturating_sub(7) {
            let word = u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
            // -1 is what some options say for "none".
            let is_address = word >= 0xffff_8000_0000_0000 && word != u64::MAX;
            assert!(!is_address, "{word:x} in {bytes:x?}");
        }
    }
    for file in ["kbus", "kbus_bindings"] {
        let text = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap();
        assert!(
            !text.contains("ffff8") && !text.contains("ffffffff"),
            "{text}"
        );
    }
}

/// Ids of messages are a namespace's own: what others send does not move them. Those of sockets are the machine's.
fn ids_of_namespaces() {
    let here = Sock::on(&fresh_bus());
    here.send_to("$.A", b"").unwrap();
    let before = here.last_sent();
    let (sent, peer) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        new_netns();
        let there = Sock::on(&fresh_bus());
        there.send_to("$.A", b"").unwrap();
        let first = there.last_sent();
        for _ in 0..100 {
            there.send_to("$.A", b"").unwrap();
        }
        assert_eq!(there.last_sent(), first + 100);
        sent.open(there.bus_info().unwrap().domain);
        peer.open(there.peer_id());
    });
    child.join();
    here.send_to("$.A", b"").unwrap();
    assert_eq!(here.last_sent(), before + 1);
    assert_ne!(sent.pass(), here.bus_info().unwrap().domain);
    // Told in docs/security.md: how many sockets there were can be seen.
    assert_eq!(Sock::new().peer_id(), peer.pass() + 1);
}
