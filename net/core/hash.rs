// SPDX-License-Identifier: GPL-2.0

//! A keyed hash of names: whoever chooses names cannot choose which of them meet in a table.

/// The secret of a bus.
#[derive(Clone, Copy, Debug)]
pub struct Key(pub u64, pub u64);

/// The state of SipHash.
struct State {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl State {
    fn round(&mut self) {
        self.a = self.a.wrapping_add(self.b);
        self.b = self.b.rotate_left(13) ^ self.a;
        self.a = self.a.rotate_left(32);
        self.c = self.c.wrapping_add(self.d);
        self.d = self.d.rotate_left(16) ^ self.c;
        self.a = self.a.wrapping_add(self.d);
        self.d = self.d.rotate_left(21) ^ self.a;
        self.c = self.c.wrapping_add(self.b);
        self.b = self.b.rotate_left(17) ^ self.c;
        self.c = self.c.rotate_left(32);
    }

    fn absorb(&mut self, block: u64) {
        self.d ^= block;
        self.round();
        self.a ^= block;
    }
}

impl Key {
    /// The hash of what has the hash `before` and one further word.
    ///
    /// It is SipHash-1-3, as in the kernel's own tables, of `before` in little-endian order and the
    /// word. So the hashes of all prefixes of a name cost one step for each of its words.
    pub fn hash(self, before: u64, word: &[u8]) -> u64 {
        let mut state = State {
            a: self.0 ^ 0x736f_6d65_7073_6575,
            b: self.1 ^ 0x646f_7261_6e64_6f6d,
            c: self.0 ^ 0x6c79_6765_6e65_7261,
            d: self.1 ^ 0x7465_6462_7974_6573,
        };
        state.absorb(before);
        let mut blocks = word.chunks_exact(8);
        for block in blocks.by_ref() {
            state.absorb(little_endian(block));
        }
        // The last block ends in the low byte of the length.
        let len = (word.len() as u64).wrapping_add(8);
        state.absorb(little_endian(blocks.remainder()) | (len << 56));
        state.c ^= 0xff;
        for _ in 0..3 {
            state.round();
        }
        state.a ^ state.b ^ state.c ^ state.d
    }
}

/// The number that at most eight bytes stand for.
fn little_endian(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(all) => u64::from_le_bytes(all),
        Err(_) => bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::hash_map::DefaultHasher;
    use std::hash::Hasher;

    proptest! {
        /// The standard library has the same function, with a key of zeros.
        #[test]
        fn is_siphash_1_3(before: u64, word in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut theirs = DefaultHasher::new();
            theirs.write(&before.to_le_bytes());
            theirs.write(&word);
            prop_assert_eq!(Key(0, 0).hash(before, &word), theirs.finish());
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        let hashes = [Key(0, 0), Key(1, 0), Key(0, 1)].map(|key| key.hash(0, b"Kitchen"));
        assert_ne!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
        assert_ne!(hashes[1], hashes[2]);
    }
}
