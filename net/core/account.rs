// SPDX-License-Identifier: GPL-2.0

//! Bytes or messages that may be alive, and who holds how many of them.
//!
//! A bus has one account of bytes, and below it one for each of its users; a user has one of bytes and one of messages
//! for the whole machine.

use super::error::Error;
use super::mem;
use super::mem::Arc;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;

/// The most there may be.
#[derive(Debug)]
enum Max {
    /// This account's own.
    Own(AtomicU64),
    /// A limit of the machine, which may be changed at any time.
    Shared(&'static AtomicU64),
}

/// A number of bytes, or of messages, in use and the most there may be.
///
/// Only atomics: a message gives its bytes back when its last reader drops it, under no lock.
#[derive(Debug)]
pub struct Account {
    used: AtomicU64,
    max: Max,
    /// The account of which this one is a part.
    whole: Option<Arc<Account>>,
    /// Changes whenever bytes are given back or there may be more of them.
    version: AtomicU64,
    /// Somebody waits for bytes.
    waited: AtomicBool,
    /// Some were given back since.
    rung: AtomicBool,
    /// Set when bytes that somebody waits for are given back.
    bell: Option<&'static AtomicBool>,
}

impl Account {
    /// Makes an account of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub fn new(max: u64) -> Result<Arc<Self>, Error> {
        Self::make(Max::Own(AtomicU64::new(max)), None, None)
    }

    /// Makes one of at most `max` bytes, which sets `bell` when bytes are given back that somebody
    /// waits for.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub fn of_machine(
        max: &'static AtomicU64,
        bell: &'static AtomicBool,
    ) -> Result<Arc<Self>, Error> {
        Self::make(Max::Shared(max), None, Some(bell))
    }

    /// Makes one that is a part of another: what it holds the other holds too.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub(super) fn part_of(whole: &Arc<Account>) -> Result<Arc<Self>, Error> {
        let max = Max::Own(AtomicU64::new(u64::MAX));
        Self::make(max, Some(whole.clone()), None)
    }

    fn make(
        max: Max,
        whole: Option<Arc<Account>>,
        bell: Option<&'static AtomicBool>,
    ) -> Result<Arc<Self>, Error> {
        Ok(mem::new_arc(Account {
            used: AtomicU64::new(0),
            max,
            whole,
            version: AtomicU64::new(0),
            waited: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            bell,
        })?)
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most there may be.
    pub fn max(&self) -> u64 {
        match &self.max {
            Max::Own(max) => max.load(Relaxed),
            Max::Shared(max) => max.load(Relaxed),
        }
    }

    /// Bytes that are not in use.
    pub fn left(&self) -> u64 {
        self.max().saturating_sub(self.used())
    }

    /// Sets the most there may be; what is in use stays. A limit of the machine is not changed here.
    pub fn set_max(&self, bytes: u64) {
        if let Max::Own(max) = &self.max {
            max.store(bytes, Relaxed);
        }
    }

    /// Changes whenever bytes are given back or there may be more of them.
    pub(super) fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Somebody waits for bytes from now on.
    ///
    /// Who then sees the same [`Account::version`] as when there were too few is sure to be told.
    pub fn await_bytes(&self) {
        self.waited.store(true, SeqCst);
    }

    /// Whether bytes were given back that somebody waits for; nobody is told of more of them after that.
    pub fn take_ring(&self) -> bool {
        let rung = self.rung.swap(false, SeqCst);
        if rung {
            self.waited.store(false, SeqCst);
        }
        rung
    }

    fn take(&self, bytes: u64) -> bool {
        let max = self.max();
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        if bytes == 0 {
            return true;
        }
        if self.used.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return false;
        }
        let taken = self.whole.as_ref().is_none_or(|whole| whole.take(bytes));
        if !taken {
            self.give_part(bytes);
        }
        taken
    }

    fn give(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.give_part(bytes);
        if let Some(whole) = &self.whole {
            whole.give_part(bytes);
        }
    }

    fn give_part(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Relaxed, Relaxed, less);
        self.ring();
    }

    /// Bytes have been given back, or there may be more of them: who waits for some is to be told.
    pub fn ring(&self) {
        if let Some(bell) = self.bell {
            self.version.fetch_add(1, SeqCst);
            if self.waited.load(SeqCst) {
                self.rung.store(true, SeqCst);
                bell.store(true, SeqCst);
            }
        }
    }
}

/// Bytes held in an [`Account`]; dropping it gives them back.
///
/// # Invariants
///
/// `bytes` of the account's use are this charge's.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    bytes: AtomicU64,
}

impl Charge {
    /// A charge of nothing.
    pub fn none(account: &Arc<Account>) -> Self {
        Charge {
            account: account.clone(),
            bytes: AtomicU64::new(0),
        }
    }

    /// Another charge of the same account, of nothing.
    pub fn nothing(&self) -> Self {
        Charge::none(&self.account)
    }

    /// Holds `bytes` of the account, or `None` when there are not so many left.
    pub fn new(account: &Arc<Account>, bytes: usize) -> Option<Self> {
        let charge = Charge::none(account);
        charge.grow(bytes).then_some(charge)
    }

    /// How much is held.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Holds `more` bytes; false, and no change, when there are not so many left.
    pub fn grow(&self, more: usize) -> bool {
        let more = more as u64;
        let taken = self.account.take(more);
        if taken {
            self.bytes.fetch_add(more, Relaxed);
        }
        taken
    }

