// SPDX-License-Identifier: GPL-2.0

//! `sendmsg()`: from the bytes of a program to the queues of its recipients.

use crate::{
    bus_core::{
        self,
        account::Charge,
        address::{
            Address,
            Dest, //
        },
        data::Payload,
        hash::Key,
        mem,
        message::Via,
        name::{
            self,
            LastName,
            Name,
            Prefixes, //
        },
        send::Outgoing, //
    },
    endpoint::Endpoint,
    reclaim::nowait,
    sockaddr,
    sys::{
        cred::{
            Creds,
            Ucred, //
        },
        msg::SendMsg,
        scm::Files,
        task, //
    },
    uapi,
    wait::until_room, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::Jiffies, //
};

const MSG_OOB: u32 = 0x1;
const MSG_DONTWAIT: u32 = 0x40;

/// Sends one message and returns its payload's length.
///
/// Of the `MSG_` flags two mean something here. All others are ignored, as AF_UNIX does with
/// datagrams: programs set some of them for sockets of other kinds, and `sendfile()` and `splice()`
/// set their own (`MSG_MORE`, `MSG_SPLICE_PAGES`). The latter says that the payload is in pages
/// which the socket may keep. It need not, and ours is a copy always.
///
/// # Errors
///
/// Those of the table "Errors of a send" of the contract, in its order. A send that waits for room
/// may also end with `EAGAIN` when `SO_SNDTIMEO` is over, and with `EINTR` or `ERESTARTSYS` on a
/// signal.
pub(crate) fn send(this: &Arc<Endpoint>, mut msg: SendMsg<'_>) -> Result<usize> {
    let flags = msg.flags();
    let path = msg
        .name()
        .map(|addr| sockaddr::path(addr, this.address_family));
    let mut prefixes = None;
    let (bus, connected, known) = {
        let settings = this.settings.lock();
        let connected = match &settings.connected {
            Some(text) if path.is_none() => Some(text.clone()),
            _ => None,
        };
        let known = match (&settings.last_name, path) {
            (Some(last), Some(Ok(path))) => last.leads(path, &mut prefixes),
            _ => None,
        };
        let bus = settings.bound.as_ref().map(|bound| bound.bus.clone());
        (bus, connected, known)
    };

    let ancillary = Ancillary::parse(msg.control())?;
    let mut dest = match (known, ancillary.name) {
        (Some((name, [] | [0, ..])), None) => Some(Dest::Name(name)),
        (known, long_name) => {
            let address = match known {
                Some((name, rest)) => Some(Address::after(Some(name), rest)?),
                None => path.transpose()?.map(parse).transpose()?,
            };
            Dest::new(address, long_name.map(name::until_nul))?
        }
    };
    if dest.is_none() {
        if let Some(text) = &connected {
            dest = Dest::new(Some(parse(text)?), None)?;
        }
    }
    let name = match &mut dest {
        Some(Dest::Name(name) | Dest::Stateful { name, .. }) => Some(name),
        Some(Dest::Reply { name, .. }) => name.as_mut(),
        None => None,
    };
    if let (Some(name), Some(bus)) = (name, &bus) {
        if known.is_none() {
            prefixes = prefixes_of(this, *name, bus.key);
        }
        if let Some(prefixes) = &prefixes {
            *name = name.with_prefixes(prefixes);
        }
    }

    let (mut message_flags, explicit) = match &ancillary.send {
        Some(send) => (send.flags, true),
        None => (this.send_flags.load(Relaxed), false),
    };
    if flags & MSG_OOB != 0 {
        message_flags |= uapi::KBUS_URGENT;
    }
    let (via, reply_max, cookie) = (
        ancillary.via,
        ancillary.send.as_ref().map_or(0, |send| send.reply_max),
        ancillary.send.as_ref().map_or(0, |send| send.cookie),
    );
    let claimed = ancillary.credentials;
    let mut outgoing = Outgoing {
        dest,
        flags: message_flags,
        explicit,
        reply_max,
        cookie,
        via,
        ..Outgoing::default()
    };
    let unaddressed = outgoing.dest.is_none();
    match outgoing.check().map_err(Error::from) {
        // Comes later in the order of precedence.
        Err(e) if e == EDESTADDRREQ => {}
        other => other?,
    }
    if let Some(fds) = ancillary.rights {
        let refused = [sockaddr::AF_UNIX, sockaddr::family()].map(i32::from);
        // They count for whoever sends them, which need not be the user who made the socket.
        let (payer, _entered) = this.users.enter(task::current_payer())?;
        let count = |count: usize| {
            let before = payer.files.used();
            let counted = Charge::forced(&payer.files, count as u64);
            match task::exceeds_nofile(before) {
                true => Err(ETOOMANYREFS),
                false => Ok(counted),
            }
        };
        outgoing.files = match Files::take_up(fds, &refused, count)? {
            Some(files) => Some(Arc::new(files, GFP_KERNEL_ACCOUNT)?),
            None => None,
        };
    }
    let labelled = bus
        .as_ref()
        .is_some_and(|bus| bus.label_readers.load(Relaxed) > 0);
    let mut creds = Creds::of_current(labelled)?;
    if let Some(claimed) = claimed {
        creds = creds.claim(claimed)?;
    }
    outgoing.content.from = Some(creds);
    let max = match &bus {
        Some(bus) => bus.max_msg(),
        None => uapi::KBUS_MSG_SIZE_MAX,
    };
    if msg.len() > max as usize {
        return Err(EMSGSIZE);
    }
    if unaddressed {
        return Err(EDESTADDRREQ);
    }
    let bus = bus.ok_or(ENOTCONN)?;
    let blocked = {
        let queue = this.queue.lock();
        if queue.write_shut() {
            return Err(EPIPE);
        }
        queue.is_blocked()
    };

    // The one copy of the payload, before any lock of the bus.
    let len = msg.len();
    let payload = &mut outgoing.content.payload;
    match payload.short(len) {
        Some(place) => msg.read_exact(place)?,
        None => {
            let mut bytes = mem::Bytes::new();
            msg.read_payload(&mut bytes)?;
            *payload = Payload::Long(bytes);
        }
    }
    let mut left = this.sock.sndtimeo(flags & MSG_DONTWAIT != 0) as Jiffies;
    // Any later send may be tried again.
    if blocked {
        bus_core::wait::unblock(this);
    }
    let id = until_room(this, &bus, &mut left, || {
        bus_core::send::send(&*bus, this, &mut outgoing)
    })?;
    this.sent(id);
    Ok(len)
}

