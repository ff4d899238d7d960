//! The threads that verify shards. Each either reads a shard from front to back and hands its members over, or checks
//! members that others have read; a reader checks some itself when too many wait. So all threads are busy with one
//! shard as with many, and as many bytes are in memory with small shards as with large ones.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::defect::{Defect, Severity};
use super::member::{Checked, Checker, Member, Members, PANICKED};

/// Bytes of members that may wait, per thread: a few large samples.
const WAITING_BYTES: usize = 8 << 20;

/// What the threads share.
pub(super) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
    max_bytes: usize,
}

struct State {
    waiting: VecDeque<Work>,
    /// Bytes of the waiting members.
    bytes: usize,
    /// The next shard to be read, and their number.
    next: usize,
    shards: usize,
    /// Threads that are reading a shard.
    readers: usize,
}

/// The offset of a member, and the size that an image was checked for: hard links give one image several annotations.
pub(super) type Key = (u64, Option<(u32, u32)>);

/// What was found of the members of a shard.
#[derive(Default)]
pub(super) struct Gathered {
    members: Mutex<HashMap<Key, Checked>>,
    under_way: AtomicUsize,
}

/// A member that waits or is being checked. One that is dropped has panicked.
struct Work {
    shard: Arc<Gathered>,
    member: Option<Member>,
    fallback: Option<Checked>,
}

/// Which waiting members are checked.
#[derive(Clone, Copy)]
enum Which<'a> {
    All,
    /// All, as long as there are more bytes of them.
    Above(usize),
    /// Those of one shard.
    Of(&'a Arc<Gathered>),
}

/// A shard that a thread is reading.
pub(super) struct Reading<'a> {
    crew: &'a Crew,
    pub(super) number: usize,
}

impl Crew {
    pub(super) fn new(shards: usize, threads: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, next: 0, shards, readers: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_bytes: threads.saturating_mul(WAITING_BYTES) }
    }

    /// The body of a thread: calls `read` for shards, and checks members.
    pub(super) fn work(&self, checker: &mut Checker, mut read: impl FnMut(&Reading<'_>, &mut Checker)) {
        loop {
            self.check(checker, Which::All);
            if let Some(shard) = self.next_shard() {
                read(&shard, checker);
            } else if !self.wait() {
                return;
            }
        }
    }

    /// Lets the threads end after the shards that are being read.
    pub(super) fn stop(&self) {
        self.lock().shards = 0;
    }

    fn next_shard(&self) -> Option<Reading<'_>> {
        let mut state = self.lock();
        let number = state.next;
        (number < state.shards).then(|| {
            (state.next, state.readers) = (number + 1, state.readers + 1);
            Reading { crew: self, number }
        })
    }

    /// Waits for a member to check; `false` if there will be none.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() && state.readers > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.waiting.is_empty()
    }

    fn check(&self, checker: &mut Checker, which: Which<'_>) {
        // The decoders get bytes that nobody has checked.
        while catch_unwind(AssertUnwindSafe(|| checker.run(&mut Waiting { crew: self, which }))).is_err() {
            checker.renew();
        }
    }

    fn take(&self, which: Which<'_>) -> Option<Work> {
        let mut state = self.lock();
        let at = match which {
            Which::All => 0,
            Which::Above(bytes) if state.bytes > bytes => 0,
            Which::Above(_) => return None,
            Which::Of(shard) => state.waiting.iter().position(|work| Arc::ptr_eq(&work.shard, shard))?,
        };
        let work = state.waiting.remove(at)?;
        state.bytes -= work.bytes();
        Some(work)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading<'_> {
    /// Hands a member over. Checks members meanwhile if too many wait.
    pub(super) fn hand_over(&self, shard: &Arc<Gathered>, member: Member, checker: &mut Checker) {
        shard.under_way.fetch_add(1, SeqCst);
        let work = Work::new(shard, member);
        let mut state = self.crew.lock();
        state.bytes += work.bytes();
        state.waiting.push_back(work);
        let is_full = state.bytes > self.crew.max_bytes;
        drop(state);
        self.crew.changed.notify_all();
        if is_full {
            self.crew.check(checker, Which::Above(self.crew.max_bytes / 2));
        }
    }

    /// Checks what waits of a shard, and waits for the rest.
    pub(super) fn finish(&self, shard: &Arc<Gathered>, checker: &mut Checker) {
        self.crew.check(checker, Which::Of(shard));
        let mut state = self.crew.lock();
        while shard.under_way.load(SeqCst) > 0 {
            state = self.crew.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.crew.lock().readers -= 1;
        self.crew.changed.notify_all();
    }
}

impl Gathered {
    /// Adds what was found of a member. Of two members at one place, the last one counts.
    pub(super) fn add(&self, checked: Checked) {
        self.lock().insert((checked.extent.offset, checked.size), checked);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Key, Checked>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn new(shard: &Arc<Gathered>, member: Member) -> Self {
        let panicked = Defect::of_member("panic", Severity::Damage, &member.name, &member.extent, PANICKED.to_owned());
        let panicked = Defect { error: Some(maskstream::ErrorKind::Panic), ..panicked };
        let fallback = Checked { extent: member.extent, size: member.size, defects: vec![panicked] };
        Self { shard: Arc::clone(shard), member: Some(member), fallback: Some(fallback) }
    }

    fn bytes(&self) -> usize {
        self.member.as_ref().map_or(0, |member| member.bytes.len())
    }
}

/// A member that is being checked: its result is that of [`Members::done`], or that it panicked.
struct Handle<'a> {
    crew: &'a Crew,
    work: Work,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let Work { shard, fallback, .. } = &mut self.work;
        fallback.take().into_iter().for_each(|checked| shard.add(checked));
        if shard.under_way.fetch_sub(1, SeqCst) == 1 {
            // With the lock, so that a thread that is about to wait hears of it.
            drop(self.crew.lock());
            self.crew.changed.notify_all();
        }
    }
}

struct Waiting<'a> {
    crew: &'a Crew,
    which: Which<'a>,
}

impl<'a> Members for Waiting<'a> {
    type Handle = Handle<'a>;

    fn next(&mut self) -> Option<(Handle<'a>, Member)> {
        loop {
            let mut handle = Handle { crew: self.crew, work: self.crew.take(self.which)? };
            if let Some(member) = handle.work.member.take() {
                return Some((handle, member));
            }
        }
    }

    fn done(&mut self, mut handle: Handle<'a>, checked: Checked) {
        handle.work.fallback = Some(checked);
    }
}
