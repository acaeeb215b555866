// SPDX-License-Identifier: GPL-2.0

//! What the socket of a queue has set.

use super::Member;
use super::Queue;

impl<M: Member> Queue<M> {
    /// Most messages, waiting and reserved.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Sets the most messages; what waits stays.
    ///
    /// After this and other setters that may make room,
    /// [`wait::wake_all`](super::super::wait::wake_all) is to be called.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.changed();
    }

    /// It takes a message while its bytes are below this.
    pub fn byte_limit(&self) -> u64 {
        self.byte_limit
    }

    /// Sets the limit of bytes; what waits stays.
    pub fn set_byte_limit(&mut self, limit: u64) {
        self.byte_limit = limit;
        self.changed();
    }

    /// Reply bytes that each request of this socket reserves.
    pub fn reply_max(&self) -> u32 {
        self.reply_max
    }

    /// Sets what each later request reserves.
    pub fn set_reply_max(&mut self, bytes: u32) {
        self.reply_max = bytes;
    }

    /// Whether it wants one copy of a message, however many bindings match.
    pub fn once(&self) -> bool {
        self.once
    }

    /// Sets that for what is queued from now on.
    pub fn set_once(&mut self, once: bool) {
        self.once = once;
        self.changed();
    }

    /// Whether, as a listener, nobody fails or waits for it.
    pub fn lossy(&self) -> bool {
        self.lossy
    }

    /// Sets that.
    pub fn set_lossy(&mut self, lossy: bool) {
        self.lossy = lossy;
        self.changed();
    }

    /// Whether a gap is told by a message of its own.
    pub fn report_lost(&self) -> bool {
        self.report_lost
    }

    /// Sets that; a gap that is there already is told, too.
    pub fn set_report_lost(&mut self, report: bool) {
        self.report_lost = report;
    }

    /// Whether it takes descriptors.
    pub fn takes_files(&self) -> bool {
        self.takes_files
    }

    /// Sets that for what is queued from now on.
    pub fn set_takes_files(&mut self, takes: bool) {
        self.takes_files = takes;
    }

    /// Whether the last message of this socket had recipients who do not share a copy.
    pub(in super::super) fn sends_several(&self) -> bool {
        self.several
    }

    /// Notes whether the last one had such.
    pub(in super::super) fn set_sends_several(&mut self, several: bool) {
        self.several = several;
    }
}
