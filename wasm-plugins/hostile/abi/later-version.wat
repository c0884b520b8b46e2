;; Speaks a version of the contract that is yet to come.
(component
  (import "weir:plugin/clock@9.0.0" (instance
    (export "now" (func (result u64))))))
