;; A plugin by hand, without a bindings generator between it and the host. Requests that have the
;; field `x-harm` are harmed: a test fills in how, at the names in braces, or replaces other pieces.
(module
  (import "weir:plugin/http@0.1.0" "[method]request.header"
    (func $header (param i32 i32 i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.headers" (func $headers (param i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.path" (func $path (param i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.query" (func $query (param i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.client-certificate"
    (func $certificate (param i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.set-header"
    (func $set-header (param i32 i32 i32 i32 i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.respond"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.reroute"
    (func $reroute (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.body" (func $body (param i32 i32)))
  (import "weir:plugin/http@0.1.0" "[method]request.set-body"
    (func $set-body (param i32 i32 i32 i32)))
  (import "weir:plugin/http@0.1.0" "[resource-drop]request" (func $drop-request (param i32)))
  (import "weir:plugin/http@0.1.0" "[method]response.status"
    (func $status (param i32) (result i32)))
  (import "weir:plugin/http@0.1.0" "[resource-drop]response" (func $drop-response (param i32)))
  (import "weir:plugin/span@0.1.0" "set-attribute"
    (func $set-attribute (param i32 i32 i32 i32 i64 i32)))
  (import "weir:plugin/span@0.1.0" "add-event" (func $add-event (param i32 i32 i32 i32 i32)))
  (import "weir:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
  (import "weir:plugin/clock@0.1.0" "now" (func $now (result i64)))
  (import "weir:plugin/random@0.1.0" "bytes" (func $bytes (param i32 i32)))
  (import "weir:plugin/kv@0.1.0" "get" (func $kv-get (param i32 i32 i32)))
  (import "weir:plugin/kv@0.1.0" "set" (func $kv-set (param i32 i32 i32 i32 i64 i32)))
  (import "weir:plugin/kv@0.1.0" "add" (func $kv-add (param i32 i32 i64 i64 i32)))
  (import "weir:plugin/kv@0.1.0" "compare-and-set"
    (func $kv-cas (param i32 i32 i32 i32 i32 i32 i32 i64 i32)))

  ;; From 16: places for results. From 64: a text. From 1024: what `configure` returns. From 4096:
  ;; what the host is given room for. From 64 KiB: lists. From 512 KiB: a long text.
  (memory (export "memory") 17)
  (data (i32.const 64) "x-harm")
  (global $free (mut i32) (i32.const 4096))
  ;; The handle of the hook that does harm; 0 where none does.
  (global $harms (mut i32) (i32.const 0))

  (func (export "cabi_realloc")
    (param $old i32) (param $old-len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (if (global.get $harms) (then {REALLOC}))
    (local.set $at
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $len)))
    (local.get $at))

  ;; Calls the host with this much of the stack used.
  (func $dive (param $handle i32) (param $depth i32) (result i32)
    (if (result i32) (local.get $depth)
      (then
        (i32.add
          (i32.const 1)
          (call $dive (local.get $handle) (i32.sub (local.get $depth) (i32.const 1)))))
      (else
        (call $path (local.get $handle) (i32.const 32))
        (i32.const 0))))

  (func $recurse (param $depth i32) (result i32)
    (i32.add (i32.const 1) (call $recurse (i32.add (local.get $depth) (i32.const 1)))))

  ;; A list of so many items of so many bytes, each a name and a long text; `add-event` has the
  ;; text's place behind the kind.
  (func $fill (param $items i32) (param $size i32) (param $text i32)
    (local $at i32)
    (local.set $at (i32.const 0x10000))
    (loop $next
      (i32.store (local.get $at) (i32.const 64))
      (i32.store offset=4 (local.get $at) (i32.const 6))
      (i32.store (i32.add (local.get $at) (local.get $text)) (i32.const 0x80000))
      (i32.store offset=4 (i32.add (local.get $at) (local.get $text)) (i32.const 0x80000))
      (local.set $at (i32.add (local.get $at) (local.get $size)))
      (br_if $next (local.tee $items (i32.sub (local.get $items) (i32.const 1))))))

  ;; `ok`, with the request hook alone, and the request's body whole up to 1000 bytes.
  (func (export "configure") (param i32 i32) (result i32)
    (i32.store8 offset=1040 (i32.const 0) (i32.const 1))
    (i64.store offset=1048 (i32.const 0) (i64.const 1000))
    (i32.store8 offset=1032 (i32.const 0) (i32.const 2))
    (i32.const 1024)) ;; returned
  (func (export "config-schema") (result i32) (i32.const 1024))

  (func (export "on-pre-request") (param $handle i32) (result i32)
    (call $drop-request (local.get $handle))
    (i32.const 0))
  (func (export "on-request") (param $handle i32) (result i32)
    (call $header (local.get $handle) (i32.const 64) (i32.const 6) (i32.const 16))
    (if (i32.load8_u (i32.const 16))
      (then
        (global.set $harms (local.get $handle))
        {HARM}))
    (call $drop-request (local.get $handle))
    (i32.const 0))
  (func (export "on-request-body") (param i32) (result i32) (unreachable))
  (func (export "on-response-body") (param i32) (result i32) (unreachable))
  (func (export "on-answer-body") (param i32) (result i32) (unreachable))
  (func (export "on-response") (param $handle i32) (result i32)
    (call $drop-response (local.get $handle))
    (i32.const 0)))
