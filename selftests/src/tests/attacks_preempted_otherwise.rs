// SPDX-License-Identifier: GPL-2.0
//! As `attacks_preempted`, where attackers are stopped by other means than busy tasks.

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::ptr;

use kbus_selftests::attack::take;
use kbus_selftests::process::skip;
use kbus_selftests::siege::become_attacker;
use kbus_selftests::siege::untouchable;
use kbus_selftests::siege::Siege;
use kbus_selftests::siege::Step;
use kbus_selftests::siege::Stop;
use kbus_selftests::siege::Victim;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

super::timed! { by_their_share_of_the_processor by_a_signal by_a_debugger by_faults_in_any_buffer }

/// What an attacker does: something else each.
fn loops(bus: &str, i: u32) -> Step {
    let sock = Sock::on(bus);
    let (bus, name) = (bus.to_string(), format!("$.Attack.N{i}"));
    match i {
        0 => {
            for _ in 0..1000 {
                sock.listen(&name).unwrap();
            }
            Box::new(move || {
                sock.send_to(&name, b"").unwrap();
            })
        }
        1 => Box::new(move || {
            let sock = Sock::on(&bus);
            for n in 0..20 {
                sock.replier(&format!("{name}.N{n}")).unwrap();
            }
        }),
        2 => Box::new(|| {
            fs::read("/proc/net/kbus_bindings").unwrap();
            fs::read("/proc/net/kbus").unwrap();
        }),
        3 => {
            sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
                .unwrap();
            sock.listen(&name).unwrap();
            let file = File::open("/proc/self/exe").unwrap();
            let out = Out::to(&name, b"").with(Cmsg::rights(file.as_raw_fd()));
            Box::new(move || {
                let _file = &file;
                sock.send_msg(&out).unwrap();
                assert_eq!(take(&sock).rights().len(), 1);
            })
        }
        _ => {
            sock.replier(&name).unwrap();
            Box::new(move || {
                sock.request(&name, b"?").unwrap();
                sock.reply(&take(&sock), b"!").unwrap();
                take(&sock);
            })
        }
    }
}

fn stopped(what: &str, stop: Stop) {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let siege = Siege::begin(what, stop, 5, |i| {
        become_attacker(i);
        loops(&bus, i)
    });
    let victims = [
        Victim::on("on the same bus", &bus),
        Victim::elsewhere(),
        Victim::apart(),
    ];
    siege.spares(12, &victims);
}

/// A cgroup whose share of the processor is used up.
fn by_their_share_of_the_processor() {
    match Stop::throttle() {
        Some(stop) => stopped("stopped by cpu.max", stop),
        None => skip("no cpu.max here"),
    }
}

/// `SIGSTOP`.
fn by_a_signal() {
    stopped("stopped by SIGSTOP", Stop::Signal);
}

/// `PTRACE_INTERRUPT`.
fn by_a_debugger() {
    stopped("stopped by ptrace", Stop::Trace);
}

/// A call that copies from or to memory that cannot be touched.
///
/// # Safety
///
/// Nobody else uses the memory.
type Call = unsafe fn(RawFd, *mut libc::c_void);

/// Where everything that `sendmsg` and `recvmsg` are given is, but for what is to be touched.
fn header(name: &mut [u8], part: &mut libc::iovec, control: &mut [u64]) -> libc::msghdr {
    // SAFETY: All zeros is a valid header; some C libraries have fields that others do not.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = name.len() as u32;
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = std::mem::size_of_val(control);
    header
}

/// Calls `sendmsg` or `recvmsg` with one thing changed.
unsafe fn with_header(fd: RawFd, send: bool, change: impl FnOnce(&mut libc::msghdr)) {
    let mut name = match send {
        true => message_address("$.Attack.Fault"),
        false => vec![0; 110],
    };
    let (mut data, mut control) = ([0_u8; 64], [0_u64; 64]);
    let mut part = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    let mut header = header(&mut name, &mut part, &mut control);
    if send {
        header.msg_controllen = 0;
    }
    change(&mut header);
    // SAFETY: What it points at is there, or is the caller's to answer for.
    unsafe {
        match send {
            true => libc::sendmsg(fd, &header, 0),
            false => libc::recvmsg(fd, &mut header, 0),
        };
    }
}

