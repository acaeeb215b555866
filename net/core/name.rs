// SPDX-License-Identifier: GPL-2.0

//! Names of messages and the patterns that bindings match them with.
//!
//! A name is `$.` and one or more words of ASCII letters and digits, separated by single dots. A
//! pattern is a name, or a prefix of one followed by a wildcard word: `%` matches exactly one
//! further word, `*` one or more.

use super::error::Error;
use super::hash::Key;

/// Most bytes of a name or pattern.
pub const NAME_MAX: usize = 1000;
/// Most bytes of a name that travels in `sun_path`.
pub const ADDRESS_NAME_MAX: usize = 73;

/// The bytes before the first NUL, or all of them.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)
}

/// The words of the text behind the `$.`.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'.').filter(|word| !word.is_empty())
}

/// Which bytes a word may have.
const IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// How many words there are between single dots, or `None` if the text is anything else.
///
/// Each send asks: one look at each byte.
fn count_words(text: &[u8]) -> Option<usize> {
    let mut words: usize = 0;
    let mut inside = false;
    for byte in text {
        if IN_WORD[usize::from(*byte)] {
            words = words.saturating_add(usize::from(!inside));
            inside = true;
        } else if *byte == b'.' && inside {
            inside = false;
        } else {
            return None;
        }
    }
    inside.then_some(words)
}

/// Most words of a name whose [`Prefixes`] are kept.
const KEPT_WORDS: usize = 4;

/// The hashes of all prefixes of a name, by the key of one bus, and where in its body they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes([(u64, u8); KEPT_WORDS]);

/// A name that a message may carry: who has one need not check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    text: &'a [u8],
    words: usize,
    /// Its prefixes, where they are known.
    prefixes: Option<&'a Prefixes>,
}

impl<'a> Name<'a> {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`Error::NameTooLong`] over [`NAME_MAX`] bytes, else [`Error::BadMsg`] when it is malformed;
    /// a wildcard is.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let words = text.strip_prefix(b"$.").and_then(count_words);
        let words = words.ok_or(Error::BadMsg)?;
        Ok(Name {
            text,
            words,
            prefixes: None,
        })
    }

    /// A name that was checked before; else it has no words, and nobody listens to it.
    pub(super) fn checked(text: &'a [u8]) -> Self {
        Name::parse(text).unwrap_or(Name {
            text,
            words: 0,
            prefixes: None,
        })
    }

    /// The hashes of its prefixes on a bus of this key; `None` for a name of so many words, or such
    /// long ones, that they are not kept.
    pub fn prefixes(&self, key: Key) -> Option<Prefixes> {
        if self.words > KEPT_WORDS {
            return None;
        }
        let mut prefixes = Prefixes([(0, 0); KEPT_WORDS]);
        let (mut hash, mut end): (u64, usize) = (0, 0);
        let words = self.body().split(|byte| *byte == b'.');
        for (word, prefix) in words.zip(&mut prefixes.0) {
            hash = key.hash(hash, word);
            end = end.saturating_add(word.len());
            *prefix = (hash, end.try_into().ok()?);
            // Behind the dot.
            end = end.saturating_add(1);
        }
        Some(prefixes)
    }

    /// The same name, with its prefixes on the bus that it is sent to.
    pub fn with_prefixes(self, prefixes: &'a Prefixes) -> Self {
        Name {
            prefixes: Some(prefixes),
            ..self
        }
    }

    /// The hash of the prefix of so many words, and where in the body it ends, if that is known.
    pub(super) fn prefix(&self, words: usize) -> Option<(u64, usize)> {
        let (hash, end) = self.prefixes?.0.get(words.checked_sub(1)?)?;
        Some((*hash, usize::from(*end)))
    }

    /// All of it.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The text behind the `$.`.
    pub(super) fn body(&self) -> &'a [u8] {
        self.text.get(2..).unwrap_or_default()
    }

    /// How many words it has.
    pub(super) fn words(&self) -> usize {
        self.words
    }
}

/// The name that a socket has sent to last, with its prefixes: most send to the same one again.
pub struct LastName {
    text: [u8; ADDRESS_NAME_MAX],
    len: usize,
    words: usize,
    prefixes: Prefixes,
}

impl LastName {
    /// Keeps a name; `None` if it is too long to travel in an address.
    pub fn new(name: Name<'_>, prefixes: Prefixes) -> Option<Self> {
        let mut text = [0; ADDRESS_NAME_MAX];
        let len = name.text.len();
        text.get_mut(..len)?.copy_from_slice(name.text);
        Some(LastName {
            text,
            len,
            words: name.words,
            prefixes,
        })
    }

