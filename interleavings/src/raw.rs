// SPDX-License-Identifier: GPL-2.0

//! System calls with any bytes, as a fuzzer makes them. None of them waits.

use crate::endpoint::Endpoint;
use crate::prelude::Result;
use crate::program::Socket;
use crate::program::MSG_DONTWAIT;
use crate::sys::msg::Received;
use crate::sys::msg::RecvMsg;
use crate::sys::msg::SendMsg;
use crate::sys::socket::Operations;
use crate::sys::sockopt::OptIn;
use crate::sys::sockopt::OptOut;

impl Socket {
    /// `sendmsg()`; an address without bytes is none.
    pub fn send_raw(&self, name: &[u8], control: &[u8], payload: &[u8], flags: u32) -> Result {
        let flags = flags | MSG_DONTWAIT;
        let msg = SendMsg {
            name,
            control,
            payload,
            flags,
        };
        Endpoint::sendmsg(&self.endpoint, msg).map(drop)
    }

    /// `recvmsg()`: the address it came from, which is empty at the end.
    pub fn receive_raw(&self, flags: u32) -> Result<Vec<u8>> {
        let mut got = Received::default();
        Endpoint::recvmsg(&self.endpoint, RecvMsg(&mut got), flags | MSG_DONTWAIT)?;
        Ok(got.name)
    }

    /// `setsockopt()`.
    pub fn set_raw(&self, level: i32, name: i32, value: &[u8]) -> Result {
        let nonblock = true;
        Endpoint::setsockopt(&self.endpoint, level, name, &OptIn { value, nonblock })
    }

    /// `getsockopt()`: the value, in the place of the one that was given.
    pub fn get_raw(&self, level: i32, name: i32, value: &[u8]) -> Result<Vec<u8>> {
        let mut value = value.to_vec();
        Endpoint::getsockopt(&self.endpoint, level, name, &mut OptOut(&mut value))?;
        Ok(value)
    }

    /// `connect()`.
    pub fn connect_raw(&self, address: &[u8]) -> Result {
        Operations::connect(&*self.endpoint, address)
    }

    /// `bind()`, of a socket that is bound.
    pub fn bind_raw(&self, address: &[u8]) -> Result {
        Endpoint::bind(&self.endpoint, address, 0o777)
    }
}
