// SPDX-License-Identifier: GPL-2.0

//! Socket options: bindings, settings of the socket, settings of its bus.

use crate::{
    bound::Mode,
    bus_core::{
        bind,
        bus::Shared,
        close,
        events,
        mem,
        name::{
            self,
            Name,
            Pattern, //
        },
        peer::Peer,
        queue::Member, //
    },
    domain::SharedBus,
    endpoint::Endpoint,
    reclaim::patiently,
    sys::{
        sock::{
            Flag,
            Timestamp, //
        },
        sockopt::{
            OptIn,
            OptOut, //
        },
        task,
        trace, //
    },
    uapi,
    users::LIMITS,
    wait::until_room, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::Jiffies, //
};

const SOL_SOCKET: i32 = 1;

/// Options of `SOL_SOCKET` that mean something here and that the core handles.
const CORE_OPTIONS: [i32; 9] = [
    7,  // SO_SNDBUF
    8,  // SO_RCVBUF
    20, // SO_RCVTIMEO
    21, // SO_SNDTIMEO
    32, // SO_SNDBUFFORCE
    33, // SO_RCVBUFFORCE
    40, // SO_RXQ_OVFL
    66, // SO_RCVTIMEO_NEW
    67, // SO_SNDTIMEO_NEW
];

/// Options of `SOL_SOCKET` that socket libraries set unasked, and that have no effect on AF_UNIX
/// datagrams either, so that no program can miss it here.
///
/// The core keeps their values, with its own checks (`SO_DEBUG` needs a privilege, `SO_REUSEPORT`
/// can only be switched off), in the socket alone: none of them changes anything for the rest of
/// the machine. An option that promises something which we do not do, such as a filter, does not
/// belong here.
const NEUTRAL_OPTIONS: [i32; 13] = [
    1,  // SO_DEBUG
    2,  // SO_REUSEADDR
    5,  // SO_DONTROUTE
    6,  // SO_BROADCAST
    9,  // SO_KEEPALIVE
    10, // SO_OOBINLINE
    11, // SO_NO_CHECK
    12, // SO_PRIORITY
    13, // SO_LINGER
    14, // SO_BSDCOMPAT
    15, // SO_REUSEPORT
    18, // SO_RCVLOWAT
    36, // SO_MARK
];

const SO_RCVBUF: i32 = 8;
const SO_PASSCRED: i32 = 16;
const SO_TIMESTAMP: i32 = 29;
const SO_RCVBUFFORCE: i32 = 33;
const SO_PASSSEC: i32 = 34;
const SO_TIMESTAMPNS: i32 = 35;
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SO_PASSRIGHTS: i32 = 83;

/// `setsockopt()`.
///
/// # Errors
///
/// `EOPNOTSUPP` for options of `SOL_SOCKET` that promise what is not done here, `ENOPROTOOPT` for
/// unknown ones, and each option's own.
pub(crate) fn set(this: &Arc<Endpoint>, level: i32, name: i32, value: &OptIn<'_>) -> Result {
    match level {
        SOL_SOCKET => set_socket(this, name, value),
        _ if level == uapi::SOL_KBUS as i32 => set_kbus(this, name as u32, value),
        _ => Err(ENOPROTOOPT),
    }
}

