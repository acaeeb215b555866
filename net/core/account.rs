// SPDX-License-Identifier: GPL-2.0

//! How much of a limit is in use, and by whom.
//!
//! Everything that is limited is counted in one way: there is an [`Account`] of it, and whoever
//! takes some holds a [`Charge`] or a [`One`], which give it back when they are dropped. Accounts
//! are atomics: a message gives its bytes back where its last reader drops it, under no lock.

use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Counter;
use super::mem::Flag;

/// The most there may be.
#[derive(Debug)]
enum Max {
    /// This account's own.
    Own(Counter),
    /// A limit of the machine, which may be changed at any time.
    Machine(&'static Counter),
    /// None.
    Unlimited,
}

/// A number of bytes, messages or objects in use, and the most there may be.
#[derive(Debug)]
pub struct Account {
    used: Counter,
    max: Max,
    /// The account of which this one is a part.
    whole: Option<Arc<Account>>,
    /// Somebody waits for some to be given back.
    awaited: Flag,
    /// Set when some is given back that somebody waits for.
    bell: Option<&'static Flag>,
    /// Some was given back since it was last asked.
    rung: Flag,
    /// Changes whenever some is given back, but for what is cancelled, if there is a bell.
    version: Counter,
}

impl Account {
    /// Makes an account with a limit of its own.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn new(max: u64) -> Result<Arc<Self>, AllocError> {
        Self::make(Max::Own(Counter::new(max)), None, None)
    }

    /// Makes an account with a limit of the machine. If there is a `bell`, it is set when something
    /// is given back that somebody waits for.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn of_machine(
        max: &'static Counter,
        bell: Option<&'static Flag>,
    ) -> Result<Arc<Self>, AllocError> {
        Self::make(Max::Machine(max), None, bell)
    }

    /// Makes an account that only counts.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn unlimited() -> Result<Arc<Self>, AllocError> {
        Self::make(Max::Unlimited, None, None)
    }

    /// Makes an account that is a part of another: what it holds the other holds, too. Its limit is
    /// `max`, or that of the other.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn part_of(
        whole: &Arc<Account>,
        max: Option<&'static Counter>,
    ) -> Result<Arc<Self>, AllocError> {
        let max = max.map_or(Max::Unlimited, Max::Machine);
        Self::make(max, Some(whole.clone()), None)
    }

    fn make(
        max: Max,
        whole: Option<Arc<Account>>,
        bell: Option<&'static Flag>,
    ) -> Result<Arc<Self>, AllocError> {
        mem::new_arc(Account {
            used: Counter::new(0),
            max,
            whole,
            awaited: Flag::new(false),
            bell,
            rung: Flag::new(false),
            version: Counter::new(0),
        })
    }

    /// How much is in use.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// The most there may be.
    pub fn max(&self) -> u64 {
        match &self.max {
            Max::Own(max) => max.get(),
            Max::Machine(max) => max.get(),
            Max::Unlimited => u64::MAX,
        }
    }

    /// How much is left.
    pub fn left(&self) -> u64 {
        self.max().saturating_sub(self.used())
    }

    /// Sets the limit; what is in use stays. A limit of the machine is not changed here.
    pub fn set_max(&self, max: u64) {
        if let Max::Own(own) = &self.max {
            own.set(max);
        }
    }

    /// Takes some, of the whole too, which is itself no part of another.
    #[inline(always)]
    fn take(&self, amount: u64) -> bool {
        if amount == 0 {
            return true;
        }
        let taken = self.take_own(amount);
        if let (true, Some(whole)) = (taken, &self.whole) {
            if !whole.take_own(amount) {
                self.put(amount);
                return false;
            }
        }
        taken
    }

    #[inline]
    fn take_own(&self, amount: u64) -> bool {
        let mut used = self.used();
        loop {
            let max = self.max();
            let Some(sum) = used.checked_add(amount).filter(|sum| *sum <= max) else {
                return false;
            };
            match self.used.replace(used, sum) {
                Ok(_) => return true,
                Err(now) => used = now,
            }
        }
    }

    /// Takes some beyond the limit, if need be.
    fn force(&self, amount: u64) {
        self.used.add(amount);
        if let Some(whole) = &self.whole {
            whole.force(amount);
        }
    }

    fn put(&self, amount: u64) {
        // Wraps: what is given back has been taken.
        self.used.add(amount.wrapping_neg());
    }

    /// The same, of the whole too. Nobody is told.
    fn put_all(&self, amount: u64) {
        self.put(amount);
        if let Some(whole) = &self.whole {
            whole.put(amount);
        }
    }

    #[inline]
    fn give(&self, amount: u64) {
        if amount == 0 {
            return;
        }
        self.put(amount);
        self.ring();
        if let Some(whole) = &self.whole {
            whole.put(amount);
            whole.ring();
        }
    }

    /// Somebody waits for some of it from now on.
    ///
    /// Whoever looks after this and finds too little is sure that the bell is set when some is
    /// given back.
    pub fn begin_waiting(&self) {
        self.awaited.swap(true);
    }

    /// Changes whenever some is given back, or the limit is another one, of an account with a bell.
    ///
    /// Who reads it, then finds too little, and after [`Account::begin_waiting`] reads it again has
    /// missed nothing if it is the same.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// Some has been given back, or the limit is another one: whoever waits is to be told.
    ///
    /// Nobody waits for what has no bell.
    #[inline]
    pub fn ring(&self) {
        if let Some(bell) = self.bell {
            self.version.add(1);
            if self.awaited.get() {
                self.rung.swap(true);
                bell.swap(true);
            }
        }
    }

    /// Whether some was given back that somebody waits for. Nobody is told of more after that,
    /// until [`Account::begin_waiting`].
    pub fn take_ring(&self) -> bool {
        let rung = self.rung.get() && self.rung.swap(false);
        if rung {
            self.awaited.swap(false);
        }
        rung
    }
}

