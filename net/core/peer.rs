// SPDX-License-Identifier: GPL-2.0

//! What the bus must know of a socket, apart from its queue.

use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Need;
use super::message::Fault;
use super::payer::Payer;

/// What has become of a message, for those who trace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace<'a> {
    /// This socket sends it. Told with the bus locked, before anybody can read it.
    Send {
        /// Its id.
        id: u64,
        /// The flags that all recipients see.
        flags: u32,
        /// Bytes of payload.
        len: u32,
        /// Its name.
        name: &'a [u8],
        /// Of a reply: who asked, and the id of the request.
        answers: Option<(u64, u64)>,
    },
    /// A copy of the message of this id is in the queue.
    Deliver {
        /// Its id.
        id: u64,
    },
    /// The queue was full, and misses it.
    Miss {
        /// Its id.
        id: u64,
    },
    /// A status is in the queue, in place of a reply.
    Status {
        /// Its id.
        id: u64,
        /// That of the request.
        request: u64,
        /// Who was to answer.
        replier: u64,
        /// Why there is no reply.
        fault: Fault,
    },
}

/// A handle of a socket.
///
/// Dropping one must not take a lock or sleep, as it happens under the bus lock.
pub trait Peer: Clone {
    /// Who sent a message. The bus keeps it for the readers and does not look at it.
    type Sender: Unpin;

    /// Descriptors that come with a message. To clone them needs no memory.
    ///
    /// The bus never drops the last clone itself: a sender keeps one until it holds no lock.
    type Files: Clone;

    /// The time, for the readers: the bus does not look at it.
    fn now() -> i64;

    /// The peer id, never 0.
    fn id(&self) -> u64;

    /// Whose socket it is.
    fn user(&self) -> u32;

    /// Who pays for what waits for it.
    fn payer(&self) -> &Arc<Payer>;

    /// Another one like `sender`.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    fn copy_sender(sender: &Self::Sender, need: Need) -> Result<Self::Sender, AllocError>;

    /// The same files in memory of their own.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    fn copy_files(files: &Self::Files, need: Need) -> Result<Self::Files, AllocError>;

    /// Tells the memory cgroups of sockets apart: that of the process that made the socket.
    fn memory(&self) -> usize;

    /// The memory cgroup of the current task, which does something with this socket. It may not be
    /// the one that made it.
    fn task_memory(&self) -> usize;

    /// Charges what `f` allocates to the memory cgroup of the socket.
    fn within<R>(&self, f: impl FnOnce() -> R) -> R;

    /// The memory cgroup of the socket is at its limit: sees to it that some of what it can do
    /// without goes, later and in nobody's time. Takes no lock of the bus, allocates nothing.
    fn reclaim(&self);

    /// Waits until there may be so many bytes of memory, whoever is charged for them; false if
    /// there are none. May sleep, and must not be called under a lock.
    fn wait_for_memory(bytes: usize) -> bool;

    /// What is held while it is asked who waits, by [`Peer::is_waited_for`].
    type Watch;

    /// Begins to ask who waits. Nothing may sleep until that is dropped.
    fn watch() -> Self::Watch;

    /// Whether [`Peer::wake_reader`] would wake anybody. A full barrier must come between what they
    /// are to see and this, as giving a message its id is one.
    fn is_waited_for(&self, watch: &Self::Watch) -> bool;

    /// Wakes those who read or poll for something to read. Not to be called under a lock of the
    /// bus. What they are to see must have been put there under the lock of the queue, or with a
    /// full barrier before this.
    fn wake_reader(&self);

    /// Whether somebody traces what comes into queues.
    #[inline]
    fn is_traced() -> bool {
        false
    }

    /// Whether somebody traces what is sent.
    #[inline]
    fn is_send_traced() -> bool {
        false
    }

    /// Tells whoever traces sockets what has become of a message for this one. It may be called
    /// with the bus locked.
    #[inline]
    fn trace(&self, what: Trace<'_>) {
        let _ = what;
    }

    /// Wakes those who wait to send, or poll for it. Not to be called under a lock of the bus.
    fn wake_senders(&self);
}