fn set_socket(this: &Arc<Endpoint>, name: i32, value: &OptIn<'_>) -> Result {
    match name {
        _ if CORE_OPTIONS.contains(&name) => {
            value.pass_on(SOL_SOCKET, name)?;
            if name == SO_RCVBUF || name == SO_RCVBUFFORCE {
                // The core makes small values larger, and large ones smaller: only the latter is of
                // use here. An empty queue takes a message even of who asks for no bytes at all.
                let asked = u64::from(value.read_u32()?.max(1));
                let bytes = asked.min(this.sock.rcvbuf());
                Endpoint::change(this, |queue| queue.set_byte_limit(bytes));
            }
        }
        _ if NEUTRAL_OPTIONS.contains(&name) => value.pass_on(SOL_SOCKET, name)?,
        SO_TIMESTAMP | SO_TIMESTAMPNS | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            let form = Timestamp {
                nanos: matches!(name, SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW),
                new: matches!(name, SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW),
            };
            this.sock.set_timestamp(value.read_bool()?, form);
        }
        // The core refuses these to families that it does not know, and also to tell of them:
        // `KBUS_PASS` does.
        SO_PASSCRED | SO_PASSSEC | SO_PASSRIGHTS => {
            let bit = match name {
                SO_PASSCRED => uapi::KBUS_PASS_CRED,
                SO_PASSSEC => uapi::KBUS_PASS_SEC,
                _ => uapi::KBUS_PASS_RIGHTS,
            };
            set_pass(this, bit, if value.read_bool()? { bit } else { 0 });
        }
        _ => return Err(EOPNOTSUPP),
    }
    Ok(())
}

fn set_kbus(this: &Arc<Endpoint>, name: u32, value: &OptIn<'_>) -> Result {
    match name {
        uapi::KBUS_LISTEN | uapi::KBUS_UNLISTEN | uapi::KBUS_REPLIER | uapi::KBUS_UNREPLIER => {
            set_binding(this, name, value)?;
        }
        uapi::KBUS_IGNORE => {
            let id = value.read_u64()?;
            close::ignore(&*this.bus()?, this, id)?;
        }
        uapi::KBUS_SEND_FLAGS => {
            let flags = value.read_u32()?;
            let known = uapi::KBUS_REQUEST
                | uapi::KBUS_URGENT
                | uapi::KBUS_ALL_OR_FAIL
                | uapi::KBUS_ALL_OR_WAIT
                | uapi::KBUS_USER_FLAGS;
            if flags & !known != 0 {
                return Err(EINVAL);
            }
            this.send_flags.store(flags, Relaxed);
        }
        uapi::KBUS_RECV_INFO => this.recv_info.store(value.read_bool()?.into(), Relaxed),
        uapi::KBUS_QUEUE_LEN => match value.read_u32()? {
            0 => return Err(EINVAL),
            len if u64::from(len) > LIMITS.max_queue_len.get() => return Err(EPERM),
            len => Endpoint::change(this, |queue| queue.set_limit(len)),
        },
        uapi::KBUS_REPLY_MAX => {
            let bytes = value.read_u32()?;
            this.queue.lock().set_reply_max(bytes);
        }
        uapi::KBUS_MAX_MSG_SIZE => {
            let bytes = value.read_u32()?;
            let bus = owned_bus(this)?;
            if !(uapi::KBUS_MSG_SIZE_MIN..=uapi::KBUS_MSG_SIZE_MAX).contains(&bytes) {
                return Err(EINVAL);
            }
            bus.set_max_msg(bytes);
        }
        uapi::KBUS_BUS_BYTES => {
            let bytes = value.read_u64()?;
            let bus = owned_bus(this)?;
            if bytes > LIMITS.bus_bytes.get() {
                return Err(EPERM);
            }
            bus.state.lock().bytes().set_max(bytes);
        }
        uapi::KBUS_BUS_MODE => set_mode(this, value.read_u32()?)?,
        uapi::KBUS_ONCE => {
            let on = value.read_bool()?;
            Endpoint::change(this, |queue| queue.set_once(on));
        }
        uapi::KBUS_LOSSY => {
            let on = value.read_bool()?;
            Endpoint::change(this, |queue| queue.set_lossy(on));
        }
        uapi::KBUS_REPORT_LOST => {
            let on = value.read_bool()?;
            this.queue.lock().set_report_lost(on);
            // There may be a gap to be told of already.
            this.wake_reader();
        }
        uapi::KBUS_REPORT_BINDS => {
            let on = value.read_bool()?;
            let bus = owned_bus(this)?;
            patiently(|| events::report_binds(&*bus, this, on))?;
        }
        uapi::KBUS_PASS => {
            let bits = value.read_u32()?;
            if bits & !PASS_BITS != 0 {
                return Err(EINVAL);
            }
            // A timestamp that is on already keeps its form.
            let time = bits & uapi::KBUS_PASS_TIME != 0;
            if time != this.sock.has(Flag::Timestamp) {
                let form = Timestamp {
                    nanos: true,
                    new: false,
                };
                this.sock.set_timestamp(time, form);
            }
            set_pass(this, PASS_BITS, bits);
        }
        _ => return Err(ENOPROTOOPT),
    }
    Ok(())
}