/// A part of an [`Account`] that is in use; dropping it gives it back.
///
/// # Invariants
///
/// `amount` of the account's use are this charge's.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    amount: u64,
}

impl Charge {
    /// Nothing.
    pub fn none(account: &Arc<Account>) -> Self {
        Charge {
            account: account.clone(),
            amount: 0,
        }
    }

    /// Takes so much, or `None` when there is not so much left.
    pub fn new(account: &Arc<Account>, amount: u64) -> Option<Self> {
        account.take(amount).then(|| Charge {
            account: account.clone(),
            amount,
        })
    }

    /// Takes so much, beyond the limit if need be.
    pub fn forced(account: &Arc<Account>, amount: u64) -> Self {
        account.force(amount);
        Charge {
            account: account.clone(),
            amount,
        }
    }

    /// Another charge of the same account, of nothing.
    pub fn nothing(&self) -> Self {
        Charge::none(&self.account)
    }

    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes so much more; false, and no change, when there is not so much left.
    pub fn grow(&mut self, more: u64) -> bool {
        let taken = self.account.take(more);
        if taken {
            self.amount = self.amount.saturating_add(more);
        }
        taken
    }

    /// Takes what is lacking to so much, beyond the limit if need be.
    pub fn force_to(&mut self, amount: u64) {
        let more = amount.saturating_sub(self.amount);
        self.account.force(more);
        self.amount = self.amount.saturating_add(more);
    }

    /// Gives all but so much back.
    pub fn shrink_to(&mut self, amount: u64) {
        let less = self.amount.saturating_sub(amount);
        self.amount = self.amount.saturating_sub(less);
        self.account.give(less);
    }

    /// Makes a charge of its own of up to so much of this one.
    pub fn split(&mut self, amount: u64) -> Charge {
        let amount = amount.min(self.amount);
        self.amount = self.amount.saturating_sub(amount);
        Charge {
            account: self.account.clone(),
            amount,
        }
    }

    /// Makes one of this charge, if there is some of it.
    #[inline]
    pub fn take_one(&mut self) -> Option<One> {
        self.amount = self.amount.checked_sub(1)?;
        Some(One(Some(self.account.clone())))
    }

    /// Takes over another charge of the same account.
    pub fn merge(&mut self, mut other: Charge) {
        let amount = core::mem::take(&mut other.amount);
        self.amount = self.amount.saturating_add(amount);
    }

