// SPDX-License-Identifier: GPL-2.0

//! `recvmsg()`: from a socket's queue to a program's buffers.

use crate::{
    bus_core::{
        address,
        name,
        queue::{
            Consumed,
            View, //
        }, //
    },
    endpoint::{
        Endpoint,
        Reading, //
    },
    sockaddr,
    sys::{
        cred::{
            Creds,
            Ucred, //
        },
        msg::{
            RecvMsg,
            ADDR_MAX, //
        },
        scm::Landing,
        sock::Flag,
        trace, //
    },
    uapi, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::Jiffies, //
};

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_CTRUNC: u32 = 0x8;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_ERRQUEUE: u32 = 0x2000;

const SOL_SOCKET: i32 = 1;
const SO_RXQ_OVFL: i32 = 40;
const SCM_CREDENTIALS: i32 = 2;
const SCM_SECURITY: i32 = 3;
const SO_TIMESTAMP_OLD: i32 = 29;
const SO_TIMESTAMPNS_OLD: i32 = 35;
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;

/// Receives one message and returns the bytes copied, or its whole length with `MSG_TRUNC`.
///
/// # Errors
///
/// `EOPNOTSUPP` for `MSG_OOB` and `MSG_ERRQUEUE`; what an earlier `recvmmsg()` has left
/// (`SO_ERROR`); `EAGAIN` when there is nothing and it must not wait, or `SO_RCVTIMEO` is over;
/// `EINTR`; `EFAULT`, which leaves the message where it is.
pub(crate) fn receive(this: &Arc<Endpoint>, mut msg: RecvMsg<'_>, flags: u32) -> Result<usize> {
    if flags & (MSG_OOB | MSG_ERRQUEUE) != 0 {
        return Err(EOPNOTSUPP);
    }
    let mut left = this.sock.rcvtimeo(flags & MSG_DONTWAIT != 0) as Jiffies;
    // Before anything is read, as AF_UNIX does: else the error would outlive good reads and hit a
    // later call.
    this.sock.take_error()?;
    // What is copied now is what will be consumed.
    let Some((reading, mut view)) = this.begin_read(&mut left)? else {
        return Ok(0);
    };
    let mut consumed = None;
    let result = copy_out(this, &mut msg, flags, reading, &mut view, &mut consumed);
    drop(view);
    if let Some(consumed) = consumed {
        consumed.settle(this);
    }
    result
}

/// Copies a message to the program; what is `read` then is for the caller to give back.
fn copy_out(
    this: &Arc<Endpoint>,
    msg: &mut RecvMsg<'_>,
    flags: u32,
    reading: Reading<'_>,
    view: &mut View<Arc<Endpoint>>,
    read: &mut Option<Consumed<Arc<Endpoint>>>,
) -> Result<usize> {
    let whole = view.payload().len();
    let copied = whole.min(msg.room());
    msg.write_payload(view.payload().get(..copied).ok_or(EINVAL)?)?;

    let mut files = landing(this, msg, view)?;
    if flags & MSG_PEEK == 0 {
        // The one step that turns "unread" into "read". Freed outside the lock.
        let consumed = reading.consume(view.token);
        // Unbinding may have removed it meanwhile, or made it a listener's copy: it is read without
        // debt.
        if !consumed.as_ref().is_some_and(|consumed| consumed.owed) {
            let was_asked = view.must_reply();
            view.flags &= !uapi::KBUS_YOU_REPLY;
            // A request's descriptors are for who has to answer it.
            if was_asked && files.take().is_some() {
                view.flags |= uapi::KBUS_HAD_FDS;
            }
        }
        *read = consumed;
        if trace::receive::is_on() {
            let (id, sender, len) = (view.id, view.sender, whole as u32);
            let (flags, lost, name) = (view.flags, view.lost, view.name());
            trace::receive(id, this.id, sender, flags, len, lost, name);
        }
    }
    if view.flags & uapi::KBUS_URGENT != 0 {
        msg.add_flags(MSG_OOB);
    }
    if copied < whole {
        msg.add_flags(MSG_TRUNC);
    }
    if msg.wants_name() {
        set_name(this, msg, view)?;
    }
    ancillary(this, msg, view, files);
    Ok(if flags & MSG_TRUNC != 0 {
        whole
    } else {
        copied
    })
}

/// Tells from whom it is, and of what name.
fn set_name(this: &Endpoint, msg: &mut RecvMsg<'_>, view: &View<Arc<Endpoint>>) -> Result {
    let mut text = [0; address::TEXT_MAX];
    let request = view.must_reply().then_some(view.id);
    let len = address::format(Some(view.name()), Some(view.sender), request, &mut text)?;
    let mut addr = [0; ADDR_MAX];
    let len = sockaddr::write(
        &mut addr,
        this.address_family,
        text.get(..len).ok_or(EINVAL)?,
        true,
    )?;
    msg.set_name(addr.get(..len).ok_or(EINVAL)?);
    Ok(())
}

