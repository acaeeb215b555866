// SPDX-License-Identifier: GPL-2.0

//! One socket of a bus: what the module knows of it beyond `struct sock`.

use crate::{
    bound::Bound,
    bus_core::{
        account::Charge,
        mem::{
            AllocError,
            Need, //
        },
        message::Message,
        name::LastName,
        payer::Payer,
        peer::{
            Peer,
            Trace, //
        },
        queue::{
            Begun,
            Consumed,
            Member,
            Queue,
            Token,
            View, //
        },
        wait::{
            self,
            WaiterNode, //
        }, //
    },
    domain::{
        Domain,
        SharedBus, //
    },
    reclaim,
    sys::{
        cred::Creds,
        memory::{
            self,
            MemoryCgroup, //
        },
        pid::Pid,
        scm::Files,
        sock::Sock,
        task,
        trace, //
    },
    uapi,
    users::Users, //
};
use kernel::{
    new_condvar,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        lock::spinlock::SpinLockGuard,
        rcu,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        SpinLock, //
    },
    task::MAX_SCHEDULE_TIMEOUT,
    time::{
        ClockSource,
        Jiffies,
        RealTime, //
    }, //
};

/// A socket.
///
/// All locks are spinlocks, so that nobody who holds one can be preempted. The bus's comes before
/// `queue`; `settings` is taken alone. None is held over a copy from or to user
/// space, nor over anything that the file system does.
///
/// With its reference count it fills a piece of 512 bytes of the allocator, where no lock is larger
/// for debugging: with more in it, each socket would take 512 bytes more.
#[pin_data]
pub(crate) struct Endpoint {
    /// Peer id, unique in its domain for as long as that lives.
    pub(crate) id: u64,
    /// `sun_family` of its addresses: `AF_UNIX` of the literal form, else the family's own number.
    pub(crate) address_family: u16,
    /// Who made it, as a number of the initial user namespace.
    pub(crate) user: u32,
    /// The process that made it.
    pub(crate) maker: Pid,
    /// Who pays for what waits here.
    pub(crate) payer: Arc<Payer>,
    /// Its place among the sockets of that user.
    _counted: Charge,
    pub(crate) users: Arc<Users>,
    /// The memory cgroup of the process that made it, to which what waits here is charged.
    memory: MemoryCgroup,
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
    pub(crate) settings: SpinLock<Settings>,
    #[pin]
    pub(crate) queue: SpinLock<Queue<Arc<Endpoint>>>,
    /// Blocking readers, who sleep with the lock of `queue` given up.
    #[pin]
    pub(crate) readable: CondVar,
    /// How many of them sleep, or are about to.
    sleepers: Atomic<u32>,
    /// Sends and bindings that wait, who sleep with the lock of `queue` given up.
    #[pin]
    pub(crate) sendable: CondVar,
    /// Those who wait for the end of a read, who sleep with the lock of `queue` given up.
    #[pin]
    read_done: CondVar,
}

// A message with its reference count fills a piece of 256 bytes of the allocator, and has no more.
const _: () = assert!(size_of::<Message<Arc<Endpoint>>>() <= 248);

