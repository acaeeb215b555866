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
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        /// In lower-case hexadecimal without a prefix, as in the addresses and `/proc` files of
        /// KBUS.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        /// From hexadecimal without a prefix.
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
    pub const BUS: PeerId = PeerId(0);
}
