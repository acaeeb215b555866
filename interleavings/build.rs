// SPDX-License-Identifier: GPL-2.0

//! Lets `net/core/mem.rs` take its memory, and its `Arc`, from the kernel's crate: here, from the stand-in.

fn main() {
    println!("cargo:rustc-cfg=CONFIG_NET");
    println!("cargo:rerun-if-changed=build.rs");
}
