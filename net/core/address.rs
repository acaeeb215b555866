// SPDX-License-Identifier: GPL-2.0

//! The text of a message address: `name [ "@" peer ] [ "#" request ]`.

use super::error::Error;
use super::name;
use super::name::Name;
use super::name::ADDRESS_NAME_MAX;

/// Most bytes of an address: a name, `@` and 16 digits, `#` and 16 digits.
pub const TEXT_MAX: usize = 107;
/// Stands for "no name" or for one that travels beside the address.
const NO_NAME: &[u8] = b"$.";

/// A message address in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The name; `None` when `$.` stands for it.
    pub name: Option<Name<'a>>,
    /// What stands behind the `@`.
    pub peer: Option<u64>,
    /// What stands behind the `#`; never without a peer.
    pub request: Option<u64>,
}

impl<'a> Address<'a> {
    /// Takes the text of an address apart; a NUL ends it.
    ///
    /// # Errors
    ///
    /// Faults of the name, which is what stands before the first `@` or `#`, are those of
    /// [`Name::parse`]. [`Error::Inval`]: a name too long to travel here, a malformed number,
    /// a request without its peer, `$.` alone.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let end = text.iter().position(|b| matches!(*b, b'@' | b'#' | 0));
        let end = end.unwrap_or(text.len());
        let (text, rest) = text.split_at_checked(end).ok_or(Error::Inval)?;
        let name = if text == NO_NAME {
            None
        } else {
            let name = Name::parse(text)?;
            if text.len() > ADDRESS_NAME_MAX {
                return Err(Error::Inval);
            }
            Some(name)
        };
        Address::after(name, rest)
    }

    /// The address with this name, of which `rest` is what comes after that.
    ///
    /// # Errors
    ///
    /// [`Error::Inval`], as of [`Address::parse`].
    pub fn after(name: Option<Name<'a>>, rest: &[u8]) -> Result<Self, Error> {
        let rest = name::until_nul(rest);
        let (peer, request) = if rest.is_empty() {
            (None, None)
        } else {
            let rest = rest.strip_prefix(b"@").ok_or(Error::Inval)?;
            let mut parts = rest.splitn(2, |b| *b == b'#');
            let peer = parts.next().map(number).transpose()?;
            (peer, parts.next().map(number).transpose()?)
        };
        if name.is_none() && peer.is_none() {
            return Err(Error::Inval);
        }
        Ok(Address {
            name,
            peer,
            request,
        })
    }
}

/// Reads lower-case hexadecimal digits, at most 16, without a leading zero.
fn number(text: &[u8]) -> Result<u64, Error> {
    if text.is_empty() || text.len() > 16 || (text.len() > 1 && text.first() == Some(&b'0')) {
        return Err(Error::Inval);
    }
    let mut number: u64 = 0;
    for byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte.saturating_sub(b'0'),
            b'a'..=b'f' => byte.saturating_sub(b'a').saturating_add(10),
            _ => return Err(Error::Inval),
        };
        number = (number << 4) | u64::from(digit);
    }
    Ok(number)
}

/// Text that is put together in a buffer of the caller's.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len.checked_add(bytes.len()).ok_or(Error::Inval)?;
        let place = self.out.get_mut(self.len..end).ok_or(Error::Inval)?;
        place.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn put_number(&mut self, mark: u8, number: u64) -> Result<(), Error> {
        self.put(&[mark])?;
        let digits = 16u32.saturating_sub(number.leading_zeros() / 4).max(1);
        for place in (0..digits).rev() {
            let digit = number.checked_shr(place.saturating_mul(4)).unwrap_or(0) & 0xf;
            let digit = char::from_digit(digit as u32, 16).unwrap_or('0');
            self.put(&[digit as u8])?;
        }
        Ok(())
    }
}

/// Writes the text of an address and returns its length; there is no NUL.
///
/// A name over 73 bytes never travels here: `$.` stands for it.
///
/// # Errors
///
/// [`Error::Inval`] when `out` is shorter than the text, which is never longer than [`TEXT_MAX`].
pub fn format(
    name: Option<&[u8]>,
    peer: Option<u64>,
    request: Option<u64>,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut writer = Writer { out, len: 0 };
    let name = name.filter(|name| name.len() <= ADDRESS_NAME_MAX);
    writer.put(name.unwrap_or(NO_NAME))?;
    if let Some(peer) = peer {
        writer.put_number(b'@', peer)?;
    }
    if let Some(request) = request {
        writer.put_number(b'#', request)?;
    }
    Ok(writer.len)
}

/// Where a message is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest<'a> {
    /// An announcement to a name, or a request to whoever is its replier.
    Name(Name<'a>),
    /// A request to one peer only.
    Stateful {
        /// The name.
        name: Name<'a>,
        /// Who must be its replier.
        peer: u64,
    },
    /// The reply to a request.
    Reply {
        /// The requester.
        peer: u64,
        /// Id of the request.
        request: u64,
        /// The request's name, if it was given.
        name: Option<Name<'a>>,
    },
}

impl<'a> Dest<'a> {
    /// Makes a destination from an address and a name that travels beside it.
    ///
    /// `None` when neither is given. The address must have come from [`Address::parse`] or
    /// [`Address::after`].
    ///
    /// # Errors
    ///
    /// The faults of the name beside, and [`Error::Inval`] when there is a name in both places or
    /// none where one is needed.
    pub fn new(
        address: Option<Address<'a>>,
        beside: Option<&'a [u8]>,
    ) -> Result<Option<Self>, Error> {
        let beside = beside.map(Name::parse).transpose()?;
        let Some(address) = address else {
            return Ok(beside.map(Dest::Name));
        };
        let name = match (address.name, beside) {
            (Some(_), Some(_)) => return Err(Error::Inval),
            (name, beside) => name.or(beside),
        };
        Ok(Some(match (address.peer, address.request, name) {
            (None, None, Some(name)) if beside.is_none() => Dest::Name(name),
            (Some(peer), None, Some(name)) => Dest::Stateful { name, peer },
            (Some(peer), Some(request), name) => Dest::Reply {
                peer,
                request,
                name,
            },
            _ => return Err(Error::Inval),
        }))
    }

