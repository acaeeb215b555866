// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control messages, as bytes.

use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use std::time::SystemTime;

use crate::message::Credentials;
use crate::message::Via;
use crate::uapi;

/// `struct cmsghdr`: a length, a level and a type.
const HEADER: usize = mem::size_of::<libc::cmsghdr>();
const ALIGN: usize = mem::size_of::<usize>();
/// `struct kbus_info` as it is today. It may grow at its end.
pub(crate) const INFO_LEN: usize = 56;

/// As many bytes of an integer, in the machine's order; fewer than 8 are extended by zeros.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    let len = bytes.len().min(8);
    if cfg!(target_endian = "little") {
        all[..len].copy_from_slice(&bytes[..len]);
    } else {
        all[8 - len..].copy_from_slice(&bytes[..len]);
    }
    u64::from_ne_bytes(all)
}

/// Takes a struct of integers apart.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    fn take(&mut self, len: usize) -> u64 {
        let (field, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        word(field)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.take(8)
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.take(4) as u32
    }
}

/// `struct kbus_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) id: u64,
    pub(crate) in_reply_to: u64,
    pub(crate) cookie: u64,
    pub(crate) sender: u64,
    pub(crate) to: u64,
    pub(crate) len: u32,
    pub(crate) flags: u32,
    pub(crate) lost: u32,
    pub(crate) error: i32,
}

/// The control messages of a message that was received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) info: Option<Info>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) via: Option<Via>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) label: Option<Vec<u8>>,
    pub(crate) time: Option<SystemTime>,
}

impl Received {
    /// Takes a control buffer apart, as the kernel filled it. `open` gets each descriptor in it,
    /// once.
    pub(crate) fn parse(mut bytes: &[u8], mut open: impl FnMut(i32)) -> Received {
        let mut received = Received::default();
        while bytes.len() >= HEADER {
            let len = word(&bytes[..ALIGN]) as usize;
            let level = word(&bytes[ALIGN..ALIGN + 4]) as i32;
            let kind = word(&bytes[ALIGN + 4..ALIGN + 8]) as i32;
            if len < HEADER || len > bytes.len() {
                break;
            }
            let data = &bytes[HEADER..len];
            if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                data.chunks_exact(4).for_each(|fd| open(word(fd) as i32));
            } else {
                received.take(level, kind, data);
            }
            bytes = &bytes[len.next_multiple_of(ALIGN).min(bytes.len())..];
        }
        received
    }

    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        let mut fields = Fields(data);
        match (level, kind) {
            (uapi::SOL_KBUS, uapi::SCM_KBUS_INFO) if data.len() >= INFO_LEN => {
                self.info = Some(Info {
                    id: fields.u64(),
                    in_reply_to: fields.u64(),
                    cookie: fields.u64(),
                    sender: fields.u64(),
                    to: fields.u64(),
                    len: fields.u32(),
                    flags: fields.u32(),
                    lost: fields.u32(),
                    error: fields.u32() as i32,
                });
            }
            (uapi::SOL_KBUS, uapi::SCM_KBUS_NAME) => self.name = Some(data.to_vec()),
            (uapi::SOL_KBUS, uapi::SCM_KBUS_VIA) => {
                self.via = Some(Via {
                    orig_net: fields.u64(),
                    orig_peer: fields.u64(),
                    final_net: fields.u64(),
                    final_peer: fields.u64(),
                });
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                self.credentials = Some(Credentials {
                    pid: fields.u32() as i32,
                    uid: fields.u32(),
                    gid: fields.u32(),
                });
            }
            (libc::SOL_SOCKET, SCM_SECURITY) => {
                let end = data.iter().position(|byte| *byte == 0);
                self.label = Some(data[..end.unwrap_or(data.len())].to_vec());
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let (secs, nanos) = data.split_at(data.len() / 2);
                let time = Duration::new(word(secs), 0) + Duration::from_nanos(word(nanos));
                self.time = SystemTime::UNIX_EPOCH.checked_add(time);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMP) => {
                let (secs, micros) = data.split_at(data.len() / 2);
                let time = Duration::new(word(secs), 0) + Duration::from_micros(word(micros));
                self.time = SystemTime::UNIX_EPOCH.checked_add(time);
            }
            _ => {}
        }
    }
}

/// libc does not have it for all targets.
const SCM_SECURITY: i32 = 3;

/// Makes a control buffer for a send.
#[derive(Debug, Default)]
pub(crate) struct Builder(Vec<u8>);

