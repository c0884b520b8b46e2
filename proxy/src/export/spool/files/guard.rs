//! A place in a mapped segment that the disk does not give: the kernel can only tell by a signal,
//! and this makes an error of it.
//!
//! [`Guard`]s say which mappings are segments. When a write to one of them raises `SIGBUS`, the
//! handler puts memory of nobody's in the mapping's place, so that the write ends, and marks the
//! guard, which whoever wrote asks. Any other `SIGBUS` goes to the handler that was there before.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};

use rustix::mm::{MapFlags, ProtFlags};

/// Mappings that there may be at once. Where there are more, the rest are not mapped.
const SLOTS: usize = 1024;

/// A value of `start` while nobody has the slot.
const FREE: usize = 0;
/// A value of `start` while the slot is filled in; no mapping begins there.
const TAKEN: usize = 1;

struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    broken: AtomicBool,
}

static GUARDED: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(FREE),
        end: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    }
}; SLOTS];

/// What happened at a `SIGBUS` before; `None` where our handler could not be put in its place.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// Of one mapping, which has to outlive it.
pub(super) struct Guard(&'static Slot);

impl Guard {
    /// `None` where a fault there would end the process.
    pub(super) fn new(start: usize, len: usize) -> Option<Self> {
        BEFORE.get_or_init(install).as_ref()?;
        let slot = GUARDED.iter().find(|slot| {
            slot.start
                .compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        slot.broken.store(false, Ordering::Relaxed);
        slot.end.store(start + len, Ordering::Release);
        slot.start.store(start, Ordering::Release);
        Some(Self(slot))
    }

    /// Whether the disk has failed under the mapping: nothing written to it since is in the file.
    pub(super) fn is_broken(&self) -> bool {
        // The handler ran on this thread, between two instructions of it.
        compiler_fence(Ordering::SeqCst);
        self.0.broken.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.start.store(FREE, Ordering::Release);
    }
}

/// Runs on the thread that wrote, in the middle of the write: atomics and system calls only.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if !replace(info) {
        pass_on(signal, info, context);
    }
}

/// Puts empty memory in the place of the mapping that a fault was in, if it was in one of ours.
#[allow(
    unsafe_code,
    reason = "only the kernel's record says what the fault was, and only a mapping at a fixed place ends it"
)]
fn replace(info: *mut libc::siginfo_t) -> bool {
    // SAFETY: the kernel gives a handler with `SA_SIGINFO` a valid record, and one with a positive
    // code is of a fault and has its address.
    let address = unsafe {
        if (*info).si_code <= 0 {
            return false;
        }
        (*info).si_addr() as usize
    };
    for slot in &GUARDED {
        let start = slot.start.load(Ordering::Acquire);
        let end = slot.end.load(Ordering::Acquire);
        // A slot that changes meanwhile is not that of the thread that is here.
        if start <= TAKEN || slot.start.load(Ordering::Acquire) != start {
            continue;
        }
        if !(start..end).contains(&address) {
            continue;
        }
        slot.broken.store(true, Ordering::Release);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        let place = ptr::with_exposed_provenance_mut(start);
        // SAFETY: these pages are a mapping that `Mapped` made and keeps while its guard is in the
        // slot. It makes no reference into them, and takes what is there for nothing from here on.
        let mapped = unsafe { rustix::mm::mmap_anonymous(place, end - start, protection, flags) };
        return mapped.is_ok();
    }
    false
}

/// Leaves a fault to whoever was here before.
#[allow(
    unsafe_code,
    reason = "a handler of before is known by its address alone"
)]
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    type Plain = extern "C" fn(c_int);
    type Informed = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    let before = BEFORE.get().and_then(Option::as_ref);
    match before {
        Some(before) if ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction) => {
            // SAFETY: the kernel would have called this address itself, in the form that the flag
            // tells.
            unsafe {
                if before.sa_flags & libc::SA_SIGINFO == 0 {
                    mem::transmute::<libc::sighandler_t, Plain>(before.sa_sigaction)(signal);
                } else {
                    mem::transmute::<libc::sighandler_t, Informed>(before.sa_sigaction)(
                        signal, info, context,
                    );
                }
            }
        }
        // SAFETY: both may be called in a handler. The signal is blocked while this runs, and ends
        // the process after.
        _ => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        },
    }
}

/// Puts the handler in its place, and gives what was there.
#[allow(unsafe_code, reason = "there is no safe form of a handler for a fault")]
fn install() -> Option<libc::sigaction> {
    // SAFETY: both structures are plain values for which zeros are valid; the pointers live through
    // the calls. The handler does only what is allowed in one, on the stack that Rust's runtime gives
    // each thread for it where it has one.
    unsafe {
        let mut before: libc::sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
            return None;
        }
        let mut ours: libc::sigaction = mem::zeroed();
        ours.sa_sigaction = on_fault as *const () as libc::sighandler_t;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigemptyset(&raw mut ours.sa_mask);
        (libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) == 0).then_some(before)
    }
}