/// The descriptors that this reader gets: a set of its own, as the message may be peeked at or
/// shared.
///
/// # Errors
///
/// `ENOMEM`, and the message stays where it is.
fn landing(
    this: &Endpoint,
    msg: &mut RecvMsg<'_>,
    view: &mut View<Arc<Endpoint>>,
) -> Result<Option<Landing>> {
    let Some(files) = view.files.take() else {
        return Ok(None);
    };
    // It may have changed its mind.
    if !this.queue.lock().takes_files() {
        view.flags |= uapi::KBUS_HAD_FDS;
        return Ok(None);
    }
    if !msg.takes_files() {
        msg.add_flags(MSG_CTRUNC);
        return Ok(None);
    }
    files.dup().map(Some)
}

/// Attaches what the program asked for, and a name that no address can hold.
fn ancillary(
    this: &Endpoint,
    msg: &mut RecvMsg<'_>,
    view: &View<Arc<Endpoint>>,
    files: Option<Landing>,
) {
    let had_control = msg.has_control();
    let pass = this.pass.load(Relaxed);
    if pass & uapi::KBUS_PASS_CRED != 0 {
        let creds = view.from().map_or_else(Ucred::nobody, Creds::seen_here);
        let words = [creds.pid, creds.uid, creds.gid].map(u32::to_ne_bytes);
        msg.put_cmsg(SOL_SOCKET, SCM_CREDENTIALS, words.as_flattened());
    }
    if pass & uapi::KBUS_PASS_SEC != 0 {
        if let Some(label) = view.from().and_then(Creds::label) {
            msg.put_cmsg(SOL_SOCKET, SCM_SECURITY, label);
        }
    }
    if let Some(files) = files {
        msg.put_files(files);
    }
    if this.sock.has(Flag::Timestamp) {
        timestamp(this, msg, view.time);
    }
    if this.sock.has(Flag::RxqOvfl) {
        // The option's own type is 32 bits wide.
        let lost = this.queue.lock().lost() as u32;
        msg.put_cmsg(SOL_SOCKET, SO_RXQ_OVFL, &lost.to_ne_bytes());
    }
    if view.name().len() > name::ADDRESS_NAME_MAX {
        msg.put_cmsg(
            uapi::SOL_KBUS as i32,
            uapi::SCM_KBUS_NAME as i32,
            view.name(),
        );
    }
    if let Some(via) = view.via() {
        let mut bytes = [0; 32];
        let words = [via.orig_net, via.orig_peer, via.final_net, via.final_peer];
        for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        // Nobody asks for it. A reader without a buffer is not told that it is missing. A reader
        // whose buffer is full by now is told.
        if had_control {
            msg.put_cmsg(uapi::SOL_KBUS as i32, uapi::SCM_KBUS_VIA as i32, &bytes);
        }
    }
    // Missing info alone is no truncation: it is not asked for where there is no room at all.
    if this.recv_info.load(Relaxed) != 0 && msg.fits(INFO_LEN) {
        msg.put_cmsg(
            uapi::SOL_KBUS as i32,
            uapi::SCM_KBUS_INFO as i32,
            &info(view),
        );
    }
}

/// The time of sending, in the form that was asked for.
fn timestamp(this: &Endpoint, msg: &mut RecvMsg<'_>, nanos: i64) {
    let (nano, new) = (
        this.sock.has(Flag::TimestampNs),
        this.sock.has(Flag::TimestampNew),
    );
    let seconds = nanos.div_euclid(NANOS);
    let rest = nanos.rem_euclid(NANOS) / if nano { 1 } else { 1000 };
    let kind = match (nano, new) {
        (false, false) => SO_TIMESTAMP_OLD,
        (false, true) => SO_TIMESTAMP_NEW,
        (true, false) => SO_TIMESTAMPNS_OLD,
        (true, true) => SO_TIMESTAMPNS_NEW,
    };
    // `struct timeval` and `struct timespec` have the same layout; in the old ones the words are
    // native, and the core converts them for a program of 32 bits.
    if new {
        let words = [seconds, rest].map(i64::to_ne_bytes);
        msg.put_cmsg(SOL_SOCKET, kind, words.as_flattened());
    } else {
        let words = [seconds as isize, rest as isize].map(isize::to_ne_bytes);
        msg.put_cmsg(SOL_SOCKET, kind, words.as_flattened());
    }
}

const NANOS: i64 = 1_000_000_000;
const INFO_LEN: usize = 56;

/// `struct kbus_info` in its own layout, without padding.
fn info(view: &View<Arc<Endpoint>>) -> [u8; INFO_LEN] {
    let mut bytes = [0; INFO_LEN];
    let (long, short) = bytes.split_at_mut(40);
    let words = [view.id, view.in_reply_to, view.cookie, view.sender, view.to];
    for (to, from) in long.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    let words = [view.len as u32, view.flags, view.lost, view.error as u32];
    for (to, from) in short.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    bytes
}
