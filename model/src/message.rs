// SPDX-License-Identifier: GPL-2.0

//! What queues hold, and what readers see of it.

/// Bits of a message's flags.
#[allow(missing_docs)] // They are those of the interface.
pub mod flags {
    pub const REQUEST: u32 = 1;
    pub const URGENT: u32 = 1 << 1;
    pub const ALL_OR_FAIL: u32 = 1 << 2;
    pub const ALL_OR_WAIT: u32 = 1 << 3;
    pub const YOU_REPLY: u32 = 1 << 4;
    pub const REPLY: u32 = 1 << 5;
    pub const STATUS: u32 = 1 << 6;
}

/// What a reader sees. Sockets are named by their keys, and ids are counted from the start of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Fields of `struct kbus_info`.
pub struct Msg {
    pub id: u64,
    pub name: String,
    pub flags: u32,
    pub sender: u64,
    pub to: u64,
    pub in_reply_to: u64,
    pub cookie: u64,
    pub len: usize,
    pub lost: u32,
    pub error: i32,
    /// Of a bind event: who, whether it binds, and the name.
    pub event: Option<(u64, bool, String)>,
}

/// A request that waits for its reply.
#[derive(Clone, Debug)]
pub struct Debt {
    /// Slot of the requester, and its key then.
    pub requester: (usize, u64),
    /// The request's id.
    pub id: u64,
    /// Key of who was asked.
    pub replier: u64,
    /// The request's name.
    pub name: String,
    /// The requester's user.
    pub user: u32,
    /// Bytes held for the reply.
    pub reserved: usize,
    /// The request's cookie.
    pub cookie: u64,
}

/// Where the room of a queued copy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made for it.
    Made,
    /// Beyond the limit, as the event of a socket that died.
    Unbind,
    /// What each listener keeps for the news that such events were lost.
    Notice,
}

/// Messages missed at a place of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gap {
    /// How many.
    pub count: u32,
    /// Id of the last.
    pub last: u64,
}

impl Gap {
    /// Adds those of another place.
    pub fn add(&mut self, other: Gap) {
        self.count += other.count;
        self.last = self.last.max(other.last);
    }
}

/// One copy of a message in a queue.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What its reader will see, but for `lost` and `YOU_REPLY`.
    pub msg: Msg,
    /// What was missed before it.
    pub gap: Gap,
    /// The listener bindings that let it in and are still there.
    pub listens: Vec<u64>,
    /// The replier binding that let it in.
    pub replier: Option<u64>,
    /// What is owed once it is read.
    pub debt: Option<Debt>,
    /// Where its memory came from.
    pub origin: Origin,
    /// Which user's part of the bus's bytes its payload is.
    pub charged: Option<u32>,
    /// Whose budget of bytes its payload is of.
    pub payer: Option<u32>,
    /// Whose budget of messages it is of.
    pub counted: Option<u32>,
    /// Who sent it, where that user may not fill the queue.
    pub stranger: Option<u32>,
}

impl Copy {
    /// A copy that no binding let in.
    pub fn own(msg: Msg) -> Self {
        Copy {
            msg,
            gap: Gap::default(),
            listens: vec![],
            replier: None,
            debt: None,
            origin: Origin::Made,
            charged: None,
            payer: None,
            counted: None,
            stranger: None,
        }
    }

    /// Whether it goes to the front.
    pub fn is_urgent(&self) -> bool {
        self.msg.flags & flags::URGENT != 0
    }
}
