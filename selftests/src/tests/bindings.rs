// SPDX-License-Identifier: GPL-2.0
//! Listeners and repliers, and which of them a message reaches.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    binding_needs_a_bus star_matches_one_or_more_words percent_matches_one_word
    everything_wildcards one_copy_per_binding unlisten_takes_one unbind_needs_the_same_kind
    unlisten_removes_what_it_let_in unlisten_keeps_what_others_let_in
    second_replier_is_refused replier_names_are_text replier_int_form replier_of_four_bytes
    exact_beats_percent_beats_star longest_star_wins own_names_of_the_bus
    star_replier_is_not_asked_for_the_bus who_replies who_replies_by_wildcard
    who_replies_for_the_connected_name who_replies_buffer_sizes close_frees_the_name
    kill_frees_the_name race_for_a_name protected_wildcard owner_overrides_protection
    unprotected_star many_bindings
    who_replies_does_not_read_a_buffer_of_8
    unlisten_keeps_the_requester_s_reply
}

/// Names can be bound only on a bus: `ENOTCONN`.
fn binding_needs_a_bus() {
    let sock = Sock::new();
    fails!(ENOTCONN, sock.listen("$.A"));
    fails!(ENOTCONN, sock.unlisten("$.A"));
    fails!(ENOTCONN, sock.replier("$.A"));
    fails!(ENOTCONN, sock.unreplier("$.A"));
    // ENOTCONN comes before EPERM.
    fails!(ENOTCONN, sock.replier("$.KBUS.X"));
}

fn hears(pattern: &str, name: &str) -> bool {
    let sock = Sock::on(&fresh_bus());
    sock.listen(pattern).unwrap();
    sock.send_to(name, b"").unwrap();
    let heard = sock.recv().is_ok();
    // And as a replier.
    let sock = Sock::on(&fresh_bus());
    sock.replier(pattern).unwrap();
    assert_eq!(sock.request(name, b"").is_ok(), heard, "{pattern} {name}");
    heard
}

/// `.*` stands for one or more further words.
fn star_matches_one_or_more_words() {
    assert!(!hears("$.Fred.*", "$.Fred"));
    assert!(hears("$.Fred.*", "$.Fred.A"));
    assert!(hears("$.Fred.*", "$.Fred.A.B"));
    assert!(hears("$.Fred.*", "$.Fred.A.B.C.D"));
    assert!(!hears("$.Fred.*", "$.Freda"));
    assert!(!hears("$.Fred.*", "$.Freda.A"));
    assert!(!hears("$.Fred.*", "$.A.Fred"));
}

/// `.%` stands for exactly one further word.
fn percent_matches_one_word() {
    assert!(!hears("$.Fred.%", "$.Fred"));
    assert!(hears("$.Fred.%", "$.Fred.A"));
    assert!(!hears("$.Fred.%", "$.Fred.A.B"));
    assert!(!hears("$.Fred.%", "$.Freda"));
}

/// `$.*` and `$.%` are legal.
fn everything_wildcards() {
    assert!(hears("$.*", "$.A"));
    assert!(hears("$.*", "$.A.B"));
    assert!(hears("$.%", "$.A"));
    assert!(!hears("$.%", "$.A.B"));
}

/// One copy of a message per matching binding, identical ones included.
fn one_copy_per_binding() {
    let sock = Sock::on(&fresh_bus());
    for name in ["$.A.B", "$.A.B", "$.A.*", "$.A.%", "$.*", "$.%"] {
        sock.listen(name).unwrap();
    }
    sock.send_to("$.A.B", b"x").unwrap();
    assert_eq!(sock.unread(), 5);
    let id = sock.last_sent();
    for _ in 0..5 {
        assert_eq!(sock.recv().unwrap().info.id, id);
    }
    silent!(sock);
}

/// One call removes one binding; none to remove is `EINVAL`.
fn unlisten_takes_one() {
    let sock = Sock::on(&fresh_bus());
    fails!(EINVAL, sock.unlisten("$.A"));
    sock.listen("$.A").unwrap();
    sock.listen("$.A").unwrap();
    sock.unlisten("$.A").unwrap();
    sock.send_to("$.A", b"").unwrap();
    assert_eq!(sock.unread(), 1);
    sock.recv().unwrap();
    sock.unlisten("$.A").unwrap();
    fails!(EINVAL, sock.unlisten("$.A"));
    sock.send_to("$.A", b"").unwrap();
    silent!(sock);
}

