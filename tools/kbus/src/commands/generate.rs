// SPDX-License-Identifier: GPL-2.0
//! `kbus generate`.

use crate::context::Context;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;

/// What it is told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_args: Args, _context: &Context) -> Outcome {
    Err(Failure::new(Code::Error, "not built yet"))
}
