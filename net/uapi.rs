// SPDX-License-Identifier: GPL-2.0

//! The numbers of `uapi/linux/kbus.h`, the only definition of the ABI, as bindgen reads them.
#![allow(dead_code, unreachable_pub)]

include!(env!("KBUS_UAPI"));
