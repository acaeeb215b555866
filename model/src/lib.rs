// SPDX-License-Identifier: GPL-2.0

//! The bus in its plainest form: flat lists, and everything looked up by looking at all of it.
//!
//! It is what the bus of the module must agree with, and shares no code with it. Random programs ([`Op`]) are run on
//! the model and on a [`Subject`] side by side: on the host that is `net/core/` called directly, in the machine it is
//! real sockets. Whatever can be seen from outside is compared after each step, and a program that shows a difference
//! is made as short as possible and printed.

pub mod adapt;
pub mod bind;
pub mod close;
pub mod events;
pub mod message;
pub mod name;
pub mod op;
pub mod run;
pub mod send;
pub mod state;
pub mod wait;

pub use message::Msg;
pub use op::Op;
pub use run::run;
pub use run::Done;
pub use run::Outcome;
pub use run::Subject;
pub use state::Config;
pub use state::Model;

/// A positive Linux errno.
pub type Errno = i32;

/// The errors that a bus knows, as Linux numbers them.
#[allow(missing_docs)] // They are those of errno(3).
pub mod errno {
    use super::Errno;

    pub const EPERM: Errno = 1;
    pub const EAGAIN: Errno = 11;
    pub const EACCES: Errno = 13;
    pub const EBUSY: Errno = 16;
    pub const EEXIST: Errno = 17;
    pub const EINVAL: Errno = 22;
    pub const EPIPE: Errno = 32;
    pub const EDEADLK: Errno = 35;
    pub const EMSGSIZE: Errno = 90;
    pub const EADDRNOTAVAIL: Errno = 99;
    pub const ENOBUFS: Errno = 105;
    pub const ECONNREFUSED: Errno = 111;
    pub const EDQUOT: Errno = 122;
}
