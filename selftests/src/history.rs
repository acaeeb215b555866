// SPDX-License-Identifier: GPL-2.0
//! Is what several threads did at once explained by one order of all operations?
//!
//! Each operation has the time at which it was called and at which it
//! returned, and may have taken effect at any moment in between. The bus says
//! in which order it thinks the messages came: by their ids. So the order of
//! messages is given, and what is to be found out is whether it, and each
//! binding somewhere between two messages, agree with the times and with what
//! everybody read.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// One operation of one socket, which does them one after the other.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was called, on a clock that all threads share.
    pub start: u64,
    /// When it returned.
    pub end: u64,
    /// Whose socket.
    pub sock: usize,
    /// What it did.
    pub what: What,
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Became a listener for a name.
    Listen(usize),
    /// No longer.
    Unlisten(usize),
    /// Became the replier for a name, or the errno.
    Bind(usize, Result<(), i32>),
    /// No longer.
    Unbind(usize),
    /// Announced a name; the id.
    Announce(usize, u64),
    /// Asked for a name; the id or the errno.
    Request(usize, Result<u64, i32>),
    /// Replied to the request of this id, with this name; the id of the reply.
    Reply(usize, u64, u64),
    /// Gave up the request of this id.
    Ignore(u64),
    /// Read a message.
    Read(Copy),
    /// Found nothing to read.
    Empty,
}

/// A message that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its id.
    pub id: u64,
    /// Why it came.
    pub role: Role,
}

/// Why a message came to its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It listened to this name.
    Listener(usize),
    /// It must answer.
    Replier,
    /// It had asked: the reply to this request.
    Reply(u64),
    /// It had asked: the status, and the number in it, for this request.
    Status(u64, i32),
}

/// `KBUS_IGNORED`: the one status for requests that were read.
const IGNORED: i32 = 2;

/// A binding from its beginning to its end.
struct Span {
    sock: usize,
    name: usize,
    begin: (u64, u64),
    end: (u64, u64),
    /// Ids read meanwhile by a listener.
    read: Vec<u64>,
    /// When it last began to find its queue empty.
    empty: u64,
}

/// A message that was sent.
struct Sent {
    start: u64,
    end: u64,
    name: usize,
}

const NEVER: (u64, u64) = (u64::MAX, u64::MAX);

/// Checks a history in which nothing was missed and every queue was read to its end.
///
/// # Errors
///
/// The first contradiction, in words.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.start);
    let sent = sent(&events)?;
    real_time(&events, &sent)?;
    queues(&events)?;
    listeners(&events, &sent)?;
    repliers(&events)?;
    answers(&events)
}

/// All messages that programs sent, by id.
fn sent(events: &[&Event]) -> Result<BTreeMap<u64, Sent>, String> {
    let mut sent = BTreeMap::new();
    for event in events {
        let (name, id) = match &event.what {
            What::Announce(name, id) | What::Request(name, Ok(id)) => (*name, *id),
            What::Reply(name, _, id) => (*name, *id),
            _ => continue,
        };
        let (start, end) = (event.start, event.end);
        if sent.insert(id, Sent { start, end, name }).is_some() {
            return Err(format!("two messages have the id {id}"));
        }
    }
    Ok(sent)
}

/// A message that was sent before another one was begun has the lesser id.
fn real_time(events: &[&Event], sent: &BTreeMap<u64, Sent>) -> Result<(), String> {
    let mut latest = (0, 0);
    for (id, message) in sent {
        if message.end < latest.0 {
            return Err(format!(
                "{id} was sent before {} was begun, and has the greater id",
                latest.1
            ));
        }
        latest = latest.max((message.start, *id));
    }
    for event in events {
        let What::Read(copy) = &event.what else {
            continue;
        };
        if sent.get(&copy.id).is_some_and(|m| m.start > event.end) {
            return Err(format!("{} was read before it was sent", copy.id));
        }
    }
    Ok(())
}

/// Every queue is in the order of ids; copies of one message are next to each other.
fn queues(events: &[&Event]) -> Result<(), String> {
    let mut last: HashMap<usize, &Copy> = HashMap::new();
    for event in events {
        let What::Read(copy) = &event.what else {
            continue;
        };
        if let Some(before) = last.insert(event.sock, copy) {
            let again = before.id == copy.id && before.role == copy.role;
            if before.id > copy.id || again {
                return Err(format!(
                    "socket {} read {copy:?} after {before:?}",
                    event.sock
                ));
            }
        }
    }
    Ok(())
}

