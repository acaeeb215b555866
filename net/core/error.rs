// SPDX-License-Identifier: GPL-2.0

//! Why an operation was refused.

use super::mem::AllocError;

/// Why an operation was refused; each is one errno of the user-visible contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The operation is not permitted: a name of the bus's own.
    Perm,
    /// An allocation failed.
    NoMem,
    /// The same, and what was to be sent is lost: it cannot be tried again.
    Spent,
    /// The name belongs to another user's wildcard replier.
    Acces,
    /// A queue that may not be passed over is full.
    Busy,
    /// There already is such a replier binding.
    Exist,
    /// A malformed argument, or nothing to undo.
    Inval,
    /// Shut down, or a stateful request whose peer is the replier no more.
    Pipe,
    /// It would block.
    Again,
    /// It would wait for one's own queue.
    DeadLk,
    /// A name is longer than 1000 bytes.
    NameTooLong,
    /// A malformed name.
    BadMsg,
    /// No destination.
    DestAddrReq,
    /// The payload is too large.
    MsgSize,
    /// There is no such thing.
    OpNotSupp,
    /// Nobody is there to answer, or to be answered.
    AddrNotAvail,
    /// No room to reserve for the reply.
    NoBufs,
    /// The socket is on no bus.
    NotConn,
    /// The request is not owed by this socket.
    ConnRefused,
    /// A budget or quota is used up.
    DQuot,
}

impl Error {
    /// The positive Linux errno.
    pub const fn errno(self) -> i32 {
        match self {
            Error::Perm => 1,
            Error::NoMem | Error::Spent => 12,
            Error::Acces => 13,
            Error::Busy => 16,
            Error::Exist => 17,
            Error::Inval => 22,
            Error::Pipe => 32,
            Error::Again => 11,
            Error::DeadLk => 35,
            Error::NameTooLong => 36,
            Error::BadMsg => 74,
            Error::DestAddrReq => 89,
            Error::MsgSize => 90,
            Error::OpNotSupp => 95,
            Error::AddrNotAvail => 99,
            Error::NoBufs => 105,
            Error::NotConn => 107,
            Error::ConnRefused => 111,
            Error::DQuot => 122,
        }
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        Error::NoMem
    }
}
