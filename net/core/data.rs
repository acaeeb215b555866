// SPDX-License-Identifier: GPL-2.0

//! Name and payload of a message, in as few pieces of memory as can be.
//!
//! What is short lies in the message itself. Only a long payload has memory of its own, which moves
//! from the sender to the message: it is never copied for that.

use super::mem;
use super::mem::AllocError;
use super::mem::Box;
use super::mem::Bytes;
use super::mem::Need;
use super::mem::Vec;

/// Bytes of name and payload for which there is room in a message itself.
///
/// So many that a message with them fills a piece of 256 bytes of the kernel's allocator.
pub const INLINE: usize = 96;

/// A payload on its way into a message.
pub enum Payload {
    /// At most [`INLINE`] bytes: so many of these.
    Short(usize, [u8; INLINE]),
    /// Any number.
    Long(Bytes),
}

impl Default for Payload {
    fn default() -> Self {
        Payload::Short(0, [0; INLINE])
    }
}

impl core::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Short(len, bytes) => bytes.get(..*len).unwrap_or(bytes),
            Payload::Long(bytes) => bytes,
        }
    }
}

impl Payload {
    /// Makes it a short one of so many bytes, to be filled in; `None` if that is too many.
    pub fn short(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > INLINE {
            return None;
        }
        *self = Payload::default();
        match self {
            Payload::Short(held, bytes) => {
                *held = len;
                bytes.get_mut(..len)
            }
            Payload::Long(_) => None,
        }
    }

    /// A copy of these bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn copy(bytes: &[u8], need: Need) -> Result<Self, AllocError> {
        let mut payload = Payload::default();
        match payload.short(bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => payload = Payload::Long(mem::try_copy_for(need, bytes)?),
        }
        Ok(payload)
    }
}

#[cfg(not(CONFIG_NET))]
impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Payload::default();
        match payload.short(bytes.len()) {
            Some(place) => place.copy_from_slice(&bytes),
            None => payload = Payload::Long(bytes),
        }
        payload
    }
}

/// Bytes of a name for which there is room in a [`KeptName`] itself.
const KEPT: usize = 46;

/// A name that is kept for long: a short one needs no memory of its own.
pub(super) struct KeptName {
    len: u16,
    short: [u8; KEPT],
    long: Option<Vec<u8>>,
}

impl KeptName {
    /// A copy of this name.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn new(name: &[u8]) -> Result<Self, AllocError> {
        let mut kept = KeptName {
            len: 0,
            short: [0; KEPT],
            long: None,
        };
        match kept.short.get_mut(..name.len()) {
            Some(place) => {
                place.copy_from_slice(name);
                kept.len = name.len() as u16;
            }
            None => kept.long = Some(mem::try_copy(name)?),
        }
        Ok(kept)
    }

    /// The name.
    pub(super) fn text(&self) -> &[u8] {
        match &self.long {
            Some(name) => name,
            None => self.short.get(..usize::from(self.len)).unwrap_or_default(),
        }
    }
}

/// What bridges between machines pass along; the bus does not read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// Network of the original sender.
    pub orig_net: u64,
    /// Peer that sent it there.
    pub orig_peer: u64,
    /// Network of the final target.
    pub final_net: u64,
    /// Peer that it is for there.
    pub final_peer: u64,
}

/// What few messages have.
struct Rare {
    /// A name that is too long to be inline.
    name: Option<Vec<u8>>,
    via: Option<Via>,
}

/// What is in a message.
///
/// # Invariants
///
/// `inline` begins with `name_len` bytes of the name, all of it unless it is in `rare`. There
/// follow `len` bytes of the payload, all of it unless that is in `long`.
pub(super) struct Data {
    name_len: u16,
    len: u16,
    inline: [u8; INLINE],
    long: Option<Bytes>,
    rare: Option<Box<Rare>>,
}

impl Data {
    /// Name and payload; one that is long is still to be taken ([`Data::take_long`]).
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn new(
        name: &[u8],
        via: Option<Via>,
        payload: &Payload,
        need: Need,
    ) -> Result<Self, AllocError> {
        let mut data = Data {
            name_len: 0,
            len: 0,
            inline: [0; INLINE],
            long: None,
            rare: None,
        };
        let fits = data.append(name);
        if fits {
            data.name_len = name.len() as u16;
        }
        if !fits || via.is_some() {
            let name = match fits {
                true => None,
                false => Some(mem::try_copy_for(need, name)?),
            };
            data.rare = Some(mem::new_box_for(need, Rare { name, via })?);
        }
        if let Payload::Short(..) = payload {
            if data.append(payload) {
                data.len = payload.len() as u16;
            } else {
                data.long = Some(mem::try_copy_for(need, payload)?);
            }
        }
        Ok(data)
    }

