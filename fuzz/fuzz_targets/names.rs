// SPDX-License-Identifier: GPL-2.0
//! A pattern, a NUL, and a name: as the rules say, told in other words, and as the model matches them.

#![no_main]

use kbus_core::error::Error;
use kbus_core::name::Name;
use kbus_core::name::Pattern;
use kbus_core::name::NAME_MAX;
use libfuzzer_sys::fuzz_target;

/// `$`, then words.
fn is_name(text: &str) -> bool {
    let mut words = text.split('.');
    words.next() == Some("$")
        && words.clone().count() > 0
        && words.all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// A name, or `$`, or a name and a wildcard.
fn is_pattern(text: &str) -> bool {
    match text.rsplit_once('.') {
        Some((head, "*" | "%")) => head == "$" || is_name(head),
        _ => is_name(text),
    }
}

fn expected(text: &[u8], rule: fn(&str) -> bool) -> Result<(), Error> {
    match std::str::from_utf8(text) {
        _ if text.len() > NAME_MAX => Err(Error::NameTooLong),
        Ok(text) if rule(text) => Ok(()),
        _ => Err(Error::BadMsg),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (pattern, name) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
    for text in [pattern, name] {
        assert_eq!(Name::parse(text).map(drop), expected(text, is_name));
        assert_eq!(Pattern::parse(text).map(drop), expected(text, is_pattern));
    }
    if let (Ok(parsed), Ok(_)) = (Pattern::parse(pattern), Name::parse(name)) {
        let text = |bytes| std::str::from_utf8(bytes).expect("ASCII");
        assert_eq!(parsed.text(), pattern);
        assert_eq!(
            parsed.matches(name),
            kbus_model::name::matches(text(pattern), text(name))
        );
    }
});
