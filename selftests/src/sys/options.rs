// SPDX-License-Identifier: GPL-2.0
//! Socket options, and the acts that are options.

use std::mem;
use std::os::fd::AsRawFd;

use super::bytes::from_bytes;
use super::errno::check;
use super::errno::Res;
use super::sock::Sock;
use super::uapi;

impl Sock {
    /// `setsockopt()` on any level.
    pub fn set_at(&self, level: i32, option: i32, value: &[u8]) -> Res<()> {
        // SAFETY: Pointer and length are those of a slice.
        let r = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                option,
                value.as_ptr().cast(),
                value.len() as u32,
            )
        };
        check(r as isize).map(drop)
    }

    /// `getsockopt()` on any level; `value` goes in and what came back is returned.
    pub fn get_at(&self, level: i32, option: i32, value: &[u8]) -> Res<Vec<u8>> {
        let mut value = value.to_vec();
        let len = self.get_into(level, option, &mut value)?;
        value.truncate(len);
        Ok(value)
    }

    /// `getsockopt()` into a buffer that is there already; returns the length of what came.
    pub fn get_into(&self, level: i32, option: i32, value: &mut [u8]) -> Res<usize> {
        let mut len = value.len() as u32;
        // SAFETY: Pointer and length are those of a slice.
        let r = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                level,
                option,
                value.as_mut_ptr().cast(),
                &mut len,
            )
        };
        check(r as isize).map(|_| len as usize)
    }

    /// Sets a KBUS option to these bytes.
    pub fn set(&self, option: u32, value: &[u8]) -> Res<()> {
        self.set_at(uapi::SOL_KBUS as i32, option as i32, value)
    }

    /// Sets a KBUS option of 32 bits.
    pub fn set_u32(&self, option: u32, value: u32) -> Res<()> {
        self.set(option, &value.to_ne_bytes())
    }

    /// Sets a KBUS option of 64 bits.
    pub fn set_u64(&self, option: u32, value: u64) -> Res<()> {
        self.set(option, &value.to_ne_bytes())
    }

    /// Reads a KBUS option into a buffer of `len` zeros.
    pub fn get(&self, option: u32, len: usize) -> Res<Vec<u8>> {
        self.get_at(uapi::SOL_KBUS as i32, option as i32, &vec![0; len])
    }

    /// Reads a KBUS option of 32 bits.
    pub fn get_u32(&self, option: u32) -> Res<u32> {
        let bytes = self.get(option, 4)?;
        Ok(u32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
    }

    /// Reads a KBUS option of 64 bits.
    pub fn get_u64(&self, option: u32) -> Res<u64> {
        let bytes = self.get(option, 8)?;
        Ok(u64::from_ne_bytes(bytes.try_into().expect("8 bytes")))
    }

    /// Switches a KBUS option on; that must not fail.
    pub fn turn_on(&self, option: u32) {
        self.set_u32(option, 1).expect("switching an option on");
    }

    /// Switches a KBUS option off; that must not fail.
    pub fn turn_off(&self, option: u32) {
        self.set_u32(option, 0).expect("switching an option off");
    }

    /// Sets how many messages the queue holds; that must not fail.
    pub fn set_queue_len(&self, len: u32) {
        self.set_u32(uapi::KBUS_QUEUE_LEN, len)
            .expect("KBUS_QUEUE_LEN");
    }

    /// Sets an `int` option of level `SOL_SOCKET`.
    pub fn set_socket(&self, option: i32, value: i32) -> Res<()> {
        self.set_at(libc::SOL_SOCKET, option, &value.to_ne_bytes())
    }

    /// Bounds the time of blocking calls: `SO_RCVTIMEO` or `SO_SNDTIMEO`.
    pub fn set_timeout(&self, option: i32, ms: i64) {
        let limit = [ms / 1000, ms % 1000 * 1000];
        self.set_at(
            libc::SOL_SOCKET,
            option,
            &limit.map(i64::to_ne_bytes).concat(),
        )
        .expect("setting a timeout");
    }

    /// Reads an `int` option of level `SOL_SOCKET`.
    pub fn get_socket(&self, option: i32) -> Res<i32> {
        let bytes = self.get_at(libc::SOL_SOCKET, option, &[0; 4])?;
        Ok(i32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
    }

    /// Listens to a name.
    pub fn listen(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_LISTEN, name.as_bytes())
    }

    /// Undoes one [`Sock::listen`].
    pub fn unlisten(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_UNLISTEN, name.as_bytes())
    }

    /// Becomes the replier for a name.
    pub fn replier(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_REPLIER, name.as_bytes())
    }

    /// Stops being it.
    pub fn unreplier(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_UNREPLIER, name.as_bytes())
    }

    /// Gives up a request.
    pub fn ignore(&self, id: u64) -> Res<()> {
        self.set_u64(uapi::KBUS_IGNORE, id)
    }

    /// Who would answer a request to this name, 0 for nobody.
    pub fn who_replies(&self, name: &str) -> Res<u64> {
        let mut buffer = name.as_bytes().to_vec();
        buffer.resize(name.len().max(8) + 1, 0);
        let level = uapi::SOL_KBUS as i32;
        let got = self.get_at(level, uapi::KBUS_REPLIER as i32, &buffer)?;
        Ok(u64::from_ne_bytes(
            got[..8].try_into().expect("at least 8 bytes"),
        ))
    }

    /// This socket's peer id.
    pub fn peer_id(&self) -> u64 {
        self.get_u64(uapi::KBUS_PEER_ID).expect("KBUS_PEER_ID")
    }

    /// The id of the last successful send.
    pub fn last_sent(&self) -> u64 {
        self.get_u64(uapi::KBUS_LAST_SENT).expect("KBUS_LAST_SENT")
    }

    /// The address from which others receive this socket's messages of a name.
    pub fn sends_from(&self, name: &str) -> String {
        format!("{name}@{:x}", self.peer_id())
    }

    /// How many messages wait.
    pub fn unread(&self) -> u32 {
        self.get_u32(uapi::KBUS_UNREAD).expect("KBUS_UNREAD")
    }

    /// How many requests were read and not answered.
    pub fn unreplied(&self) -> u32 {
        self.get_u32(uapi::KBUS_UNREPLIED).expect("KBUS_UNREPLIED")
    }

    /// How many messages were missed so far.
    pub fn lost(&self) -> u64 {
        self.get_u64(uapi::KBUS_LOST).expect("KBUS_LOST")
    }

    /// An id up to which everything on this bus is in its queues.
    pub fn sync(&self) -> u64 {
        self.get_u64(uapi::KBUS_SYNC).expect("KBUS_SYNC")
    }

    /// Length of the next message, -1 for none.
    pub fn next_len(&self) -> i64 {
        self.get_u64(uapi::KBUS_NEXT_LEN).expect("KBUS_NEXT_LEN") as i64
    }

    /// The state of the bus.
    pub fn bus_info(&self) -> Res<uapi::kbus_bus_info> {
        let len = mem::size_of::<uapi::kbus_bus_info>();
        Ok(from_bytes(&self.get(uapi::KBUS_BUS_INFO, len)?))
    }
}
