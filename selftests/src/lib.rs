// SPDX-License-Identifier: GPL-2.0
//! What the selftests, the demonstration and the benchmark share.
//!
//! [`sys`] is a thin wrapper over the socket calls that hides nothing: a test
//! must be able to send what no well-behaved library would. [`process`] makes
//! children and holds them still, [`files`] makes folders and mounts, [`fault`]
//! has the kernel find no memory.

#![cfg(target_os = "linux")]

pub mod attack;
pub mod cgroup;
pub mod fault;
pub mod files;
pub mod history;
pub mod process;
pub mod siege;
pub mod sys;