    /// Puts bytes behind the name, if there is room for them.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let from = usize::from(self.name_len);
        let place = self.inline.get_mut(from..from.saturating_add(bytes.len()));
        place.map(|place| place.copy_from_slice(bytes)).is_some()
    }

    /// Takes a long payload.
    pub(super) fn take_long(&mut self, payload: &mut Payload) {
        if let Payload::Long(bytes) = payload {
            self.long = Some(core::mem::take(bytes));
        }
    }

    /// Gives the payload back, of a message that is not sent after all.
    pub(super) fn take_payload(&mut self) -> Payload {
        if let Some(bytes) = self.long.take() {
            return Payload::Long(bytes);
        }
        let mut payload = Payload::default();
        if let Some(place) = payload.short(usize::from(self.len)) {
            place.copy_from_slice(self.payload());
        }
        payload
    }

    /// The name.
    pub(super) fn name(&self) -> &[u8] {
        let long = self.rare.as_ref().and_then(|rare| rare.name.as_ref());
        match long {
            Some(name) => name,
            None => {
                let name = self.inline.get(..usize::from(self.name_len));
                name.unwrap_or_default()
            }
        }
    }

    /// The payload.
    pub(super) fn payload(&self) -> &[u8] {
        if let Some(bytes) = &self.long {
            return bytes;
        }
        let from = usize::from(self.name_len);
        let payload = self
            .inline
            .get(from..from.saturating_add(usize::from(self.len)));
        payload.unwrap_or_default()
    }

    /// What a bridge says about it.
    pub(super) fn via(&self) -> Option<Via> {
        self.rare.as_ref().and_then(|rare| rare.via)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const VIA: Via = Via {
        orig_net: 1,
        orig_peer: 2,
        final_net: 3,
        final_peer: 4,
    };

    /// Wherever they are kept, name and payload are what they were, and the payload comes back.
    #[test]
    fn all_lengths_are_kept() {
        for name_len in [3, 11, INLINE - 1, INLINE, INLINE + 1, 1000] {
            for len in [
                0,
                1,
                64,
                INLINE - name_len.min(INLINE),
                INLINE,
                INLINE + 1,
                5000,
            ] {
                for via in [None, Some(VIA)] {
                    let (name, bytes) = (vec![b'n'; name_len], vec![b'p'; len]);
                    let mut payload = Payload::from(bytes.clone());
                    let mut data = Data::new(&name, via, &payload, Need::Wanted).unwrap();
                    data.take_long(&mut payload);
                    assert_eq!(data.name(), name);
                    assert_eq!(data.payload(), bytes, "{name_len} and {len}");
                    assert_eq!(data.via(), via);
                    assert_eq!(*data.take_payload(), *bytes);
                }
            }
        }
    }

    /// A name that is kept is the one that it was, and a short one needs no memory of its own.
    #[test]
    fn names_are_kept() {
        for (len, pieces) in [(3, 0), (KEPT, 0), (KEPT + 1, 1), (1000, 1)] {
            let name = vec![b'n'; len];
            let before = mem::allocations();
            let kept = KeptName::new(&name).unwrap();
            assert_eq!(mem::allocations() - before, pieces, "{len}");
            assert_eq!(kept.text(), name);
        }
    }

    /// What is short needs no memory of its own.
    #[test]
    fn short_ones_allocate_nothing() {
        let pieces = |name_len, len, via| {
            let mut payload = Payload::from(vec![0; len]);
            let before = mem::allocations();
            let mut data = Data::new(&vec![b'n'; name_len], via, &payload, Need::Wanted).unwrap();
            data.take_long(&mut payload);
            mem::allocations() - before
        };
        assert_eq!(pieces(INLINE - 64, 64, None), 0);
        assert_eq!(pieces(INLINE - 64, 65, None), 1);
        assert_eq!(pieces(11, 5000, None), 0);
        assert_eq!(pieces(INLINE + 1, INLINE, None), 2);
        assert_eq!(pieces(11, 64, Some(VIA)), 1);
    }
}
