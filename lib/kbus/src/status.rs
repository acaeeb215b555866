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
///
/// ```
/// use kbus::{Reason, Received, Socket};
///
/// let socket = Socket::open("@doc-reason")?;
/// socket.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// socket.stop_replier("$.Echo")?;
/// let Received::Status(status) = socket.recv()? else { unreachable!() };
/// assert_eq!(status.reason(), Reason::Unbound);
/// # Ok::<(), kbus::Error>(())
/// ```
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

/// A part of a sentence.
///
/// ```
/// let text = kbus::Reason::GoneAway.to_string();
/// assert_eq!(text, "the replier closed before it read the request");
/// ```
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
    ///
    /// ```
    /// use kbus::{Reason, Received, Socket};
    ///
    /// let socket = Socket::open("@doc-status-reason")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// drop(socket.recv()?); // gives it up
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.reason(), Reason::Ignored);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The request that it is about.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-status-in-reply-to")?;
    /// socket.become_replier("$.Echo")?;
    /// let id = socket.request("$.Echo", b"")?;
    /// drop(socket.recv()?); // gives it up
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.in_reply_to(), id);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn in_reply_to(&self) -> MessageId {
        MessageId::new(self.message.in_reply_to)
    }

    /// Who should have replied.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-status-replier")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// drop(socket.recv()?); // gives it up
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.replier(), socket.peer_id());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn replier(&self) -> PeerId {
        self.message.sender
    }

    /// The cookie that the request was sent with.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-status-cookie")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.to("$.Echo")?.cookie(7).request(b"")?;
    /// drop(socket.recv()?); // gives it up
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.cookie(), 7);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn cookie(&self) -> u64 {
        self.message.cookie
    }

    /// The message that tells it, whose name is one of the bus's own.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-status-message")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// drop(socket.recv()?); // gives it up
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert!(status.message().name().is_of_the_bus());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// One sentence.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-status-display")?;
/// socket.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// drop(socket.recv()?); // gives it up
/// let Received::Status(status) = socket.recv()? else { unreachable!() };
/// assert!(status.to_string().ends_with("the replier read the request and gave no reply"));
/// # Ok::<(), kbus::Error>(())
/// ```
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no reply from peer {}: {}", self.replier(), self.reason)
    }
}

impl std::error::Error for Status {}
