// SPDX-License-Identifier: MIT OR Apache-2.0
//! The constants of `linux/kbus.h` that this crate uses, written out so that building it needs no C
//! header and no libclang. A test compares each of them with the header.

macro_rules! constants {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        $(pub(crate) const $name: $type = $value;)*

        /// Each constant as the header could have it: name and value.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, i64)] = &[$((stringify!($name), $name as i64)),*];
    };
}

constants! {
    AF_KBUS: u16 = 18;
    PROTO_KBUS: i32 = 0x6b62;
    SOL_KBUS: i32 = 0x6b62;
    KBUS_NAME_MAX: usize = 1000;
    KBUS_NAME_SHORT: usize = 73;
    KBUS_MSG_SIZE_MAX: usize = 16_777_216;

    KBUS_LISTEN: i32 = 1;
    KBUS_UNLISTEN: i32 = 2;
    KBUS_REPLIER: i32 = 3;
    KBUS_UNREPLIER: i32 = 4;
    KBUS_IGNORE: i32 = 5;
    KBUS_SEND_FLAGS: i32 = 6;
    KBUS_ONCE: i32 = 7;
    KBUS_LOSSY: i32 = 8;
    KBUS_REPORT_LOST: i32 = 9;
    KBUS_RECV_INFO: i32 = 10;
    KBUS_PASS: i32 = 11;
    KBUS_PEER_ID: i32 = 12;
    KBUS_LAST_SENT: i32 = 13;
    KBUS_QUEUE_LEN: i32 = 14;
    KBUS_REPLY_MAX: i32 = 15;
    KBUS_UNREAD: i32 = 16;
    KBUS_UNREPLIED: i32 = 17;
    KBUS_LOST: i32 = 18;
    KBUS_NEXT_LEN: i32 = 19;
    KBUS_REPORT_BINDS: i32 = 20;
    KBUS_MAX_MSG_SIZE: i32 = 21;
    KBUS_BUS_BYTES: i32 = 22;
    KBUS_BUS_MODE: i32 = 23;
    KBUS_BUS_INFO: i32 = 24;
    KBUS_SYNC: i32 = 25;

    KBUS_PASS_CRED: u32 = 1 << 0;
    KBUS_PASS_SEC: u32 = 1 << 1;
    KBUS_PASS_RIGHTS: u32 = 1 << 2;
    KBUS_PASS_TIME: u32 = 1 << 3;

    KBUS_REQUEST: u32 = 1 << 0;
    KBUS_URGENT: u32 = 1 << 1;
    KBUS_ALL_OR_FAIL: u32 = 1 << 2;
    KBUS_ALL_OR_WAIT: u32 = 1 << 3;
    KBUS_YOU_REPLY: u32 = 1 << 4;
    KBUS_REPLY: u32 = 1 << 5;
    KBUS_STATUS: u32 = 1 << 6;
    KBUS_HAD_FDS: u32 = 1 << 7;
    KBUS_USER_FLAGS: u32 = 0xffff_0000;

    KBUS_GONE_AWAY: i32 = 1;
    KBUS_IGNORED: i32 = 2;
    KBUS_UNBOUND: i32 = 3;

    SCM_KBUS_SEND: i32 = 1;
    SCM_KBUS_NAME: i32 = 2;
    SCM_KBUS_VIA: i32 = 3;
    SCM_KBUS_INFO: i32 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! same {
        ($($name:ident)*) => {
            $(assert_eq!($name as i64, i64::from(kbus_uapi::$name), stringify!($name));)*
            assert_eq!([$(stringify!($name)),*].len(), ALL.len(), "some constant is not compared");
        };
    }

    /// Each number here is that of `linux/kbus.h`.
    #[test]
    fn constants_are_those_of_the_header() {
        same! {
            AF_KBUS PROTO_KBUS SOL_KBUS KBUS_NAME_MAX KBUS_NAME_SHORT KBUS_MSG_SIZE_MAX
            KBUS_LISTEN KBUS_UNLISTEN KBUS_REPLIER KBUS_UNREPLIER KBUS_IGNORE KBUS_SEND_FLAGS KBUS_ONCE
            KBUS_LOSSY KBUS_REPORT_LOST KBUS_RECV_INFO KBUS_PASS KBUS_PEER_ID KBUS_LAST_SENT KBUS_QUEUE_LEN
            KBUS_REPLY_MAX KBUS_UNREAD KBUS_UNREPLIED KBUS_LOST KBUS_NEXT_LEN KBUS_REPORT_BINDS
            KBUS_MAX_MSG_SIZE KBUS_BUS_BYTES KBUS_BUS_MODE KBUS_BUS_INFO KBUS_SYNC
            KBUS_PASS_CRED KBUS_PASS_SEC KBUS_PASS_RIGHTS KBUS_PASS_TIME
            KBUS_REQUEST KBUS_URGENT KBUS_ALL_OR_FAIL KBUS_ALL_OR_WAIT KBUS_YOU_REPLY KBUS_REPLY KBUS_STATUS
            KBUS_HAD_FDS KBUS_USER_FLAGS
            KBUS_GONE_AWAY KBUS_IGNORED KBUS_UNBOUND
            SCM_KBUS_SEND SCM_KBUS_NAME SCM_KBUS_VIA SCM_KBUS_INFO
        }
    }

    /// The structs that are taken apart byte by byte have the sizes that this assumes.
    #[test]
    fn structs_are_as_long_as_assumed() {
        assert_eq!(size_of::<kbus_uapi::kbus_send>(), 16);
        assert_eq!(size_of::<kbus_uapi::kbus_info>(), crate::control::INFO_LEN);
        assert_eq!(size_of::<kbus_uapi::kbus_via>(), 32);
        assert_eq!(size_of::<kbus_uapi::kbus_bus_info>(), crate::bus::INFO_LEN);
    }
}