    /// Whether this is the name in the text of an address; then it is returned with what comes
    /// after it, and its prefixes are put in `prefixes`.
    pub fn leads<'a>(
        &self,
        path: &'a [u8],
        prefixes: &mut Option<Prefixes>,
    ) -> Option<(Name<'a>, &'a [u8])> {
        let (text, rest) = path.split_at_checked(self.len)?;
        let ends = matches!(rest.first(), None | Some(b'@' | b'#' | 0));
        if !ends || self.text.get(..self.len) != Some(text) {
            return None;
        }
        *prefixes = Some(self.prefixes);
        let name = Name {
            text,
            words: self.words,
            prefixes: None,
        };
        Some((name, rest))
    }
}

/// Whether a name or pattern is `$.KBUS` or below it, and so the bus's own.
pub fn is_bus_own(name: &[u8]) -> bool {
    // Most names are told apart by one byte.
    if name.get(2) != Some(&b'K') {
        return false;
    }
    match name.strip_prefix(b"$.KBUS") {
        Some(rest) => matches!(rest.first(), None | Some(b'.')),
        None => false,
    }
}

/// What a pattern ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: it matches the very name.
    Exact,
    /// `.%`: exactly one further word.
    One,
    /// `.*`: one or more further words.
    Any,
}

/// A checked pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern<'a> {
    text: &'a [u8],
    prefix: &'a [u8],
    words: usize,
    tail: Tail,
}

