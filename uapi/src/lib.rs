// SPDX-License-Identifier: MIT OR Apache-2.0
//! The constants and structures of `linux/kbus.h`, under their C names.
//!
//! Nothing is written by hand here: the header is the only definition of the
//! ABI and describes each item. Constants are `u32`, as bindgen makes them.

#![no_std]
#![allow(
    non_camel_case_types,
    missing_docs,
    unsafe_op_in_unsafe_fn,
    clippy::all
)]

include!(concat!(env!("OUT_DIR"), "/kbus.rs"));
