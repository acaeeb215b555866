// SPDX-License-Identifier: GPL-2.0

//! Bytes that may be alive, and who holds how many of them.

use super::error::Error;
use super::mem;
use super::mem::Arc;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A number of bytes in use and the most there may be.
///
/// Only atomics: a message gives its bytes back when its last reader drops it, under no lock.
#[derive(Debug)]
pub struct Account {
    used: AtomicU64,
    max: AtomicU64,
}

impl Account {
    /// Makes an account of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub fn new(max: u64) -> Result<Arc<Self>, Error> {
        Ok(mem::new_arc(Account {
            used: AtomicU64::new(0),
            max: AtomicU64::new(max),
        })?)
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most there may be.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// Sets the most there may be; what is in use stays.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Relaxed);
    }

    fn take(&self, bytes: u64) -> bool {
        let max = self.max();
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        bytes == 0 || self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn give(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Relaxed, Relaxed, less);
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
}