impl<'a> Pattern<'a> {
    /// Checks the text of a pattern.
    ///
    /// # Errors
    ///
    /// [`Error::NameTooLong`] over [`NAME_MAX`] bytes, else [`Error::BadMsg`] when it is malformed.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let (head, tail) = if let Some(head) = text.strip_suffix(b".*") {
            (head, Tail::Any)
        } else if let Some(head) = text.strip_suffix(b".%") {
            (head, Tail::One)
        } else {
            (text, Tail::Exact)
        };
        let (prefix, words): (&[u8], _) = if tail != Tail::Exact && head == b"$" {
            (&[], 0)
        } else {
            let name = Name::parse(head)?;
            (name.body(), name.words())
        };
        Ok(Pattern {
            text,
            prefix,
            words,
            tail,
        })
    }

    /// The text as it was given.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The literal words before the wildcard, separated by dots; possibly empty.
    pub fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// How many words the prefix has.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// What the pattern ends in.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Whether this is `$.%` or `$.*`, which nearly every message matches.
    pub fn is_wide(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Whether the pattern matches a well-formed name.
    ///
    /// To find those that match the bus looks names up in its routes; this is the rule in its
    /// plainest form.
    pub fn matches(&self, name: &[u8]) -> bool {
        let Some(mut name) = name.strip_prefix(b"$.") else {
            return false;
        };
        if self.tail == Tail::Exact {
            return name == self.prefix;
        }
        if !self.prefix.is_empty() {
            match name
                .strip_prefix(self.prefix)
                .and_then(|rest| rest.strip_prefix(b"."))
            {
                Some(rest) => name = rest,
                None => return false,
            }
        }
        // A third word would tell nothing new.
        match words(name).take(2).count() {
            0 => false,
            1 => true,
            _ => self.tail == Tail::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_between_single_dots() {
        for good in ["$.A", "$.a.B.9", "$.0", "$.KBUS.x"] {
            assert!(Name::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "", "$", "$.", "$..", "$.a.", "$..a", "$.a..b", "a.b", "$a", ".$.a", "$.a b", "$.*",
            "$.%", "$.a.*", "$.a_b", "$.\u{e9}", "$.a\0",
        ] {
            assert_eq!(Name::parse(bad.as_bytes()), Err(Error::BadMsg), "{bad}");
        }
    }

    /// Every byte is told apart, and every word counted.
    #[test]
    fn a_word_is_of_letters_and_digits() {
        for byte in 0..=u8::MAX {
            let text = [b'$', b'.', b'a', byte, b'b'];
            let words = match byte {
                b'.' => Ok(2),
                _ if byte.is_ascii_alphanumeric() => Ok(1),
                _ => Err(Error::BadMsg),
            };
            assert_eq!(Name::parse(&text).map(|name| name.words()), words, "{byte}");
        }
    }

    #[test]
    fn too_long_comes_before_malformed() {
        let long = [b"$.".as_slice(), &[b'a'; 998]].concat();
        assert!(Name::parse(&long).is_ok());
        assert_eq!(Name::parse(&[b'!'; 1001]), Err(Error::NameTooLong));
        assert_eq!(Pattern::parse(&[b'*'; 1001]), Err(Error::NameTooLong));
        assert!(Pattern::parse(&long).is_ok());
        for tail in [b".*".as_slice(), b".%".as_slice()] {
            let longest = [&long[..998], tail].concat();
            assert!(Pattern::parse(&longest).is_ok());
            let longer = [&long[..999], tail].concat();
            assert_eq!(Pattern::parse(&longer), Err(Error::NameTooLong));
        }
    }

    #[test]
    fn wildcards_only_as_the_last_word() {
        for good in ["$.*", "$.%", "$.a.*", "$.a.b.%", "$.a"] {
            assert!(Pattern::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "*", "$*", "$.*.a", "$.a*", "$.a.**", "$.%.%", "$..*", ".*", "$.%.*", "$.a.*b",
        ] {
            assert_eq!(Pattern::parse(bad.as_bytes()), Err(Error::BadMsg), "{bad}");
        }
    }

    #[test]
    fn star_is_one_or_more_and_percent_exactly_one() {
        let matches =
            |p: &str, n: &str| Pattern::parse(p.as_bytes()).unwrap().matches(n.as_bytes());
        assert!(matches("$.Fred.*", "$.Fred.a"));
        assert!(matches("$.Fred.*", "$.Fred.a.b"));
        assert!(!matches("$.Fred.*", "$.Fred"));
        assert!(!matches("$.Fred.*", "$.Freda.b"));
        assert!(matches("$.Fred.%", "$.Fred.a"));
        assert!(!matches("$.Fred.%", "$.Fred.a.b"));
        assert!(!matches("$.Fred.%", "$.Fred"));
        assert!(matches("$.*", "$.a.b"));
        assert!(matches("$.%", "$.a"));
        assert!(!matches("$.%", "$.a.b"));
        assert!(!matches("$.*", "$."));
        assert!(matches("$.Fred", "$.Fred"));
        assert!(!matches("$.Fred", "$.fred"));
    }

    /// The prefixes of a name are those that the bus looks up, whatever their number.
    #[test]
    fn prefixes_are_of_words_and_end_behind_them() {
        let key = Key(1, 2);
        let name = Name::parse(b"$.a.bc.d").unwrap();
        let prefixes = name.prefixes(key).unwrap();
        let known = name.with_prefixes(&prefixes);
        let (a, abc) = (key.hash(0, b"a"), key.hash(key.hash(0, b"a"), b"bc"));
        assert_eq!((known.prefix(0), known.prefix(1)), (None, Some((a, 1))));
        assert_eq!(known.prefix(2), Some((abc, 4)));
        assert_eq!(known.prefix(3), Some((key.hash(abc, b"d"), 6)));
        assert!(name.prefix(1).is_none());
        assert!(Name::parse(b"$.a.b.c.d").unwrap().prefixes(key).is_some());
        assert!(Name::parse(b"$.a.b.c.d.e").unwrap().prefixes(key).is_none());
        let long = [b"$.".as_slice(), &[b'a'; 256]].concat();
        assert!(Name::parse(&long).unwrap().prefixes(key).is_none());
    }

    /// A socket takes nothing but the very name for the one that it has sent to last.
    #[test]
    fn the_last_name_is_known_again() {
        let name = Name::parse(b"$.a.bc").unwrap();
        let prefixes = name.prefixes(Key(1, 2)).unwrap();
        let last = LastName::new(name, prefixes).unwrap();
        for rest in ["", "\0", "\0x", "@1", "#", "@1f#2a\0"] {
            let (path, mut found) = (std::format!("$.a.bc{rest}"), None);
            let leads = last.leads(path.as_bytes(), &mut found);
            assert_eq!(leads, Some((name, rest.as_bytes())));
            assert_eq!(found, Some(prefixes));
        }
        for path in ["", "$.a.b", "$.a.bcd", "$.a.bc.d@1", "$.a.b\0c", "$.x.bc"] {
            let mut found = None;
            assert_eq!(last.leads(path.as_bytes(), &mut found), None, "{path:?}");
            assert_eq!(found, None);
        }
        let long = [b"$.".as_slice(), &[b'a'; ADDRESS_NAME_MAX]].concat();
        let long = Name::parse(&long).unwrap();
        assert!(LastName::new(long, prefixes).is_none());
    }

    #[test]
    fn the_bus_owns_its_names() {
        assert!(is_bus_own(b"$.KBUS"));
        assert!(is_bus_own(b"$.KBUS.a"));
        assert!(is_bus_own(b"$.KBUS.*"));
        assert!(!is_bus_own(b"$.KBUSa"));
        assert!(!is_bus_own(b"$.*"));
    }
}
