// SPDX-License-Identifier: GPL-2.0

//! One socket of a bus: what the module knows of it beyond `struct sock`.

use crate::{
    bound::Bound,
    bus_core::{
        bus::{
            Step,
            Ticket, //
        },
        payer::Payer,
        queue::{
            Consumed,
            Queue, //
        },
        wakes::{
            Wakes,
            Why, //
        },
        Member, //
    },
    domain::{
        to_kernel,
        Domain,
        SharedBus, //
    },
    reclaim,
    sys::{
        cred::Creds,
        pid::Pid,
        scm::Files,
        sock::Sock,
        task, //
    },
    uapi,
    users::Users, //
};
use kernel::{
    alloc::{
        flags::GFP_KERNEL_ACCOUNT,
        AllocError, //
    },
    current,
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
    time::{
        ClockSource,
        Jiffies,
        RealTime, //
    }, //
};

use core::sync::atomic::AtomicBool;

/// A socket.
///
/// Locks, outermost first: `settings`, the bus's, `queue`; `reading` alone. None is held over a copy from or to user
/// space, nor over anything that the file system does.
#[pin_data]
pub(crate) struct Endpoint {
    /// Peer id, unique in its domain for as long as that lives.
    id: u64,
    /// `sun_family` of its addresses: `AF_UNIX` of the literal form, else the family's own number.
    pub(crate) address_family: u16,
    /// Who made it, as a number of the initial user namespace.
    user: u32,
    /// The process that made it.
    maker: Pid,
    /// Who pays for what waits here.
    pub(crate) payer: Arc<Payer>,
    pub(crate) users: Arc<Users>,
    /// Whether it is among those that the table of users tells when the payer has bytes again; changed under its lock.
    pub(crate) awaits_bytes: AtomicBool,
    pub(crate) domain: Arc<Domain>,
    /// Its reference keeps the wait queue in place for wake-ups that come after the close.
    pub(crate) sock: ARef<Sock>,
    /// `KBUS_SEND_FLAGS`.
    pub(crate) send_flags: Atomic<u32>,
    /// `KBUS_RECV_INFO`.
    pub(crate) recv_info: Atomic<u32>,
    /// `KBUS_PASS_CRED` and `KBUS_PASS_SEC`; the other bits are kept where they are used.
    pub(crate) pass: Atomic<u32>,
    /// `KBUS_LAST_SENT`.
    pub(crate) last_sent: Atomic<u64>,
    #[pin]
    pub(crate) settings: Mutex<Settings>,
    #[pin]
    pub(crate) queue: Mutex<Queue<Arc<Endpoint>>>,
    /// Blocking readers, who sleep with the lock of `queue` given up.
    #[pin]
    pub(crate) readable: CondVar,
    /// Sends and bindings that wait, who sleep with the bus lock given up.
    #[pin]
    pub(crate) sendable: CondVar,
    /// Whether somebody is reading: reads of one socket are serial.
    #[pin]
    reading: Mutex<bool>,
    /// Those who wait for the end of a read.
    #[pin]
    read_done: CondVar,
}

/// What `bind()`, `connect()` and options of the bus have set.
pub(crate) struct Settings {
    /// What it is bound to.
    pub(crate) bound: Option<Bound>,
    /// Whether a `bind()` is under way.
    binding: bool,
    /// The text of the default address.
    pub(crate) connected: Option<Arc<KVec<u8>>>,
    /// `KBUS_BUS_MODE` for a bus that this socket will make, if it was set.
    pub(crate) mode: Option<u32>,
}

