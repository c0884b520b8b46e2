//! What `bench-header` does, as a proxy-wasm filter: the race runs it in Envoy.
//!
//! Each hook reads one header and sets another to its value, or to `-` where there was none. The
//! name of the header to set is the filter's whole configuration.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root { set: Rc::from("x-bench") }));
}}

struct Root {
    set: Rc<str>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match self.get_plugin_configuration().map(String::from_utf8) {
            Some(Ok(name)) => self.set = name.into(),
            Some(Err(_)) => return false,
            None => {}
        }
        true
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter {
            set: Rc::clone(&self.set),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Filter {
    set: Rc<str>,
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let value = self.get_http_request_header("user-agent");
        self.set_http_request_header(&self.set, Some(value.as_deref().unwrap_or("-")));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        let value = self.get_http_response_header("content-type");
        self.set_http_response_header(&self.set, Some(value.as_deref().unwrap_or("-")));
        Action::Continue
    }
}
