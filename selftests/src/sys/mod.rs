// SPDX-License-Identifier: GPL-2.0
//! KBUS sockets as a program sees them, well or badly used.

mod address;
mod bytes;
mod cmsg;
mod errno;
mod message;
mod options;
mod sock;
mod transfer;

pub use kbus_uapi as uapi;

pub use address::bus_address;
pub use address::fresh_bus;
pub use address::long_name;
pub use address::message_address;
pub use address::path_address;
pub use address::sockaddr;
pub use address::Form;
pub use address::PATH_AT;
pub use address::PATH_MAX;
pub use cmsg::Cmsg;
pub use cmsg::Creds;
pub use errno::Errno;
pub use errno::Res;
pub use message::Msg;
pub use message::Out;
pub use message::RecvOptions;
pub use sock::Sock;
pub use transfer::empty_part;
pub use transfer::Room;