impl Endpoint {
    /// Makes an unbound one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        address_family: u16,
        domain: Arc<Domain>,
        sock: ARef<Sock>,
    ) -> Result<Arc<Self>> {
        let maker = Pid::of_current_process()?;
        let users = domain.users.clone();
        let counted = users.clone();
        let payer = users.enter(task::current_payer())?;
        let id = payer.id();
        let endpoint = Arc::pin_init(
            pin_init!(Self {
                id: domain.next_peer(),
                address_family,
                user: task::current_euid(),
                maker,
                payer,
                users,
                awaits_bytes: AtomicBool::new(false),
                domain,
                sock,
                send_flags: Atomic::new(0),
                recv_info: Atomic::new(1),
                pass: Atomic::new(0),
                last_sent: Atomic::new(0),
                settings <- new_mutex!(
                    Settings { bound: None, binding: false, connected: None, mode: None },
                    "kbus::settings"
                ),
                queue <- new_mutex!(Queue::new(), "kbus::queue"),
                readable <- new_condvar!("kbus::readable"),
                sendable <- new_condvar!("kbus::sendable"),
                reading <- new_mutex!(false, "kbus::reading"),
                read_done <- new_condvar!("kbus::read_done"),
            }),
            GFP_KERNEL_ACCOUNT,
        );
        if endpoint.is_err() {
            counted.leave(id);
        }
        endpoint
    }

    /// The bus it is bound to.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` before `bind()`.
    pub(crate) fn bus(&self) -> Result<Arc<SharedBus>> {
        let settings = self.settings.lock();
        let bound = settings.bound.as_ref().ok_or(ENOTCONN)?;
        Ok(bound.bus.clone())
    }

    /// Begins a `bind()`, which ends when the result is dropped; also says `KBUS_BUS_MODE`.
    ///
    /// A file system may take as long as it likes, so that no lock is held over it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the socket is bound, or another thread is binding it.
    pub(crate) fn begin_bind(&self) -> Result<(Binding<'_>, Option<u32>)> {
        let mut settings = self.settings.lock();
        if settings.bound.is_some() || settings.binding {
            return Err(EINVAL);
        }
        settings.binding = true;
        Ok((Binding(self), settings.mode))
    }

    /// Wakes its readers, its senders and those who poll. To be called without the lock of the bus or of the queue.
    pub(crate) fn wake(&self, why: Why) {
        if why.read {
            self.readable.notify_all();
            self.sock.data_ready();
        }
        if why.write {
            self.sendable.notify_all();
            self.sock.state_change();
        }
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

    /// Does what a close, an unbinding, a shutdown or another setting left to do, one step at a time.
    ///
    /// The lock is given up in between, so that a socket with many debts does not stall the bus.
    pub(crate) fn settle(this: &Arc<Self>, bus: &SharedBus) {
        loop {
            let mut next = || bus.order.next_message();
            let mut wakes = Wakes::new();
            let step = bus.state.lock().settle_step(this, &mut next, &mut wakes);
            wake_all(wakes);
            match step {
                Step::More(rest) => drop(rest),
                Step::Done => break,
            }
        }
    }

    /// Tells those who wait for bytes of its payer that there are some. They try again themselves, so that this takes little
    /// time and no memory.
    pub(crate) fn budget_released(this: &Arc<Self>, bus: &SharedBus) {
        let mut wakes = Wakes::new();
        bus.state.lock().budget_released(this, &mut wakes);
        wake_all(wakes);
        loop {
            let mut wakes = Wakes::new();
            let more = bus.state.lock().budget_step(this, &mut wakes);
            wake_all(wakes);
            if !more {
                break;
            }
        }
    }

    /// Changes a setting of the queue, which may let those go who wait for room in it.
    pub(crate) fn change(this: &Arc<Self>, change: impl Fn(&mut Queue<Arc<Self>>)) {
        let change = |queue: &mut Queue<Arc<Self>>| {
            change(queue);
            queue.is_waited_for()
        };
        let Ok(bus) = this.bus() else {
            change(&mut this.queue.lock());
            return;
        };
        let mut wakes = Wakes::new();
        {
            // Not in the midst of a send, for the bindings of which this would hold one by one.
            let mut state = bus.state.lock();
            if !change(&mut this.queue.lock()) {
                return;
            }
            state.settings_changed(this, &mut wakes);
        }
        wake_all(wakes);
        Self::settle(this, &bus);
    }

    /// Drops what has been read, then tells the bus where it must know.
    ///
    /// The caller has no part of the message any more: its bytes may be what somebody waits for.
    pub(crate) fn has_read(this: &Arc<Self>, consumed: Consumed<Arc<Self>>) {
        drop(consumed.garbage);
        let bus = match this.bus() {
            Ok(bus) if consumed.tell_bus => bus,
            _ => return,
        };
        let mut next = || bus.order.next_message();
        let mut wakes = Wakes::new();
        let (rest, told) = bus
            .state
            .lock()
            .after_read(this, consumed.back, &mut next, &mut wakes);
        wake_all(wakes);
        drop(rest);
        let Some(told) = told else {
            return;
        };
        loop {
            let mut wakes = Wakes::new();
            let more = bus.state.lock().tell_pollers(this, told, &mut wakes);
            wake_all(wakes);
            if !more {
                break;
            }
        }
    }

    /// Sleeps until a wait of the bus has ended, for at most `left`; returns the id of what was sent.
    ///
    /// # Errors
    ///
    /// That of the send; `EAGAIN` when `left` is over; `EINTR` or `ERESTARTSYS` on a signal. Nothing was sent then.
    pub(crate) fn await_end(
        this: &Arc<Self>,
        bus: &SharedBus,
        ticket: Ticket,
        left: &mut Jiffies,
    ) -> Result<u64> {
        let mut next = || bus.order.next_message();
        // What has been tried until now may have given bytes back, and this may sleep for long.
        Users::answer_bell(&this.users);
        let mut state = bus.state.lock();
        loop {
            let mut wakes = Wakes::new();
            if let Some(ended) = state.finished(this, ticket) {
                state.stop_carrying(this, &mut wakes);
                drop(state);
                wake_all(wakes);
                return ended.result.map_err(to_kernel);
            }
            if let Some(times) = state.starves(ticket) {
                drop(state);
                let memory = reclaim::wait(times.saturating_sub(1));
                state = bus.state.lock();
                if memory.is_ok() {
                    state.feed(ticket, &mut next, &mut wakes);
                } else {
                    // Unless others let it go meanwhile.
                    let ended = state.give_up(this, ticket);
                    state.stop_carrying(this, &mut wakes);
                    drop(state);
                    wake_all(wakes);
                    return match ended.result.map_err(to_kernel) {
                        Err(e) if e == EAGAIN => Err(ENOMEM),
                        result => result,
                    };
                }
                drop(state);
                wake_all(wakes);
                Users::answer_bell(&this.users);
                state = bus.state.lock();
                continue;
            }
            // Who waits tries what waits, when it is its turn.
            if state.carry_on(this, &mut next, &mut wakes) {
                drop(state);
                wake_all(wakes);
                Users::answer_bell(&this.users);
                state = bus.state.lock();
                // There may always be more to be tried; a signal ends that too.
                if !current!().signal_pending() {
                    continue;
                }
            }
            if let Err(error) = sleep(&this.sendable, &mut state, left) {
                let mut wakes = Wakes::new();
                // It may have been sent at the last moment.
                let ended = state.give_up(this, ticket);
                state.stop_carrying(this, &mut wakes);
                drop(state);
                wake_all(wakes);
                return match ended.result.map_err(to_kernel) {
                    Err(e) if e == EAGAIN => Err(error),
                    result => result,
                };
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

/// The right to bind a socket.
pub(crate) struct Binding<'a>(&'a Endpoint);

impl Binding<'_> {
    /// Ends it: the socket is bound.
    pub(crate) fn finish(self, bound: Bound) {
        self.0.sock.set_peer(&bound.bus.maker);
        let mut settings = self.0.settings.lock();
        // Who changes what the socket wants to be told looks at it under the same lock.
        if self.0.pass.load(Relaxed) & uapi::KBUS_PASS_SEC != 0 {
            bound.bus.label_readers.fetch_add(1, Relaxed);
        }
        settings.bound = Some(bound);
    }
}

impl Drop for Binding<'_> {
    fn drop(&mut self) {
        self.0.settings.lock().binding = false;
    }
}

/// Wakes everybody whom an operation asked to wake. To be called without any lock of the bus.
pub(crate) fn wake_all(mut wakes: Wakes<Arc<Endpoint>>) {
    while let Some((endpoint, why)) = wakes.pop() {
        endpoint.wake(why);
    }
}

impl Member for Arc<Endpoint> {
    type Sender = Creds;
    type Files = Arc<Files>;

    /// Nanoseconds of the clock that programs can set, as in all that `SO_TIMESTAMP` gives.
    fn now() -> i64 {
        RealTime::ktime_get()
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn user(&self) -> u32 {
        self.user
    }

    fn payer(&self) -> &Arc<Payer> {
        &self.payer
    }

    fn await_budget(&self) -> Result<(), AllocError> {
        self.users.await_bytes(self)
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

    /// Who made it, as a number of the initial user namespace.
    pub(crate) fn maker_uid(&self) -> u32 {
        self.user
    }

    /// The process that made it, as the current task's pid namespace has it.
    pub(crate) fn maker(&self) -> Option<u32> {
        self.maker.number_here()
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
