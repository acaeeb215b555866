// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of messages, and the patterns that match them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::uapi::KBUS_NAME_MAX;
use crate::uapi::KBUS_NAME_SHORT;

/// The name of a message, such as `$.Sensors.Kitchen`: what it is sent to.
///
/// `$.` and one or more words of ASCII letters and digits with single dots between them; at most
/// 1000 bytes. It has no wildcard: those are for a [`Pattern`]. To clone one is cheap.
///
/// ```
/// use kbus::Name;
///
/// let name: Name = "$.Sensors.Kitchen".parse()?;
/// assert_eq!(name.words().collect::<Vec<_>>(), ["Sensors", "Kitchen"]);
/// assert!(Name::new("$.Sensors.*").is_err());
/// # Ok::<(), kbus::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// What a socket listens to or replies for: a name, or a wildcard.
///
/// A wildcard ends in `.*`, which matches one or more further words, or in `.%`, which matches
/// exactly one.
///
/// ```
/// use kbus::{Name, Pattern};
///
/// let pattern: Pattern = "$.Sensors.*".parse()?;
/// assert!(pattern.is_wildcard());
/// assert!(pattern.matches(&Name::new("$.Sensors.Kitchen.Air")?));
/// assert!(!pattern.matches(&Name::new("$.Sensors")?));
/// # Ok::<(), kbus::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

/// Why a text is no [`Name`] or no [`Pattern`].
///
/// ```
/// use kbus::{Name, NameError};
///
/// assert_eq!(Name::new("Kitchen"), Err(NameError::Malformed("Kitchen".into())));
/// let text = Name::new("$.Sensors.*").unwrap_err().to_string();
/// assert_eq!(text, "\"$.Sensors.*\" is a wildcard, which can be listened to but not sent to");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Not `$.` and words of ASCII letters and digits with single dots between them.
    Malformed(Box<str>),
    /// A wildcard, where a name is wanted.
    Wildcard(Box<str>),
    /// Longer than 1000 bytes; this long.
    TooLong(usize),
}