    /// Gives `less` bytes back.
    pub fn shrink(&self, less: usize) {
        let less = self.part(less);
        self.account.give(less);
    }

    /// Takes over up to `bytes` of what another charge of the same account holds.
    pub fn move_from(&self, other: &Charge, bytes: usize) {
        let moved = other.part(bytes);
        self.bytes.fetch_add(moved, Relaxed);
    }

    /// Takes up to `bytes` out of this charge and leaves them to the caller.
    fn part(&self, bytes: usize) -> u64 {
        let held = self.bytes();
        let part = held.min(bytes as u64);
        self.bytes.store(held.saturating_sub(part), Relaxed);
        part
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give(self.bytes());
    }
}

/// One message of an [`Account`] of messages; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    account: Arc<Account>,
}

impl Place {
    /// Takes one, or `None` when there is none left.
    pub fn new(account: &Arc<Account>) -> Option<Self> {
        account.take(1).then(|| Place {
            account: account.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.account.give(1);
    }
}

/// Payload and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes of payload.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
}

impl Amount {
    /// Nothing.
    pub const NONE: Amount = Amount {
        bytes: 0,
        messages: 0,
    };

    /// This and another one.
    pub fn plus(self, other: Amount) -> Self {
        Amount {
            bytes: self.bytes.saturating_add(other.bytes),
            messages: self.messages.saturating_add(other.messages),
        }
    }

    /// What is left without another one.
    pub fn minus(self, other: Amount) -> Self {
        Amount {
            bytes: self.bytes.saturating_sub(other.bytes),
            messages: self.messages.saturating_sub(other.messages),
        }
    }

    /// Whether neither of both is more than in another one.
    pub fn fits(self, other: Amount) -> bool {
        self.bytes <= other.bytes && self.messages <= other.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_given_back() {
        let account = Account::new(10).unwrap();
        let a = Charge::new(&account, 6).unwrap();
        assert!(Charge::new(&account, 5).is_none());
        assert!(a.grow(4));
        assert!(!a.grow(1));
        let b = Charge::none(&account);
        b.move_from(&a, 3);
        assert_eq!((a.bytes(), b.bytes(), account.used()), (7, 3, 10));
        drop(a);
        assert_eq!(account.used(), 3);
        b.shrink(1);
        assert_eq!(account.used(), 2);
        drop(b);
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn a_part_is_held_of_the_whole_too() {
        let whole = Account::new(10).unwrap();
        let (one, other) = (
            Account::part_of(&whole).unwrap(),
            Account::part_of(&whole).unwrap(),
        );
        let a = Charge::new(&one, 6).unwrap();
        assert!(Charge::new(&other, 5).is_none());
        assert_eq!((one.used(), other.used(), whole.used()), (6, 0, 6));
        let b = Charge::new(&other, 4).unwrap();
        assert_eq!(whole.left(), 0);
        drop(a);
        assert_eq!((one.used(), other.used(), whole.used()), (0, 4, 4));
        drop(b);
        assert_eq!(whole.left(), 10);
    }

    #[test]
    fn the_bell_rings_when_bytes_come_back_that_are_waited_for() {
        static MAX: AtomicU64 = AtomicU64::new(10);
        static BELL: AtomicBool = AtomicBool::new(false);
        let account = Account::of_machine(&MAX, &BELL).unwrap();
        let charge = Charge::new(&account, 10).unwrap();
        let before = account.version();
        charge.shrink(1);
        assert!(!BELL.load(SeqCst));
        assert_ne!(account.version(), before);
        account.await_bytes();
        charge.shrink(1);
        assert!(BELL.swap(false, SeqCst));
        assert!(account.take_ring() && !account.take_ring());
        drop(charge);
        assert!(!BELL.load(SeqCst));
        MAX.store(3, Relaxed);
        assert!(Charge::new(&account, 4).is_none());
        let before = account.version();
        account.await_bytes();
        MAX.store(4, Relaxed);
        account.ring();
        assert_ne!(account.version(), before);
        assert!(BELL.swap(false, SeqCst) && account.take_ring());
    }

    #[test]
    fn a_place_is_given_back() {
        let account = Account::new(2).unwrap();
        let (a, b) = (Place::new(&account), Place::new(&account));
        assert!(a.is_some() && b.is_some() && Place::new(&account).is_none());
        drop(a);
        assert_eq!(account.used(), 1);
        assert!(Place::new(&account).is_some());
    }

    #[test]
    fn an_amount_fits_where_both_parts_do() {
        let of = |bytes, messages| Amount { bytes, messages };
        assert!(of(2, 3).fits(of(2, 3)));
        assert!(!of(3, 3).fits(of(2, 4)) && !of(2, 4).fits(of(3, 3)));
        assert_eq!(of(2, 3).plus(of(1, 1)), of(3, 4));
        assert_eq!(of(2, 3).minus(of(1, 4)), of(1, 0));
    }

    /// The most there may be can be changed at any time, also to less than there is.
    #[test]
    fn a_lower_maximum_keeps_what_is_in_use() {
        let account = Account::new(10).unwrap();
        let charge = Charge::new(&account, 6).unwrap();
        account.set_max(5);
        assert_eq!((account.max(), account.used()), (5, 6));
        assert!(!charge.grow(1));
        assert!(charge.grow(0));
        account.set_max(7);
        assert!(charge.grow(1));
    }
}