/// A listener gets all messages of its name from one moment within its call on, without a hole.
fn listeners(events: &[&Event], sent: &BTreeMap<u64, Sent>) -> Result<(), String> {
    let mut open: HashMap<(usize, usize), Span> = HashMap::new();
    let mut spans = Vec::new();
    for event in events {
        let (sock, times) = (event.sock, (event.start, event.end));
        match &event.what {
            What::Listen(name) => {
                let span = Span {
                    sock,
                    name: *name,
                    begin: times,
                    end: NEVER,
                    read: Vec::new(),
                    empty: 0,
                };
                open.insert((sock, *name), span);
            }
            What::Unlisten(name) => {
                let mut span = open.remove(&(sock, *name)).ok_or("unlistened twice")?;
                span.end = times;
                spans.push(span);
            }
            What::Empty => {
                for span in open.values_mut().filter(|span| span.sock == sock) {
                    span.empty = event.start;
                }
            }
            What::Read(Copy {
                id,
                role: Role::Listener(name),
            }) => match open.get_mut(&(sock, *name)) {
                Some(span) => span.read.push(*id),
                None => return Err(format!("socket {sock} read {id}, and does not listen")),
            },
            _ => {}
        }
    }
    spans.extend(open.into_values());
    spans.iter().try_for_each(|span| heard(span, sent))
}

fn heard(span: &Span, sent: &BTreeMap<u64, Sent>) -> Result<(), String> {
    let who = format!("socket {} as listener to {}", span.sock, span.name);
    let all: Vec<(u64, &Sent)> = sent
        .iter()
        .filter(|(_, message)| message.name == span.name)
        .map(|(id, message)| (*id, message))
        .collect();
    let first = span.read.first().copied().unwrap_or(u64::MAX);
    let last = span.read.last().copied().unwrap_or(0);
    let between: Vec<u64> = all
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| (first..=last).contains(id))
        .collect();
    if between != span.read {
        return Err(format!("{who} read {:?} of {between:?}", span.read));
    }
    for (id, message) in all {
        let surely_after = message.start > span.begin.1;
        let surely_told = message.end < span.empty.min(span.end.0);
        if id < first && surely_after && surely_told {
            return Err(format!("{who} has not got {id}, sent while it listened"));
        }
        if id < first && surely_after && first != u64::MAX {
            return Err(format!("{who} got {first} and not {id}, which came before"));
        }
        if id > last && last != 0 && surely_told {
            return Err(format!("{who} has not got {id} after {last}"));
        }
        if span.read.contains(&id) && message.end < span.begin.0 {
            return Err(format!("{who} got {id}, sent before it listened"));
        }
    }
    Ok(())
}

