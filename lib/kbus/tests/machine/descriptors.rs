// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors in messages.

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::unix::net::UnixStream;

use kbus::ErrorKind;
use kbus::Socket;

use crate::copy;
use crate::fresh;
use crate::nothing;
use crate::reply;
use crate::request;

fn file(text: &str) -> File {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(format!("/tmp/rust-fds-{text}"))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Those of a request go to the replier, those of a reply to the requester, and a listener's copy
/// says that there were some. Each is closed by `exec`.
#[test]
#[ignore = "for the machine"]
fn descriptors_go_to_whoever_answers() {
    let bus = fresh();
    let open = || Socket::options().descriptors(true).open(&bus).unwrap();
    let (client, service, listener) = (open(), open(), open());
    service.become_replier("$.A").unwrap();
    listener.listen("$.A").unwrap();
    client
        .to("$.A")
        .unwrap()
        .fds([&file("one"), &file("two")])
        .request(b"")
        .unwrap();
    let mut asked = request(&service);
    let fds = asked.take_fds();
    assert_eq!(fds.len(), 2);
    for fd in &fds {
        // SAFETY: No pointers.
        let flags = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(fd), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
    let texts: Vec<String> = fds.into_iter().map(|fd| text(File::from(fd))).collect();
    assert_eq!(texts, ["one", "two"]);
    let heard = copy(&listener);
    assert!(heard.fds().is_empty() && heard.fds_missing());
    asked.reply_with_fds(b"here", [&file("three")]).unwrap();
    let mut answer = reply(&client);
    assert_eq!(text(File::from(answer.take_fds().remove(0))), "three");
    assert!(!answer.fds_missing());
}

/// Who has not asked for descriptors gets none, and learns that there were some.
#[test]
#[ignore = "for the machine"]
fn descriptors_are_asked_for() {
    let bus = fresh();
    let socket = Socket::open(&bus).unwrap();
    socket.become_replier("$.A").unwrap();
    socket
        .to("$.A")
        .unwrap()
        .fds([&file("one")])
        .request(b"")
        .unwrap();
    let asked = request(&socket);
    assert!(asked.fds().is_empty() && asked.fds_missing());
}

/// One that cannot be passed is refused; a request with it stays owed.
#[test]
#[ignore = "for the machine"]
fn sockets_are_not_passed() {
    let bus = fresh();
    let socket = Socket::options().descriptors(true).open(&bus).unwrap();
    let (unix, _other) = UnixStream::pair().unwrap();
    let error = socket
        .to("$.A")
        .unwrap()
        .fds([&unix])
        .announce(b"")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Descriptor);
    socket.become_replier("$.A").unwrap();
    socket.request("$.A", b"").unwrap();
    let error = request(&socket).reply_with_fds(b"", [&unix]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Descriptor);
    nothing(&socket);
    error.into_request().unwrap().reply(b"without").unwrap();
    assert_eq!(reply(&socket).payload(), b"without");
}

/// As many as there may be come with one message.
#[test]
#[ignore = "for the machine"]
fn many_descriptors_fit() {
    let bus = fresh();
    let socket = Socket::options()
        .descriptors(true)
        .credentials(true)
        .time(true)
        .open(&bus)
        .unwrap();
    let name = crate::name_of(1000);
    socket.listen(&name).unwrap();
    let file = file("one");
    let all: Vec<&File> = (0..253).map(|_| &file).collect();
    socket.to(&name).unwrap().fds(all).announce(b"").unwrap();
    let message = crate::announcement(&socket);
    assert_eq!((message.fds().len(), message.fds_missing()), (253, false));
    assert!(message.credentials().is_some() && message.name() == name.as_str());
}
