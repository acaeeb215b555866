// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several buses in their one order.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Op;
use crate::id::MessageId;
use crate::message::Received;
use crate::socket::Socket;
use crate::sys;
use crate::sys::Ready;

/// Receives from several sockets, on the same bus or on several, in the one order in which all was
/// sent.
///
/// What it returns ascends by id, whatever bus it comes from, so that any two programs agree on the
/// order of what both see. It never waits for a bus on which nothing is sent. Urgent messages come
/// as soon as they are met. Bind all sockets before the first message is taken, and let nobody else
/// receive on them.
///
/// ```
/// use kbus::{Merge, Socket};
///
/// let buses = ["@doc-merge-a", "@doc-merge-b", "@doc-merge-c"];
/// let sockets: Vec<Socket> = buses.iter().map(|bus| Socket::open(*bus)).collect::<Result<_, _>>()?;
/// for socket in &sockets {
///     socket.listen("$.*")?;
/// }
/// let senders = sockets.clone();
/// let mut merge = Merge::new(sockets)?;
/// for bus in [2, 0, 1, 0, 2] {
///     senders[bus].announce("$.News", [bus as u8])?;
/// }
/// let mut seen = Vec::new();
/// while let Some((bus, _)) = merge.try_recv()? {
///     seen.push(bus);
/// }
/// assert_eq!(seen, [2, 0, 1, 0, 2]);
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
pub struct Merge {
    sources: Vec<Source>,
    urgent: VecDeque<(usize, Received)>,
}

#[derive(Debug)]
struct Source {
    socket: Socket,
    /// What was read and not yet delivered.
    held: Option<Received>,
    /// Each message up to this one was read, if nothing is held.
    complete: MessageId,
    /// It was shut down, and all was read.
    ended: bool,
}

impl Source {
    /// Takes the next message in hand, unless there is one or none comes now.
    fn fill(&mut self, at: usize, urgent: &mut VecDeque<(usize, Received)>) -> Result<(), Error> {
        while self.held.is_none() && !self.ended {
            match self.socket.try_recv() {
                Ok(None) => break,
                Ok(Some(received)) => match received.message() {
                    Some(message) if message.is_urgent() => urgent.push_back((at, received)),
                    _ => self.held = Some(received),
                },
                Err(error) if error.kind() == ErrorKind::ShutDown => self.ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Merge {
    /// Of these sockets. What it returns says which one by its place here.
    ///
    /// # Errors
    ///
    /// [`OtherDomain`](ErrorKind::OtherDomain) if their messages have no common order: the buses
    /// were made in several network namespaces.
    ///
    /// ```
    /// use kbus::{Merge, Socket};
    ///
    /// let merge = Merge::new([Socket::open("@doc-merge-new-a")?, Socket::open("@doc-merge-new-b")?])?;
    /// assert_eq!(merge.sockets().count(), 2);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn new(sockets: impl IntoIterator<Item = Socket>) -> Result<Merge, Error> {
        let sources: Vec<Source> = sockets
            .into_iter()
            .map(|socket| Source {
                socket,
                held: None,
                complete: MessageId::new(0),
                ended: false,
            })
            .collect();
        let mut domains = Vec::new();
        for source in &sources {
            domains.push(source.socket.bus_info()?.domain);
        }
        if domains.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Error::own(
                ErrorKind::OtherDomain,
                "cannot merge these buses: they are of several network namespaces, and have no common order",
            ));
        }
        Ok(Merge {
            sources,
            urgent: VecDeque::new(),
        })
    }

    /// The sockets.
    ///
    /// ```
    /// use kbus::{Merge, Socket};
    ///
    /// let merge = Merge::new([Socket::open("@doc-merge-sockets-a")?, Socket::open("@doc-merge-sockets-b")?])?;
    /// for socket in merge.sockets() {
    ///     socket.listen("$.News")?;
    /// }
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sources.iter().map(|source| &source.socket)
    }

