// SPDX-License-Identifier: GPL-2.0
//! What every subcommand is given.

use kbus::Bus;
use kbus::Socket;
use kbus::SocketOptions;

use crate::cli::Common;
use crate::failure::Failure;
use crate::output::Output;

/// The options that every subcommand has, and what follows from them.
#[derive(Debug)]
pub struct Context {
    /// Which bus.
    pub bus: Bus,
    /// Whether `--bus` was given.
    pub bus_given: bool,
    /// Whether to print JSON.
    pub json: bool,
    common: Common,
}

impl Context {
    /// Checks them.
    pub fn new(common: &Common) -> Result<Context, Failure> {
        let bus = match &common.bus {
            Some(address) => Bus::new(address),
            None => Bus::from_env(),
        };
        Ok(Context {
            bus: bus?,
            bus_given: common.bus.is_some(),
            json: common.json,
            common: common.clone(),
        })
    }

    /// The standard output.
    pub fn output(&self) -> Output {
        Output::new(self.common.color)
    }

    /// A socket on the bus.
    pub fn open(&self) -> Result<Socket, Failure> {
        self.open_with(&Socket::options())
    }

    /// The same with these options.
    pub fn open_with(&self, options: &SocketOptions) -> Result<Socket, Failure> {
        Ok(options.open(&self.bus)?)
    }
}
