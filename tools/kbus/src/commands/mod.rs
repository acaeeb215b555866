// SPDX-License-Identifier: GPL-2.0
//! The subcommands: each has a type `Args` and a function `run`.

pub mod call;
pub mod generate;
pub mod list;
pub mod listen;
pub mod send;
pub mod serve;
pub mod tree;
pub mod wait;