/// At no moment two repliers; refusals for a reason.
fn repliers(events: &[&Event]) -> Result<(), String> {
    let mut spans: Vec<Span> = Vec::new();
    for event in events {
        let times = (event.start, event.end);
        match event.what {
            What::Bind(name, Ok(())) => spans.push(Span {
                sock: event.sock,
                name,
                begin: times,
                end: NEVER,
                read: Vec::new(),
                empty: 0,
            }),
            What::Unbind(name) => {
                let mine = |s: &&mut Span| s.sock == event.sock && s.name == name && s.end == NEVER;
                spans.iter_mut().find(mine).ok_or("unbound twice")?.end = times;
            }
            _ => {}
        }
    }
    for (at, a) in spans.iter().enumerate() {
        for b in spans.iter().skip(at + 1).filter(|b| b.name == a.name) {
            if a.begin.1 < b.end.0 && b.begin.1 < a.end.0 {
                return Err(format!(
                    "{} and {} were repliers for {} at once",
                    a.sock, b.sock, a.name
                ));
            }
        }
    }
    for event in events {
        match event.what {
            What::Request(name, Err(libc::EADDRNOTAVAIL)) => {
                let there =
                    |s: &Span| s.name == name && s.begin.1 < event.start && event.end < s.end.0;
                if let Some(span) = spans.iter().find(|s| there(s)) {
                    return Err(format!("{} was replier all the while", span.sock));
                }
            }
            What::Bind(name, Err(libc::EEXIST)) => {
                let perhaps =
                    |s: &Span| s.name == name && s.begin.0 < event.end && event.start < s.end.1;
                if !spans.iter().any(perhaps) {
                    return Err(format!("EEXIST for {name}, and nobody was replier"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every request ends exactly once, in the way that what happened to it allows.
fn answers(events: &[&Event]) -> Result<(), String> {
    let mut asked = BTreeMap::new();
    let mut read_by = BTreeMap::new();
    let mut replies = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for event in events {
        match &event.what {
            What::Request(_, Ok(id)) => drop(asked.insert(*id, event.sock)),
            What::Read(Copy {
                id,
                role: Role::Replier,
            }) => {
                if read_by.insert(*id, event.sock).is_some() {
                    return Err(format!("two were to answer {id}"));
                }
            }
            What::Reply(_, request, id) => {
                if read_by.get(request) != Some(&event.sock) {
                    return Err(format!("{} replied to {request} of another", event.sock));
                }
                replies.insert(*request, *id);
            }
            _ => {}
        }
    }
    for event in events {
        let What::Read(Copy { id, role }) = &event.what else {
            continue;
        };
        let (request, fits) = match role {
            Role::Reply(request) => (request, replies.get(request) == Some(id)),
            Role::Status(request, error) => (
                request,
                read_by.contains_key(request) == (*error == IGNORED)
                    && !replies.contains_key(request),
            ),
            _ => continue,
        };
        if !fits || asked.get(request) != Some(&event.sock) || id <= request {
            return Err(format!("{role:?} does not fit what happened to {request}"));
        }
        if !ended.insert(*request) {
            return Err(format!("{request} was answered twice"));
        }
    }
    match asked.keys().find(|id| !ended.contains(id)) {
        Some(id) => Err(format!("{id} was never answered")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u64, end: u64, sock: usize, what: What) -> Event {
        Event {
            start,
            end,
            sock,
            what,
        }
    }

    fn read(time: u64, sock: usize, id: u64, role: Role) -> Event {
        at(time, time + 1, sock, What::Read(Copy { id, role }))
    }

    /// A request with a listener, and two announcements.
    fn good() -> Vec<Event> {
        vec![
            at(1, 2, 0, What::Listen(0)),
            at(3, 4, 1, What::Bind(0, Ok(()))),
            at(5, 9, 2, What::Announce(0, 1)),
            at(6, 8, 3, What::Request(0, Ok(2))),
            read(10, 0, 1, Role::Listener(0)),
            read(12, 0, 2, Role::Listener(0)),
            read(13, 1, 2, Role::Replier),
            at(15, 16, 1, What::Reply(0, 2, 3)),
            read(17, 3, 3, Role::Reply(2)),
            read(19, 0, 3, Role::Listener(0)),
            at(21, 22, 0, What::Empty),
        ]
    }

    fn broken(change: impl Fn(&mut Vec<Event>)) -> String {
        let mut events = good();
        change(&mut events);
        check(&events).unwrap_err()
    }

    #[test]
    fn a_good_history_is_accepted() {
        assert_eq!(check(&good()), Ok(()));
    }

    #[test]
    fn a_hole_in_a_queue_is_found() {
        assert!(broken(|e| {
            e.remove(5);
        })
        .contains("of [1, 2, 3]"));
    }

    #[test]
    fn a_message_missing_at_the_end_is_found() {
        assert!(broken(|e| {
            e.remove(9);
        })
        .contains("has not got 3"));
    }

    #[test]
    fn a_message_missing_at_the_beginning_is_found() {
        assert!(broken(|e| {
            e.remove(4);
        })
        .contains("has not got 1"));
    }

    #[test]
    fn two_reads_in_the_wrong_order_are_found() {
        let text = broken(|e| {
            e[4].start = 14;
            e[4].end = 14;
        });
        assert!(text.contains("after"), "{text}");
    }

    #[test]
    fn ids_against_the_clock_are_found() {
        let text = broken(|e| (e[2].start, e[2].end) = (24, 25));
        assert!(text.contains("greater id") || text.contains("before it was sent"));
    }

    #[test]
    fn an_answer_too_few_or_too_many_is_found() {
        assert!(broken(|e| {
            e.remove(8);
        })
        .contains("never answered"));
        let text = broken(|e| e.push(read(30, 3, 9, Role::Status(2, IGNORED))));
        assert!(text.contains("does not fit"), "{text}");
        let text = broken(|e| e.push(read(30, 3, 3, Role::Reply(2))));
        assert!(text.contains("after") || text.contains("twice"), "{text}");
    }

    #[test]
    fn two_repliers_at_once_are_found() {
        assert!(broken(|e| e.push(at(5, 6, 2, What::Bind(0, Ok(()))))).contains("at once"));
    }

    #[test]
    fn a_refusal_without_reason_is_found() {
        let nobody = What::Request(0, Err(libc::EADDRNOTAVAIL));
        assert!(broken(|e| e.push(at(5, 6, 2, nobody.clone()))).contains("all the while"));
        let taken = What::Bind(1, Err(libc::EEXIST));
        assert!(broken(|e| e.push(at(5, 6, 2, taken.clone()))).contains("nobody"));
    }
}
