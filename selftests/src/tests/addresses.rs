// SPDX-License-Identifier: GPL-2.0
//! Names and message addresses.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::sockaddr;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    malformed_names_cannot_be_bound malformed_names_cannot_be_sent_to
    wildcards_are_no_destinations faults_after_the_name faults_of_the_name_come_first
    nul_is_optional nul_ends_the_address names_are_case_sensitive
    shortest_name longest_short_name one_byte_more_is_long too_long_names
    longest_name_can_be_bound kernel_terminates_addresses address_family_of_a_send
    bare_dollar_dot bytes_after_the_nul_of_a_name
}

/// What no name may look like, for a binding or for a message.
const MALFORMED: &[&str] = &[
    "$",
    "$.",
    "Fred",
    ".Fred",
    "$Fred",
    "$.Fred.",
    "$..Fred",
    "$.Fr-ed",
    "$.Fr_ed",
    "$.Fr ed",
    "$.Fred..Jim",
    "$.$.Fred",
    "$.Fr\u{e9}d",
    "x.Fred",
    "$.Fred/Jim",
];

/// Misplaced wildcards.
const WILD: &[&str] = &[
    "$.*.Fred",
    "$.%.Fred",
    "$.Fred*",
    "$.Fred%",
    "$.Fred.**",
    "$.Fred.*.%",
    "$.Fr*ed",
    "$*",
    "$.Fred.*x",
    "$.Fred.%%",
];

/// Names are `$.` and words of letters and digits; a wildcard is the last word
/// or none. All else is `EBADMSG`, bound to a bus or not.
fn malformed_names_cannot_be_bound() {
    let bound = Sock::on(&fresh_bus());
    let unbound = Sock::new();
    for name in MALFORMED.iter().chain(WILD) {
        for sock in [&bound, &unbound] {
            fails!(EBADMSG, sock.listen(name));
            fails!(EBADMSG, sock.replier(name));
            fails!(EBADMSG, sock.unlisten(name));
            fails!(EBADMSG, sock.unreplier(name));
        }
    }
}

/// The same names are `EBADMSG` as destinations.
fn malformed_names_cannot_be_sent_to() {
    let sock = Sock::on(&fresh_bus());
    // `$.` alone is another mistake, see `bare_dollar_dot`.
    for name in MALFORMED.iter().filter(|&&name| name != "$.") {
        fails!(EBADMSG, sock.send_to(name, b""));
        fails!(EBADMSG, sock.request(name, b""));
    }
}

/// A wildcard is never a destination: `EBADMSG`.
fn wildcards_are_no_destinations() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.*").unwrap();
    for name in WILD.iter().chain(&["$.*", "$.%", "$.Fred.*", "$.Fred.%"]) {
        fails!(EBADMSG, sock.send_to(name, b""));
    }
    silent!(sock);
}

/// Peer and request are lower-case hex without prefix or leading zero; faults
/// there are `EINVAL`.
fn faults_after_the_name() {
    let sock = Sock::on(&fresh_bus());
    sock.replier("$.A").unwrap();
    for tail in [
        "@",
        "@g",
        "@1F",
        "@0x1f",
        "@01f",
        "@1f#",
        "@1f#02a",
        "@1f#2A",
        "@1f@1f",
        "@1f#2a#2a",
        "#2a",
        "@ 1f",
        "@1f ",
        "@-1",
        "@11111111111111111",
        "@1f#11111111111111111",
        "@#2a",
    ] {
        fails!(EINVAL, sock.request(&format!("$.A{tail}"), b""));
    }
}

/// What stands before the first `@` or `#` is the name, and is judged first.
fn faults_of_the_name_come_first() {
    let sock = Sock::on(&fresh_bus());
    for address in ["Fred@0x", "$.*@1f", "$.A.%@1f#2a", "@1f", "#2a", "$.A-#"] {
        fails!(EBADMSG, sock.send_to(address, b""));
    }
}