impl Builder {
    fn add(&mut self, level: i32, kind: i32, data: impl IntoIterator<Item = u8>) {
        let at = self.0.len();
        self.0.resize(at + HEADER, 0);
        self.0.extend(data);
        let len = self.0.len() - at;
        self.0[at..at + ALIGN].copy_from_slice(&len.to_ne_bytes());
        self.0[at + ALIGN..at + ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        self.0[at + ALIGN + 4..at + ALIGN + 8].copy_from_slice(&kind.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }

    pub(crate) fn send(&mut self, flags: u32, reply_max: u32, cookie: u64) {
        let halves = [flags, reply_max].into_iter().flat_map(u32::to_ne_bytes);
        let data = halves.chain(cookie.to_ne_bytes());
        self.add(uapi::SOL_KBUS, uapi::SCM_KBUS_SEND, data);
    }

    pub(crate) fn name(&mut self, name: &str) {
        self.add(uapi::SOL_KBUS, uapi::SCM_KBUS_NAME, name.bytes());
    }

    pub(crate) fn via(&mut self, via: Via) {
        let words = [via.orig_net, via.orig_peer, via.final_net, via.final_peer];
        let data = words.into_iter().flat_map(u64::to_ne_bytes);
        self.add(uapi::SOL_KBUS, uapi::SCM_KBUS_VIA, data);
    }

    pub(crate) fn fds(&mut self, fds: &[BorrowedFd<'_>]) {
        let data = fds.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes());
        self.add(libc::SOL_SOCKET, libc::SCM_RIGHTS, data);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> (Received, Vec<i32>) {
        let mut fds = Vec::new();
        (Received::parse(bytes, |fd| fds.push(fd)), fds)
    }

    fn info() -> Vec<u8> {
        let words = [1u64, 2, 3, 4, 5].into_iter().flat_map(u64::to_ne_bytes);
        words
            .chain([6u32, 7, 8, 9].into_iter().flat_map(u32::to_ne_bytes))
            .collect()
    }

    /// Whatever the order and padding, each control message is found.
    #[test]
    fn each_kind_is_read() {
        let mut built = Builder::default();
        built.add(
            libc::SOL_SOCKET,
            libc::SCM_CREDENTIALS,
            [1u32, 2, 3].map(u32::to_ne_bytes).concat(),
        );
        built.add(libc::SOL_SOCKET, SCM_SECURITY, *b"label\0");
        built.add(
            libc::SOL_SOCKET,
            libc::SCM_RIGHTS,
            [7i32, 8, 9].map(i32::to_ne_bytes).concat(),
        );
        built.add(
            libc::SOL_SOCKET,
            libc::SCM_TIMESTAMPNS,
            [5i64, 6].map(i64::to_ne_bytes).concat(),
        );
        built.name("$.A");
        built.via(Via {
            orig_net: 1,
            orig_peer: 2,
            final_net: 3,
            final_peer: 4,
        });
        built.add(uapi::SOL_KBUS, uapi::SCM_KBUS_INFO, info());
        let (received, fds) = parse(built.bytes());
        assert_eq!(fds, [7, 8, 9]);
        assert_eq!(
            received.credentials,
            Some(Credentials {
                pid: 1,
                uid: 2,
                gid: 3
            })
        );
        assert_eq!(received.label.as_deref(), Some(&b"label"[..]));
        let time = SystemTime::UNIX_EPOCH + Duration::new(5, 6);
        assert_eq!(received.time, Some(time));
        assert_eq!(received.name.as_deref(), Some(&b"$.A"[..]));
        assert_eq!(received.via.map(|via| via.final_peer), Some(4));
        let info = received.info.unwrap();
        assert_eq!(
            (info.id, info.in_reply_to, info.cookie, info.sender, info.to),
            (1, 2, 3, 4, 5)
        );
        assert_eq!((info.len, info.flags, info.lost, info.error), (6, 7, 8, 9));
    }

    /// `struct kbus_info` may grow at its end.
    #[test]
    fn a_longer_info_is_understood() {
        let mut built = Builder::default();
        built.add(
            uapi::SOL_KBUS,
            uapi::SCM_KBUS_INFO,
            [info(), vec![0xff; 24]].concat(),
        );
        built.name("$.B");
        let (received, _) = parse(built.bytes());
        assert_eq!(received.info.unwrap().error, 9);
        assert_eq!(received.name.as_deref(), Some(&b"$.B"[..]));
    }

    /// A buffer that is cut off anywhere, or says nonsense of its lengths, is read as far as it
    /// makes sense.
    #[test]
    fn rubbish_is_no_reason_to_panic() {
        let mut built = Builder::default();
        built.fds(&[]);
        built.add(uapi::SOL_KBUS, uapi::SCM_KBUS_INFO, info());
        for end in 0..built.bytes().len() {
            parse(&built.bytes()[..end]);
        }
        for at in 0..built.bytes().len() {
            for value in [0, 1, 15, 16, 17, 0x7f, 0xff] {
                let mut bytes = built.bytes().to_vec();
                bytes[at] = value;
                parse(&bytes);
            }
        }
    }
}