/// Unbinding needs the very same name and kind, and one's own binding.
fn unbind_needs_the_same_kind() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    let other = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    sock.replier("$.B").unwrap();
    fails!(EINVAL, sock.unreplier("$.A"));
    fails!(EINVAL, sock.unlisten("$.B"));
    fails!(EINVAL, sock.unlisten("$.*"));
    fails!(EINVAL, sock.unlisten("$.A.*"));
    fails!(EINVAL, other.unlisten("$.A"));
    fails!(EINVAL, other.unreplier("$.B"));
    sock.unlisten("$.A").unwrap();
    sock.unreplier("$.B").unwrap();
}

/// Queued messages that only this binding let in are removed with it.
fn unlisten_removes_what_it_let_in() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.listen("$.B").unwrap();
    for name in ["$.A", "$.B", "$.A"] {
        sock.send_to(name, name.as_bytes()).unwrap();
    }
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 1);
    assert_eq!(sock.recv().unwrap().name(), "$.B");
    silent!(sock);
}

/// Of two identical bindings the youngest goes, with its own copies only.
fn unlisten_keeps_what_others_let_in() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"1").unwrap();
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"2").unwrap();
    assert_eq!(sock.unread(), 4);
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 3);
    let heard: Vec<_> = (0..3).map(|_| sock.recv().unwrap().data).collect();
    assert_eq!(heard, [b"1", b"2", b"2"]);
}

/// Per name there is at most one replier: `EEXIST`, from the same socket too.
fn second_replier_is_refused() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    for name in ["$.A", "$.A.*", "$.A.%", "$.*"] {
        a.replier(name).unwrap();
        fails!(EEXIST, b.replier(name));
        fails!(EEXIST, a.replier(name));
        a.unreplier(name).unwrap();
        b.replier(name).unwrap();
    }
}

/// `$.Fred` and `$.Fred.*` are different names, whatever they match.
fn replier_names_are_text() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    a.replier("$.Fred").unwrap();
    b.replier("$.Fred.*").unwrap();
    a.replier("$.Fred.%").unwrap();
    b.replier("$.%").unwrap();
    a.replier("$.*").unwrap();
}

/// The proposal's own form: the `int` 1 is `$.*`, 0 gives that up.
fn replier_int_form() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    a.set_u32(uapi::KBUS_REPLIER, 1).unwrap();
    fails!(EEXIST, b.replier("$.*"));
    b.request("$.Any.Thing", b"").unwrap();
    assert!(a.recv().unwrap().must_reply());
    a.set_u32(uapi::KBUS_REPLIER, 0).unwrap();
    fails!(EADDRNOTAVAIL, b.request("$.Any.Thing", b""));
    fails!(EINVAL, a.set_u32(uapi::KBUS_REPLIER, 0));
    b.replier("$.*").unwrap();
}

/// A name of four bytes is a name and no `int`.
fn replier_of_four_bytes() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    a.replier("$.AB").unwrap();
    assert_eq!(a.who_replies("$.AB"), Ok(a.peer_id()));
    assert_eq!(a.who_replies("$.Other"), Ok(0));
}

/// Exact beats `%`, which beats `*`.
fn exact_beats_percent_beats_star() {
    let bus = fresh_bus();
    let asker = Sock::on(&bus);
    let names = ["$.A.B.C", "$.A.B.%", "$.A.B.*", "$.A.*", "$.*"];
    let mut repliers: Vec<Sock> = names
        .iter()
        .rev()
        .map(|name| {
            let sock = Sock::on(&bus);
            sock.replier(name).unwrap();
            sock
        })
        .collect();
    while let Some(best) = repliers.pop() {
        asker.request("$.A.B.C", b"").unwrap();
        assert!(best.recv().unwrap().must_reply());
        for other in &repliers {
            silent!(other);
        }
    }
    fails!(EADDRNOTAVAIL, asker.request("$.A.B.C", b""));
}

/// Among several `*` the longest prefix wins, in whatever order they came.
fn longest_star_wins() {
    let bus = fresh_bus();
    let asker = Sock::on(&bus);
    for order in [["$.A.B.*", "$.A.*"], ["$.A.*", "$.A.B.*"]] {
        let socks = order.map(|name| {
            let sock = Sock::on(&bus);
            sock.replier(name).unwrap();
            (sock, name)
        });
        asker.request("$.A.B.C.D", b"").unwrap();
        for (sock, name) in &socks {
            assert_eq!(sock.unread(), u32::from(*name == "$.A.B.*"), "{name}");
        }
    }
}