/// The NUL is optional on input, in addresses and in options.
fn nul_is_optional() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.Opt\0").unwrap();
    let family = Form::chosen().family();
    sock.send_raw(&sockaddr(family, b"$.Opt"), b"1", 0).unwrap();
    sock.send_raw(&sockaddr(family, b"$.Opt\0"), b"2", 0)
        .unwrap();
    assert_eq!(sock.recv().unwrap().data, b"1");
    assert_eq!(sock.recv().unwrap().data, b"2");
    // With and without it is the same name.
    sock.unlisten("$.Opt").unwrap();
    fails!(EINVAL, sock.unlisten("$.Opt\0"));
}

/// The NUL ends an address; a whole `sockaddr_un` may be given.
fn nul_ends_the_address() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.Opt").unwrap();
    let mut whole = message_address("$.Opt");
    whole.resize(110, 0);
    sock.send_raw(&whole, b"1", 0).unwrap();
    assert_eq!(sock.recv().unwrap().from, sock.sends_from("$.Opt"));
}

/// Case matters.
fn names_are_case_sensitive() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.Fred").unwrap();
    sock.send_to("$.fred", b"").unwrap();
    silent!(sock);
}

/// Three bytes make a name.
fn shortest_name() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"").unwrap();
    assert_eq!(sock.recv().unwrap().name(), "$.A");
}

/// 73 bytes always travel in the address.
fn longest_short_name() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(73);
    sock.listen(&name).unwrap();
    sock.send_to(&name, b"x").unwrap();
    let msg = sock.recv().unwrap();
    assert_eq!(msg.from, sock.sends_from(&name));
    assert_eq!(msg.long_name(), None);
}

/// Longer ones never do, though they would fit.
fn one_byte_more_is_long() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(74);
    sock.listen(&name).unwrap();
    let refused = sock.send_to(&name, b"x");
    assert!(refused.is_err(), "74 bytes were taken in an address");
    silent!(sock);
    sock.send_msg(&Out::nowhere(b"x").with(Cmsg::name(&name)))
        .unwrap();
    let msg = sock.recv().unwrap();
    assert_eq!(msg.long_name().as_deref(), Some(&name[..]));
    assert_eq!(msg.from, sock.sends_from("$."));
}

/// Names over 1000 bytes are `ENAMETOOLONG`.
fn too_long_names() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(1001);
    fails!(ENAMETOOLONG, sock.listen(&name));
    fails!(ENAMETOOLONG, sock.replier(&name));
    fails!(ENAMETOOLONG, sock.unlisten(&name));
    fails!(
        ENAMETOOLONG,
        sock.send_msg(&Out::nowhere(b"x").with(Cmsg::name(&name)))
    );
}

/// 1000 bytes are a name; the optional NUL does not count.
fn longest_name_can_be_bound() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(1000);
    sock.listen(&name).unwrap();
    sock.replier(&format!("{name}\0")).unwrap();
    sock.unlisten(&name).unwrap();
    sock.unreplier(&name).unwrap();
}

/// What the kernel returns ends in a NUL, and the length counts it.
fn kernel_terminates_addresses() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"").unwrap();
    let msg = sock.recv().unwrap();
    assert_eq!(msg.raw_from, message_address(&sock.sends_from("$.A")));
}

/// The family of a message address must be the socket's own.
fn address_family_of_a_send() {
    let sock = Sock::on(&fresh_bus());
    fails!(
        EINVAL,
        sock.send_raw(&sockaddr(libc::AF_INET, b"$.A"), b"", 0)
    );
    fails!(EINVAL, sock.send_raw(&[1], b"", 0));
}

/// No name is written `$.`; with nothing beside it that is no address.
fn bare_dollar_dot() {
    let sock = Sock::on(&fresh_bus());
    fails!(EINVAL, sock.send_to("$.", b""));
    fails!(EINVAL, sock.request("$.", b""));
    fails!(EINVAL, sock.request("$.@1f", b""));
}

/// Bytes after the NUL of a name in an option do not make another name.
fn bytes_after_the_nul_of_a_name() {
    let sock = Sock::on(&fresh_bus());
    // Either it is refused or it is the name before the NUL.
    match sock.listen("$.A\0B") {
        Err(errno) => assert!([libc::EBADMSG, libc::EINVAL].contains(&errno.0), "{errno}"),
        Ok(()) => sock.unlisten("$.A").unwrap(),
    }
}
