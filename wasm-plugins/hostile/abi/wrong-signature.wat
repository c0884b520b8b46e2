;; Exports by the right names, with wrong types.
(component
  (core module $module
    (func (export "run") (result i32) i32.const 42))
  (core instance $instance (instantiate $module))
  (func $run (result u32) (canon lift (core func $instance "run")))
  (export "configure" (func $run))
  (export "config-schema" (func $run))
  (export "on-pre-request" (func $run))
  (export "on-request" (func $run))
  (export "on-response" (func $run))
  (export "on-request-body" (func $run))
  (export "on-response-body" (func $run))
  (export "on-answer-body" (func $run)))
