// SPDX-License-Identifier: GPL-2.0
//! Looking inside: the tracepoints `kbus:*`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use kbus_selftests::files::mount;
use kbus_selftests::process::skip;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

super::tests! {
    announcement_is_traced_to_each_listener miss_is_traced
    request_and_its_reply_are_traced status_is_traced bindings_and_closing_are_traced
    peeking_is_no_receiving long_name_is_traced_whole failed_send_is_not_traced
}

const TRACING: &str = "/sys/kernel/tracing";

/// A trace buffer of this test's own, with all events of the module.
struct Trace(PathBuf);

impl Trace {
    /// Begins to trace. Skips the test where the kernel has no tracepoints.
    fn begin() -> Trace {
        let tracing = Path::new(TRACING);
        if !tracing.exists() {
            skip("the kernel has no tracepoints");
        }
        if !tracing.join("instances").exists() {
            mount(Path::new("tracefs"), tracing, "tracefs", 0, "").expect("mounting tracefs");
        }
        let trace = Trace(tracing.join("instances").join(fresh_bus()));
        fs::create_dir(&trace.0).expect("an instance");
        fs::write(trace.0.join("events/kbus/enable"), "1").expect("switching events on");
        trace
    }

    /// What was told of these sockets: "event: fields", in order.
    fn of(&self, socks: &[&Sock]) -> Vec<String> {
        let peers: Vec<_> = socks
            .iter()
            .map(|sock| format!("peer={:x}", sock.peer_id()))
            .collect();
        self.with(|line| peers.iter().any(|peer| line.split(' ').any(|w| w == peer)))
    }

    /// Events for which `wanted` holds.
    fn with(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("trace")).expect("the trace");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            // "task-pid [cpu] flags time: event: fields"
            .filter_map(|line| Some(line.split_once(": ")?.1))
            .filter(|line| wanted(line))
            .map(str::to_string)
            .collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("events/kbus/enable"), "0");
        let _ = fs::remove_dir(&self.0);
    }
}

/// `send` tells of an announcement, `deliver` of each listener's copy, `receive` of its reading.
fn announcement_is_traced_to_each_listener() {
    let trace = Trace::begin();
    let bus = fresh_bus();
    let [a, b, c] = [0; 3].map(|_| Sock::on(&bus));
    b.listen("$.A").unwrap();
    c.listen("$.A").unwrap();
    let id = a.send_with("$.A", b"four", uapi::KBUS_URGENT).unwrap();
    b.recv().unwrap();
    let [a_is, b_is, c_is] = [&a, &b, &c].map(Sock::peer_id);
    assert_eq!(
        trace.of(&[&a, &b, &c]),
        [
            format!("bind: peer={b_is:x} kind=L name=$.A"),
            format!("bind: peer={c_is:x} kind=L name=$.A"),
            format!("send: id={id:x} peer={a_is:x} len=4 flags=URGENT name=$.A"),
            format!("deliver: id={id:x} peer={b_is:x}"),
            format!("deliver: id={id:x} peer={c_is:x}"),
            format!(
                "receive: id={id:x} peer={b_is:x} sender={a_is:x} len=4 lost=0 flags=URGENT name=$.A"
            ),
        ]
    );
}

/// `miss` tells whose queue was full.
fn miss_is_traced() {
    let trace = Trace::begin();
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.set_queue_len(1);
    a.send_to("$.A", b"").unwrap();
    a.send_to("$.A", b"").unwrap();
    let missed = trace.with(|line| line.starts_with("miss: "));
    let (id, peer) = (a.last_sent(), b.peer_id());
    assert!(missed.contains(&format!("miss: id={id:x} peer={peer:x}")));
}

/// `send` tells of a request, `reply` of the reply, with the id of the request.
fn request_and_its_reply_are_traced() {
    let trace = Trace::begin();
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let request = a.request("$.A", b"1").unwrap();
    b.reply(&b.recv().unwrap(), b"22").unwrap();
    a.recv().unwrap();
    let reply = b.last_sent();
    let [a_is, b_is] = [&a, &b].map(Sock::peer_id);
    assert_eq!(
        trace.of(&[&a, &b]),
        [
            format!("bind: peer={b_is:x} kind=R name=$.A"),
            format!("send: id={request:x} peer={a_is:x} len=1 flags=REQUEST name=$.A"),
            format!("deliver: id={request:x} peer={b_is:x}"),
            format!(
                "receive: id={request:x} peer={b_is:x} sender={a_is:x} len=1 lost=0 \
                 flags=REQUEST|YOU_REPLY name=$.A"
            ),
            format!(
                "reply: id={reply:x} peer={b_is:x} to={a_is:x} request={request:x} len=2 name=$.A"
            ),
            format!("deliver: id={reply:x} peer={a_is:x}"),
            format!(
                "receive: id={reply:x} peer={a_is:x} sender={b_is:x} len=2 lost=0 \
                 flags=REPLY name=$.A"
            ),
        ]
    );
}

/// `status` tells which request will not be answered, by whom, and why.
fn status_is_traced() {
    let trace = Trace::begin();
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let request = a.request("$.A", b"").unwrap();
    let (peer, replier) = (a.peer_id(), b.peer_id());
    drop(b);
    let id = a.recv().unwrap().info.id;
    assert_eq!(
        trace.with(|line| line.starts_with("status: ") && line.contains(&format!("peer={peer:x} "))),
        [format!(
            "status: id={id:x} peer={peer:x} request={request:x} replier={replier:x} error=GONE_AWAY"
        )]
    );
}

/// `bind`, `unbind` and `close` tell who has which name.
fn bindings_and_closing_are_traced() {
    let trace = Trace::begin();
    let sock = Sock::on(&fresh_bus());
    let peer = sock.peer_id();
    let own = format!("peer={peer:x}");
    sock.listen("$.A.*").unwrap();
    sock.replier("$.A").unwrap();
    sock.unlisten("$.A.*").unwrap();
    sock.unreplier("$.A").unwrap();
    // One that is refused is none.
    sock.unlisten("$.A").unwrap_err();
    drop(sock);
    assert_eq!(
        trace.with(|line| line.split(' ').any(|word| word == own)),
        [
            format!("bind: {own} kind=L name=$.A.*"),
            format!("bind: {own} kind=R name=$.A"),
            format!("unbind: {own} kind=L name=$.A.*"),
            format!("unbind: {own} kind=R name=$.A"),
            format!("close: {own}"),
        ]
    );
}

/// A look at a message that stays is not traced.
fn peeking_is_no_receiving() {
    let trace = Trace::begin();
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", b"").unwrap();
    b.peek().unwrap();
    let own = trace.of(&[&b]);
    assert!(
        !own.iter().any(|line| line.starts_with("receive: ")),
        "{own:?}"
    );
}

/// A name of 1000 bytes is traced whole.
fn long_name_is_traced_whole() {
    let trace = Trace::begin();
    let sock = Sock::on(&fresh_bus());
    let name = long_name(1000);
    sock.listen(&name).unwrap();
    assert_eq!(
        trace.of(&[&sock]),
        [format!(
            "bind: peer={:x} kind=L name={name}",
            sock.peer_id()
        )]
    );
}

/// A send that fails is not traced, nor is any copy of it.
fn failed_send_is_not_traced() {
    let trace = Trace::begin();
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    c.listen("$.A").unwrap();
    c.set_queue_len(1);
    a.send_to("$.A", b"").unwrap();
    let before = trace.of(&[&a, &b, &c]).len();
    a.send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL).unwrap_err();
    assert_eq!(trace.of(&[&a, &b, &c]).len(), before);
}
