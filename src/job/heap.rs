//! The heap of the two processes: what was on it before they parted is the worker's. The sentry works without one and gives
//! its share back: it is smaller for it, it is gone sooner, and the worker need not copy what it writes to.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Where the heap began when the program did; 0: nobody marked it, and nothing is given back.
static BEGINNING: AtomicUsize = AtomicUsize::new(0);

/// Comes before all else: what lies below is the C library's own.
pub(super) fn mark() {
    BEGINNING.store(Box::leak(Box::new(0u64)) as *mut u64 as usize, Relaxed);
}

/// Gives back all of the heap's pages above the mark.
///
/// # Safety
/// Nothing on the heap is read or written after this, and nothing allocated.
#[cfg(target_env = "gnu")]
pub(super) unsafe fn give_back() {
    const PAGE: usize = 4096;
    let begin = BEGINNING.load(Relaxed).next_multiple_of(PAGE);
    // SAFETY: takes no pointer; zero asks where the heap ends.
    let end = unsafe { libc::sbrk(0) } as usize / PAGE * PAGE;
    if begin != 0 && begin < end {
        // SAFETY: the range is the heap's, by the caller's word without use.
        unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
    }
}

#[cfg(not(target_env = "gnu"))]
pub(super) unsafe fn give_back() {}
