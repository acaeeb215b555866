// SPDX-License-Identifier: GPL-2.0

//! Threads that wait for room, and try again when they are woken.

use kbus_core::address::Dest;
use kbus_core::bind;
use kbus_core::bus::Shared as _;
use kbus_core::error::Error;
use kbus_core::mem;
use kbus_core::message::Content;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::name::Pattern;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member as _;
use kbus_core::send::Outgoing;
use kbus_core::wait;
use kbus_core::wait::Place;
use kbus_core::wait::Waiter;
use kbus_core::wait::WaiterRoom;
use std::sync::Arc;

use super::Peer;
use super::Users;
use super::World;

/// What a thread wants that waits.
#[derive(Clone, Debug)]
pub enum What {
    /// A message with these flags and payload, and what a request reserves and shows again.
    Send {
        name: String,
        peer: Option<u64>,
        flags: u32,
        payload: Vec<u8>,
        reply_max: u32,
        cookie: u64,
    },
    /// A replier binding, or (false) its end.
    Bind(bool, String),
}

impl What {
    /// An announcement that waits for all.
    pub fn announcement(name: &str) -> Self {
        What::Send {
            name: name.to_string(),
            peer: None,
            flags: KBUS_ALL_OR_WAIT,
            payload: vec![],
            reply_max: 0,
            cookie: 0,
        }
    }

    fn try_once(&self, world: &World, peer: &Peer) -> Result<wait::Tried<Peer, u64>, Error> {
        match self {
            What::Send {
                name,
                peer: to,
                flags,
                payload,
                reply_max,
                cookie,
            } => {
                let name = super::name(name);
                let mut out = Outgoing {
                    dest: Some(match to {
                        Some(peer) => Dest::Stateful { name, peer: *peer },
                        None => Dest::Name(name),
                    }),
                    flags: *flags,
                    explicit: true,
                    content: Content::new(payload.clone().into()),
                    reply_max: *reply_max,
                    cookie: *cookie,
                    ..Default::default()
                };
                world.try_send(peer, &mut out)
            }
            What::Bind(is_bind, text) => {
                let pattern = Pattern::parse(text.as_bytes())?;
                let bound = match is_bind {
                    true => bind::bind_replier(world, peer, &pattern)?,
                    false => bind::unbind_replier(world, peer, &pattern)?,
                };
                Ok(match bound {
                    wait::Tried::Done(()) => wait::Tried::Done(0),
                    wait::Tried::Full { place, own } => wait::Tried::Full { place, own },
                })
            }
        }
    }
}

/// A thread that waits.
pub struct Thread {
    world: World,
    pub peer: Peer,
    pub what: What,
    age: u64,
    place: Place<Peer>,
    waiter: Arc<Waiter<Peer>>,
    _counted: mem::Box<kbus_core::account::Charge>,
}

/// How a try ended: done, or it waits.
pub enum Tried {
    Done(u64),
    Waits(Thread),
}

impl Thread {
    /// Tries, as a thread does that may sleep.
    pub fn begin(world: &World, peer: &Peer, what: What) -> Result<Tried, Error> {
        if let What::Send { payload, .. } = &what {
            world.unblock(peer, payload.len());
        }
        match what.try_once(world, peer)? {
            wait::Tried::Done(id) => Ok(Tried::Done(id)),
            wait::Tried::Full { own: true, .. } => Err(Error::DeadLk),
            wait::Tried::Full { place, .. } => {
                let counted = world.locked(|bus| bus.begin_wait(peer))?;
                let age = wait::next_age();
                let mut thread = Thread {
                    world: world.clone(),
                    peer: peer.clone(),
                    what,
                    age,
                    place,
                    waiter: mem::new_arc(Waiter::sleeping(peer))?,
                    _counted: mem::new_box(counted)?,
                };
                thread.enter()?;
                Ok(Tried::Waits(thread))
            }
        }
    }

    /// Enters the list of what it waits for.
    fn enter(&mut self) -> Result<(), Error> {
        self.waiter = mem::new_arc(Waiter::sleeping(&self.peer))?;
        let room = WaiterRoom::new()?;
        if !wait::enter(&self.place, self.age, &self.waiter, room) {
            self.waiter.wake();
        }
        Ok(())
    }

    /// Its age: later ones are greater.
    pub fn age(&self) -> u64 {
        self.age
    }

    /// Whether it is to try again.
    pub fn is_woken(&self) -> bool {
        // What cannot be done any more need not be waited for.
        let reads = match &self.what {
            What::Send { flags, .. } => flags & KBUS_REQUEST != 0,
            What::Bind(..) => true,
        };
        self.peer.with(|queue| {
            self.waiter.is_woken() || queue.write_shut() || (reads && queue.read_shut())
        })
    }

    /// Tries again; `None` when it goes on waiting.
    pub fn go_on(&mut self) -> Option<Result<u64, Error>> {
        wait::leave(&self.place, self.age);
        let before = self.place.clone();
        let result = self.what.try_once(&self.world, &self.peer);
        let result = match result {
            Ok(wait::Tried::Done(id)) => Some(Ok(id)),
            Ok(wait::Tried::Full { own: true, .. }) => Some(Err(Error::DeadLk)),
            Ok(wait::Tried::Full { place, .. }) => {
                self.place = place;
                match self.enter() {
                    Ok(()) => None,
                    Err(error) => Some(Err(error)),
                }
            }
            Err(error) => Some(Err(error)),
        };
        wait::pass_on(&before);
        result
    }

    /// Gives up.
    pub fn give_up(self) {
        wait::leave(&self.place, self.age);
        wait::pass_on(&self.place);
    }
}

/// Has all threads that are woken try again, the oldest first, until none is; says whose ended, and
/// how.
pub fn run_woken(users: &Users, threads: &mut Vec<Thread>) -> Vec<(u64, Result<u64, Error>)> {
    let mut ended = vec![];
    for round in 0.. {
        assert!(round < 10_000, "somebody is always woken");
        users.answer_the_bell();
        let woken = threads
            .iter()
            .enumerate()
            .filter(|(_, thread)| thread.is_woken());
        let oldest = woken.min_by_key(|(_, thread)| thread.age).map(|(at, _)| at);
        let Some(at) = oldest else {
            return ended;
        };
        if let Some(result) = threads[at].go_on() {
            ended.push((threads.remove(at).peer.id(), result));
        }
    }
    unreachable!()
}

/// Has all threads that wait try again, as they do from time to time; says who ended, and how.
///
/// Rarely one goes that had not been told: its own clock is for that. Who is told is for `waits.rs`
/// to see.
pub fn run_all(users: &Users, threads: &mut Vec<Thread>) -> Vec<(u64, Result<u64, Error>)> {
    let mut ended = vec![];
    let mut ages: Vec<u64> = threads.iter().map(|thread| thread.age).collect();
    ages.sort();
    for age in ages {
        let Some(at) = threads.iter().position(|thread| thread.age == age) else {
            continue;
        };
        if let Some(result) = threads[at].go_on() {
            ended.push((threads.remove(at).peer.id(), result));
            ended.extend(run_woken(users, threads));
        }
    }
    ended
}
