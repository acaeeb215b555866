// SPDX-License-Identifier: GPL-2.0

//! The reads of a socket, of which there is one at a time.

use super::Consumed;
use super::Member;
use super::Queue;
use super::Token;
use super::View;

/// The reads of a socket.
#[derive(Default)]
pub struct Reads {
    /// One is under way.
    busy: bool,
    /// Meanwhile another one, which must not wait, was refused.
    refused: bool,
    /// So many others wait for the end of it.
    waiting: u32,
}

/// What came of [`Queue::begin_read`].
pub enum Begun<M: Member> {
    /// This is read now, until [`Queue::end_read`].
    Read(View<M>),
    /// There is nothing to read.
    Nothing,
    /// Another read is under way.
    Busy,
}

impl<M: Member> Queue<M> {
    /// Begins to read the first message, which stays where it is.
    ///
    /// Copying it may take as long as a program likes, so that no lock is held over it.
    #[inline(always)]
    pub fn begin_read(&mut self) -> Begun<M> {
        if self.reads.busy {
            return match self.is_readable() {
                true => Begun::Busy,
                false => Begun::Nothing,
            };
        }
        match self.front() {
            Some(view) => {
                self.reads.busy = true;
                Begun::Read(view)
            }
            None => Begun::Nothing,
        }
    }

    /// One more waits for the end of a read.
    pub fn wait_for_read(&mut self) {
        self.reads.waiting = self.reads.waiting.saturating_add(1);
    }

    /// It does not any more; it may be `refused`, as it must not wait.
    pub fn waited_for_read(&mut self, refused: bool) {
        self.reads.waiting = self.reads.waiting.saturating_sub(1);
        self.reads.refused |= refused;
    }

    /// Ends a read. Says whether others wait for that, and whether one was refused that may find
    /// something now.
    #[inline(always)]
    pub fn end_read(&mut self) -> (bool, bool) {
        self.reads.busy = false;
        let refused = core::mem::take(&mut self.reads.refused) && self.is_readable();
        (self.reads.waiting > 0, refused)
    }

    /// Takes out what is being read, as [`Queue::consume`] does, and ends the read.
    #[inline(always)]
    pub fn consume_read(&mut self, token: Token) -> (Option<Consumed<M>>, (bool, bool)) {
        let consumed = self.consume(token);
        (consumed, self.end_read())
    }
}
