// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several buses in their one order, to be awaited.

use std::future::poll_fn;
use std::task::Poll;

use ::tokio::io::unix::AsyncFd;

use crate::error::Error;
use crate::message::Received;
use crate::tokio::socket::register;

/// Receives from several sockets in the one order in which all was sent, as
/// [`kbus::Merge`](crate::Merge).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let sockets = [kbus::Socket::open("@doc-tokio-a")?, kbus::Socket::open("@doc-tokio-b")?];
/// for socket in &sockets {
///     socket.listen("$.*")?;
/// }
/// let mut merge = kbus::tokio::Merge::new(sockets.clone())?;
/// sockets[1].announce("$.News", b"one")?;
/// sockets[0].announce("$.News", b"two")?;
/// assert_eq!(merge.recv().await?.0, 1);
/// assert_eq!(merge.recv().await?.0, 0);
/// # Ok(()) }) }
/// ```
#[derive(Debug)]
pub struct Merge {
    merge: crate::Merge,
    ios: Vec<AsyncFd<crate::Socket>>,
}

impl Merge {
    /// Of these sockets, which it makes nonblocking. What it returns says which one by its place
    /// here.
    ///
    /// # Errors
    ///
    /// See [`kbus::Merge::new`](crate::Merge::new).
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let sockets = [kbus::Socket::open("@doc-tokio-merge-new-a")?, kbus::Socket::open("@doc-tokio-merge-new-b")?];
    /// let merge = kbus::tokio::Merge::new(sockets)?;
    /// # Ok(()) }) }
    /// ```
    pub fn new(sockets: impl IntoIterator<Item = crate::Socket>) -> Result<Merge, Error> {
        let merge = crate::Merge::new(sockets)?;
        let ios = merge
            .sockets()
            .cloned()
            .map(register)
            .collect::<Result<_, _>>()?;
        Ok(Merge { merge, ios })
    }

    /// The next message, with the place of its socket.
    ///
    /// # Errors
    ///
    /// See [`kbus::Merge::try_recv`](crate::Merge::try_recv).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::Socket::open("@doc-tokio-merge-recv")?;
    /// socket.listen("$.News")?;
    /// let mut merge = kbus::tokio::Merge::new([socket.clone()])?;
    /// socket.announce("$.News", b"all is well")?;
    /// let (at, received) = merge.recv().await?;
    /// assert_eq!((at, received.message().unwrap().payload()), (0, &b"all is well"[..]));
    /// # Ok(()) }) }
    /// ```
    pub async fn recv(&mut self) -> Result<(usize, Received), Error> {
        loop {
            if let Some(next) = self.merge.try_recv()? {
                return Ok(next);
            }
            // All sockets were found empty. What comes from now on makes one of them ready again.
            poll_fn(|context| {
                let mut any = false;
                for io in &self.ios {
                    if let Poll::Ready(ready) = io.poll_read_ready(context) {
                        any = true;
                        if let Ok(mut guard) = ready {
                            guard.clear_ready();
                        }
                    }
                }
                if any { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}
