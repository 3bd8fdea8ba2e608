//! How the C library's allocator is told to be thrifty: a service has thousands of streams that mostly say nothing.

/// From this size on memory is the system's own again as soon as it is free, in bytes. By itself the allocator would raise this
/// to the largest block that was ever given back, and what inflates a stream's first message would leave its holes between
/// what the streams keep: a tenth of all memory.
#[cfg(target_env = "gnu")]
const OWN_PAGES_FROM: libc::c_int = 64 << 10;

/// Call before threads are started.
pub fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "mallopt has no safe wrapper; it only changes numbers inside the allocator")]
    // SAFETY: any value up to half of a heap is allowed for M_MMAP_THRESHOLD, and glibc locks its own state.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_FROM);
    }
}

/// Returns free memory to the system: after a wave of boxes an instance is as small as before. Takes milliseconds, in which
/// other threads may wait to allocate.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "malloc_trim has no safe wrapper; it only returns unused pages")]
    // SAFETY: malloc_trim may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
