//! How the C library's allocator is told to be thrifty: models are loaded once, by many threads, on a small box.

/// Heaps of the allocator. By default it makes eight a core, each keeping what its threads gave back; a few threads that
/// mostly own one big engine need no more than two.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Call before threads are started.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "mallopt has no safe wrapper; it only changes numbers inside the allocator")]
    // SAFETY: any value is allowed for M_ARENA_MAX, and glibc locks its own state.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Returns free memory to the system; call after loading and after a call, when what was needed on the way is free.
/// Takes milliseconds, in which other threads may wait to allocate.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "malloc_trim has no safe wrapper; it only returns unused pages")]
    // SAFETY: malloc_trim may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
