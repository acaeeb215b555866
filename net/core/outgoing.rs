// SPDX-License-Identifier: GPL-2.0

//! What a program asks to be sent, and what can be said of it without the bus.

use super::address::Dest;
use super::error::Error;
use super::fanout::Policy;
use super::message;
use super::message::Content;
use super::message::Via;
use super::message::KBUS_ALL_OR_FAIL;
use super::message::KBUS_ALL_OR_WAIT;
use super::message::KBUS_HAD_FDS;
use super::message::KBUS_REQUEST;
use super::message::KBUS_URGENT;
use super::message::KBUS_USER_FLAGS;
use super::queue::Member;

/// What a socket wants to send.
pub struct Outgoing<'a, M: Member> {
    /// Where to; `None` when there is no address and no connected default.
    pub dest: Option<Dest<'a>>,
    /// `KBUS_REQUEST` and its like.
    pub flags: u32,
    /// Whether the flags came with this message and are not the socket's own.
    pub explicit: bool,
    /// Bytes to reserve for the reply to a request; 0: what the socket has set.
    pub reply_max: u32,
    /// Shown to the requester again, in the reply or status.
    pub cookie: u64,
    /// Payload and sender.
    pub content: Content<M>,
    /// What a bridge says about it.
    pub via: Option<Via>,
    /// Descriptors that come with it.
    pub files: Option<M::Files>,
}

impl<M: Member> Default for Outgoing<'_, M> {
    fn default() -> Self {
        Outgoing {
            dest: None,
            flags: 0,
            explicit: false,
            reply_max: 0,
            cookie: 0,
            content: Content::default(),
            via: None,
            files: None,
        }
    }
}

impl<M: Member> Outgoing<'_, M> {
    /// Checks all that can be told without the bus.
    ///
    /// # Errors
    ///
    /// [`Error::Inval`] for flags that are malformed, then [`Error::OpNotSupp`] for a private
    /// announcement.
    pub fn check(&self) -> Result<(), Error> {
        let all_or = self.flags & (KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT);
        if self.flags & !message::SEND_FLAGS != 0 {
            return Err(Error::Inval);
        }
        let is_reply = matches!(self.dest, Some(Dest::Reply { .. }));
        if is_reply && self.explicit && (all_or != 0 || self.flags & KBUS_REQUEST != 0) {
            return Err(Error::Inval);
        }
        if all_or == KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT && !is_reply {
            return Err(Error::Inval);
        }
        if matches!(self.dest, Some(Dest::Stateful { .. })) && self.flags & KBUS_REQUEST == 0 {
            return Err(Error::OpNotSupp);
        }
        Ok(())
    }

    /// Whether it asks for a reply; a reply never does.
    pub fn is_request(&self) -> bool {
        self.flags & KBUS_REQUEST != 0 && !matches!(self.dest, Some(Dest::Reply { .. }))
    }

    /// What the sender wants to happen when a listener is full.
    pub(super) fn policy(&self) -> Policy {
        if self.flags & KBUS_ALL_OR_WAIT != 0 {
            Policy::Wait
        } else if self.flags & KBUS_ALL_OR_FAIL != 0 {
            Policy::Fail
        } else {
            Policy::Miss
        }
    }

    /// The flags that the recipients of a message of this kind see.
    pub(super) fn flags_of(&self, kind: u32) -> u32 {
        let mut flags = (self.flags & (KBUS_USER_FLAGS | KBUS_URGENT)) | kind;
        if self.files.is_some() {
            flags |= KBUS_HAD_FDS;
        }
        flags
    }
}
