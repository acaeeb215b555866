// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request, and the wait for its reply.

use std::fmt;
use std::time::Instant;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::message::Received;
use crate::message::Reply;
use crate::socket::Socket;
use crate::status::Status;

/// Why a [`call`](crate::Socket::call) has no reply.
///
/// ```
/// use std::time::Duration;
/// use kbus::{CallError, Socket};
///
/// let socket = Socket::open("@doc-call-error")?;
/// socket.become_replier("$.Echo")?; // and never reads
/// let result = socket.call("$.Echo", b"hello", Duration::from_millis(1));
/// assert!(matches!(result, Err(CallError::Timeout)));
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// There will be none: the replier has gone, or gave the request up.
    Status(Status),
    /// None came within the time. If one comes later, the replier is told that nobody waits for it.
    Timeout,
    /// The request could not be sent.
    Error(Error),
}

/// One sentence.
///
/// ```
/// assert_eq!(kbus::CallError::Timeout.to_string(), "no reply came within the time");
/// ```
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Status(status) => status.fmt(f),
            CallError::Timeout => f.write_str("no reply came within the time"),
            CallError::Error(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

/// An error of the time limit becomes [`CallError::Timeout`].
///
/// ```
/// use kbus::{CallError, Name};
///
/// let error = CallError::from(Name::new("Kitchen").unwrap_err());
/// assert!(matches!(error, CallError::Error(_)));
/// ```
impl<E: Into<Error>> From<E> for CallError {
    fn from(error: E) -> CallError {
        let error = error.into();
        match error.kind() {
            ErrorKind::TimedOut => CallError::Timeout,
            _ => CallError::Error(error),
        }
    }
}

/// Waits for the one message that this socket of a call gets.
pub(crate) fn answer(
    socket: &Socket,
    caller: Socket,
    deadline: Option<Instant>,
) -> Result<Reply, CallError> {
    loop {
        // If the time is over the socket is closed, and with it goes the reply that may still come.
        let received = caller.recv_until(deadline)?.ok_or(CallError::Timeout)?;
        if let Some(result) = settled(received) {
            socket.keep_caller(caller);
            return result;
        }
    }
}

/// What a message is to a call, if it ends it.
pub(crate) fn settled(received: Received) -> Option<Result<Reply, CallError>> {
    match received {
        Received::Reply(reply) => Some(Ok(reply)),
        Received::Status(status) => Some(Err(CallError::Status(status))),
        _ => None,
    }
}
