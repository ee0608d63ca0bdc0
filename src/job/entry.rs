//! The program's entry, in place of the Rust runtime's. That one reads its own memory map, makes a signal stack and
//! ignores SIGPIPE: a twentieth of the time that a lock around a short job takes, and the job would inherit the last.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libc::{c_char, c_int};

use crate::job::heap;

/// Makes `$main`, a `fn(Vec<OsString>) -> u8`, the program's entry. The crate needs `#![no_main]`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// What the C library calls.
        // SAFETY: `main` is the one symbol of that name in this program, and has the type that C gives it.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(
            count: std::os::raw::c_int,
            words: *const *const std::os::raw::c_char,
        ) -> std::os::raw::c_int {
            // SAFETY: both come from the C library, as `begin` asks.
            let words = unsafe { $crate::job::entry::begin(count, words) };
            std::os::raw::c_int::from($main(words))
        }
    };
}

/// Readies the process and takes in its words.
///
/// # Safety
/// `count` and `words` are what the C library gave to `main`.
#[doc(hidden)]
pub unsafe fn begin(count: c_int, words: *const *const c_char) -> Vec<OsString> {
    heap::mark();
    fill_standard_descriptors();
    (0..usize::try_from(count).unwrap_or(0))
        .map(|at| {
            // SAFETY: by the C standard there are `count` words, each a string that stays.
            let word = unsafe { CStr::from_ptr(*words.add(at)) };
            OsStr::from_bytes(word.to_bytes()).to_owned()
        })
        .collect()
}

/// A caller may have closed some of 0, 1 and 2. What we open next must not take their place: the job would write its
/// output into it.
fn fill_standard_descriptors() {
    for fd in 0..=2 {
        // SAFETY: takes no pointers but a C string; the lowest free descriptor is the one that is missing.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == -1 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
        }
    }
}
