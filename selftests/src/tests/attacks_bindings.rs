// SPDX-License-Identifier: GPL-2.0
//! Attacks by bindings: names, wildcards, events, and those who take what is another's.

use kbus_selftests::attack::Attackers;
use kbus_selftests::attack::Victim;
use kbus_selftests::attack::ATTACKER;
use kbus_selftests::attack::VICTIM;
use kbus_selftests::process::as_user;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    full_listener_of_the_events names_of_the_bus_s_own squatter_of_a_bus_name squatter_of_names
}
super::timed! {
    bindings_to_the_limit bindings_to_the_limit_of_16_users deep_and_wide_wildcards sends_to_deep_names
    rapid_binds_with_events replier_on_everything
}

const EVENT: &str = "$.KBUS.ReplierBindEvent";

/// Measures a victim whose bus has these attackers' bindings, next to one whose bus has none.
fn with_bindings(what: &str, users: u32, each: u32, bind: impl Fn(&Sock, u32)) {
    let (bus, clean) = (fresh_bus(), fresh_bus());
    let owners = [Sock::on(&bus), Sock::on(&clean)];
    let (mut victim, mut spared) = (Victim::on(&bus), Victim::on(&clean));
    let attackers = Attackers::there(users, users, |i| {
        let sock = Sock::on(&bus);
        bind(&sock, i);
        sock
    });
    // The victim has two.
    let bindings = owners
        .each_ref()
        .map(|sock| sock.bus_info().unwrap().bindings);
    assert_eq!(bindings, [2 + users * each, 2]);
    attackers.leave(what, 0.9, |attacked| match attacked {
        true => victim.step(),
        false => spared.step(),
    });
}

/// As many bindings as a user may have, half of them repliers.
fn to_the_limit(sock: &Sock, i: u32) {
    for n in 0..2048 {
        sock.listen(&format!("$.Victim.Ask.A{i}.L{n}")).unwrap();
        sock.replier(&format!("$.Victim.News.A{i}.R{n}")).unwrap();
    }
    fails!(EDQUOT, sock.listen("$.One.More"));
}

/// One user binds all it may, below the victim's names.
fn bindings_to_the_limit() {
    assert_eq!(Sysctl::get("user_bindings"), 4096);
    with_bindings("4096 bindings", 1, 4096, to_the_limit);
}

/// Sixteen users do.
fn bindings_to_the_limit_of_16_users() {
    with_bindings("65536 bindings of 16 users", 16, 4096, to_the_limit);
}

/// Wildcards of 499 words, and thousands that differ in their last word, all within the victim's first ones.
fn deep_and_wide_wildcards() {
    const DEEP: u32 = 488_u32.div_ceil(16) * 2;
    with_bindings("deep and wide wildcards", 1, DEEP + 2000, |sock, _| {
        let deep = ".A".repeat(498);
        for depth in (2..490).step_by(16) {
            let name = format!("${}.*", &deep[..2 * depth]);
            sock.listen(&name).unwrap();
            sock.replier(&name).unwrap();
        }
        for n in 0..1000 {
            sock.listen(&format!("$.Victim.X{n:03}.%")).unwrap();
            sock.listen(&format!("$.Victim.Ask.X{n:03}.*")).unwrap();
        }
    });
}

/// Sends to a name of 499 words, each of whose prefixes is a wildcard's: a look-up of as many steps.
fn sends_to_deep_names() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 50, |_| {
        let (sender, sock) = (Sock::on(&bus), Sock::on(&bus));
        let name = format!("${}", ".A".repeat(499));
        sock.listen(&format!("${}.*", ".A".repeat(490))).unwrap();
        let out = Out::nowhere(b"").with(Cmsg::name(&name));
        sender.send_msg(&out).unwrap();
        assert_eq!(sock.unread(), 1, "it is found");
        move || {
            let _sock = &sock;
            sender.send_msg(&out).unwrap() == 0
        }
    });
    attackers.leave("sends to names of 499 words", 0.15, |_| victim.step());
    attackers.leave_paced("sends to names of 499 words", 200, |_| victim.step());
}

/// Binds and unbinds in a loop while events are on and the victim listens to them.
fn rapid_binds_with_events() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.turn_on(uapi::KBUS_REPORT_BINDS);
    let mut victim = Victim::on(&bus);
    let watcher = as_user(VICTIM, || Sock::on(&bus));
    watcher.turn_on(uapi::KBUS_LOSSY);
    watcher.listen(EVENT).unwrap();
    let attackers = Attackers::start(1, 1, 500, |_| {
        let sock = Sock::on(&bus);
        move || {
            sock.replier("$.Attack.Here").unwrap();
            sock.unreplier("$.Attack.Here").unwrap();
            true
        }
    });
    attackers.leave("binds and unbinds with events", 0.1, |_| victim.step());
    attackers.leave_paced("binds and unbinds with events", 200, |_| victim.step());
    // Each of them was an event, which was heard or missed.
    assert_eq!(watcher.unread(), 88, "as many as one user's may be");
    assert!(watcher.lost() > 1000);
}

