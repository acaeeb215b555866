// SPDX-License-Identifier: GPL-2.0

//! A socket for the tests. A nested `with` panics, as it would deadlock in the kernel.

#![allow(dead_code)] // Each test uses its part.

use kbus_core::bus::Bus;
use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::bus::Step;
use kbus_core::error::Error;
use kbus_core::name::Pattern;
use kbus_core::queue::Queue;
use kbus_core::queue::View;
use std::cell::RefCell;
use std::rc::Rc;

pub struct Inner {
    pub id: u64,
    pub user: u32,
    pub queue: RefCell<Queue<Peer>>,
}

#[derive(Clone)]
pub struct Peer(pub Rc<Inner>);

impl Peer {
    pub fn new(id: u64, user: u32) -> Self {
        let queue = RefCell::new(Queue::new());
        Peer(Rc::new(Inner { id, user, queue }))
    }

    pub fn read(&self) -> Option<View> {
        let view = self.with(|q| q.front())?;
        let slip = self.with(|q| q.consume(view.token));
        assert!(slip.is_some());
        Some(view)
    }

    pub fn counters(&self) -> (u32, u32, u64, u32, u64) {
        self.with(|q| (q.unread(), q.reserved(), q.bytes(), q.unreplied(), q.lost()))
    }
}

impl Member for Peer {
    fn id(&self) -> u64 {
        self.0.id
    }

    fn user(&self) -> u32 {
        self.0.user
    }

    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        f(&mut self.0.queue.borrow_mut())
    }
}

/// A bus with its ids.
pub struct World {
    pub bus: Bus<Peer>,
    pub last_id: u64,
}

impl World {
    pub fn new(owner: u32, bytes: u64) -> Self {
        World {
            bus: Bus::new(owner, bytes).unwrap(),
            last_id: 0,
        }
    }

    pub fn join(&mut self, id: u64, user: u32) -> Peer {
        let peer = Peer::new(id, user);
        self.bus.join(&peer).unwrap();
        peer
    }

    pub fn listen(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        self.bus.listen(peer, &Pattern::parse(text.as_bytes())?)
    }

    pub fn unlisten(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        self.bus
            .unlisten(peer, &Pattern::parse(text.as_bytes())?)
            .map(drop)
    }

    pub fn replier(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        self.bus
            .bind_replier(peer, &Pattern::parse(text.as_bytes())?)
    }

    pub fn unreplier(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(text.as_bytes())?;
        self.bus.unbind_replier(peer, &pattern)?;
        self.settle(peer);
        Ok(())
    }

    pub fn settle(&mut self, peer: &Peer) {
        let last = &mut self.last_id;
        let mut next = || {
            *last += 1;
            *last
        };
        while let Step::Settled { .. } = self.bus.settle_step(peer, &mut next) {}
    }

    pub fn close(&mut self, peer: &Peer) {
        drop(self.bus.close_begin(peer));
        self.settle(peer);
    }

    pub fn shut_read(&mut self, peer: &Peer) {
        drop(self.bus.shutdown_read(peer));
        self.settle(peer);
    }

    pub fn shut_write(&mut self, peer: &Peer) {
        drop(self.bus.shutdown_write(peer));
        self.settle(peer);
    }

    pub fn ignore(&mut self, peer: &Peer, id: u64) -> Result<(), Error> {
        let last = &mut self.last_id;
        let mut next = || {
            *last += 1;
            *last
        };
        self.bus.ignore(peer, id, &mut next).map(drop)
    }

    pub fn send(&mut self, peer: &Peer, mut out: Outgoing<'_>) -> Result<u64, Error> {
        let last = &mut self.last_id;
        let mut next = || {
            *last += 1;
            *last
        };
        self.bus.send(peer, &mut out, &mut next, &mut Vec::new())
    }

    pub fn announce(&mut self, peer: &Peer, name: &str, payload: &[u8]) -> Result<u64, Error> {
        let dest = Some(Dest::Name(name.as_bytes()));
        let payload = payload.to_vec();
        self.send(
            peer,
            Outgoing {
                dest,
                payload,
                ..Default::default()
            },
        )
    }

    pub fn request(&mut self, peer: &Peer, name: &str, payload: &[u8]) -> Result<u64, Error> {
        let dest = Some(Dest::Name(name.as_bytes()));
        let payload = payload.to_vec();
        self.send(
            peer,
            Outgoing {
                dest,
                payload,
                flags: 1,
                ..Default::default()
            },
        )
    }

    pub fn reply(
        &mut self,
        peer: &Peer,
        to: u64,
        request: u64,
        payload: &[u8],
    ) -> Result<u64, Error> {
        let dest = Some(Dest::Reply {
            peer: to,
            request,
            name: None,
        });
        let payload = payload.to_vec();
        self.send(
            peer,
            Outgoing {
                dest,
                payload,
                ..Default::default()
            },
        )
    }
}
