// SPDX-License-Identifier: GPL-2.0
//! The subcommands: each has a type `Args` and a function `run`.

pub mod bench;
pub mod call;
pub mod doctor;
pub mod generate;
pub mod list;
pub mod listen;
pub mod monitor;
pub mod record;
pub mod replay;
pub mod send;
pub mod serve;
pub mod top;
pub mod tree;
pub mod wait;
pub mod why;