/// `$.KBUS` and below belong to the bus: repliers and sends are `EPERM`,
/// listening is free.
fn own_names_of_the_bus() {
    let sock = Sock::on(&fresh_bus());
    for name in ["$.KBUS", "$.KBUS.X", "$.KBUS.Replier.GoneAway"] {
        fails!(EPERM, sock.replier(name));
        fails!(EPERM, sock.send_to(name, b""));
        fails!(EPERM, sock.request(name, b""));
        sock.listen(name).unwrap();
    }
    fails!(EPERM, sock.replier("$.KBUS.*"));
    fails!(EPERM, sock.replier("$.KBUS.%"));
    sock.listen("$.KBUS.*").unwrap();
    sock.replier("$.KBUSX").unwrap();
    sock.replier("$.kbus").unwrap();
}

/// A replier on `$.*` is never asked for them.
fn star_replier_is_not_asked_for_the_bus() {
    let sock = Sock::on(&fresh_bus());
    sock.replier("$.*").unwrap();
    fails!(EPERM, sock.request("$.KBUS.X", b""));
    assert_eq!(sock.who_replies("$.KBUS.X"), Ok(0));
    silent!(sock);
}

/// `KBUS_REPLIER` read with a name says who would answer, 0 for nobody.
fn who_replies() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    assert_eq!(b.who_replies("$.Some.Name"), Ok(0));
    a.replier("$.Some.Name").unwrap();
    assert_eq!(b.who_replies("$.Some.Name"), Ok(a.peer_id()));
    assert_eq!(a.who_replies("$.Some.Name"), Ok(a.peer_id()));
    a.unreplier("$.Some.Name").unwrap();
    assert_eq!(b.who_replies("$.Some.Name"), Ok(0));
}

/// It follows the rules of precedence.
fn who_replies_by_wildcard() {
    let bus = fresh_bus();
    let star = Sock::on(&bus);
    let percent = Sock::on(&bus);
    star.replier("$.A.*").unwrap();
    percent.replier("$.A.%").unwrap();
    assert_eq!(star.who_replies("$.A.B"), Ok(percent.peer_id()));
    assert_eq!(star.who_replies("$.A.B.C"), Ok(star.peer_id()));
    assert_eq!(star.who_replies("$.A"), Ok(0));
}

/// A buffer of exactly 8 bytes asks for the connected name.
fn who_replies_for_the_connected_name() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    let b = Sock::on(&bus);
    fails!(ENOTCONN, b.get_u64(uapi::KBUS_REPLIER));
    b.connect("$.A").unwrap();
    assert_eq!(b.get_u64(uapi::KBUS_REPLIER), Ok(a.peer_id()));
    b.connect("$.B").unwrap();
    assert_eq!(b.get_u64(uapi::KBUS_REPLIER), Ok(0));
    // Who is asked in particular does not matter.
    b.connect(&b.sends_from("$.A")).unwrap();
    assert_eq!(b.get_u64(uapi::KBUS_REPLIER), Ok(a.peer_id()));
}

/// A shorter buffer is `EINVAL`; the name in a longer one must be good.
fn who_replies_buffer_sizes() {
    let sock = Sock::on(&fresh_bus());
    sock.connect("$.A").unwrap();
    for len in [0, 1, 4, 7] {
        fails!(EINVAL, sock.get(uapi::KBUS_REPLIER, len));
    }
    for name in ["Fred", "$.A.*", "$.A@1f", "$.A.Name@"] {
        fails!(EBADMSG, sock.who_replies(name));
    }
}

/// Closing a socket removes its bindings before `close()` returns.
fn close_frees_the_name() {
    let bus = fresh_bus();
    let keeper = Sock::on(&bus);
    for _ in 0..50 {
        let sock = Sock::on(&bus);
        sock.replier("$.Service").unwrap();
        sock.listen("$.A").unwrap();
    }
    assert_eq!(keeper.bus_info().unwrap().bindings, 0);
}

/// A service restarted after its death was waited for never meets `EEXIST`.
fn kill_frees_the_name() {
    let bus = fresh_bus();
    let keeper = Sock::on(&bus);
    for _ in 0..10 {
        let gate = process::Gate::new();
        let child = Child::fork(|| {
            let sock = Sock::on(&bus);
            gate.open(u64::from(sock.replier("$.Service").is_ok()));
            process::park();
        });
        assert_eq!(gate.pass(), 1, "the name was not free");
        child.kill();
        assert_eq!(keeper.who_replies("$.Service"), Ok(0));
    }
}