/// `KBUS_BUS_MODE` of the bus, or before `bind()` of one that this socket will make.
fn set_mode(this: &Endpoint, mode: u32) -> Result {
    if mode & !0o777 != 0 {
        return Err(EINVAL);
    }
    let bus = {
        let mut settings = this.settings.lock();
        match &settings.bound {
            None => {
                settings.mode = Some(mode);
                return Ok(());
            }
            // The inode's mode counts, which is changed by chmod().
            Some(bound) if bound.is_path() => return Err(EOPNOTSUPP),
            Some(bound) => bound.bus.clone(),
        }
    };
    if !bus.is_owner(&this.sock) {
        return Err(EPERM);
    }
    bus.mode.store(mode, Relaxed);
    Ok(())
}

const PASS_BITS: u32 =
    uapi::KBUS_PASS_CRED | uapi::KBUS_PASS_SEC | uapi::KBUS_PASS_RIGHTS | uapi::KBUS_PASS_TIME;

/// Sets what readers of this socket are told beyond the message: the bits of `mask`, as in `bits`.
fn set_pass(this: &Endpoint, mask: u32, bits: u32) {
    if mask & uapi::KBUS_PASS_RIGHTS != 0 {
        let takes = bits & uapi::KBUS_PASS_RIGHTS != 0;
        this.queue.lock().set_takes_files(takes);
    }
    let own = uapi::KBUS_PASS_CRED | uapi::KBUS_PASS_SEC;
    // `bind()` and another call of this function look at them under the same lock.
    let settings = this.settings.lock();
    let old = this.pass.load(Relaxed);
    let new = (old & !mask) | (bits & mask & own);
    this.pass.store(new, Relaxed);
    if let Some(bus) = settings.bound.as_ref().map(|bound| &bound.bus) {
        if (old ^ new) & uapi::KBUS_PASS_SEC != 0 {
            match new & uapi::KBUS_PASS_SEC {
                0 => bus.label_readers.fetch_sub(1, Relaxed),
                _ => bus.label_readers.fetch_add(1, Relaxed),
            };
        }
    }
}

fn owned_bus(this: &Endpoint) -> Result<Arc<SharedBus>> {
    let bound = this.bound().ok_or(ENOTCONN)?;
    if bound.is_owner(&this.sock) {
        Ok(bound.bus.clone())
    } else {
        Err(EPERM)
    }
}

/// The options that take the plain bytes of a name.
///
/// # Errors
///
/// `EBADMSG` and `ENAMETOOLONG` for the name, `ENOTCONN` before `bind()`, and those of the bus:
/// `EPERM`, `EEXIST`, `EACCES`, `EDQUOT`, `ENOMEM`, `EINVAL` also after a shutdown of that
/// direction; where a replier's bind event must be heard, `EAGAIN` and `EDEADLK` as for a send,
/// `EINTR` or `ERESTARTSYS` on a signal.
fn set_binding(this: &Arc<Endpoint>, option: u32, value: &OptIn<'_>) -> Result {
    // Not allocated: to unbind needs no memory.
    if value.len() <= SHORT_NAME {
        let mut room = [0; SHORT_NAME];
        return set_binding_from(this, option, value, &mut room);
    }
    // One byte more than a name may have, so that a long one is told from a cut one, and its NUL.
    let mut room = [0; uapi::KBUS_NAME_MAX as usize + 2];
    set_binding_from(this, option, value, &mut room)
}

/// A value of so many bytes is read into less room, as clearing it takes time.
const SHORT_NAME: usize = 64;

