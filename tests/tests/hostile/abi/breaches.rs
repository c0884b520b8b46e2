//! Hooks that break the canonical ABI.

/// Has the host call the allocator.
pub(super) const PATH: &str = "(call $path (local.get $handle) (i32.const 32))";

/// Name, what the hook does, what `cabi_realloc` does meanwhile, and why the hook fails.
pub(super) const BREACHES: &[(&str, &str, &str, &str)] = &[
    // Handles.
    (
        "handle-zero",
        "(call $path (i32.const 0) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "handle-two",
        "(call $path (i32.const 2) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "handle-last",
        "(call $path (i32.const -1) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "handle-of-a-request",
        "(drop (call $status (local.get $handle)))",
        "",
        "abi",
    ),
    (
        "drop-as-response",
        "(call $drop-response (local.get $handle))",
        "",
        "abi",
    ),
    ("drop-zero", "(call $drop-request (i32.const 0))", "", "abi"),
    ("drop-never", "(return (i32.const 0))", "", "abi"),
    (
        "drop-twice",
        "(call $drop-request (local.get $handle))",
        "",
        "abi",
    ),
    (
        "use-after-drop",
        "(call $drop-request (local.get $handle)) (call $path (local.get $handle) (i32.const 32))",
        "",
        "abi",
    ),
    // Places of results.
    (
        "result-last",
        "(call $path (local.get $handle) (i32.const -1))",
        "",
        "abi",
    ),
    (
        "result-beyond",
        "(call $path (local.get $handle) (i32.const -4))",
        "",
        "abi",
    ),
    (
        "result-unaligned",
        "(call $path (local.get $handle) (i32.const 34))",
        "",
        "abi",
    ),
    (
        "result-at-the-end",
        "(call $path (local.get $handle) (i32.const 0x10fffc))",
        "",
        "abi",
    ),
    (
        "option-unaligned",
        "(call $query (local.get $handle) (i32.const 33))",
        "",
        "abi",
    ),
    (
        "option-beyond",
        "(call $query (local.get $handle) (i32.const 0x10fff8))",
        "",
        "abi",
    ),
    (
        "list-result-unaligned",
        "(call $headers (local.get $handle) (i32.const 33))",
        "",
        "abi",
    ),
    (
        "list-result-beyond",
        "(call $headers (local.get $handle) (i32.const -8))",
        "",
        "abi",
    ),
    (
        "bytes-result-beyond",
        "(call $bytes (i32.const 1) (i32.const -8))",
        "",
        "abi",
    ),
    (
        "byte-result-last",
        "(call $set-header (local.get $handle) (i32.const 64) (i32.const 6) (i32.const 64) (i32.const 6) (i32.const -1))",
        "",
        "abi",
    ),
    (
        "reroute-result-unaligned",
        "(call $reroute (local.get $handle) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 33))",
        "",
        "abi",
    ),
    // Texts and lists.
    (
        "text-endless",
        "(call $write (i32.const 0) (i32.const 0) (i32.const -1))",
        "",
        "abi",
    ),
    (
        "text-beyond",
        "(call $write (i32.const 0) (i32.const -1) (i32.const 1))",
        "",
        "abi",
    ),
    (
        "text-around",
        "(call $write (i32.const 0) (i32.const -1) (i32.const -1))",
        "",
        "abi",
    ),
    (
        "text-empty-beyond",
        "(call $write (i32.const 0) (i32.const 0x110001) (i32.const 0))",
        "",
        "abi",
    ),
    (
        "list-endless",
        "(call $respond (local.get $handle) (i32.const 200) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "list-unaligned",
        "(call $respond (local.get $handle) (i32.const 200) (i32.const 65538) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "list-empty-unaligned",
        "(call $respond (local.get $handle) (i32.const 200) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "body-endless",
        "(call $respond (local.get $handle) (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 32))",
        "",
        "abi",
    ),
    (
        "event-endless",
        "(call $add-event (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0) (i32.const -1))",
        "",
        "abi",
    ),
    (
        "event-unaligned",
        "(call $fill (i32.const 2) (i32.const 24) (i32.const 16)) (call $add-event (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0x10004) (i32.const 1))",
        "",
        "abi",
    ),
    (
        "respond-overlapping",
        "(call $fill (i32.const 20000) (i32.const 16) (i32.const 8)) (call $respond (local.get $handle) (i32.const 200) (i32.const 0x10000) (i32.const 20000) (i32.const 0) (i32.const 0) (i32.const 32))",
        "",
        "bounds",
    ),
    (
        "event-overlapping",
        "(call $fill (i32.const 18000) (i32.const 24) (i32.const 16)) (call $add-event (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0x10000) (i32.const 18000))",
        "",
        "bounds",
    ),
    (
        "log-long",
        "(drop (memory.grow (i32.const 256))) (call $write (i32.const 2) (i32.const 0) (i32.const 0x1000001))",
        "",
        "bounds",
    ),
    // Discriminants.
    (
        "action-two",
        "(call $drop-request (local.get $handle)) (return (i32.const 2))",
        "",
        "abi",
    ),
    (
        "action-last",
        "(call $drop-request (local.get $handle)) (return (i32.const -1))",
        "",
        "abi",
    ),
    (
        "level-five",
        "(call $write (i32.const 5) (i32.const 64) (i32.const 6))",
        "",
        "abi",
    ),
    (
        "level-wide",
        "(call $write (i32.const 256) (i32.const 64) (i32.const 6))",
        "",
        "abi",
    ),
    (
        "target-two",
        "(call $add-event (i32.const 2) (i32.const 64) (i32.const 6) (i32.const 0) (i32.const 0))",
        "",
        "abi",
    ),
    (
        "value-four",
        "(call $set-attribute (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 4) (i64.const 0) (i32.const 0))",
        "",
        "abi",
    ),
    (
        "value-in-memory-four",
        "(call $fill (i32.const 1) (i32.const 24) (i32.const 16)) (i32.store8 (i32.const 0x10008) (i32.const 4)) (call $add-event (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0x10000) (i32.const 1))",
        "",
        "abi",
    ),
    (
        "option-two",
        "(call $reroute (local.get $handle) (i32.const 2) (i32.const 64) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))",
        "",
        "abi",
    ),
    // What the allocator does.
    ("realloc-beyond", PATH, "(return (i32.const -1))", "abi"),
    (
        "realloc-at-the-end",
        PATH,
        "(return (i32.const 0x10ffff))",
        "abi",
    ),
    (
        "realloc-unaligned",
        "(call $headers (local.get $handle) (i32.const 32))",
        "(return (i32.const 0x10002))",
        "abi",
    ),
    ("realloc-traps", PATH, "unreachable", "trap"),
    (
        "realloc-recurses",
        PATH,
        "(return (call $recurse (i32.const 0)))",
        "stack",
    ),
    (
        "realloc-loops",
        PATH,
        "(loop $again (br $again))",
        "cpu_time",
    ),
    (
        "realloc-grows",
        PATH,
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
        "memory",
    ),
    (
        "realloc-grows-and-loops",
        PATH,
        "(loop $again (drop (memory.grow (i32.const 1))) (br $again))",
        "cpu_time",
    ),
    (
        "realloc-calls-its-import",
        PATH,
        "(call $path (global.get $harms) (i32.const 48))",
        "abi",
    ),
    ("realloc-asks-the-time", PATH, "(drop (call $now))", "abi"),
    (
        "realloc-asks-for-bytes",
        PATH,
        "(call $bytes (i32.const 1) (i32.const 48))",
        "abi",
    ),
    (
        "realloc-logs",
        PATH,
        "(call $write (i32.const 2) (i32.const 64) (i32.const 6))",
        "abi",
    ),
    (
        "realloc-drops",
        PATH,
        "(call $drop-request (global.get $harms))",
        "abi",
    ),
    (
        "realloc-drops-for-bytes",
        "(call $bytes (i32.const 1) (i32.const 32))",
        "(call $drop-request (global.get $harms))",
        "abi",
    ),
];
