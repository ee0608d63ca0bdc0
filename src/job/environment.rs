//! The environment of a process that outlives its caller. Runners of CI jobs kill at a step's end whatever still carries the
//! step's mark in its environment, as /proc shows it; and secrets need not lie open for as long as a lock is held.

use std::ffi::CStr;
use std::ptr;

use libc::c_char;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Moves the environment to where /proc does not show it. This program still finds it.
pub(super) fn hide() {
    // SAFETY: there is one thread, so nobody else reads or changes it; the array ends with a null pointer and holds C strings,
    // which a program may write to. The copies are leaked, for others may keep pointers to them.
    unsafe {
        let mut copies = Vec::new();
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            copies.push(CStr::from_ptr(*at).to_owned().into_raw());
            ptr::write_bytes(*at, 0, CStr::from_ptr(*at).count_bytes());
            at = at.add(1);
        }
        copies.push(ptr::null_mut());
        environ = Vec::leak(copies).as_mut_ptr();
    }
}
