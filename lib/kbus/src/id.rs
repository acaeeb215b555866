// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers that the bus gives out.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id with that number.
            ///
            /// ```
            #[doc = concat!("assert_eq!(kbus::", stringify!($name), "::new(31).to_string(), \"1f\");")]
            /// ```
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            ///
            /// ```
            #[doc = concat!("assert_eq!(kbus::", stringify!($name), "::new(31).get(), 31);")]
            /// ```
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        /// In lower-case hexadecimal without a prefix, as in the addresses and `/proc` files of
        /// KBUS.
        ///
        /// ```
        #[doc = concat!("assert_eq!(format!(\"{}\", kbus::", stringify!($name), "::new(0x2a)), \"2a\");")]
        /// ```
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        /// As [`Display`](fmt::Display), with what the format asks for.
        ///
        /// ```
        #[doc = concat!("assert_eq!(format!(\"{:#06x}\", kbus::", stringify!($name), "::new(0x2a)), \"0x002a\");")]
        /// ```
        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        /// From hexadecimal without a prefix.
        ///
        /// ```
        #[doc = concat!("assert_eq!(\"2a\".parse::<kbus::", stringify!($name), ">()?, kbus::", stringify!($name), "::new(42));")]
        /// # Ok::<(), std::num::ParseIntError>(())
        /// ```
        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                u64::from_str_radix(text, 16).map(Self)
            }
        }
    };
}

id! {
    /// Which socket: its number is never used again while the machine is up. 0 is the bus itself.
    ///
    /// ```
    /// use kbus::PeerId;
    ///
    /// let peer: PeerId = "1f".parse()?;
    /// assert_eq!(peer, PeerId::new(31));
    /// assert_eq!(peer.to_string(), "1f");
    /// # Ok::<(), std::num::ParseIntError>(())
    /// ```
    PeerId
}

id! {
    /// Which message. Ids ascend in the order of sending, over all buses of a network namespace.
    ///
    /// ```
    /// use kbus::MessageId;
    ///
    /// assert!(MessageId::new(9) < MessageId::new(10));
    /// assert_eq!(MessageId::new(10).to_string(), "a");
    /// ```
    MessageId
}

impl PeerId {
    /// The bus itself, which sends statuses and events.
    ///
    /// ```
    /// use kbus::{PeerId, Received, Socket};
    ///
    /// let socket = Socket::open("@doc-peer-id-bus")?;
    /// socket.listen(kbus::BindEvent::NAME)?;
    /// socket.set_report_binds(true)?;
    /// socket.become_replier("$.Echo")?;
    /// let Received::Event(message) = socket.recv()? else { unreachable!() };
    /// assert_eq!(message.sender(), PeerId::BUS);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub const BUS: PeerId = PeerId(0);
}
