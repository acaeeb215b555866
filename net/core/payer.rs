// SPDX-License-Identifier: GPL-2.0

//! A user as the one who pays for what waits.

use super::account::Account;
use super::account::Amount;
use super::limits::Limits;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Flag;

/// A user, who has one budget for the whole machine.
#[derive(Debug)]
pub struct Payer {
    id: u64,
    /// Payload that waits. It counts once for each copy that is made of it, however many queues of
    /// the user share that.
    pub bytes: Arc<Account>,
    /// Messages that wait.
    pub messages: Arc<Account>,
    /// Buses that count for the user.
    pub buses: Arc<Account>,
    /// Sockets.
    pub sockets: Arc<Account>,
    /// Descriptors in flight.
    pub files: Arc<Account>,
}

impl Payer {
    /// Makes one with nothing in use.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn new(
        id: u64,
        limits: &'static Limits,
        bell: &'static Flag,
    ) -> Result<Arc<Self>, AllocError> {
        mem::new_arc(Payer {
            id,
            bytes: Account::of_machine(&limits.user_bytes, Some(bell))?,
            messages: Account::of_machine(&limits.user_messages, Some(bell))?,
            buses: Account::of_machine(&limits.user_buses, None)?,
            sockets: Account::unlimited()?,
            files: Account::unlimited()?,
        })
    }

    /// The user's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is left of payload and messages.
    pub fn left(&self) -> Amount {
        Amount {
            bytes: self.bytes.left(),
            messages: self.messages.left(),
        }
    }

    /// Whether nothing is in use.
    pub fn is_clear(&self) -> bool {
        let all = [
            &self.bytes,
            &self.messages,
            &self.buses,
            &self.sockets,
            &self.files,
        ];
        all.iter().all(|account| account.used() == 0)
    }

    /// Somebody waits for payload or messages from now on, as in [`Account::begin_waiting`].
    pub fn begin_waiting(&self) {
        self.bytes.begin_waiting();
        self.messages.begin_waiting();
    }

    /// Changes whenever some of either is given back, as in [`Account::version`].
    pub fn version(&self) -> u64 {
        let (bytes, messages) = (self.bytes.version(), self.messages.version());
        bytes.wrapping_add(messages)
    }

    /// There may be more of either than before.
    pub fn ring(&self) {
        self.bytes.ring();
        self.messages.ring();
    }

    /// Whether something of either was given back that somebody waits for.
    pub fn take_ring(&self) -> bool {
        let (bytes, messages) = (self.bytes.take_ring(), self.messages.take_ring());
        bytes || messages
    }
}
