// SPDX-License-Identifier: GPL-2.0

//! Looking inside: `/proc/net/kbus`, `/proc/net/kbus_bindings`, and `fdinfo` of a socket.
//!
//! Each line is a snapshot of its own, and one of a socket that goes before it is written is left
//! out. No lock is held between two lines, and what was there all the time is listed exactly once:
//! sockets are gone through by their peer ids, and the bindings of each in an order that does not
//! change.

use crate::{
    bound::Bound,
    bus_core::{
        bus::Kind,
        name, //
    },
    domain::Domain,
    endpoint::Endpoint,
    sockaddr,
    sys::{
        net_ns::Net,
        proc::{
            FileOf,
            NetFile,
            Out,
            Step, //
        },
    },
};
use kernel::{
    prelude::*,
    seq_print,
    sync::Arc, //
};

/// The files of a network namespace.
pub(crate) static FILES: [FileOf<Domain>; 2] =
    [FileOf::new::<Sockets>(), FileOf::new::<Bindings>()];

/// `/proc/net/kbus`: the sockets, bound or not.
struct Sockets;

/// `/proc/net/kbus_bindings`: the bindings, each as often as its socket has it.
struct Bindings;

/// Writes the columns that both files begin with, `bus peer pid uid`.
fn show_owner(endpoint: &Endpoint, bound: Option<&Bound>, net: &Net, out: &Out<'_>) {
    match bound {
        None => out.bytes(b"-"),
        Some(bound) => show_bus(&bound.address, out),
    }
    seq_print!(out.text(), " {:x}", endpoint.id);
    // Who runs what is nobody's business but their own and the administrator's.
    if endpoint.user != out.opener() && !out.is_net_admin(net) {
        out.bytes(b" - -");
        return;
    }
    // The reader's pid namespace need not have it.
    match endpoint.maker.number_here() {
        None => out.bytes(b" -"),
        Some(pid) => seq_print!(out.text(), " {pid}"),
    }
    seq_print!(out.text(), " {}", out.as_opener_sees(endpoint.user));
}

/// Writes the name of a bus: `@` for each NUL as in `/proc/net/unix`, and what would break the line
/// as `\\ooo`.
///
/// So is what would make the beginning of a path look like another kind of bus, or like none.
fn show_bus(address: &[u8], out: &Out<'_>) {
    for (at, byte) in address.iter().enumerate() {
        match *byte {
            0 => out.bytes(b"@"),
            b'@' | b'-' if at == 0 => seq_print!(out.text(), "\\{byte:03o}"),
            b'!'..=b'[' | b']'..=b'~' | 0x80.. => out.bytes(&[*byte]),
            byte => seq_print!(out.text(), "\\{byte:03o}"),
        }
    }
}

/// The numbers of a socket.
struct Counts {
    unread: u32,
    limit: u32,
    bytes: u64,
    reserved: u32,
    owed: u32,
    lost: u64,
}

impl Counts {
    /// # Locks
    ///
    /// Takes and releases `queue`.
    fn of(endpoint: &Endpoint) -> Self {
        let queue = endpoint.queue.lock();
        Self {
            unread: queue.unread(),
            limit: queue.limit(),
            bytes: queue.bytes(),
            reserved: queue.reserved(),
            owed: queue.unreplied(),
            lost: queue.lost(),
        }
    }
}

impl NetFile for Sockets {
    type State = Domain;
    /// A peer id.
    type Item = u64;

    const NAME: &'static CStr = c"kbus";

    fn head(out: &Out<'_>) {
        seq_print!(out.text(), "# family {}\n", sockaddr::family());
        out.bytes(b"bus peer pid uid unread limit bytes reserved owed lost path\n");
    }

    fn advance(domain: &Domain, peer: &mut u64) -> Step {
        let Some(endpoint) = domain.socket_from(peer.saturating_add(1)) else {
            return Step::End;
        };
        *peer = endpoint.id;
        Step::Item
    }

    /// # Locks
    ///
    /// Takes and releases `settings`, then `queue`.
    fn show(domain: &Domain, peer: &u64, net: &Net, out: &Out<'_>) {
        let Some(endpoint) = domain.socket(*peer) else {
            return;
        };
        let bound = endpoint.bound();
        show_owner(&endpoint, bound.as_deref(), net, out);
        let n = Counts::of(&endpoint);
        seq_print!(out.text(), " {} {} {}", n.unread, n.limit, n.bytes);
        seq_print!(out.text(), " {} {} {}", n.reserved, n.owed, n.lost);
        out.bytes(match bound.and_then(|bound| bound.is_deleted()) {
            None => b" -\n",
            Some(false) => b" linked\n",
            Some(true) => b" deleted\n",
        });
    }
}