/// A full listener of the events forbids nobody's bindings, and delays none.
fn full_listener_of_the_events() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.turn_on(uapi::KBUS_REPORT_BINDS);
    let sock = as_user(VICTIM, || Sock::on(&bus));
    let watcher = as_user(VICTIM, || Sock::on(&bus));
    watcher.listen(EVENT).unwrap();
    let full = as_user(ATTACKER, || Sock::on(&bus));
    full.set_queue_len(1);
    full.listen(EVENT).unwrap();
    full.listen("$.KBUS.*").unwrap();
    for _ in 0..200 {
        sock.set_nonblocking();
        sock.replier("$.Victim.Late").unwrap();
        sock.unreplier("$.Victim.Late").unwrap();
        for _ in 0..2 {
            assert_eq!(watcher.recv().unwrap().info.lost, 0);
        }
    }
    assert_eq!((full.unread(), full.lost()), (1, 2 * 400 - 1));
    // Nor do those of many users, each of which has a full one of each kind; not where the binder would wait, either.
    let many: Vec<Sock> = (1..=16)
        .flat_map(|user| [EVENT, "$.KBUS.*", "$.*"].map(|name| (user, name)))
        .map(|(user, name)| {
            let full = as_user(ATTACKER + user, || Sock::on(&bus));
            full.set_queue_len(1);
            full.listen(name).unwrap();
            full
        })
        .collect();
    sock.replier("$.Victim.First").unwrap();
    assert_eq!(watcher.recv().unwrap().info.lost, 0);
    assert!(many
        .iter()
        .all(|full| full.unread() == 1 && full.lost() == 0));
    let waits = as_user(VICTIM, || Sock::on(&bus));
    for _ in 0..100 {
        for sock in [&sock, &waits] {
            sock.replier("$.Victim.Late").unwrap();
            sock.unreplier("$.Victim.Late").unwrap();
            for _ in 0..2 {
                assert_eq!(watcher.recv().unwrap().info.lost, 0);
            }
        }
    }
    assert!(many
        .iter()
        .all(|full| full.unread() == 1 && full.lost() == 400));
    // A listener of the binder's own user that has no room is another matter: so the events were there to be refused.
    let own = as_user(VICTIM, || Sock::on(&bus));
    own.set_queue_len(1);
    own.listen(EVENT).unwrap();
    sock.replier("$.Victim.Late").unwrap();
    fails!(EAGAIN, sock.unreplier("$.Victim.Late"));
}

/// Nobody but the bus speaks under `$.KBUS`, or is asked there.
fn names_of_the_bus_s_own() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let victim = as_user(VICTIM, || Sock::on(&bus));
    victim.listen("$.KBUS.*").unwrap();
    let attacker = as_user(ATTACKER, || Sock::on(&bus));
    attacker.replier("$.*").unwrap();
    attacker.replier("$.%").unwrap();
    for name in [
        "$.KBUS",
        EVENT,
        "$.KBUS.Lost",
        "$.KBUS.Replier.GoneAway",
        "$.KBUS.A.B.C",
    ] {
        fails!(EPERM, attacker.send_to(name, b"lies"));
        fails!(EPERM, attacker.request(name, b"lies"));
        let out = Out::nowhere(b"lies").with(Cmsg::name(name));
        fails!(EPERM, attacker.send_msg(&out));
        fails!(EPERM, attacker.replier(name));
        fails!(EPERM, attacker.send_to(&format!("{name}@1#1"), b"lies"));
        assert_eq!(victim.who_replies(name).unwrap_or(0), 0, "{name}");
    }
    fails!(EPERM, attacker.replier("$.KBUS.*"));
    fails!(EPERM, attacker.replier("$.KBUS.%"));
    silent!(victim);
    // Names that only begin alike are anybody's, and no wildcard of the bus's own names matches them.
    attacker.send_to("$.KBUSX", b"").unwrap();
    silent!(victim);
    // What only the bus may say of a message cannot be said either.
    for flag in [uapi::KBUS_STATUS, uapi::KBUS_REPLY, uapi::KBUS_YOU_REPLY] {
        fails!(EINVAL, attacker.send_with("$.Victim.News", b"", flag));
    }
}

/// Who makes a bus of a well-known name first owns it. Whoever joins can tell.
fn squatter_of_a_bus_name() {
    let bus = fresh_bus();
    let squatter = as_user(ATTACKER, || Sock::on(&bus));
    let victim = as_user(VICTIM, || Sock::on(&bus));
    let info = victim.bus_info().unwrap();
    assert_eq!(info.uid, ATTACKER);
    fails!(EPERM, victim.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20));
    // It stays the squatter's while any socket is on it, the victim's own among them...
    drop(squatter);
    assert_eq!(victim.bus_info().unwrap().uid, ATTACKER);
    // ...and is the victim's when the victim is first.
    drop(victim);
    let victim = as_user(VICTIM, || Sock::on(&bus));
    assert_eq!(victim.bus_info().unwrap().uid, VICTIM);
}

/// A replier on everything takes no name from anybody, whichever came first.
fn replier_on_everything() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let attackers = Attackers::there(1, 1, |_| {
        let sock = Sock::on(&bus);
        sock.replier("$.*").unwrap();
        sock.replier("$.%").unwrap();
        sock
    });
    let mut victim = Victim::on(&bus);
    let clean = fresh_bus();
    let mut spared = Victim::on(&clean);
    attackers.leave("a replier on everything", 0.9, |attacked| match attacked {
        true => victim.step(),
        false => spared.step(),
    });
}

/// A wildcard with a word before it keeps the names below it, but not from the bus's owner: names are whose comes first.
fn squatter_of_names() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    let squatter = as_user(ATTACKER, || Sock::on(&bus));
    squatter.replier("$.Victim.*").unwrap();
    let victim = as_user(VICTIM, || Sock::on(&bus));
    fails!(EACCES, victim.replier("$.Victim.Ask"));
    owner.replier("$.Victim.Ask").unwrap();
    assert_eq!(victim.who_replies("$.Victim.Ask"), Ok(owner.peer_id()));
    // Who was there first loses nothing to one that comes later.
    victim.replier("$.Other.Ask").unwrap();
    squatter.replier("$.Other.*").unwrap();
    assert_eq!(victim.who_replies("$.Other.Ask"), Ok(victim.peer_id()));
    fails!(EEXIST, squatter.replier("$.Other.Ask"));
}
