// SPDX-License-Identifier: GPL-2.0
//! KBUS as a story: a listener in Python, a replier in C, and this requester.
//!
//! Starts the other two, waits for what they say, and exits with 0 only when
//! every step happened. Nothing is timed: each step waits for the one before.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Sock;

const BUS: &str = "kbus-demo";
const NAME: &str = "$.Sensors.Kitchen";

/// The whole story takes seconds; a minute means that somebody hangs.
const TIME_LIMIT: u32 = 60;

type Step<T = ()> = Result<T, String>;

/// One line of the story.
fn say(who: &str, what: &str) {
    println!("{who:>16} | {what}");
}

/// One of the other programs. Killed when dropped.
struct Program {
    who: &'static str,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn start(who: &'static str, command: &[&str]) -> Step<Program> {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.join(" ")))?;
        let lines = BufReader::new(child.stdout.take().ok_or("stdout is piped")?);
        Ok(Program { who, child, lines })
    }

    /// Waits for its next line, which must have this in it.
    fn expect(&mut self, words: &str) -> Step {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => return Err(format!("the {} ended before \"{words}\"", self.who)),
            Ok(_) => say(self.who, line.trim_end()),
            Err(error) => return Err(format!("the {}: {error}", self.who)),
        }
        match line.contains(words) {
            true => Ok(()),
            false => Err(format!("the {} did not say \"{words}\"", self.who)),
        }
    }

    fn pid(&self) -> Step<i32> {
        i32::try_from(self.child.id()).map_err(|error| error.to_string())
    }

    /// Stops it where it is, and returns when it stands still.
    fn freeze(&self) -> Step {
        let pid = self.pid()?;
        let mut status = 0;
        // SAFETY: The pid is ours until it is waited for, `status` a valid place.
        let stopped = unsafe {
            libc::kill(pid, libc::SIGSTOP);
            libc::waitpid(pid, &mut status, libc::WUNTRACED) == pid && libc::WIFSTOPPED(status)
        };
        match stopped {
            true => Ok(()),
            false => Err(format!("the {} cannot be stopped", self.who)),
        }
    }

    /// Kills it with SIGKILL and waits until it is dead.
    fn kill(mut self) -> Step {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|error| format!("the {}: {error}", self.who))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says what was tried when it fails.
fn tried<T>(what: &str, result: Result<T, impl std::fmt::Display>) -> Step<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn ensure(holds: bool, otherwise: &str) -> Step {
    match holds {
        true => Ok(()),
        false => Err(otherwise.to_string()),
    }
}

fn replier(who: &'static str) -> Step<Program> {
    Program::start(who, &["/demo/replier"])
}

/// Reads the answer to this request.
fn answer(sock: &Sock, id: u64) -> Step<Msg> {
    let msg = tried("receive", sock.recv_wait())?;
    ensure(
        msg.info.in_reply_to == id,
        "this answers some other request",
    )?;
    Ok(msg)
}

/// Reads a status, which must say this.
fn status(sock: &Sock, id: u64, error: u32, meaning: &str) -> Step {
    let msg = answer(sock, id)?;
    ensure(msg.is(uapi::KBUS_STATUS), "this is no status")?;
    ensure(msg.data.is_empty(), "a status has no payload")?;
    ensure(msg.info.error == error as i32, "this is another status")?;
    say(
        "requester",
        &format!("got an empty message from {}: {meaning}", msg.from),
    );
    Ok(())
}

fn story() -> Step {
    let sock = tried("make a socket", Sock::open())?;
    tried("join the bus", sock.bind(BUS))?;
    say(
        "requester",
        &format!("bound to the bus @{BUS} as peer {:x}", sock.peer_id()),
    );

    let mut listener = Program::start("listener", &["python3", "/demo/listener.py"])?;
    listener.expect("listening to $.Sensors.*")?;

    tried("announce", sock.send_to("$.Sensors.Door", b"open"))?;
    say("requester", "announced \"open\" to $.Sensors.Door");
    listener.expect("heard the announcement \"open\" from $.Sensors.Door@")?;

    let mut first = replier("replier")?;
    first.expect("replier for $.Sensors.Kitchen")?;
    let peer = tried("look for the replier", sock.who_replies(NAME))?;
    ensure(peer != 0, "the bus knows of no replier")?;
    say(
        "requester",
        &format!("the bus says that peer {peer:x} replies"),
    );

    let ask = |what: &str| -> Step<u64> {
        let id = tried("send a request", sock.request(NAME, what.as_bytes()))?;
        say("requester", &format!("asked \"{what}\" of {NAME}"));
        Ok(id)
    };
    let id = ask("how warm is it?")?;
    first.expect("asked \"how warm is it?\"")?;
    listener.expect("heard the request \"how warm is it?\"")?;
    let reply = answer(&sock, id)?;
    ensure(reply.is(uapi::KBUS_REPLY), "this is no reply")?;
    ensure(reply.data == b"21.5 degrees", "this is another reply")?;
    first.expect("replied \"21.5 degrees\"")?;
    say(
        "requester",
        &format!("got \"21.5 degrees\" from {}", reply.from),
    );
    listener.expect("heard the reply \"21.5 degrees\"")?;

    let mut second = replier("second replier")?;
    second.expect("refused as replier for $.Sensors.Kitchen: EEXIST")?;
    let code = tried("wait", second.child.wait())?.code();
    ensure(code == Some(17), "the second replier was not refused")?;
    ensure(
        sock.who_replies(NAME) == Ok(peer),
        "the first replier lost its name",
    )?;

    // Held still, the replier cannot read what comes.
    first.freeze()?;
    let id = ask("are you there?")?;
    listener.expect("heard the request \"are you there?\"")?;
    first.kill()?;
    say("requester", "killed the replier (SIGKILL), request unread");
    status(&sock, id, uapi::KBUS_GONE_AWAY, "GONE_AWAY")?;

    let mut third = replier("third replier")?;
    third.expect("replier for $.Sensors.Kitchen")?;
    let id = ask("think about it")?;
    third.expect("asked \"think about it\"")?;
    listener.expect("heard the request \"think about it\"")?;
    third.kill()?;
    say("requester", "killed it too, request read but not answered");
    status(&sock, id, uapi::KBUS_IGNORED, "IGNORED")?;

    ensure(
        sock.who_replies(NAME) == Ok(0),
        "the name still has a replier",
    )?;
    ensure(sock.recv().is_err(), "there was one answer too many")?;
    say("requester", "every request had exactly one answer");
    listener.kill()
}

fn main() -> ExitCode {
    Form::Literal.choose();
    // SAFETY: Always safe; the signal ends the process.
    unsafe { libc::alarm(TIME_LIMIT) };
    match story() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kbus-demo: {error}");
            ExitCode::FAILURE
        }
    }
}