#[derive(Clone, Copy, Zeroable)]
struct BindingItem {
    peer: u64,
    /// Where the binding is among those of its socket. Its number, the second, is never 0.
    at: (u64, u64),
    /// Of so many identical ones these are still to be listed.
    left: u32,
    replier: u32,
    len: u32,
    text: [u8; name::NAME_MAX],
}

impl BindingItem {
    /// Goes on to the next binding of a socket; false if there is none.
    ///
    /// # Locks
    ///
    /// Takes and releases `settings`, then the lock of the bus.
    fn next_of(&mut self, endpoint: &Arc<Endpoint>, last: Option<(u64, u64)>) -> bool {
        let Ok(bus) = endpoint.bus() else {
            return false;
        };
        let state = bus.state.lock();
        let Some(seen) = state.binding_after(endpoint.id, last) else {
            return false;
        };
        self.at = seen.at;
        self.left = seen.count.saturating_sub(1);
        self.replier = u32::from(seen.kind == Kind::Replier);
        self.len = 0;
        for (to, from) in self.text.iter_mut().zip(seen.text) {
            *to = *from;
            self.len = self.len.saturating_add(1);
        }
        true
    }
}

impl NetFile for Bindings {
    type State = Domain;
    type Item = BindingItem;

    const NAME: &'static CStr = c"kbus_bindings";

    fn head(out: &Out<'_>) {
        out.bytes(b"bus peer pid uid kind name\n");
    }

    fn advance(domain: &Domain, item: &mut BindingItem) -> Step {
        if item.left > 0 {
            item.left = item.left.saturating_sub(1);
            return Step::Item;
        }
        let Some(endpoint) = domain.socket_from(item.peer) else {
            return Step::End;
        };
        let last = Some(item.at).filter(|at| at.1 != 0 && endpoint.id == item.peer);
        item.peer = endpoint.id;
        if item.next_of(&endpoint, last) {
            return Step::Item;
        }
        // The next socket, from its first binding on.
        item.peer = item.peer.saturating_add(1);
        item.at = (0, 0);
        Step::Between
    }

    /// # Locks
    ///
    /// Takes and releases `settings`.
    fn show(domain: &Domain, item: &BindingItem, net: &Net, out: &Out<'_>) {
        let Some(endpoint) = domain.socket(item.peer) else {
            return;
        };
        let Some(bound) = endpoint.bound() else {
            return;
        };
        show_owner(&endpoint, Some(&bound), net, out);
        out.bytes(match item.replier {
            0 => b" L ",
            _ => b" R ",
        });
        let len = usize::try_from(item.len).unwrap_or(0);
        out.bytes(item.text.get(..len).unwrap_or(&[]));
        out.bytes(b"\n");
    }
}

/// Writes what `/proc/PID/fdinfo/FD` says of a socket, beyond what it says of every file.
///
/// # Locks
///
/// Takes and releases `settings`, then `queue`.
pub(crate) fn show_fdinfo(endpoint: &Endpoint, out: &Out<'_>) {
    if let Some(bound) = endpoint.bound() {
        out.bytes(b"kbus-bus:\t");
        show_bus(&bound.address, out);
        out.bytes(match bound.is_deleted() {
            None => b"\n",
            Some(false) => b"\nkbus-path:\tlinked\n",
            Some(true) => b"\nkbus-path:\tdeleted\n",
        });
    }
    let counts = Counts::of(endpoint);
    let text = out.text();
    seq_print!(text, "kbus-peer:\t{:x}\n", endpoint.id);
    seq_print!(text, "kbus-unread:\t{}\n", counts.unread);
    seq_print!(text, "kbus-limit:\t{}\n", counts.limit);
    seq_print!(text, "kbus-bytes:\t{}\n", counts.bytes);
    seq_print!(text, "kbus-reserved:\t{}\n", counts.reserved);
    seq_print!(text, "kbus-owed:\t{}\n", counts.owed);
    seq_print!(text, "kbus-lost:\t{}\n", counts.lost);
}
