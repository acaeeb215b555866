// SPDX-License-Identifier: GPL-2.0
//! `SCM_CREDENTIALS` that a sender attaches: who one may claim to be.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Creds;
use kbus_selftests::sys::Out;

use super::credentials::claim;
use super::credentials::creds;
use super::credentials::listener;
use super::credentials::parent_pid;
use super::fails;
use super::silent;

super::tests! {
    claim_what_one_is claim_one_of_own_ids claim_needs_privilege claim_is_checked malformed_claims
}

/// Anybody may say what he is.
fn claim_what_one_is() {
    let b = listener(&fresh_bus());
    process::become_user(1000, 1001);
    claim(&b, Creds::own()).unwrap();
    assert_eq!(creds(&b), Creds::own());
}

/// One may name oneself by any of one's three users and groups.
fn claim_one_of_own_ids() {
    let b = listener(&fresh_bus());
    // SAFETY: Always safe.
    let r = unsafe { libc::setresgid(11, 12, 13) | libc::setresuid(1, 2, 3) };
    assert_eq!(r, 0);
    let pid = Creds::own().pid;
    for (uid, gid) in [(1, 11), (2, 12), (3, 13), (1, 13)] {
        let claimed = Creds { pid, uid, gid };
        claim(&b, claimed).unwrap();
        assert_eq!(creds(&b), claimed);
    }
    fails!(
        EPERM,
        claim(
            &b,
            Creds {
                pid,
                uid: 4,
                gid: 11
            }
        )
    );
    fails!(
        EPERM,
        claim(
            &b,
            Creds {
                pid,
                uid: 1,
                gid: 14
            }
        )
    );
    silent!(b);
}

/// To name others takes `CAP_SYS_ADMIN`, `CAP_SETUID` and `CAP_SETGID`.
fn claim_needs_privilege() {
    let b = listener(&fresh_bus());
    let pid = parent_pid();
    let (uid, gid) = (4711, 4712);
    let other = Creds { pid, uid, gid };
    claim(&b, other).unwrap();
    assert_eq!(creds(&b), other);
    process::become_user(1000, 1001);
    let own = Creds::own();
    fails!(EPERM, claim(&b, other));
    fails!(EPERM, claim(&b, Creds { pid, ..own }));
    fails!(EPERM, claim(&b, Creds { uid, ..own }));
    fails!(EPERM, claim(&b, Creds { gid, ..own }));
    silent!(b);
}

/// Processes and ids that do not exist cannot be named.
fn claim_is_checked() {
    let b = listener(&fresh_bus());
    let own = Creds::own();
    let child = Child::fork(|| {});
    let pid = child.pid();
    child.join();
    fails!(ESRCH, claim(&b, Creds { pid, ..own }));
    fails!(ESRCH, claim(&b, Creds { pid: -1, ..own }));
    let none = u32::MAX;
    fails!(EINVAL, claim(&b, Creds { uid: none, ..own }));
    fails!(EINVAL, claim(&b, Creds { gid: none, ..own }));
    silent!(b);
}

/// `SCM_CREDENTIALS` of another size, or twice, is `EINVAL`.
fn malformed_claims() {
    let b = listener(&fresh_bus());
    let right = Cmsg::credentials(Creds::own());
    for len in [0, 4, 11, 13, 16] {
        let mut wrong = right.clone();
        wrong.data.resize(len, 0);
        fails!(EINVAL, b.send_msg(&Out::to("$.A", b"").with(wrong)));
    }
    let twice = Out::to("$.A", b"").with(right.clone()).with(right);
    fails!(EINVAL, b.send_msg(&twice));
    silent!(b);
}
