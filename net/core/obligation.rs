// SPDX-License-Identifier: GPL-2.0

//! What is owed for a request: exactly one reply or status.
//!
//! An obligation is made with its request, and has all that the end of it will need: no memory is
//! allocated when a replier dies. It lies with the request in the replier's queue; when that is
//! read it moves to the replier's ledger.

use super::account::Amount;
use super::account::Charge;
use super::account::One;
use super::data::KeptName;
use super::mem::AllocError;
use super::mem::Box;
use super::mem::BoxRoom;
use super::mem::Room;
use super::message::Fault;
use super::peer::Peer;

/// A request that has not been answered yet.
pub struct Obligation<M: Peer> {
    /// Who asked.
    pub(super) requester: M,
    /// Id of the request; 0 until that is sent.
    pub(super) request: u64,
    /// Who was asked.
    pub(super) replier: u64,
    /// What the requester wants to see again.
    pub(super) cookie: u64,
    /// The request's name.
    pub(super) name: KeptName,
    /// Bytes of the bus that are held for the reply.
    pub(super) bus_bytes: Charge,
    /// Bytes of the requester's budget that are held for the reply.
    pub(super) bytes: Charge,
    /// The place among the messages of the requester's user that is held for the reply or status.
    pub(super) place: One,
    /// What the requester's queue holds for it.
    pub(super) reserved: Amount,
    /// Its place in the replier's ledger.
    pub(super) room: Option<Place<M>>,
}

/// Memory for a place in a replier's ledger.
pub(super) type Place<M> = Room<u64, Option<Box<Obligation<M>>>>;

/// Memory for an obligation and its place in a ledger.
///
/// A socket keeps that of its last request that was answered, for the next one.
pub(super) struct Memory<M: Peer> {
    pub(super) obligation: BoxRoom<Obligation<M>>,
    pub(super) place: Place<M>,
}

impl<M: Peer> Memory<M> {
    /// Allocates it.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn new() -> Result<Self, AllocError> {
        Ok(Memory {
            place: Room::new()?,
            obligation: BoxRoom::new()?,
        })
    }
}

/// A status: there will be no reply.
#[derive(Clone, Copy)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) in_reply_to: u64,
    /// The replier that it is about.
    pub(super) sender: u64,
    /// The requester.
    pub(super) to: u64,
    pub(super) fault: Fault,
    pub(super) time: i64,
}

impl<M: Peer> Obligation<M> {
    /// The request has not been sent: nobody is told of what was held for its reply.
    pub(super) fn cancel(this: Box<Self>) {
        let this = super::mem::unbox(this);
        this.bus_bytes.cancel();
        this.bytes.cancel();
        this.place.cancel();
    }
}