    /// The name, if there is one.
    pub fn name(&self) -> Option<Name<'a>> {
        match *self {
            Dest::Name(name) | Dest::Stateful { name, .. } => Some(name),
            Dest::Reply { name, .. } => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::Key;
    use super::super::name::LastName;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Address<'_>, Error> {
        Address::parse(text.as_bytes())
    }

    #[test]
    fn faults_of_the_name_come_first() {
        for bad in [
            "", "@1f", "#2a", "$", "$.a*@", "$.*", "$.a.%@1", "a@x", "$.a.@0x", "$..#",
        ] {
            assert_eq!(parse(bad), Err(Error::BadMsg), "{bad}");
        }
        let long = std::format!("$.{}@zz", "a".repeat(999));
        assert_eq!(parse(&long), Err(Error::NameTooLong));
    }

    #[test]
    fn later_faults_are_einval() {
        for bad in [
            "$.",
            "$.a@",
            "$.a@01",
            "$.a@00",
            "$.a@1F",
            "$.a@0x1",
            "$.a#1",
            "$.a@1#",
            "$.a@1#01",
            "$.a@1#2#3",
            "$.a@1@2",
            "$.a#1@2",
            "$.a@11111111111111111",
            "$.#1",
            "$.@",
            "$.a@1 ",
        ] {
            assert_eq!(parse(bad), Err(Error::Inval), "{bad}");
        }
        assert!(parse(&std::format!("$.{}", "a".repeat(71))).is_ok());
        assert_eq!(
            parse(&std::format!("$.{}", "a".repeat(72))),
            Err(Error::Inval)
        );
    }

    /// A zero alone does not begin with one too many.
    #[test]
    fn zero_is_a_number() {
        let address = parse("$.a@0#0").unwrap();
        assert_eq!((address.peer, address.request), (Some(0), Some(0)));
    }

    #[test]
    fn a_nul_ends_the_address() {
        assert_eq!(parse("$.a@1\0@!"), parse("$.a@1"));
        assert_eq!(parse("\0$.a"), Err(Error::BadMsg));
    }

    #[test]
    fn every_destination_has_its_form() {
        let dest = |text: Option<&'static str>, beside: Option<&'static str>| {
            let address = text.map(parse).transpose()?;
            Dest::new(address, beside.map(str::as_bytes))
        };
        let name = Name::parse(b"$.a").unwrap();
        let stateful = Dest::Stateful { name, peer: 0x1f };
        let reply = |name| Dest::Reply {
            peer: 0x1f,
            request: 0x2a,
            name,
        };
        assert_eq!(dest(None, None), Ok(None));
        assert_eq!(dest(None, Some("$.a")), Ok(Some(Dest::Name(name))));
        assert_eq!(dest(Some("$.a"), None), Ok(Some(Dest::Name(name))));
        assert_eq!(dest(Some("$.a@1f"), None), Ok(Some(stateful)));
        assert_eq!(dest(Some("$.@1f"), Some("$.a")), Ok(Some(stateful)));
        assert_eq!(
            dest(Some("$.@1f#2a"), Some("$.a")),
            Ok(Some(reply(Some(name))))
        );
        assert_eq!(dest(Some("$.a@1f#2a"), None), Ok(Some(reply(Some(name)))));
        assert_eq!(dest(Some("$.@1f#2a"), None), Ok(Some(reply(None))));
        assert_eq!(dest(Some("$.@1f"), None), Err(Error::Inval));
        assert_eq!(dest(Some("$.a"), Some("$.a")), Err(Error::Inval));
        assert_eq!(dest(None, Some("$.*")), Err(Error::BadMsg));
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            name in prop::option::of("\\$(\\.[a-zA-Z0-9]{1,9}){1,7}"),
            peer: u64,
            request: Option<u64>,
        ) {
            let mut out = [0; TEXT_MAX];
            let name = name.as_ref().map(|n| n.as_bytes());
            let len = format(name, Some(peer), request, &mut out).unwrap();
            let address = Address::parse(&out[..len]).unwrap();
            let parsed = name.map(|name| Name::parse(name).unwrap());
            prop_assert_eq!(address, Address { name: parsed, peer: Some(peer), request });
            prop_assert_eq!(format(name, Some(peer), request, &mut out[..len - 1]), Err(Error::Inval));
        }

        /// An address is the same whether its name is one that is known already, or is parsed.
        #[test]
        fn a_known_name_makes_the_same_address(
            name in "\\$(\\.[ab]{1,2}){1,2}",
            text in "\\$(\\.[ab]{1,2}){1,2}[@#.a1\0]{0,5}",
        ) {
            let known = Name::parse(name.as_bytes()).unwrap();
            let prefixes = known.prefixes(Key(1, 2)).unwrap();
            let last = LastName::new(known, prefixes).unwrap();
            if let Some((name, rest)) = last.leads(text.as_bytes(), &mut None) {
                prop_assert_eq!(Address::after(Some(name), rest), parse(&text));
            }
        }

        #[test]
        fn no_text_is_too_strange(text in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Address::parse(&text);
        }
    }
}
