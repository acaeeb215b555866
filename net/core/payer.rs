// SPDX-License-Identifier: GPL-2.0

//! Who pays for what waits: users and their budgets.
//!
//! A user has one budget of payload bytes for the whole machine. A payload that waits counts once for each user,
//! however many of that user's queues hold it: the entries of all of them share one [`Share`].

use super::account::Account;
use super::account::Charge;
use super::error::Error;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::tree::Node;
use super::tree::Tree;

/// A user as the one who pays.
#[derive(Debug)]
pub struct Payer {
    id: u32,
    budget: Arc<Account>,
}

impl Payer {
    /// Makes one with this budget.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub fn new(id: u32, budget: Arc<Account>) -> Result<Arc<Self>, Error> {
        Ok(mem::new_arc(Payer { id, budget })?)
    }

    /// The user's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Bytes that may wait for the user, and how many do.
    pub fn budget(&self) -> &Arc<Account> {
        &self.budget
    }
}

/// The bytes of one message that one user pays for; they are given back with the last entry that has it.
pub type Share = Arc<Charge>;

/// What one user pays for a message.
#[derive(Clone)]
struct Item {
    payer: u32,
    /// Bytes that will be held for its reply.
    reply: u64,
    /// Whether the user pays for the message itself.
    pays: bool,
    share: Option<Share>,
}

/// What the users pay for one message, while its recipients are found.
///
/// Nothing is taken from any budget before it is sure that the message can be sent: so who fails has
/// never had what others might have been refused meanwhile, and gives nothing back.
pub(super) struct Bill {
    len: usize,
    /// Most messages are for one user.
    first: Option<Item>,
    more: Tree<Item>,
}

impl Bill {
    /// Of a message of so many bytes nobody pays yet.
    pub(super) const fn new(len: usize) -> Self {
        Bill {
            len,
            first: None,
            more: Tree::new(),
        }
    }

    fn find(&self, payer: &Payer) -> Option<&Item> {
        match &self.first {
            Some(item) if item.payer == payer.id => Some(item),
            _ => self.more.get(u64::from(payer.id)),
        }
    }

    fn item(&mut self, payer: &Payer) -> Result<&mut Item, AllocError> {
        let key = u64::from(payer.id);
        let is_first = self
            .first
            .as_ref()
            .is_none_or(|item| item.payer == payer.id);
        let new = Item {
            payer: payer.id,
            reply: 0,
            pays: false,
            share: None,
        };
        if is_first {
            return Ok(self.first.get_or_insert(new));
        }
        if self.more.get(key).is_none() {
            self.more.insert(Node::new(key, new)?, key);
        }
        self.more.get_mut(key).ok_or(AllocError)
    }

    /// So many bytes will be held for a reply to this user.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn add_reply(&mut self, payer: &Payer, bytes: u64) -> Result<(), AllocError> {
        self.item(payer)?.reply = bytes;
        Ok(())
    }

    /// This user has paid already.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn add_paid(&mut self, payer: &Payer, share: &Share) -> Result<(), AllocError> {
        let item = self.item(payer)?;
        item.pays = true;
        item.share = Some(share.clone());
        Ok(())
    }

    /// What is left of a user's budget before the user pays for this message.
    pub(super) fn left(&self, payer: &Payer) -> u64 {
        let reply = self.find(payer).map_or(0, |item| item.reply);
        payer.budget.left().saturating_sub(reply)
    }

    /// Whether a user has the bytes for the message.
    pub(super) fn can_pay(&self, payer: &Payer) -> bool {
        self.len == 0
            || self.find(payer).is_some_and(|item| item.pays)
            || self.left(payer) >= self.len as u64
    }

    /// A user will pay for the message.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn add(&mut self, payer: &Payer) -> Result<(), AllocError> {
        if self.len > 0 {
            self.item(payer)?.pays = true;
        }
        Ok(())
    }

    /// Takes the bytes from the budget of a user who will pay; `Ok(None)` of a message without bytes,
    /// `Err(None)` if others were faster.
    ///
    /// # Errors
    ///
    /// [`AllocError`] inside `Err`.
    pub(super) fn take(&mut self, payer: &Payer) -> Result<Option<Share>, Option<AllocError>> {
        let len = self.len;
        if len == 0 {
            return Ok(None);
        }
        let item = self.item(payer).map_err(Some)?;
        if let Some(share) = &item.share {
            return Ok(Some(share.clone()));
        }
        let charge = Charge::new(&payer.budget, len).ok_or(None)?;
        let share = mem::new_arc(charge).map_err(Some)?;
        item.share = Some(share.clone());
        Ok(Some(share))
    }
}
