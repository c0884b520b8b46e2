//! The heap that librdkafka's messages are in: the C library's, whatever the rest of Weir allocates by.

/// Has freed memory kept for what comes next. Each batch that is acknowledged frees about all there is, which
/// glibc would give back to the system, to be mapped and cleared again for the next: a tenth of the CPU where
/// messages are large.
pub(super) fn keep() {
    #[cfg(target_env = "gnu")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(set);
    }
}

/// Bytes of free memory that stay, for each of its arenas.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 16 << 20;

/// A block of so many bytes is mapped by itself. Messages are mostly smaller.
#[cfg(target_env = "gnu")]
const MAPPED: i32 = 4 << 20;

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a foreign function")]
fn set() {
    // SAFETY: it takes two numbers, and the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}