    /// Gives all back without telling those who wait for it.
    ///
    /// For what was taken by a send that fails: if two sends that wait for the same user told each
    /// other of what they only tried to take, they would wake each other for ever.
    pub fn cancel(mut self) {
        let amount = core::mem::take(&mut self.amount);
        self.account.put_all(amount);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give(self.amount);
    }
}

/// One of an [`Account`] that is in use, as of messages, or nothing; dropping it gives it back.
///
/// Half as large as a [`Charge`], as each entry of a queue has one.
#[derive(Debug)]
pub struct One(Option<Arc<Account>>);

impl One {
    /// Nothing.
    pub const NONE: One = One(None);

    /// Takes one, or `None` when there is none left.
    #[inline(always)]
    pub fn new(account: &Arc<Account>) -> Option<Self> {
        account.take(1).then(|| One(Some(account.clone())))
    }

    /// Takes it out; what is left is nothing.
    pub fn take(&mut self) -> One {
        One(self.0.take())
    }

    /// As [`Charge::cancel`].
    pub fn cancel(mut self) {
        if let Some(account) = self.0.take() {
            account.put_all(1);
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            account.give(1);
        }
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
        let mut a = Charge::new(&account, 6).unwrap();
        assert!(Charge::new(&account, 5).is_none());
        assert!(a.grow(4));
        assert!(!a.grow(1));
        let b = a.split(3);
        assert_eq!((a.amount(), b.amount(), account.used()), (7, 3, 10));
        assert_eq!(a.split(100).amount(), 7);
        assert_eq!(account.used(), 3);
        drop(a);
        b.cancel();
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn a_part_is_held_of_the_whole_too() {
        let whole = Account::new(10).unwrap();
        let part = || Account::part_of(&whole, None).unwrap();
        let (one, other) = (part(), part());
        let a = Charge::new(&one, 6).unwrap();
        assert!(Charge::new(&other, 5).is_none());
        assert_eq!((one.used(), other.used(), whole.used()), (6, 0, 6));
        let b = Charge::new(&other, 4).unwrap();
        assert_eq!(whole.left(), 0);
        drop(a);
        assert_eq!((one.used(), other.used(), whole.used()), (0, 4, 4));
        b.cancel();
        assert_eq!(whole.left(), 10);
        let c = Charge::forced(&one, 12);
        assert_eq!((one.used(), whole.used(), whole.left()), (12, 12, 0));
        drop(c);
    }

    #[test]
    fn the_bell_rings_when_something_comes_back_that_is_waited_for() {
        static MAX: Counter = Counter::new(10);
        static BELL: Flag = Flag::new(false);
        let account = Account::of_machine(&MAX, Some(&BELL)).unwrap();
        let mut charge = Charge::new(&account, 10).unwrap();
        charge.shrink_to(9);
        assert!(!BELL.get());
        account.begin_waiting();
        charge.split(1).cancel();
        assert!(!BELL.get());
        charge.shrink_to(7);
        assert!(BELL.swap(false));
        assert!(account.take_ring() && !account.take_ring());
        drop(charge);
        assert!(!BELL.get());
        MAX.set(3);
        assert!(Charge::new(&account, 4).is_none());
        account.begin_waiting();
        MAX.set(4);
        account.ring();
        assert!(BELL.swap(false) && account.take_ring());
    }

    #[test]
    fn one_is_given_back_once() {
        static MAX: Counter = Counter::new(2);
        static BELL: Flag = Flag::new(false);
        let account = Account::of_machine(&MAX, Some(&BELL)).unwrap();
        let (a, mut b) = (One::new(&account).unwrap(), One::new(&account).unwrap());
        assert!(One::new(&account).is_none());
        let version = account.version();
        a.cancel();
        assert_eq!((account.used(), account.version()), (1, version));
        let c = b.take();
        drop(b);
        assert_eq!(account.used(), 1);
        drop(c);
        assert_eq!(account.used(), 0);
        assert_ne!(account.version(), version);
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
        let mut charge = Charge::new(&account, 6).unwrap();
        account.set_max(5);
        assert_eq!((account.max(), account.used()), (5, 6));
        assert!(!charge.grow(1));
        assert!(charge.grow(0));
        account.set_max(7);
        assert!(charge.grow(1));
    }
}