/// The same, with room for the value, or for as much of it as is looked at.
fn set_binding_from(
    this: &Arc<Endpoint>,
    option: u32,
    value: &OptIn<'_>,
    room: &mut [u8],
) -> Result {
    let len = value.len().min(room.len());
    let bytes = room.get_mut(..len).ok_or(EINVAL)?;
    value.read(bytes)?;

    let mut option = option;
    let mut text = name::until_nul(bytes);
    if option == uapi::KBUS_REPLIER {
        // The proposal's own form. No name begins with these bytes.
        match <[u8; 4]>::try_from(&*bytes).map(i32::from_ne_bytes) {
            Ok(1) => text = b"$.*",
            Ok(0) => {
                text = b"$.*";
                option = uapi::KBUS_UNREPLIER;
            }
            _ => {}
        }
    }
    let pattern = Pattern::parse(text)?;
    let bus = this.bus()?;
    match option {
        uapi::KBUS_LISTEN => patiently(|| bind::listen(&*bus, this, &pattern))?,
        uapi::KBUS_UNLISTEN => bind::unlisten(&*bus, this, &pattern)?,
        _ => set_replier(this, &bus, &pattern, option, value.nonblock())?,
    }
    let replier = matches!(option, uapi::KBUS_REPLIER | uapi::KBUS_UNREPLIER);
    match option {
        uapi::KBUS_LISTEN | uapi::KBUS_REPLIER => trace::bind(this.id, replier, text),
        _ => trace::unbind(this.id, replier, text),
    }
    Ok(())
}

/// Becomes the replier, or gives that up, together with the event that tells of it.
fn set_replier(
    this: &Arc<Endpoint>,
    bus: &Arc<SharedBus>,
    pattern: &Pattern<'_>,
    option: u32,
    nonblock: bool,
) -> Result {
    let mut left = this.sock.sndtimeo(nonblock) as Jiffies;
    until_room(this, bus, &mut left, || match option {
        uapi::KBUS_REPLIER => bind::bind_replier(&**bus, this, pattern),
        _ => bind::unbind_replier(&**bus, this, pattern),
    })
}

/// `getsockopt()` of every level but `SOL_SOCKET`.
///
/// # Errors
///
/// `EINVAL` for a buffer that is too small, `ENOTCONN` for options of the bus before `bind()`,
/// `ENOPROTOOPT`.
pub(crate) fn get(this: &Arc<Endpoint>, level: i32, name: i32, value: &mut OptOut<'_>) -> Result {
    if level != uapi::SOL_KBUS as i32 {
        return Err(ENOPROTOOPT);
    }
    match name as u32 {
        uapi::KBUS_REPLIER => get_replier(this, value),
        uapi::KBUS_SEND_FLAGS => number(value, &this.send_flags.load(Relaxed).to_ne_bytes()),
        uapi::KBUS_RECV_INFO => number(value, &this.recv_info.load(Relaxed).to_ne_bytes()),
        uapi::KBUS_PEER_ID => number(value, &this.id.to_ne_bytes()),
        uapi::KBUS_LAST_SENT => number(value, &this.last_sent.load(Relaxed).to_ne_bytes()),
        uapi::KBUS_QUEUE_LEN => number(value, &this.with(|queue| queue.limit()).to_ne_bytes()),
        uapi::KBUS_REPLY_MAX => number(value, &this.with(|queue| queue.reply_max()).to_ne_bytes()),
        uapi::KBUS_UNREAD => number(value, &this.with(|queue| queue.unread()).to_ne_bytes()),
        uapi::KBUS_UNREPLIED => number(value, &this.with(|queue| queue.unreplied()).to_ne_bytes()),
        uapi::KBUS_LOST => number(value, &this.with(|queue| queue.lost()).to_ne_bytes()),
        uapi::KBUS_NEXT_LEN => {
            let len = this.with(|queue| queue.next_len());
            let len = len.map_or(-1, |len| i64::try_from(len).unwrap_or(i64::MAX));
            number(value, &len.to_ne_bytes())
        }
        uapi::KBUS_MAX_MSG_SIZE => number(value, &this.bus()?.max_msg().to_ne_bytes()),
        uapi::KBUS_BUS_BYTES => {
            let bytes = this.bus()?.locked(|bus| bus.bytes().max());
            number(value, &bytes.to_ne_bytes())
        }
        uapi::KBUS_BUS_MODE => {
            let mode = match this.bound() {
                Some(bound) => bound.mode(),
                None => this.settings.lock().mode.unwrap_or(Mode::BUS),
            };
            number(value, &mode.to_ne_bytes())
        }
        uapi::KBUS_BUS_INFO => get_bus_info(this, value),
        uapi::KBUS_ONCE => flag(value, this.with(|queue| queue.once())),
        uapi::KBUS_LOSSY => flag(value, this.with(|queue| queue.lossy())),
        uapi::KBUS_REPORT_LOST => flag(value, this.with(|queue| queue.report_lost())),
        uapi::KBUS_REPORT_BINDS => flag(value, this.bus()?.locked(|bus| bus.reports_binds(this))),
        uapi::KBUS_SYNC => {
            let bus = this.bus()?;
            let last = bus.locked(|_| bus.order.last_message());
            number(value, &last.to_ne_bytes())
        }
        uapi::KBUS_PASS => {
            let mut bits = this.pass.load(Relaxed);
            if this.queue.lock().takes_files() {
                bits |= uapi::KBUS_PASS_RIGHTS;
            }
            if this.sock.has(Flag::Timestamp) {
                bits |= uapi::KBUS_PASS_TIME;
            }
            number(value, &bits.to_ne_bytes())
        }
        _ => Err(ENOPROTOOPT),
    }
}

