// SPDX-License-Identifier: GPL-2.0
//! The label that a security module has for who sent a message: `SCM_SECURITY`.

use std::fs;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Sock;

use super::credentials::SCM_SECURITY;

super::tests! {
    label_of_the_sender label_is_of_the_time_of_sending
}

/// What a security module calls this process, if there is one that names processes.
fn own_label() -> String {
    match fs::read_to_string("/proc/self/attr/current") {
        Ok(label) if !label.is_empty() => label.trim_end_matches(['\n', '\0']).to_string(),
        _ => process::skip("no security module that has labels"),
    }
}

fn label(msg: &Msg) -> Option<String> {
    let bytes = msg.cmsg(libc::SOL_SOCKET, SCM_SECURITY)?;
    let text = String::from_utf8_lossy(bytes);
    Some(text.trim_end_matches(['\n', '\0']).to_string())
}

/// `SCM_SECURITY` comes to who set `SO_PASSSEC` before the message was sent: the label of the process that sent.
fn label_of_the_sender() {
    let own = own_label();
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(label(&b.recv().unwrap()), None);
    b.set_socket(libc::SO_PASSSEC, 1).unwrap();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(label(&b.recv().unwrap()), Some(own));
    // The bus itself has none.
    b.replier("$.B").unwrap();
    a.set_socket(libc::SO_PASSSEC, 1).unwrap();
    a.request("$.B", b"").unwrap();
    drop(b);
    assert_eq!(label(&a.recv().unwrap()), None);
}

/// The label is that of the time of sending, too.
fn label_is_of_the_time_of_sending() {
    let own = own_label();
    let policy = "/sys/kernel/security/apparmor/policy/namespaces";
    // SAFETY: All are NUL-terminated.
    unsafe {
        libc::mount(
            c"securityfs".as_ptr(),
            c"/sys/kernel/security".as_ptr(),
            c"securityfs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    let name = format!("kbus{}", std::process::id());
    let dir = format!("{policy}/{name}");
    if fs::create_dir(&dir).is_err() {
        process::skip("no AppArmor to make another label with");
    }
    let b = Sock::on(&fresh_bus());
    b.set_socket(libc::SO_PASSSEC, 1).unwrap();
    b.listen("$.A").unwrap();
    Child::fork(|| {
        b.send_to("$.A", b"").unwrap();
        let change = format!("changeprofile :{name}:unconfined");
        fs::write("/proc/self/attr/current", change).expect("another label");
        b.send_to("$.A", b"").unwrap();
    })
    .join();
    assert_eq!(label(&b.recv().unwrap()), Some(own.clone()));
    let other = label(&b.recv().unwrap()).expect("a label");
    assert!(other != own && other.contains(&name), "{other}");
    fs::remove_dir(&dir).unwrap();
}
