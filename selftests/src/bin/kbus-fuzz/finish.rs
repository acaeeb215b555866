// SPDX-License-Identifier: GPL-2.0
//! What must be true when a program has ended, whatever it did.

use std::fs;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use crate::address;
use crate::machine::Fd;
use crate::machine::Machine;
use crate::machine::World;
use crate::perform::give_up;
use crate::program::Call;
use crate::words::SOCKETS;

/// Closes all sockets but one, and looks whether that one got what it was promised; then at what is left.
pub fn finish(machine: &Machine) {
    leave_everything(machine);
    let open = |s: &usize| machine.open(*s).is_some();
    let asked = |s: &usize| {
        let state = machine.state();
        state.asked.iter().filter(|(_, slot)| slot == s).count()
    };
    let last = (0..SOCKETS).filter(open).max_by_key(|s| (asked(s), *s));
    for s in (0..SOCKETS).filter(|s| Some(*s) != last) {
        machine.close(s);
    }
    if let Some((s, fd)) = last.and_then(|s| Some((s, machine.open(s)?))) {
        last_socket(machine, s, &fd);
        drop(fd);
        machine.close(s);
    }
    pipe_is_closed(machine);
    if let Some(finding) = what_is_left(machine.world) {
        machine.find(&finding);
    }
    if machine.plain {
        buses_are_empty(machine);
    }
}

/// Back to the first user and namespace; of what was given up for good nothing is asked any more.
fn leave_everything(machine: &Machine) {
    if let Some([_, max, _]) = &machine.world.group {
        let mut max = max;
        let _ = std::io::Write::write_all(&mut max, b"max");
    }
    // SAFETY: Always safe; they may fail.
    unsafe {
        libc::syscall(libc::SYS_setresuid, 0, 0, 0);
        libc::syscall(libc::SYS_setresgid, 0, 0, 0);
        libc::setns(machine.world.namespaces[0], libc::CLONE_NEWNET);
    }
}

/// The one socket that is left: each of its requests has one answer, and nothing is reserved or held when it has been read.
fn last_socket(machine: &Machine, s: usize, fd: &Fd) {
    // It may have been made anything: a queue that holds back, a reader that is told nothing.
    machine.perform(&Call::text(&format!("set s={s} option=RECV_INFO")));
    let read = Call::text(&format!("recv s={s} control=1400"));
    loop {
        let mut before = machine.state().slots[s].owed.len();
        while let Some(Ok(_)) = machine.perform(&read) {
            // Shut for reading, a socket reads nothing for ever.
            if machine.number(fd, uapi::KBUS_UNREAD) == 0 {
                break;
            }
        }
        before += machine.state().slots[s].owed.len();
        if before == 0 {
            break;
        }
        // It answers itself.
        while let Some((id, _)) = {
            let mut state = machine.state();
            state.slots[s].owed.pop_front()
        } {
            // It may be answered already.
            let _ = give_up(fd, id);
        }
    }
    let unsure = machine.state().slots[s].unsure;
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim_start_matches(':').trim().parse::<u64>().ok())
    };
    for key in ["kbus-unread", "kbus-bytes", "kbus-reserved", "kbus-owed"] {
        let sure = !unsure || key == "kbus-unread" || key == "kbus-bytes";
        if sure && value(key).is_some_and(|value| value != 0) {
            machine.find(&format!(
                "socket {s}, alone and read to the end, still has\n{text}"
            ));
        }
    }
    if !machine.plain {
        return;
    }
    let state = machine.state();
    if let Some((cookie, count)) = state.answers.iter().find(|(_, count)| **count > 1) {
        let text = format!("request with cookie {cookie} has {count} answers");
        drop(state);
        machine.find(&text);
    }
    if unsure || state.slots[s].shut {
        return;
    }
    let missing = state.asked.iter().filter(|(_, slot)| *slot == s);
    let missing = missing
        .map(|(cookie, _)| *cookie)
        .find(|cookie| !state.answers.contains_key(cookie));
    if let Some(cookie) = missing {
        drop(state);
        machine.find(&format!(
            "socket {s}: its request with cookie {cookie} has no answer"
        ));
    }
}

/// Nobody holds the pipe whose end was passed around.
fn pipe_is_closed(machine: &Machine) {
    // SAFETY: The descriptor is ours.
    unsafe { libc::close(machine.pipe[1]) };
    let reader = Closing(machine.pipe[0]);
    let mut byte = 0_u8;
    // What is closed by the kernel's own threads takes a moment.
    for _ in 0..400 {
        // SAFETY: There is room for the byte.
        let r = unsafe { libc::read(reader.0, (&raw mut byte).cast(), 1) };
        if r == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    // A descriptor that was received and not seen, its message's control data being faulty, is open here.
    let unsure = machine.state().slots.iter().any(|slot| slot.unsure);
    if machine.plain && !unsure && !holds_pipe(machine) {
        machine.find("all sockets are closed, and a descriptor that was passed is still open");
    }
}

/// A descriptor that is closed in the end.
struct Closing(i32);

impl Drop for Closing {
    fn drop(&mut self) {
        // SAFETY: It is ours alone.
        unsafe { libc::close(self.0) };
    }
}

/// What `/proc/net` still shows when all sockets are closed.
pub fn what_is_left(world: &World) -> Option<String> {
    let mut finding = None;
    for namespace in world.namespaces {
        // SAFETY: Always safe. Who has gone to another user namespace may not.
        if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } != 0 {
            return None;
        }
        for (file, head) in [("kbus", 2), ("kbus_bindings", 1)] {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
            if text.lines().count() != head {
                finding = Some(format!("all is closed, and /proc/net/{file} says\n{text}"));
            }
        }
    }
    // SAFETY: Always safe.
    unsafe { libc::setns(world.namespaces[0], libc::CLONE_NEWNET) };
    finding
}

/// Whether this process itself has another descriptor of the pipe's writing end.
fn holds_pipe(machine: &Machine) -> bool {
    let link = |fd: &str| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let own = machine.pipe[0].to_string();
    let pipe = link(&own);
    let fds = fs::read_dir("/proc/self/fd").expect("/proc");
    fds.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .any(|fd| fd != own && link(&fd) == pipe)
}

/// On each bus there is nothing.
fn buses_are_empty(machine: &Machine) {
    for namespace in machine.world.namespaces {
        // SAFETY: Always safe.
        if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } != 0 {
            return;
        }
        for bus in ["a0", "a1", "p0", "p1"] {
            let path = address::path(bus);
            if path.is_some_and(|path| fs::metadata(path).is_err()) {
                continue;
            }
            let Ok(sock) = Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, 0) else {
                continue;
            };
            if sock
                .bind_raw(&address::bus(bus, address::family(false)))
                .is_err()
            {
                continue;
            }
            let info = sock.bus_info().expect("KBUS_BUS_INFO");
            if (info.members, info.bindings, info.bytes) != (1, 0, 0) {
                machine.find(&format!("bus {bus}, with nobody else on it: {info:?}"));
            }
        }
    }
    // SAFETY: Always safe.
    unsafe { libc::setns(machine.world.namespaces[0], libc::CLONE_NEWNET) };
}