/// A number whole or not at all.
fn number(value: &mut OptOut<'_>, bytes: &[u8]) -> Result {
    if value.len() < bytes.len() {
        return Err(EINVAL);
    }
    value.write(bytes)
}

/// Whether something is switched on.
fn flag(value: &mut OptOut<'_>, on: bool) -> Result {
    number(value, &u32::from(on).to_ne_bytes())
}

/// Who would answer: for the connected name, or for the one that a longer buffer begins with.
fn get_replier(this: &Endpoint, value: &mut OptOut<'_>) -> Result {
    let mut text = mem::Bytes::new();
    if value.len() < 8 {
        return Err(EINVAL);
    }
    if value.len() == 8 {
        let connected = this.settings.lock().connected.clone();
        let connected = connected.ok_or(ENOTCONN)?;
        // Its peer, if there is one, is not asked about.
        let name = connected.split(|byte| *byte == b'@').next();
        text.extend_from_slice(name.unwrap_or(&connected), GFP_KERNEL_ACCOUNT)?;
    } else {
        let len = value.len().min(uapi::KBUS_NAME_MAX as usize + 2);
        text.resize(len, 0, GFP_KERNEL_ACCOUNT)?;
        value.read(&mut text)?;
    }
    let name = Name::parse(name::until_nul(&text))?;
    let peer = this.bus()?.state.lock().replier_for(name);
    value.write(&peer.to_ne_bytes())
}

/// `struct kbus_bus_info`, cut to the caller's buffer: it may grow at its end.
fn get_bus_info(this: &Endpoint, value: &mut OptOut<'_>) -> Result {
    let bound = this.bound().ok_or(ENOTCONN)?;
    let ((uid, gid), mode, shared) = (bound.owner(), bound.mode(), &bound.bus);
    let (used, max, members, bindings, max_msg) = {
        let bus = shared.state.lock();
        let bytes = bus.bytes();
        (
            bytes.used(),
            bytes.max(),
            bus.members(),
            bus.bindings(),
            bus.max_msg(),
        )
    };
    let mut bytes = [0; 48];
    let (long, short) = bytes.split_at_mut(24);
    for (to, from) in long.chunks_exact_mut(8).zip([shared.order.id, used, max]) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    let (uid, gid) = (task::uid_here(uid), task::gid_here(gid));
    let words = [uid, gid, mode, members, bindings, max_msg];
    for (to, from) in short.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    value.write(&bytes)
}
