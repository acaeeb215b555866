// SPDX-License-Identifier: GPL-2.0

//! What a message asks of a queue, and whose the queue's room is.

use super::account::Amount;
use super::mem::Box;
use super::tree::Node;
use super::tree::Tree;

/// A queue of at least so many messages keeps a part of its slots for users who have none in it.
pub(super) const SHARED_QUEUE: u32 = 16;
/// That part is one of so many.
const KEPT: u32 = 8;

/// A stranger's place in the count of a queue.
pub(super) type Seat = Box<Node<u32>>;

/// A message that asks for room.
pub(super) struct Ask {
    pub(super) len: usize,
    /// The sender, if it is neither the queue's own user nor the owner of the bus.
    pub(super) stranger: Option<u32>,
    /// What the queue's own user pays for it.
    pub(super) own: Amount,
    /// What is left of that user's budget.
    pub(super) left: Amount,
}

/// What a queue says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// There is room, and it is the message's; `counted`: the stranger is.
    Room {
        /// Whether the sender has been counted as a stranger.
        counted: bool,
    },
    /// A seat is needed first.
    NoSeat,
    /// There is none.
    Full,
    /// The socket holds more than its user has left.
    Broke,
}

/// What a queue holds of the budget of its own user.
#[derive(Default)]
pub(super) struct Own {
    /// For what waits.
    pub(super) waiting: Amount,
    /// For what is on its way.
    pub(super) claimed: Amount,
    /// For replies to come.
    pub(super) reserved: Amount,
}

impl Own {
    /// Nothing.
    pub(super) const NONE: Own = Own {
        waiting: Amount::NONE,
        claimed: Amount::NONE,
        reserved: Amount::NONE,
    };

    /// All of it.
    pub(super) fn held(&self) -> Amount {
        self.waiting.plus(self.claimed).plus(self.reserved)
    }
}

/// How many messages each stranger has in a queue, those on their way among them.
pub(super) struct Strangers(Tree<u32>);

impl Strangers {
    /// None.
    pub(super) const NONE: Strangers = Strangers(Tree::new());

    /// Counts one more message of a stranger in a queue of so many slots, of which so many are `held`.
    ///
    /// Who has none there yet needs a `seat`, which is only taken when there is room.
    pub(super) fn sit(
        &mut self,
        user: u32,
        (held, limit): (u32, u32),
        seat: &mut Option<Seat>,
    ) -> Claim {
        let user = u64::from(user);
        let kept = held >= limit.saturating_sub(limit / KEPT);
        if let Some(has) = self.0.get_mut(user) {
            if kept {
                return Claim::Full;
            }
            *has = has.saturating_add(1);
        } else {
            let Some(mut seat) = seat.take() else {
                return Claim::NoSeat;
            };
            seat.value = 1;
            self.0.insert(seat, user);
        }
        Claim::Room { counted: true }
    }

    /// A message of a stranger has gone.
    pub(super) fn stand_up(&mut self, stranger: Option<u32>) {
        let Some(user) = stranger.map(u64::from) else {
            return;
        };
        let left = self.0.get_mut(user).map(|has| {
            *has = has.saturating_sub(1);
            *has
        });
        if left == Some(0) {
            drop(self.0.remove(user));
        }
    }
}
