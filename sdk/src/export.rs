//! The macro that makes a component of a plugin.

/// Exports a plugin, so that Weir can load what `cargo build --target wasm32-unknown-unknown`
/// makes of the crate. Once a crate, which is a `cdylib`.
///
/// In native builds it only checks that the type is a [`Plugin`](crate::Plugin).
///
/// ```
/// use weir_sdk::{Error, Interests, Plugin};
///
/// struct Idle;
///
/// impl Plugin for Idle {
///     type Config = ();
///
///     fn new((): ()) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn interests(&self) -> Interests {
///         Interests::none()
///     }
/// }
///
/// weir_sdk::export!(Idle);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::assert_plugin::<$plugin>();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::guest::{self, bindings};

            ::std::thread_local! {
                static INSTANCE: ::std::cell::OnceCell<$plugin> = const { ::std::cell::OnceCell::new() };
            }

            struct Component;

            impl bindings::Guest for Component {
                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<bindings::Interests, ::std::string::String> {
                    guest::configure(&INSTANCE, &config)
                }

                fn config_schema() -> ::std::string::String {
                    guest::config_schema::<$plugin>()
                }

                fn on_pre_request(request: &bindings::Request) -> bindings::Action {
                    guest::on_pre_request(&INSTANCE, request)
                }

                fn on_request(request: &bindings::Request) -> bindings::Action {
                    guest::on_request(&INSTANCE, request)
                }

                fn on_response(response: &bindings::Response) -> bindings::Action {
                    guest::on_response(&INSTANCE, response)
                }

                fn on_request_body(chunk: &bindings::Chunk) -> bindings::Flow {
                    guest::on_request_body(&INSTANCE, chunk)
                }

                fn on_response_body(chunk: &bindings::Chunk) -> bindings::Flow {
                    guest::on_response_body(&INSTANCE, chunk)
                }

                fn on_answer_body(chunk: &bindings::Chunk) -> bindings::Flow {
                    guest::on_answer_body(&INSTANCE, chunk)
                }
            }

            guest::bindings::export_component!(Component with_types_in guest::bindings);
        };
    };
}

#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub const fn assert_plugin<P: crate::Plugin>() {}