/// Of many callers at once exactly one becomes the replier.
fn race_for_a_name() {
    let bus = fresh_bus();
    let keeper = Sock::on(&bus);
    for _ in 0..5 {
        let (start, done, end) = (
            process::Gate::new(),
            process::Gate::new(),
            process::Gate::new(),
        );
        let children: Vec<Child> = (0..8)
            .map(|_| {
                Child::fork(|| {
                    let sock = Sock::on(&bus);
                    start.pass();
                    let won = match sock.replier("$.Race") {
                        Ok(()) => 1,
                        Err(errno) => {
                            assert_eq!(errno.0, libc::EEXIST);
                            0
                        }
                    };
                    done.open(won);
                    end.pass();
                })
            })
            .collect();
        for _ in &children {
            start.open(1);
        }
        let winners: u64 = children.iter().map(|_| done.pass()).sum();
        assert_eq!(winners, 1);
        for _ in &children {
            end.open(1);
        }
        children.into_iter().for_each(Child::join);
        assert_eq!(keeper.who_replies("$.Race"), Ok(0));
    }
}

/// Nobody takes names away from another user's wildcard replier: `EACCES`.
fn protected_wildcard() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.replier("$.Mine.*").unwrap();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        for name in ["$.Mine.A", "$.Mine.A.B", "$.Mine.%", "$.Mine.A.*"] {
            fails!(EACCES, sock.replier(name));
        }
        fails!(EEXIST, sock.replier("$.Mine.*"));
        // What it does not match is free, and so is listening.
        sock.replier("$.Mine").unwrap();
        sock.replier("$.*").unwrap();
        sock.listen("$.Mine.A").unwrap();
    })
    .join();
}

/// The owner of the bus is not bound by that.
fn owner_overrides_protection() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    let (ready, end) = (process::Gate::new(), process::Gate::new());
    let child = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.replier("$.Theirs.*").unwrap();
        ready.open(1);
        end.pass();
    });
    ready.pass();
    owner.replier("$.Theirs.A").unwrap();
    end.open(1);
    child.join();
}

/// Anybody's `$.*` but the owner's loses names to any other binding.
fn unprotected_star() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let (ready, end) = (process::Gate::new(), process::Gate::new());
    let child = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.replier("$.*").unwrap();
        ready.open(1);
        end.pass();
    });
    ready.pass();
    Child::fork(|| {
        process::become_user(1001, 1001);
        Sock::on(&bus).replier("$.A").unwrap();
    })
    .join();
    end.open(1);
    child.join();
}

/// Hundreds of bindings are separate ones.
fn many_bindings() {
    let sock = Sock::on(&fresh_bus());
    for n in 0..500 {
        sock.listen(&format!("$.Many.N{n}")).unwrap();
        sock.replier(&format!("$.Many.R{n}")).unwrap();
    }
    sock.send_to("$.Many.N321", b"").unwrap();
    assert_eq!(sock.recv().unwrap().name(), "$.Many.N321");
    silent!(sock);
    sock.request("$.Many.R499", b"").unwrap();
    assert!(sock.recv().unwrap().must_reply());
    for n in 0..500 {
        sock.unlisten(&format!("$.Many.N{n}")).unwrap();
    }
    sock.send_to("$.Many.N321", b"").unwrap();
    silent!(sock);
}

/// What a buffer of exactly 8 bytes holds does not matter.
fn who_replies_does_not_read_a_buffer_of_8() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.replier("$.A").unwrap();
    b.connect("$.A").unwrap();
    for junk in [b"$.Other\0", b"Fred\0\0\0\0", &[0xff; 8]] {
        let got = b.get_at(uapi::SOL_KBUS as i32, uapi::KBUS_REPLIER as i32, junk);
        assert_eq!(got.unwrap(), a.peer_id().to_ne_bytes());
    }
}

/// A reply is the requester's, whatever bindings it had for that name.
fn unlisten_keeps_the_requester_s_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    a.listen("$.A").unwrap();
    b.reply(&request, b"").unwrap();
    assert_eq!(a.unread(), 2);
    a.unlisten("$.A").unwrap();
    let reply = a.recv().unwrap();
    assert_eq!(
        (reply.info.in_reply_to, reply.is(uapi::KBUS_REPLY)),
        (id, true)
    );
    silent!(a);
}
