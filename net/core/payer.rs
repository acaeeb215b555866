// SPDX-License-Identifier: GPL-2.0

//! Who pays for what waits: users and their budgets.
//!
//! A user has one budget for the whole machine, of payload bytes and of messages. A payload that waits counts once for
//! each user, however many of that user's queues hold it: the entries of all of them share one [`Share`]. Of messages
//! each entry is one, as each needs memory of its own: it has a [`Place`].

use super::account::Account;
use super::account::Amount;
use super::account::Charge;
use super::account::Place;
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
    messages: Arc<Account>,
}

impl Payer {
    /// Makes one with these budgets, of bytes and of messages.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub fn new(id: u32, budget: Arc<Account>, messages: Arc<Account>) -> Result<Arc<Self>, Error> {
        Ok(mem::new_arc(Payer {
            id,
            budget,
            messages,
        })?)
    }

    /// The user's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Bytes that may wait for the user, and how many do.
    pub fn budget(&self) -> &Arc<Account> {
        &self.budget
    }

    /// Messages that may wait for the user, and how many do.
    pub fn messages(&self) -> &Arc<Account> {
        &self.messages
    }

    /// What is left of both.
    pub fn left(&self) -> Amount {
        Amount {
            bytes: self.budget.left(),
            messages: self.messages.left(),
        }
    }

    /// Whether nothing is in use of either.
    pub fn is_clear(&self) -> bool {
        self.budget.used() == 0 && self.messages.used() == 0
    }

    /// Changes whenever something of either is given back.
    pub(super) fn version(&self) -> u64 {
        let (bytes, messages) = (self.budget.version(), self.messages.version());
        bytes.wrapping_add(messages)
    }

    /// Somebody waits for either from now on, as in [`Account::await_bytes`].
    pub fn await_budget(&self) {
        self.budget.await_bytes();
        self.messages.await_bytes();
    }

    /// There may be more of either than before.
    pub fn ring(&self) {
        self.budget.ring();
        self.messages.ring();
    }

    /// Whether something of either was given back that somebody waits for, as in [`Account::take_ring`].
    pub fn take_ring(&self) -> bool {
        let (bytes, messages) = (self.budget.take_ring(), self.messages.take_ring());
        bytes || messages
    }
}

/// The bytes of one message that one user pays for; they are given back with the last entry that has it.
pub type Share = Arc<Charge>;

/// What one entry holds of its payer's budget.
#[derive(Debug, Default)]
pub(super) struct Paid {
    /// The bytes of its payload, if it has any that somebody pays for.
    pub(super) share: Option<Share>,
    /// Itself.
    pub(super) place: Option<Place>,
}

/// What one user pays for a message.
#[derive(Clone)]
struct Item {
    payer: u32,
    /// What will be held for its reply.
    reply: Amount,
    /// Whether the user pays for the payload.
    pays: bool,
    /// Entries that the user will pay for.
    entries: u64,
    share: Option<Share>,
}

/// What the users pay for one message, while its recipients are found.
///
/// Nothing is taken from any budget before it is sure that the message can be sent: so who fails has
/// never had what others might have been refused meanwhile, and gives nothing back.
pub(super) struct Bill {
    /// Bytes that are to be paid for: none of a bind event.
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

    /// What one entry costs whoever pays for it.
    pub(super) fn price(&self) -> Amount {
        Amount {
            bytes: self.len as u64,
            messages: 1,
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
            reply: Amount::NONE,
            pays: false,
            entries: 0,
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

    /// So much will be held for a reply to this user.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn add_reply(&mut self, payer: &Payer, reply: Amount) -> Result<(), AllocError> {
        self.item(payer)?.reply = reply;
        Ok(())
    }

    /// This user has paid for the payload already.
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
    pub(super) fn left(&self, payer: &Payer) -> Amount {
        let reply = self.find(payer).map_or(Amount::NONE, |item| item.reply);
        payer.left().minus(reply)
    }

    /// Whether a user has what one more entry needs.
    pub(super) fn can_pay(&self, payer: &Payer) -> bool {
        let (pays, entries) = match self.find(payer) {
            Some(item) => (item.pays, item.entries),
            None => (false, 0),
        };
        let needed = Amount {
            bytes: if pays { 0 } else { self.len as u64 },
            messages: entries.saturating_add(1),
        };
        needed.fits(self.left(payer))
    }

    /// A user will pay for one more entry.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn add(&mut self, payer: &Payer) -> Result<(), AllocError> {
        let item = self.item(payer)?;
        item.pays = true;
        item.entries = item.entries.saturating_add(1);
        Ok(())
    }

    /// Takes what an entry needs from the budget of a user who will pay; `Err(None)` if others were faster.
    ///
    /// # Errors
    ///
    /// [`AllocError`] inside `Err`.
    pub(super) fn take(&mut self, payer: &Payer) -> Result<Paid, Option<AllocError>> {
        let place = Some(Place::new(&payer.messages).ok_or(None)?);
        let len = self.len;
        if len == 0 {
            return Ok(Paid { share: None, place });
        }
        let item = self.item(payer).map_err(Some)?;
        let share = match &item.share {
            Some(share) => share.clone(),
            None => {
                let charge = Charge::new(&payer.budget, len).ok_or(None)?;
                mem::new_arc(charge).map_err(Some)?
            }
        };
        item.share = Some(share.clone());
        Ok(Paid {
            share: Some(share),
            place,
        })
    }
}
