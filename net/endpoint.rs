// SPDX-License-Identifier: GPL-2.0

//! One socket of a bus: what the module knows of it beyond `struct sock`.

use crate::{
    bus_core::{
        bus::{
            Step,
            Wakes, //
        },
        queue::Queue,
        Member, //
    },
    domain::{
        Domain,
        SharedBus, //
    },
    sys::{
        sock::Sock,
        task, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex,
        MutexGuard, //
    },
    time::Jiffies, //
};

/// A socket.
///
/// Locks, outermost first: `settings`, the domain's table of buses, the bus's, `queue`; `reading` alone. None is held
/// over a copy from or to user space.
#[pin_data]
pub(crate) struct Endpoint {
    /// Peer id, unique in its domain for as long as that lives.
    id: u64,
    /// `sun_family` of its addresses: `AF_UNIX` of the literal form, else the family's own number.
    pub(crate) address_family: u16,
    /// Who made it, as a number of the initial user namespace.
    user: u32,
    pub(crate) domain: Arc<Domain>,
    /// Its reference keeps the wait queue in place for wake-ups that come after the close.
    pub(crate) sock: ARef<Sock>,
    /// `KBUS_SEND_FLAGS`.
    pub(crate) send_flags: Atomic<u32>,
    /// `KBUS_RECV_INFO`.
    pub(crate) recv_info: Atomic<u32>,
    /// `KBUS_LAST_SENT`.
    pub(crate) last_sent: Atomic<u64>,
    #[pin]
    pub(crate) settings: Mutex<Settings>,
    #[pin]
    pub(crate) queue: Mutex<Queue<Arc<Endpoint>>>,
    /// Blocking readers, who sleep with the lock of `queue` given up.
    #[pin]
    pub(crate) readable: CondVar,
    /// Whether somebody is reading: reads of one socket are serial.
    #[pin]
    reading: Mutex<bool>,
    /// Those who wait for the end of a read.
    #[pin]
    read_done: CondVar,
}

/// What `bind()`, `connect()` and options of the bus have set.
pub(crate) struct Settings {
    /// The bus it is bound to.
    pub(crate) bus: Option<Arc<SharedBus>>,
    /// The text of the default address.
    pub(crate) connected: Option<KVec<u8>>,
    /// `KBUS_BUS_MODE` for a bus that this socket will make.
    pub(crate) mode: u32,
}

impl Endpoint {
    /// Makes an unbound one.
    pub(crate) fn new(
        address_family: u16,
        domain: Arc<Domain>,
        sock: ARef<Sock>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                id: domain.next_peer(),
                address_family,
                user: task::current_euid(),
                domain,
                sock,
                send_flags: Atomic::new(0),
                recv_info: Atomic::new(1),
                last_sent: Atomic::new(0),
                settings <- new_mutex!(
                    Settings { bus: None, connected: None, mode: 0o666 },
                    "kbus::settings"
                ),
                queue <- new_mutex!(Queue::new(), "kbus::queue"),
                readable <- new_condvar!("kbus::readable"),
                reading <- new_mutex!(false, "kbus::reading"),
                read_done <- new_condvar!("kbus::read_done"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The bus it is bound to.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` before `bind()`.
    pub(crate) fn bus(&self) -> Result<Arc<SharedBus>> {
        self.settings.lock().bus.clone().ok_or(ENOTCONN)
    }

    /// Wakes its readers and pollers. To be called without the lock of the bus or of the queue.
    pub(crate) fn wake(&self) {
        self.readable.notify_all();
        self.sock.data_ready();
    }

    /// Begins a read; another one of this socket begins when the result is dropped.
    ///
    /// A copy to user space may take as long as its program likes (`userfaultfd`), so that no lock is held over it.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if another read is under way and `left` is or gets zero, `EINTR` or `ERESTARTSYS` on a signal.
    pub(crate) fn begin_read(&self, left: &mut Jiffies) -> Result<Reading<'_>> {
        let mut reading = self.reading.lock();
        while *reading {
            sleep(&self.read_done, &mut reading, left)?;
        }
        *reading = true;
        Ok(Reading(self))
    }

    /// Settles what a close, an unbinding or a shutdown left to settle, one request at a time.
    ///
    /// The lock is given up in between, so that a socket with many debts does not stall the bus.
    pub(crate) fn settle(this: &Arc<Self>, bus: &SharedBus) {
        loop {
            let mut next = || this.domain.next_message();
            let step = bus.state.lock().settle_step(this, &mut next);
            match step {
                Step::Settled { wake, garbage } => {
                    drop(garbage);
                    if let Some(requester) = wake {
                        requester.wake();
                    }
                }
                Step::Done => break,
            }
        }
    }
}

/// Sleeps on `condition` for at most `left`, which is then what is left of it.
///
/// # Errors
///
/// `EAGAIN` when nothing is left; on a signal `ERESTARTSYS`, or `EINTR` where there is a time limit, as
/// `sock_intr_errno()` has it.
pub(crate) fn sleep<T>(
    condition: &CondVar,
    guard: &mut MutexGuard<'_, T>,
    left: &mut Jiffies,
) -> Result {
    if *left == 0 {
        return Err(EAGAIN);
    }
    let for_ever = *left >= MAX_SLEEP;
    match condition.wait_interruptible_timeout(guard, *left) {
        CondVarTimeoutResult::Woken { jiffies } if !for_ever => *left = jiffies,
        CondVarTimeoutResult::Woken { .. } => {}
        CondVarTimeoutResult::Timeout => *left = 0,
        CondVarTimeoutResult::Signal { .. } if for_ever => return Err(ERESTARTSYS),
        CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
    }
    Ok(())
}

/// `MAX_SCHEDULE_TIMEOUT`.
const MAX_SLEEP: Jiffies = i64::MAX as Jiffies;

/// The right to read from a socket.
pub(crate) struct Reading<'a>(&'a Endpoint);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        *self.0.reading.lock() = false;
        // All: one that is woken and finds a signal would keep the turn from the others.
        self.0.read_done.notify_all();
    }
}

/// Wakes everybody whom an operation asked to wake. To be called without any lock of the bus.
pub(crate) fn wake_all(mut wakes: Wakes<Arc<Endpoint>>) {
    let mut last: Option<Arc<Endpoint>> = None;
    while let Some(endpoint) = wakes.pop() {
        // Copies for several bindings of one socket are next to each other.
        if !last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, &endpoint))
        {
            endpoint.wake();
            last = Some(endpoint);
        }
    }
}

impl Member for Arc<Endpoint> {
    fn id(&self) -> u64 {
        self.id
    }

    fn user(&self) -> u32 {
        self.user
    }

    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        f(&mut self.queue.lock())
    }
}

impl Endpoint {
    /// Peer id.
    pub(crate) fn peer_id(&self) -> u64 {
        self.id
    }

    /// Records the id of a send that succeeded.
    pub(crate) fn sent(&self, id: u64) {
        // Several threads may send at once: the latest id stays.
        let mut last = self.last_sent.load(Relaxed);
        while last < id {
            match self.last_sent.cmpxchg(last, id, Relaxed) {
                Ok(_) => break,
                Err(now) => last = now,
            }
        }
    }
}
