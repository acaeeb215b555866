// SPDX-License-Identifier: MIT OR Apache-2.0
//! A loop that answers requests, several at once.

use std::future::Future;

use ::tokio::task::JoinSet;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::message::Message;
use crate::message::Received;
use crate::name::Pattern;
use crate::service::IntoReply;
use crate::tokio::Socket;

/// Requests that are worked on at once. More wait in the queue of the socket, where they count.
const AT_ONCE: usize = 64;

impl Socket {
    /// Becomes replier for that name or wildcard, and answers each request by what the closure's
    /// future returns, until the socket is shut down. Up to 64 requests are worked on at once, each
    /// in a task of its own; if this future is dropped so are they, and their requesters are told.
    /// Otherwise as [`kbus::Socket::serve`](crate::Socket::serve).
    ///
    /// # Errors
    ///
    /// Those of [`become_replier`](crate::Socket::become_replier) and [`recv`](Socket::recv). After
    /// a shutdown it returns without one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use kbus::tokio::Socket;
    ///
    /// let socket = Socket::open("@doc-tokio-serve")?;
    /// let service = tokio::spawn({
    ///     let socket = socket.clone();
    ///     async move { socket.serve("$.Echo", |request| async move { request.into_payload() }).await }
    /// });
    /// tokio::task::yield_now().await;
    /// socket.shutdown(std::net::Shutdown::Both)?;
    /// service.await??;
    /// # Ok(()) }) }
    /// ```
    pub async fn serve<P, F, R>(
        &self,
        pattern: P,
        answer: impl FnMut(Message) -> F,
    ) -> Result<(), Error>
    where
        P: TryInto<Pattern>,
        Error: From<P::Error>,
        F: Future<Output = R> + Send + 'static,
        R: IntoReply,
    {
        self.become_replier(pattern)?;
        self.serve_bound(answer).await
    }

    /// The same for what the socket is replier for already.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Socket::recv).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use kbus::tokio::Socket;
    ///
    /// let socket = Socket::open("@doc-tokio-socket-serve-bound")?;
    /// socket.become_replier("$.Echo")?;
    /// let service = tokio::spawn({
    ///     let socket = socket.clone();
    ///     async move { socket.serve_bound(|request| async move { request.into_payload() }).await }
    /// });
    /// tokio::task::yield_now().await;
    /// socket.shutdown(std::net::Shutdown::Both)?;
    /// service.await??;
    /// # Ok(()) }) }
    /// ```
    pub async fn serve_bound<F, R>(&self, mut answer: impl FnMut(Message) -> F) -> Result<(), Error>
    where
        F: Future<Output = R> + Send + 'static,
        R: IntoReply,
    {
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            if tasks.len() >= AT_ONCE {
                // One that has panicked has given its request up.
                tasks.join_next().await;
                continue;
            }
            match self.recv().await {
                Ok(Received::Request(request)) => {
                    let (message, request) = request.split();
                    let reply = answer(message);
                    tasks.spawn(async move {
                        if let Some(reply) = reply.await.into_reply() {
                            // As of kbus::Socket::serve: what is still owed is given up.
                            drop(request.reply(reply));
                        }
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ShutDown => break,
                Err(error) => return Err(error),
            }
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}