    /// The next message, with the place of its socket, if there is one. It never waits.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown) if all sockets were shut down for reading and all was
    /// read, and those of [`Socket::try_recv`].
    ///
    /// ```
    /// use kbus::{Merge, Socket};
    ///
    /// let socket = Socket::open("@doc-merge-try-recv")?;
    /// socket.listen("$.News")?;
    /// let mut merge = Merge::new([socket.clone()])?;
    /// assert!(merge.try_recv()?.is_none());
    /// socket.announce("$.News", b"all is well")?;
    /// assert!(merge.try_recv()?.is_some());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<Option<(usize, Received)>, Error> {
        if self.earliest().is_none() {
            self.fill_all()?;
        }
        if let Some((_, id)) = self.earliest() {
            for (at, source) in self.sources.iter_mut().enumerate() {
                if source.held.is_none() && source.complete < id && !source.ended {
                    // First the number, then the queue: what is in the number is in the queue by
                    // then.
                    let complete = source.socket.sync()?;
                    source.fill(at, &mut self.urgent)?;
                    source.complete = complete;
                }
            }
        }
        if let Some(urgent) = self.urgent.pop_front() {
            return Ok(Some(urgent));
        }
        let Some((at, _)) = self.earliest() else {
            return match self.sources.iter().all(|source| source.ended) {
                true => Err(Error::end()),
                false => Ok(None),
            };
        };
        let source = &mut self.sources[at];
        let received = source.held.take();
        // An error is met again when the hand is filled the next time.
        let _ = source.fill(at, &mut self.urgent);
        Ok(received.map(|received| (at, received)))
    }

    /// The next message, with the place of its socket, and waits for it.
    ///
    /// # Errors
    ///
    /// As of [`try_recv`](Merge::try_recv).
    ///
    /// ```
    /// use kbus::{Merge, Socket};
    ///
    /// let (first, second) = (Socket::open("@doc-merge-recv-a")?, Socket::open("@doc-merge-recv-b")?);
    /// second.listen("$.News")?;
    /// let mut merge = Merge::new([first, second.clone()])?;
    /// second.announce("$.News", b"all is well")?;
    /// let (at, received) = merge.recv()?;
    /// assert_eq!((at, received.message().unwrap().payload()), (1, &b"all is well"[..]));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn recv(&mut self) -> Result<(usize, Received), Error> {
        loop {
            if let Some(next) = self.recv_until(None)? {
                return Ok(next);
            }
        }
    }

    /// The next message, with the place of its socket, if one comes within that time.
    ///
    /// # Errors
    ///
    /// As of [`try_recv`](Merge::try_recv).
    ///
    /// ```
    /// use std::time::Duration;
    /// use kbus::{Merge, Socket};
    ///
    /// let mut merge = Merge::new([Socket::open("@doc-merge-recv-timeout")?])?;
    /// assert!(merge.recv_timeout(Duration::from_millis(1))?.is_none());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Option<(usize, Received)>, Error> {
        self.recv_until(Instant::now().checked_add(limit))
    }

    fn recv_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<(usize, Received)>, Error> {
        loop {
            if let Some(next) = self.try_recv()? {
                return Ok(Some(next));
            }
            let open = self.sources.iter().filter(|source| !source.ended);
            let ready = sys::poll(open.map(|source| &source.socket), Ready::Read, deadline)
                .map_err(|errno| Error::new(Op::Receive, errno))?;
            if !ready {
                return self.try_recv();
            }
        }
    }

    fn fill_all(&mut self) -> Result<(), Error> {
        for (at, source) in self.sources.iter_mut().enumerate() {
            source.fill(at, &mut self.urgent)?;
        }
        Ok(())
    }

    /// The socket that has the earliest message in hand.
    fn earliest(&self) -> Option<(usize, MessageId)> {
        let held = self.sources.iter().enumerate();
        held.filter_map(|(at, source)| Some((at, source.held.as_ref()?.id())))
            .min_by_key(|(_, id)| *id)
    }
}

/// All messages, until all sockets are shut down for reading.
///
/// ```
/// use std::net::Shutdown;
/// use kbus::{Merge, Socket};
///
/// let socket = Socket::open("@doc-merge-iterator")?;
/// socket.listen("$.News")?;
/// socket.announce("$.News", b"one")?;
/// socket.announce("$.News", b"two")?;
/// socket.shutdown(Shutdown::Read)?;
/// for next in Merge::new([socket])? {
///     let (at, received) = next?;
///     println!("from bus {at}: {:?}", received.message());
/// }
/// # Ok::<(), kbus::Error>(())
/// ```
impl Iterator for Merge {
    type Item = Result<(usize, Received), Error>;

    fn next(&mut self) -> Option<Result<(usize, Received), Error>> {
        match self.recv() {
            Err(error) if error.kind() == ErrorKind::ShutDown => None,
            result => Some(result),
        }
    }
}