/// The prefixes of a name that a socket sends to, which is remembered. Without memory for it the
/// next send looks at the name afresh.
fn prefixes_of(this: &Endpoint, name: Name<'_>, key: Key) -> Option<Prefixes> {
    let mut prefixes = None;
    if let Some(last) = &this.settings.lock().last_name {
        let known = last.leads(name.text(), &mut prefixes);
        if known.is_some() {
            return prefixes;
        }
    }
    let prefixes = name.prefixes(key)?;
    let Some(last) = LastName::new(name, prefixes) else {
        return Some(prefixes);
    };
    if let Some(place) = &mut this.settings.lock().last_name {
        **place = last;
        return Some(prefixes);
    }
    // It can be done without: so nobody waits for this memory, nor is killed for it.
    if let Ok(new) = KBox::new(last, nowait()) {
        let before = this.settings.lock().last_name.replace(new);
        drop(before);
    }
    Some(prefixes)
}

fn parse(text: &[u8]) -> Result<Address<'_>> {
    Ok(Address::parse(text)?)
}

/// `SCM_KBUS_SEND`.
struct SendOptions {
    flags: u32,
    reply_max: u32,
    cookie: u64,
}

/// The ancillary data of a send, each kind at most once.
#[derive(Default)]
struct Ancillary<'a> {
    send: Option<SendOptions>,
    name: Option<&'a [u8]>,
    via: Option<Via>,
    rights: Option<&'a [u8]>,
    credentials: Option<Ucred>,
}

const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
/// `struct cmsghdr`: the length in native words, level, type.
const HEADER: usize = size_of::<usize>() + 8;

impl<'a> Ancillary<'a> {
    /// Takes control data apart, as `CMSG_FIRSTHDR` and `CMSG_NXTHDR` walk it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a malformed, unknown or repeated piece, and for non-zero bytes past a known
    /// length.
    fn parse(mut control: &'a [u8]) -> Result<Self> {
        let mut this = Self::default();
        while control.len() >= HEADER {
            let len = usize::from_ne_bytes(array(control, 0)?);
            if len < HEADER || len > control.len() {
                return Err(EINVAL);
            }
            let level = u32::from_ne_bytes(array(control, size_of::<usize>())?);
            let kind = u32::from_ne_bytes(array(control, size_of::<usize>() + 4)?);
            let data = control.get(HEADER..len).ok_or(EINVAL)?;
            this.take(level, kind, data)?;
            let next = len
                .checked_next_multiple_of(size_of::<usize>())
                .ok_or(EINVAL)?;
            control = control.get(next..).unwrap_or(&[]);
        }
        Ok(this)
    }

    fn take(&mut self, level: u32, kind: u32, data: &'a [u8]) -> Result {
        match (level, kind) {
            (uapi::SOL_KBUS, uapi::SCM_KBUS_SEND) => {
                let send = SendOptions {
                    flags: u32::from_ne_bytes(array(data, 0)?),
                    reply_max: u32::from_ne_bytes(array(data, 4)?),
                    cookie: u64::from_ne_bytes(array(data, 8)?),
                };
                zeroes_after(data, 16)?;
                once(self.send.replace(send).is_none())
            }
            (uapi::SOL_KBUS, uapi::SCM_KBUS_NAME) => once(self.name.replace(data).is_none()),
            (uapi::SOL_KBUS, uapi::SCM_KBUS_VIA) => {
                let via = Via {
                    orig_net: u64::from_ne_bytes(array(data, 0)?),
                    orig_peer: u64::from_ne_bytes(array(data, 8)?),
                    final_net: u64::from_ne_bytes(array(data, 16)?),
                    final_peer: u64::from_ne_bytes(array(data, 24)?),
                };
                zeroes_after(data, 32)?;
                once(self.via.replace(via).is_none())
            }
            (SOL_SOCKET, SCM_RIGHTS) => once(self.rights.replace(data).is_none()),
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let creds = Ucred {
                    pid: u32::from_ne_bytes(array(data, 0)?),
                    uid: u32::from_ne_bytes(array(data, 4)?),
                    gid: u32::from_ne_bytes(array(data, 8)?),
                };
                once(data.len() == 12)?;
                once(self.credentials.replace(creds).is_none())
            }
            _ => Err(EINVAL),
        }
    }
}

fn once(first: bool) -> Result {
    if first {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn zeroes_after(data: &[u8], known: usize) -> Result {
    once(data.iter().skip(known).all(|byte| *byte == 0))
}

/// `N` bytes of `data` from `at` on.
fn array<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).ok_or(EINVAL)?;
    data.get(at..end)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(EINVAL)
}