/// Every buffer of every call.
const CALLS: &[(&str, Call)] = &[
    ("recv: payload", |fd, at| unsafe {
        libc::recv(fd, at, 4096, 0);
    }),
    ("recvmsg: name", |fd, at| unsafe {
        with_header(fd, false, |header| header.msg_name = at);
    }),
    ("recvmsg: vector", |fd, at| unsafe {
        with_header(fd, false, |header| header.msg_iov = at.cast());
    }),
    ("recvmsg: control", |fd, at| unsafe {
        with_header(fd, false, |header| header.msg_control = at);
    }),
    ("recvmsg: header", |fd, at| unsafe {
        libc::recvmsg(fd, at.cast(), 0);
    }),
    ("recvmmsg: headers", |fd, at| unsafe {
        libc::recvmmsg(fd, at.cast(), 1, 0, ptr::null_mut());
    }),
    ("recvfrom: length of the name", |fd, at| unsafe {
        let (mut data, mut name) = ([0_u8; 64], [0_u64; 16]);
        let name = name.as_mut_ptr().cast();
        libc::recvfrom(fd, data.as_mut_ptr().cast(), 64, 0, name, at.cast());
    }),
    ("sendto: payload", |fd, at| unsafe {
        let name = message_address("$.Attack.Fault");
        libc::sendto(fd, at, 4096, 0, name.as_ptr().cast(), name.len() as u32);
    }),
    ("sendto: name", |fd, at| unsafe {
        libc::sendto(fd, ptr::null(), 0, 0, at.cast(), 64);
    }),
    ("sendmsg: vector", |fd, at| unsafe {
        with_header(fd, true, |header| header.msg_iov = at.cast());
    }),
    ("sendmsg: control", |fd, at| unsafe {
        with_header(fd, true, |header| {
            header.msg_control = at;
            header.msg_controllen = 64;
        });
    }),
    ("sendmsg: header", |fd, at| unsafe {
        libc::sendmsg(fd, at.cast(), 0);
    }),
    ("bind: name", |_, at| unsafe {
        libc::bind(Sock::new().as_raw_fd(), at.cast(), 64);
    }),
    ("connect: name", |fd, at| unsafe {
        libc::connect(fd, at.cast(), 64);
    }),
    ("getsockname: name", |fd, at| unsafe {
        libc::getsockname(fd, at.cast(), &mut 110);
    }),
    ("getsockname: length", |fd, at| unsafe {
        let mut name = [0_u64; 16];
        libc::getsockname(fd, name.as_mut_ptr().cast(), at.cast());
    }),
    ("KBUS_LISTEN: name", |fd, at| unsafe {
        let level = uapi::SOL_KBUS as i32;
        libc::setsockopt(fd, level, uapi::KBUS_LISTEN as i32, at, 64);
    }),
    ("KBUS_REPLIER: name", |fd, at| unsafe {
        let level = uapi::SOL_KBUS as i32;
        libc::setsockopt(fd, level, uapi::KBUS_REPLIER as i32, at, 64);
    }),
    ("KBUS_QUEUE_LEN: value", |fd, at| unsafe {
        let level = uapi::SOL_KBUS as i32;
        libc::setsockopt(fd, level, uapi::KBUS_QUEUE_LEN as i32, at, 4);
    }),
    ("who is replier: name", |fd, at| unsafe {
        let level = uapi::SOL_KBUS as i32;
        libc::getsockopt(fd, level, uapi::KBUS_REPLIER as i32, at, &mut 64);
    }),
    ("KBUS_BUS_INFO: value", |fd, at| unsafe {
        let level = uapi::SOL_KBUS as i32;
        libc::getsockopt(fd, level, uapi::KBUS_BUS_INFO as i32, at, &mut 64);
    }),
    ("KBUS_BUS_INFO: length", |fd, at| unsafe {
        let (level, mut value) = (uapi::SOL_KBUS as i32, [0_u64; 8]);
        let value = value.as_mut_ptr().cast();
        libc::getsockopt(fd, level, uapi::KBUS_BUS_INFO as i32, value, at.cast());
    }),
    ("FIONREAD", |fd, at| unsafe {
        libc::ioctl(fd, libc::FIONREAD, at);
    }),
    ("/proc/net/kbus", |_, at| unsafe {
        let file = File::open("/proc/net/kbus").unwrap();
        libc::read(file.as_raw_fd(), at, 4096);
    }),
    ("/proc/net/kbus_bindings", |_, at| unsafe {
        let file = File::open("/proc/net/kbus_bindings").unwrap();
        libc::read(file.as_raw_fd(), at, 4096);
    }),
];

/// Pages that are missing, and never come, in each buffer that the kernel copies from or to.
fn by_faults_in_any_buffer() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let siege = Siege::begin(
        "faults that nobody answers",
        Stop::Fault,
        CALLS.len() as u32,
        |i| {
            let memory = untouchable();
            become_attacker(i);
            let sock = Sock::on(&bus);
            let name = format!("$.Attack.N{i}");
            sock.listen(&name).unwrap();
            sock.send_to(&name, b"to be read").unwrap();
            Box::new(move || {
                let (what, call) = CALLS[i as usize];
                // SAFETY: The memory is there and large enough, and nobody else's.
                unsafe { call(sock.as_raw_fd(), memory) };
                panic!("{what}: it was expected to be caught");
            })
        },
    );
    let victims = [
        Victim::on("on the same bus", &bus),
        Victim::elsewhere(),
        Victim::apart(),
    ];
    siege.spares(3, &victims);
}
