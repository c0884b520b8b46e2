;; A core module that says nothing of a component: neither ABI can take it.
(module
  (memory (export "memory") 1)
  (func (export "on-request") (param i32) (result i32) i32.const 0))
