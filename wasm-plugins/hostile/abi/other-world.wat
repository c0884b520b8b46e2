;; A component, but of another world: it exports none of a plugin's functions.
(component
  (core module $module
    (func (export "run") (result i32) i32.const 42))
  (core instance $instance (instantiate $module))
  (func (export "run") (result u32) (canon lift (core func $instance "run"))))
