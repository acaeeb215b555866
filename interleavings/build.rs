// SPDX-License-Identifier: GPL-2.0

//! Lets `net/core/mem.rs` take its memory, and its `Arc`, from the kernel's crate: here, from the stand-in.
//! A send goes on in another hold of the bus lock after few copies, so that it has many holds in small tests.

fn main() {
    println!("cargo:rustc-cfg=CONFIG_NET");
    println!("cargo:rustc-cfg=CONFIG_KBUS_SHORT_STEPS");
    println!("cargo:rerun-if-changed=build.rs");
}
