// SPDX-License-Identifier: GPL-2.0

//! What a socket must know to do.

use super::msg::RecvMsg;
use super::msg::SendMsg;
use super::msg::ADDR_MAX;
use super::net_ns::Net;
use super::proc::Out;
use super::sock::Sock;
use super::sockopt::OptIn;
use super::sockopt::OptOut;
use crate::module::ThisModule;
use crate::prelude::CStr;
use crate::prelude::Result;
use crate::sync::aref::ARef;
use crate::sync::Arc;

pub(crate) struct Request<'a> {
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
    pub(crate) redirected: bool,
    pub(crate) net: &'a Net,
}

pub(crate) struct Shutdown {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

pub(crate) struct Tables;

impl Tables {
    pub(crate) const fn new() -> Self {
        Tables
    }
}

#[expect(dead_code, reason = "a program of a test calls only some")]
pub(crate) trait Operations: Sized {
    const NAME: &'static CStr;
    const PROTOCOL: u16;
    const MODULE: ThisModule;

    fn tables() -> &'static Tables;
    fn admit(request: Request<'_>) -> Result;
    fn create(request: Request<'_>, sock: ARef<Sock>) -> Result<Arc<Self>>;
    fn release(this: Arc<Self>);
    fn bind(this: &Arc<Self>, addr: &[u8], mode: u16) -> Result;
    fn connect(&self, addr: &[u8]) -> Result;
    fn getname(&self, out: &mut [u8; ADDR_MAX], peer: bool) -> Result<usize>;
    fn poll(&self) -> u32;
    fn show(&self, out: &Out<'_>);
    fn next_len(&self) -> i32;
    fn shutdown(this: &Arc<Self>, how: Shutdown) -> Result;
    fn setsockopt(this: &Arc<Self>, level: i32, name: i32, value: &OptIn<'_>) -> Result;
    fn getsockopt(this: &Arc<Self>, level: i32, name: i32, value: &mut OptOut<'_>) -> Result;
    fn sendmsg(this: &Arc<Self>, msg: SendMsg<'_>) -> Result<usize>;
    fn recvmsg(this: &Arc<Self>, msg: RecvMsg<'_>, flags: u32) -> Result<usize>;
}