/// One sentence, with the text in question.
///
/// ```
/// let error = kbus::Pattern::new(&format!("$.{}", "a".repeat(999))).unwrap_err();
/// assert_eq!(error.to_string(), "a message name has at most 1000 bytes, this one has 1001");
/// ```
impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Malformed(text) => write!(
                f,
                "{text:?} is no message name: it must be $. and words of ASCII letters and digits with single dots \
                 between them, such as $.Sensors.Kitchen"
            ),
            NameError::Wildcard(text) => write!(
                f,
                "{text:?} is a wildcard, which can be listened to but not sent to"
            ),
            NameError::TooLong(len) => {
                write!(
                    f,
                    "a message name has at most {KBUS_NAME_MAX} bytes, this one has {len}"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether it is a name or, where `last` says so of its last word, a wildcard.
fn check(text: &str, last: impl Fn(&str) -> bool) -> Result<(), NameError> {
    if text.len() > KBUS_NAME_MAX {
        return Err(NameError::TooLong(text.len()));
    }
    let malformed = || NameError::Malformed(text.into());
    let words = text.strip_prefix("$.").ok_or_else(malformed)?;
    let (rest, end) = match words.rsplit_once('.') {
        Some((rest, end)) => (Some(rest), end),
        None => (None, words),
    };
    let begins = rest.is_none_or(|rest| rest.split('.').all(is_word));
    if begins && (is_word(end) || last(end)) {
        Ok(())
    } else {
        Err(malformed())
    }
}

fn is_wild(word: &str) -> bool {
    matches!(word, "*" | "%")
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    ///
    /// ```
    /// assert_eq!(kbus::Name::new("$.Echo")?.as_str(), "$.Echo");
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn new(text: &str) -> Result<Name, NameError> {
        match check(text, |_| false) {
            Err(NameError::Malformed(_)) if check(text, is_wild).is_ok() => {
                Err(NameError::Wildcard(text.into()))
            }
            result => result.map(|()| Name(text.into())),
        }
    }

    /// One that the kernel has checked.
    pub(crate) fn checked(text: &str) -> Name {
        Name(text.into())
    }

    /// Its text.
    ///
    /// ```
    /// let name = kbus::Name::new("$.Sensors.Kitchen")?;
    /// assert!(name.as_str().ends_with(".Kitchen"));
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words, without the `$`.
    ///
    /// ```
    /// let name = kbus::Name::new("$.Sensors.Kitchen")?;
    /// assert_eq!(name.words().next_back(), Some("Kitchen"));
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn words(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0[2..].split('.')
    }

    /// Whether it is the bus's own: `$.KBUS` or below it. Nobody but the bus can send to such a
    /// name.
    ///
    /// ```
    /// assert!(kbus::Name::new("$.KBUS.ReplierBindEvent")?.is_of_the_bus());
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn is_of_the_bus(&self) -> bool {
        self.words().next() == Some("KBUS")
    }

    /// Whether it fits into a socket address.
    pub(crate) fn is_short(&self) -> bool {
        self.0.len() <= KBUS_NAME_SHORT
    }
}

impl Pattern {
    /// Checks a name or wildcard.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    ///
    /// ```
    /// assert_eq!(kbus::Pattern::new("$.Sensors.%")?.as_str(), "$.Sensors.%");
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn new(text: &str) -> Result<Pattern, NameError> {
        check(text, is_wild).map(|()| Pattern(text.into()))
    }

    /// `$.*`, which matches every name.
    ///
    /// ```
    /// assert!(kbus::Pattern::all().matches(&kbus::Name::new("$.Any.Name")?));
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn all() -> Pattern {
        Pattern("$.*".into())
    }

    /// Its text.
    ///
    /// ```
    /// assert_eq!(kbus::Pattern::all().as_str(), "$.*");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it ends in `.*` or `.%`.
    ///
    /// ```
    /// assert!(kbus::Pattern::new("$.Sensors.%")?.is_wildcard());
    /// assert!(!kbus::Pattern::new("$.Sensors")?.is_wildcard());
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn is_wildcard(&self) -> bool {
        self.0.ends_with(['*', '%'])
    }

    /// Whether a message of that name reaches a socket that listens to this.
    ///
    /// ```
    /// let pattern = kbus::Pattern::new("$.Sensors.%")?;
    /// assert!(pattern.matches(&kbus::Name::new("$.Sensors.Kitchen")?));
    /// assert!(!pattern.matches(&kbus::Name::new("$.Sensors.Kitchen.Air")?));
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub fn matches(&self, name: &Name) -> bool {
        let Some(before) = self.0.strip_suffix(['*', '%']) else {
            return *self.0 == *name.0;
        };
        let rest = name.0.strip_prefix(before);
        rest.is_some_and(|rest| self.0.ends_with('*') || !rest.contains('.'))
    }
}

macro_rules! text {
    ($type:ident) => {
        /// Its text.
        ///
        /// ```
        /// let text = "$.Sensors.Kitchen";
        #[doc = concat!("assert_eq!(kbus::", stringify!($type), "::new(text)?.to_string(), text);")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        /// Its text.
        ///
        /// ```
        #[doc = concat!("let text = kbus::", stringify!($type), "::new(\"$.Sensors.Kitchen\")?;")]
        /// assert_eq!(str::len(text.as_ref()), 17);
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// As `new`.
        ///
        /// ```
        #[doc = concat!("assert_eq!(\"$.News\".parse::<kbus::", stringify!($type), ">()?, \"$.News\");")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        /// As `new`. So calls of a [`Socket`](crate::Socket) take a text as it is.
        ///
        /// ```
        #[doc = concat!("assert_eq!(kbus::", stringify!($type), "::try_from(\"$.News\")?, \"$.News\");")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        /// As `new`.
        ///
        /// ```
        /// let text = format!("$.Sensors.{}", 7);
        #[doc = concat!("assert_eq!(kbus::", stringify!($type), "::try_from(&text)?, *text);")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl TryFrom<&String> for $type {
            type Error = NameError;

            fn try_from(text: &String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        /// As `new`.
        ///
        /// ```
        #[doc = concat!("assert!(kbus::", stringify!($type), "::try_from(format!(\"$.Sensors.{}\", 7)).is_ok());")]
        /// ```
        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        /// A clone, so that calls of a [`Socket`](crate::Socket) take a reference too.
        ///
        /// ```
        #[doc = concat!("let text = kbus::", stringify!($type), "::new(\"$.News\")?;")]
        #[doc = concat!("assert_eq!(kbus::", stringify!($type), "::from(&text), text);")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl From<&$type> for $type {
            fn from(same: &$type) -> $type {
                same.clone()
            }
        }

        /// Compares the texts.
        ///
        /// ```
        /// let text = String::from("$.News");
        #[doc = concat!("assert!(kbus::", stringify!($type), "::new(&text)? == *text);")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl PartialEq<str> for $type {
            fn eq(&self, text: &str) -> bool {
                *self.0 == *text
            }
        }

        /// Compares the texts.
        ///
        /// ```
        #[doc = concat!("assert!(kbus::", stringify!($type), "::new(\"$.News\")? == \"$.News\");")]
        /// # Ok::<(), kbus::NameError>(())
        /// ```
        impl PartialEq<&str> for $type {
            fn eq(&self, text: &&str) -> bool {
                *self.0 == **text
            }
        }
    };
}

text!(Name);
text!(Pattern);

/// A name is a pattern that matches itself.
///
/// ```
/// use kbus::{Name, Pattern};
///
/// assert_eq!(Pattern::from(Name::new("$.News")?), "$.News");
/// # Ok::<(), kbus::NameError>(())
/// ```
impl From<Name> for Pattern {
    fn from(name: Name) -> Pattern {
        Pattern(name.0)
    }
}

/// So the same name can be listened to and sent to.
///
/// ```
/// let name = kbus::Name::new("$.News")?;
/// let socket = kbus::Socket::open("@doc-pattern-from")?;
/// socket.listen(&name)?;
/// socket.announce(&name, b"all is well")?;
/// assert_eq!(socket.recv()?.message().unwrap().name(), &name);
/// # Ok::<(), kbus::Error>(())
/// ```
impl From<&Name> for Pattern {
    fn from(name: &Name) -> Pattern {
        Pattern(name.0.clone())
    }
}

/// The name, unless the pattern is a wildcard.
///
/// ```
/// use kbus::{Name, Pattern};
///
/// assert_eq!(Name::try_from(Pattern::new("$.News")?)?, "$.News");
/// assert!(Name::try_from(Pattern::all()).is_err());
/// # Ok::<(), kbus::NameError>(())
/// ```
impl TryFrom<Pattern> for Name {
    type Error = NameError;

    fn try_from(pattern: Pattern) -> Result<Name, NameError> {
        if pattern.is_wildcard() {
            return Err(NameError::Wildcard((*pattern.0).into()));
        }
        Ok(Name(pattern.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a name is and what not, as `kbus(7)` says.
    #[test]
    fn names_are_checked() {
        let long = format!("$.{}", "a".repeat(998));
        for good in ["$.A", "$.a.0", "$.Sensors.Kitchen", &long] {
            assert_eq!(Name::new(good).unwrap(), *good);
            assert_eq!(Pattern::new(good).unwrap(), *good);
        }
        for bad in [
            "", "$", "$.", "A", "$A", "$..", "$.A.", "$..A", "$.A..B", "$.A B", "$.Ä", "$.A@1",
            "$.A#1", "$.*.A", "$.A*", "$.%%", "$.A.*.", "$.A\0", ".A", " $.A", "$.A_B", "$.A-B",
        ] {
            assert_eq!(Name::new(bad), Err(NameError::Malformed(bad.into())));
            assert_eq!(Pattern::new(bad), Err(NameError::Malformed(bad.into())));
        }
        assert_eq!(
            Name::new(&format!("{long}a")),
            Err(NameError::TooLong(1001))
        );
    }

    /// A wildcard is a pattern and no name.
    #[test]
    fn wildcards_are_patterns() {
        for wild in ["$.*", "$.%", "$.A.*", "$.A.B.%"] {
            assert!(Pattern::new(wild).unwrap().is_wildcard());
            assert_eq!(Name::new(wild), Err(NameError::Wildcard(wild.into())));
            assert!(Name::try_from(Pattern::new(wild).unwrap()).is_err());
        }
        let name = Name::new("$.A").unwrap();
        assert_eq!(Name::try_from(Pattern::from(&name)), Ok(name));
    }

    /// `*` matches one or more words, `%` exactly one.
    #[test]
    fn patterns_match() {
        let matches = |pattern, name| {
            Pattern::new(pattern)
                .unwrap()
                .matches(&Name::new(name).unwrap())
        };
        assert!(matches("$.A", "$.A") && !matches("$.A", "$.A.B") && !matches("$.A.B", "$.A"));
        assert!(
            matches("$.A.*", "$.A.B") && matches("$.A.*", "$.A.B.C") && !matches("$.A.*", "$.A")
        );
        assert!(
            matches("$.A.%", "$.A.B") && !matches("$.A.%", "$.A.B.C") && !matches("$.A.%", "$.A")
        );
        assert!(matches("$.*", "$.A.B") && matches("$.%", "$.A") && !matches("$.%", "$.A.B"));
        assert!(!matches("$.A.*", "$.AB.C"));
    }
}
