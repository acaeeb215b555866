// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the crate from `linux/kbus.h`, the only definition of the ABI.
//!
//! Needs libclang (`LIBCLANG_PATH` when it is in no usual place). It is loaded
//! at run time, so a static build must give `--target`: only then are the
//! flags meant for the programs kept away from this one.

use std::env;
use std::path::PathBuf;

fn main() {
    let header = "linux/kbus.h";
    println!("cargo::rerun-if-changed={header}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindgen::Builder::default()
        .header(header)
        .allowlist_var("(AF|PF|PROTO|SOL)_KBUS|SCM_KBUS_.*|KBUS_.*")
        .allowlist_type("kbus_.*")
        .derive_default(true)
        .derive_eq(true)
        .layout_tests(false)
        .generate_comments(false)
        .use_core()
        .formatter(bindgen::Formatter::None)
        .generate()
        .expect("bindgen could not read linux/kbus.h")
        .write_to_file(out.join("kbus.rs"))
        .expect("OUT_DIR is writable");
}
