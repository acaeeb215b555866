// SPDX-License-Identifier: GPL-2.0

//! The copies of a message: one for each user and memory cgroup among its recipients.

use super::super::account::Amount;
use super::super::account::Charge;
use super::super::error::Error;
use super::super::mem;
use super::super::mem::AllocError;
use super::super::mem::Arc;
use super::super::mem::Map;
use super::super::mem::Need;
use super::super::mem::Node;
use super::super::mem::Room;
use super::super::message::Content;
use super::super::message::Message;
use super::super::message::Stamp;
use super::super::message::Stamped;
use super::super::payer::Payer;
use super::super::queue::Member;
use super::super::wait::Place;
use super::end::cancel;
use super::Fanout;
use super::First;
use super::Policy;

/// A payload of at most so many bytes is copied with the bus locked.
pub(super) const SMALL: u64 = 512;

/// A copy of descriptors takes as long as so many recipients.
const FILES_COST: usize = 8;

/// What is left of a budget of this version.
pub(super) type Left = (Amount, u64);

/// A copy of a message.
pub(super) type Copy<M> = Arc<Message<M>>;

/// Who pays for a copy, and in which memory cgroup.
pub(super) type Who = (u64, usize);

/// The copies of a message, by who pays for them.
pub(super) struct Copies<M: Member> {
    pub(super) first: Option<(Who, Copy<M>)>,
    pub(super) more: Map<Who, Copy<M>>,
    /// What users had left before this message, and the version of their budgets then: the first of
    /// them, and others.
    pub(super) left: (Option<(u64, Left)>, Map<u64, Left>),
    /// Copies of the descriptors.
    pub(super) files: Map<Who, M::Files>,
    /// For whom there was no memory: it is not tried again for each binding.
    pub(super) lacking: Map<Who, ()>,
}

impl<M: Member> Copies<M> {
    /// The copy that this payer has in this memory cgroup.
    pub(super) fn get(&self, key: Who) -> Option<&Arc<Message<M>>> {
        match &self.first {
            Some((of, message)) if *of == key => Some(message),
            _ => self.more.get(&key),
        }
    }

    /// What this user had left before any queue of its had the message: one queue is not refused
    /// for what another one has got of it.
    pub(super) fn left_of(&mut self, payer: &Payer) -> Left {
        // The version first: what is given back after that changes it.
        let look = || {
            let version = payer.version();
            (payer.left(), version)
        };
        let (first, more) = &mut self.left;
        let (id, left) = first.get_or_insert_with(|| (payer.id(), look()));
        if *id == payer.id() {
            return *left;
        }
        if let Some(left) = more.get(&payer.id()) {
            return *left;
        }
        let left = look();
        // Without memory to remember it, it is what is left now.
        if let Ok(node) = Node::new(payer.id(), left) {
            let _ = more.insert(node);
        }
        left
    }

    /// The first copy that was made, if there is one.
    pub(super) fn any(&self) -> Option<&Arc<Message<M>>> {
        self.first.as_ref().map(|(_, message)| message)
    }
}

