// SPDX-License-Identifier: GPL-2.0
//! The text of a message address, and a name beside it: there is one way to write each address.

#![no_main]

use kbus_core::address::format;
use kbus_core::address::Address;
use kbus_core::address::Dest;
use kbus_core::address::TEXT_MAX;
use kbus_core::name::until_nul;
use kbus_core::name::Name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = until_nul(bytes);
    let beside = bytes.get(text.len() + 1..);
    let address = Address::parse(bytes);
    if let Ok(address) = address {
        let mut out = [0; TEXT_MAX];
        let name = address.name.map(|name| name.text());
        let len = format(name, address.peer, address.request, &mut out);
        assert_eq!(
            Ok(text),
            len.map(|len| &out[..len]),
            "it is written as it was read"
        );
        assert!(address.request.is_none() || address.peer.is_some());
        assert!(name.is_none_or(|name| Name::parse(name) == Ok(address.name.unwrap())));
    }
    for address in [None, address.ok()] {
        if let Ok(Some(dest)) = Dest::new(address, beside) {
            let name = dest.name();
            assert!(name.is_none_or(|name| Name::parse(name.text()) == Ok(name)));
            let replies = address.is_some_and(|address| address.request.is_some());
            assert_eq!(matches!(dest, Dest::Reply { .. }), replies);
            assert!(replies || dest.name().is_some());
        }
    }
});