/// What `bind()`, `connect()` and options of the bus have set.
#[derive(Default)]
pub(crate) struct Settings {
    /// What it is bound to.
    pub(crate) bound: Option<Arc<Bound>>,
    /// Whether a `bind()` is under way.
    binding: bool,
    /// The text of the default address.
    pub(crate) connected: Option<Arc<KVec<u8>>>,
    /// `KBUS_BUS_MODE` for a bus that this socket will make, if it was set.
    pub(crate) mode: Option<u32>,
    /// The name that it has sent to last, since it is bound.
    pub(crate) last_name: Option<KBox<LastName>>,
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
        let (payer, counted) = users.enter(task::current_payer())?;
        Arc::pin_init(
            pin_init!(Self {
                id: domain.next_peer(),
                address_family,
                user: task::current_euid(),
                maker,
                payer,
                _counted: counted,
                users,
                memory: MemoryCgroup::current(),
                domain,
                sock,
                send_flags: Atomic::new(0),
                recv_info: Atomic::new(1),
                pass: Atomic::new(0),
                last_sent: Atomic::new(0),
                settings <- new_spinlock!(Settings::default(), "kbus::settings"),
                queue <- new_spinlock!(Queue::new(), "kbus::queue"),
                readable <- new_condvar!("kbus::readable"),
                sleepers: Atomic::new(0),
                sendable <- new_condvar!("kbus::sendable"),
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
        Ok(self.bound().ok_or(ENOTCONN)?.bus.clone())
    }

    /// What it is bound to.
    pub(crate) fn bound(&self) -> Option<Arc<Bound>> {
        self.settings.lock().bound.clone()
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

    /// Begins to read the first message, and waits for one if need be; `None` if none will come.
    /// Another read of this socket begins when this one ends.
    ///
    /// A copy to user space may take as long as its program likes (`userfaultfd`), so that no lock
    /// is held over it.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is no message, or another read is under way, and `left` is or gets zero;
    /// `EINTR` or `ERESTARTSYS` on a signal.
    #[inline(always)]
    pub(crate) fn begin_read(
        &self,
        left: &mut Jiffies,
    ) -> Result<Option<(Reading<'_>, View<Arc<Self>>)>> {
        let mut queue = self.queue.lock();
        loop {
            match queue.begin_read() {
                Begun::Read(view) => return Ok(Some((Reading(Some(self)), view))),
                Begun::Nothing if queue.read_shut() => return Ok(None),
                Begun::Nothing => {
                    // A message is sent under no lock of this queue: look again when it is known
                    // that this sleeps.
                    let _sleeper = Sleeper::new(self);
                    if !queue.is_readable() {
                        sleep(&self.readable, &mut queue, left)?;
                    }
                }
                Begun::Busy => {
                    queue.wait_for_read();
                    let slept = sleep(&self.read_done, &mut queue, left);
                    queue.waited_for_read(slept == Err(EAGAIN));
                    slept?;
                }
            }
        }
    }

    /// Changes a setting of the queue, which may let those go who wait for room in it.
    pub(crate) fn change(this: &Arc<Self>, change: impl Fn(&mut Queue<Arc<Self>>)) {
        match this.bus() {
            // Not in the midst of a hold in which a message comes here, for the bindings of which
            // this would be one thing and then another.
            Ok(bus) => {
                let _bus = bus.state.lock();
                change(&mut this.queue.lock());
            }
            Err(_) => change(&mut this.queue.lock()),
        }
        wait::wake_all(this);
    }
}

/// A reader that is about to sleep, until it is dropped.
///
/// What is sent to its socket wakes it from then on; what was sent before is seen by whoever looks
/// at the queue after that.
pub(crate) struct Sleeper<'a>(&'a Endpoint);

impl<'a> Sleeper<'a> {
    /// Counts it.
    pub(crate) fn new(of: &'a Endpoint) -> Self {
        of.sleepers.fetch_add(1, Full);
        Self(of)
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.sleepers.fetch_sub(1, Relaxed);
    }
}

/// Sleeps on `condition` for at most `left`, which is then what is left of it.
///
/// # Errors
///
/// `EAGAIN` when nothing is left; on a signal `ERESTARTSYS`, or `EINTR` where there is a time
/// limit, as `sock_intr_errno()` has it.
pub(crate) fn sleep<T>(
    condition: &CondVar,
    guard: &mut SpinLockGuard<'_, T>,
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

/// For ever.
pub(crate) const MAX_SLEEP: Jiffies = MAX_SCHEDULE_TIMEOUT as Jiffies;

/// The right to read from a socket, until it has ended.
pub(crate) struct Reading<'a>(Option<&'a Endpoint>);

impl Reading<'_> {
    /// Takes out what is read, which ends the read. `None` when it was removed meanwhile.
    #[inline]
    pub(crate) fn consume(mut self, token: Token) -> Option<Consumed<Arc<Endpoint>>> {
        let this = self.0.take()?;
        let (consumed, ended) = this.queue.lock().consume_read(token);
        this.read_has_ended(ended);
        consumed
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(this) = self.0 {
            let ended = this.queue.lock().end_read();
            this.read_has_ended(ended);
        }
    }
}

impl Endpoint {
    /// Tells others of the same socket who wait for the end of a read, or were refused for it.
    #[inline]
    fn read_has_ended(&self, (waited_for, refused): (bool, bool)) {
        // All: one that is woken and finds a signal would keep the turn from the others.
        if waited_for {
            self.read_done.notify_all();
        }
        // Whoever was told that there is nothing may wait for a change (`EPOLLET`) that has been.
        if refused {
            self.sock.data_ready();
        }
    }
}

/// The right to bind a socket.
pub(crate) struct Binding<'a>(&'a Endpoint);

