// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why there is no reply.

use std::fmt;

use crate::id::MessageId;
use crate::id::PeerId;
use crate::message::Message;
use crate::uapi;

/// There will be no reply to a request, and why. The bus sends it in place of the reply.
///
/// ```
/// use kbus::{Reason, Received, Socket};
///
/// let socket = Socket::open("@doc-status")?;
/// let replier = Socket::open("@doc-status")?;
/// replier.become_replier("$.Echo")?;
/// let id = socket.request("$.Echo", b"hello")?;
/// let peer = replier.peer_id();
/// drop(replier);
/// let Received::Status(status) = socket.recv()? else { unreachable!() };
/// assert_eq!(status.reason(), Reason::GoneAway);
/// assert_eq!((status.in_reply_to(), status.replier()), (id, peer));
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
pub struct Status {
    reason: Reason,
    message: Box<Message>,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The replier closed before it read the request.
    GoneAway,
    /// The replier read the request, and closed or gave it up without a reply.
    Ignored,
    /// The replier gave up the name before it read the request.
    Unbound,
    /// One that this library does not know.
    Other(i32),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::GoneAway => f.write_str("the replier closed before it read the request"),
            Reason::Ignored => f.write_str("the replier read the request and gave no reply"),
            Reason::Unbound => {
                f.write_str("the replier gave up the name before it read the request")
            }
            Reason::Other(number) => write!(f, "the bus says why by the number {number}"),
        }
    }
}

impl Status {
    pub(crate) fn new(message: Message, error: i32) -> Status {
        let reason = match error {
            uapi::KBUS_GONE_AWAY => Reason::GoneAway,
            uapi::KBUS_IGNORED => Reason::Ignored,
            uapi::KBUS_UNBOUND => Reason::Unbound,
            other => Reason::Other(other),
        };
        Status {
            reason,
            message: Box::new(message),
        }
    }

    /// Why there is no reply.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The request that it is about.
    pub fn in_reply_to(&self) -> MessageId {
        MessageId::new(self.message.in_reply_to)
    }

    /// Who should have replied.
    pub fn replier(&self) -> PeerId {
        self.message.sender
    }

    /// The cookie that the request was sent with.
    pub fn cookie(&self) -> u64 {
        self.message.cookie
    }

    /// The message that tells it, whose name is one of the bus's own.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no reply from peer {}: {}", self.replier(), self.reason)
    }
}

impl std::error::Error for Status {}