impl<M: Member> Fanout<'_, M> {
    /// Whether the bytes of the bus are held that the message needs.
    pub(super) fn stamp_is_there(&self) -> bool {
        self.bus_bytes.is_some() || self.shared.is_some() || self.copies.any().is_some()
    }

    /// Whether one more copy cannot be made, as the first was made to be alone.
    pub(super) fn lacks_shared_stamp(&self) -> bool {
        self.copies.any().is_some() && self.shared.is_none()
    }

    /// Whether the content can move into the copy for a socket.
    pub(super) fn moves_to(&self, member: &M) -> bool {
        self.copies.any().is_none() && member.memory() == self.memory
    }

    /// Whether a copy for a socket can be made with the bus locked.
    pub(super) fn may_copy_now(&self, member: &M) -> bool {
        self.len <= SMALL || self.moves_to(member)
    }

    /// What a copy for this socket is: a reply has been promised to its requester.
    pub(super) fn need(&self, member: &M) -> Need {
        match &self.first {
            First::Answered(answer) if answer.requester.id() == member.id() => Need::Promised,
            _ => Need::Wanted,
        }
    }

    /// The descriptors for a socket, in memory of its own cgroup.
    pub(super) fn files_for(
        &mut self,
        member: &M,
        key: Who,
    ) -> Result<Option<M::Files>, AllocError> {
        let Some(files) = self.files else {
            return Ok(None);
        };
        if member.memory() == self.memory || !member.with(|queue| queue.takes_files()) {
            return Ok(Some(files.clone()));
        }
        if let Some(copy) = self.copies.files.get(&key) {
            return Ok(Some(copy.clone()));
        }
        let need = self.need(member);
        let copy = member.within(|| M::copy_files(files, need))?;
        drop(self.copies.files.insert(Node::new(key, copy.clone())?));
        self.looked = self.looked.saturating_add(FILES_COST);
        Ok(Some(copy))
    }

    /// Makes the copy for those of one user in one memory cgroup.
    pub(super) fn make_copy(
        &mut self,
        member: &M,
        key: Who,
        paid: &mut Option<Charge>,
    ) -> Result<Arc<Message<M>>, AllocError> {
        let need = self.need(member);
        // Before the copy: one that could not be noted would tell others of what it gives back.
        let place = match self.copies.any() {
            Some(_) => Some(Room::new()?),
            None => None,
        };
        if self.several && self.shared.is_none() {
            let bus_bytes = self.bus_bytes.take().ok_or(AllocError)?;
            let room = member.within(|| mem::ArcRoom::new_for(need));
            match room {
                Ok(room) => self.shared = Some(room.fill(Stamp::new(bus_bytes))),
                Err(error) => {
                    self.bus_bytes = Some(bus_bytes);
                    return Err(error);
                }
            }
        }
        let alone = self.shared.is_none();
        let mut stamp = self.shared.clone().map(Stamped::Shared);
        let moves = self.moves_to(member);
        let made = member.within(|| {
            if alone {
                let bus_bytes = self.bus_bytes.take().ok_or(AllocError)?;
                stamp = Some(Stamped::Alone(Stamp::new(bus_bytes)));
            }
            let made = match moves {
                true => Message::new(&self.head, self.content, &mut stamp, paid, need),
                false => {
                    let (payload, from) = match self.copies.any() {
                        Some(first) => (first.payload(), first.from.as_ref()),
                        None => (&*self.content.payload, self.content.from.as_ref()),
                    };
                    Content::copy(payload, from, need).and_then(|mut content| {
                        Message::new(&self.head, &mut content, &mut stamp, paid, need)
                    })
                }
            };
            if let (Err(_), Some(Stamped::Alone(mut stamp))) = (&made, stamp.take()) {
                self.bus_bytes = stamp.take_bus_bytes();
            }
            made
        })?;
        self.moved |= moves;
        match place {
            None => self.copies.first = Some((key, made.clone())),
            Some(place) => drop(self.copies.more.insert(place.fill(key, made.clone()))),
        }
        Ok(made)
    }

    /// Makes the copy for which there is room now, with the bus not locked.
    pub(super) fn copy(&mut self) {
        let Some(mut claim) = self.claim.take() else {
            return;
        };
        let (at, serial) = claim.entry;
        let made = match self.copies.get(claim.key).cloned() {
            Some(message) => Ok(message),
            None => {
                let (member, paid) = (&claim.member, &mut claim.paid);
                match self.make_copy(member, claim.key, paid) {
                    // It may be the machine that is short of memory.
                    Err(_) if M::wait_for_memory(self.len as usize) => {
                        self.make_copy(member, claim.key, paid)
                    }
                    made => made,
                }
            }
        };
        if let Ok(message) = made {
            cancel(claim.paid.take());
            if claim.member.with(|queue| queue.fill(at, serial, &message)) {
                self.filled = Some((claim.member, at, serial));
            }
            return;
        }
        if self.need(&claim.member) == Need::Promised {
            // What was held for the reply is held again when all of it is taken out.
            self.denied = Some(Error::NoMem);
            self.claim = Some(claim);
            return;
        }
        cancel(claim.paid.take());
        match Node::new(claim.key, ()) {
            Ok(node) => drop(self.copies.lacking.insert(node)),
            Err(_) => self.denied = Some(Error::NoMem),
        }
        let own = claim.member.memory() == self.memory;
        if own {
            self.denied = Some(Error::NoMem);
        } else {
            claim.member.reclaim();
        }
        self.take_out_last(at, serial);
        let last = self.reached.len().saturating_sub(1);
        if let Some(recipient) = self.reached.get_mut(last) {
            recipient.tell_given_back();
            (recipient.entry, recipient.tell) = (None, false);
        }
        self.reached.missing = true;
        let id = claim.member.id();
        if claim.must && !own {
            self.own_is_full |= id == self.sender.id();
            match self.policy {
                Policy::Wait | Policy::Event { .. } => {
                    self.full.get_or_insert(memory_of(&claim.member));
                }
                _ => self.denied = Some(Error::Busy),
            }
        }
    }
}

/// Where to wait until there may be memory of a socket's cgroup: what it reads gives some back.
/// When it has nothing to read nobody tells of that.
pub(super) fn memory_of<M: Member>(member: &M) -> Place<M> {
    match member.with(|queue| queue.begins_with_sent().then_some(queue.version())) {
        Some(version) => Place::Queue(member.clone(), version),
        None => Place::Time,
    }
}