impl Binding<'_> {
    /// Ends it: the socket is bound.
    pub(crate) fn finish(self, bound: Arc<Bound>) {
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

impl Peer for Arc<Endpoint> {
    type Sender = Creds;
    type Files = Arc<Files<Charge>>;
    type Watch = rcu::Guard;

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

    fn copy_sender(sender: &Creds, need: Need) -> Result<Creds, AllocError> {
        sender.copy(reclaim::flags(need))
    }

    fn copy_files(files: &Self::Files, need: Need) -> Result<Self::Files, AllocError> {
        let flags = reclaim::flags(need);
        Arc::new(files.copy(flags)?, flags)
    }

    fn memory(&self) -> usize {
        self.memory.id()
    }

    fn task_memory(&self) -> usize {
        MemoryCgroup::current().id()
    }

    fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        self.memory.charge(f)
    }

    fn reclaim(&self) {
        self.users.reclaimer.want(&self.memory);
    }

    fn wait_for_memory(bytes: usize) -> bool {
        memory::reclaim(bytes).is_ok()
    }

    #[inline]
    fn watch() -> rcu::Guard {
        rcu::read_lock()
    }

    #[inline]
    fn is_waited_for(&self, watch: &rcu::Guard) -> bool {
        self.sleepers.load(Relaxed) != 0 || self.sock.is_waited_for(watch)
    }

    fn wake_reader(&self) {
        // Nobody who is awake is woken. A message is sent with a full barrier, and so is counted
        // who goes to sleep: either this sees the sleeper, or that one the message (`Sleeper`).
        if self.sleepers.load(Relaxed) != 0 {
            // It looks at the queue and begins to sleep in one hold of this lock.
            drop(self.queue.lock());
            self.readable.notify_all();
        }
        self.sock.data_ready();
    }

    #[inline]
    fn is_traced() -> bool {
        trace::deliver::is_on() || trace::miss::is_on()
    }

    #[inline]
    fn is_send_traced() -> bool {
        trace::send::is_on() || trace::reply::is_on()
    }

    fn trace(&self, what: Trace<'_>) {
        match what {
            Trace::Send {
                id,
                flags,
                len,
                name,
                answers,
            } => match answers {
                None => trace::send(id, self.id, flags, len, name),
                Some((to, request)) => trace::reply(id, self.id, to, request, len, name),
            },
            Trace::Deliver { id } => trace::deliver(id, self.id),
            Trace::Miss { id } => trace::miss(id, self.id),
            Trace::Status {
                id,
                request,
                replier,
                fault,
            } => trace::status(id, self.id, request, replier, fault.number() as u32),
        }
    }

    fn wake_senders(&self) {
        self.sendable.notify_all();
        self.sock.write_space();
    }
}

impl Member for Arc<Endpoint> {
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        f(&mut self.queue.lock())
    }

    fn enter_budget(&self, waiter: WaiterNode<Self>, polls: bool) -> bool {
        self.users.enter_waiter(self.payer.id(), waiter, polls)
    }

    fn tell_budget(&self) {
        self.users.tell(self.payer.id());
    }

    fn leave_budget(&self, age: u64) -> Option<WaiterNode<Self>> {
        self.users.leave_waiter(self.payer.id(), age)
    }
}

impl Endpoint {
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
