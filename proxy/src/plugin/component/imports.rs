//! The imports of the world `plugin`, for components: owned values in, owned values out.

mod outward;
mod redis;

use wasmtime::component::Resource;

use crate::plugin::Side;
use crate::plugin::contract::weir::plugin::http::{
    BodyError, HeaderError, RerouteError, RespondError,
};
use crate::plugin::contract::weir::plugin::span::{CallKind, Target, Value as GuestValue};
use crate::plugin::contract::weir::plugin::{clock, exchange, http, kv, log, random, span};
use crate::plugin::host::{ChunkHandle, Host, RequestHandle, Reroute, ResponseHandle, Which, text};
use crate::trace::{Level, Value};

pub(super) use redis::link as link_redis;

type Request = Resource<RequestHandle>;
type Response = Resource<ResponseHandle>;
type Chunk = Resource<ChunkHandle>;
type Fields = Vec<(String, Vec<u8>)>;

fn values(host: &mut Host, which: Which, name: &str) -> wasmtime::Result<Vec<Vec<u8>>> {
    let values = host.headers(which)?.get_all(name);
    Ok(values
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .collect())
}

fn fields(host: &mut Host, which: Which) -> wasmtime::Result<Fields> {
    let fields = host.headers(which)?.iter();
    Ok(fields
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect())
}

fn respond(
    host: &mut Host,
    status: u16,
    fields: &Fields,
    body: Option<&[u8]>,
) -> wasmtime::Result<Result<(), RespondError>> {
    let fields: Vec<(&str, &[u8])> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    host.respond(status, &fields, body)
}

impl http::Host for Host {}

impl http::HostRequest for Host {
    fn method(&mut self, _: Request) -> wasmtime::Result<String> {
        Ok(self.request()?.method.as_str().to_owned())
    }

    fn scheme(&mut self, _: Request) -> wasmtime::Result<String> {
        Ok(Host::scheme(self)?.to_owned())
    }

    fn authority(&mut self, _: Request) -> wasmtime::Result<String> {
        Ok(self.request()?.authority.clone())
    }

    fn path(&mut self, _: Request) -> wasmtime::Result<String> {
        Ok(self.request()?.uri.path().to_owned())
    }

    fn query(&mut self, _: Request) -> wasmtime::Result<Option<String>> {
        Ok(self.request()?.uri.query().map(str::to_owned))
    }

    fn client_address(&mut self, _: Request) -> wasmtime::Result<String> {
        Host::client_address(self)
    }

    fn client_certificate(&mut self, _: Request) -> wasmtime::Result<Option<http::Certificate>> {
        let certificate = Host::client_certificate(self)?;
        Ok(certificate.map(|certificate| {
            let names = &certificate.alternative_names;
            http::Certificate {
                subject: certificate.subject.clone(),
                issuer: certificate.issuer.clone(),
                sha256: certificate.sha256.clone(),
                alternative_names: http::AlternativeNames {
                    dns: names.dns.clone(),
                    uri: names.uri.clone(),
                    email: names.email.clone(),
                    ip: names.ip.clone(),
                },
            }
        }))
    }

    fn header(&mut self, _: Request, name: String) -> wasmtime::Result<Option<String>> {
        let value = Host::header(self, Which::Request, &name)?;
        Ok(value.map(|value| text(value).into_owned()))
    }

    fn header_values(&mut self, _: Request, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        values(self, Which::Request, &name)
    }

    fn headers(&mut self, _: Request) -> wasmtime::Result<Fields> {
        fields(self, Which::Request)
    }

    fn set_header(
        &mut self,
        _: Request,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::set_header(self, Which::Request, name.as_bytes(), value.as_bytes())
    }

    fn add_header(
        &mut self,
        _: Request,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::add_header(self, Which::Request, name.as_bytes(), value.as_bytes())
    }

    fn remove_header(
        &mut self,
        _: Request,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::remove_header(self, Which::Request, name.as_bytes())
    }

    fn body(&mut self, _: Request) -> wasmtime::Result<Result<Vec<u8>, BodyError>> {
        Ok(Host::body(self, Side::Request)?.map(|bytes| bytes.to_vec()))
    }

    fn set_body(&mut self, _: Request, body: Vec<u8>) -> wasmtime::Result<Result<(), BodyError>> {
        Host::set_body(self, Side::Request, &body)
    }

    fn skip_body(&mut self, _: Request) -> wasmtime::Result<()> {
        Host::skip_body(self)
    }

    fn respond(
        &mut self,
        _: Request,
        status: u16,
        headers: Fields,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        respond(self, status, &headers, Some(&body))
    }

    fn respond_streamed(
        &mut self,
        _: Request,
        status: u16,
        headers: Fields,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        respond(self, status, &headers, None)
    }

    fn reroute(
        &mut self,
        _: Request,
        authority: Option<String>,
        path_and_query: Option<String>,
        upstream: Option<String>,
    ) -> wasmtime::Result<Result<(), RerouteError>> {
        Host::reroute(
            self,
            &Reroute {
                authority: authority.as_deref(),
                path_and_query: path_and_query.as_deref(),
                upstream: upstream.as_deref(),
            },
        )
    }

    fn drop(&mut self, _: Request) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http::HostResponse for Host {
    fn status(&mut self, _: Response) -> wasmtime::Result<u16> {
        Host::status(self)
    }

    fn set_status(
        &mut self,
        _: Response,
        status: u16,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        Host::set_status(self, status)
    }

    fn header(&mut self, _: Response, name: String) -> wasmtime::Result<Option<String>> {
        let value = Host::header(self, Which::Response, &name)?;
        Ok(value.map(|value| text(value).into_owned()))
    }

    fn header_values(&mut self, _: Response, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        values(self, Which::Response, &name)
    }

    fn headers(&mut self, _: Response) -> wasmtime::Result<Fields> {
        fields(self, Which::Response)
    }

    fn set_header(
        &mut self,
        _: Response,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::set_header(self, Which::Response, name.as_bytes(), value.as_bytes())
    }

    fn add_header(
        &mut self,
        _: Response,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::add_header(self, Which::Response, name.as_bytes(), value.as_bytes())
    }

    fn remove_header(
        &mut self,
        _: Response,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::remove_header(self, Which::Response, name.as_bytes())
    }

    fn body(&mut self, _: Response) -> wasmtime::Result<Result<Vec<u8>, BodyError>> {
        Ok(Host::body(self, Side::Response)?.map(|bytes| bytes.to_vec()))
    }

    fn set_body(&mut self, _: Response, body: Vec<u8>) -> wasmtime::Result<Result<(), BodyError>> {
        Host::set_body(self, Side::Response, &body)
    }

    fn skip_body(&mut self, _: Response) -> wasmtime::Result<()> {
        Host::skip_body(self)
    }

    fn respond(
        &mut self,
        _: Response,
        status: u16,
        headers: Fields,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        respond(self, status, &headers, Some(&body))
    }

    fn respond_streamed(
        &mut self,
        _: Response,
        status: u16,
        headers: Fields,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        respond(self, status, &headers, None)
    }

    fn request_header(&mut self, _: Response, name: String) -> wasmtime::Result<Option<String>> {
        let value = Host::request_header(self, &name)?;
        Ok(value.map(|value| text(value).into_owned()))
    }

    fn request_method(&mut self, _: Response) -> wasmtime::Result<String> {
        Ok(self.request()?.method.as_str().to_owned())
    }

    fn request_path(&mut self, _: Response) -> wasmtime::Result<String> {
        Ok(self.request()?.uri.path().to_owned())
    }

    fn drop(&mut self, _: Response) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http::HostChunk for Host {
    fn data(&mut self, _: Chunk) -> wasmtime::Result<Vec<u8>> {
        Ok(self.chunk()?.data.to_vec())
    }

    fn len(&mut self, _: Chunk) -> wasmtime::Result<u32> {
        Ok(self.chunk()?.size())
    }

    fn is_last(&mut self, _: Chunk) -> wasmtime::Result<bool> {
        Ok(self.chunk()?.last)
    }

    fn write(&mut self, _: Chunk, bytes: Vec<u8>) -> wasmtime::Result<Result<(), BodyError>> {
        self.write_chunk(&bytes)
    }

    fn trailers(&mut self, _: Chunk) -> wasmtime::Result<Fields> {
        fields(self, Which::Chunk)
    }

    fn set_trailer(
        &mut self,
        _: Chunk,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::set_header(self, Which::Chunk, name.as_bytes(), value.as_bytes())
    }

    fn remove_trailer(
        &mut self,
        _: Chunk,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        Host::remove_header(self, Which::Chunk, name.as_bytes())
    }

    fn respond(
        &mut self,
        _: Chunk,
        status: u16,
        headers: Fields,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        respond(self, status, &headers, Some(&body))
    }

    fn respond_streamed(
        &mut self,
        _: Chunk,
        status: u16,
        headers: Fields,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        respond(self, status, &headers, None)
    }

    fn drop(&mut self, _: Chunk) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl exchange::Host for Host {
    fn request_id(&mut self) -> wasmtime::Result<String> {
        Host::request_id(self).map(str::to_owned)
    }

    fn set_request_id(&mut self, id: String) -> wasmtime::Result<()> {
        Host::set_request_id(self, &id)
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.held(&key)?.map(str::to_owned))
    }

    fn set(&mut self, key: String, value: String) -> wasmtime::Result<()> {
        self.hold(&key, &value)
    }
}

impl span::Host for Host {
    fn set_attribute(
        &mut self,
        on: Target,
        name: String,
        value: GuestValue,
    ) -> wasmtime::Result<()> {
        Host::set_attribute(self, on, &name, borrowed(&value))
    }

    fn add_event(
        &mut self,
        on: Target,
        name: String,
        attributes: Vec<(String, GuestValue)>,
    ) -> wasmtime::Result<()> {
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(name, value)| (name.as_str(), borrowed(value)))
            .collect();
        Host::add_event(self, on, &name, &attributes)
    }

    fn set_error(&mut self, message: String) -> wasmtime::Result<()> {
        Host::set_error(self, &message)
    }

    fn describe_call(&mut self, kind: CallKind, name: String) -> wasmtime::Result<()> {
        Host::describe_call(self, kind, &name)
    }

    fn set_call_error(&mut self, message: String) -> wasmtime::Result<()> {
        Host::set_call_error(self, &message)
    }
}

fn borrowed(value: &GuestValue) -> Value<'_> {
    match value {
        GuestValue::Text(text) => Value::Text(text),
        GuestValue::Boolean(value) => Value::Boolean(*value),
        GuestValue::Integer(value) => Value::Integer(*value),
        GuestValue::Float(value) => Value::Float(*value),
        GuestValue::Texts(texts) => Value::List(texts.iter().map(String::as_str).collect()),
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log(level, &message);
        Ok(())
    }

    fn panicked(&mut self, message: String) -> wasmtime::Result<()> {
        Host::panicked(self, &message);
        Ok(())
    }
}

impl clock::Host for Host {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(Host::now())
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        Ok(Host::monotonic())
    }
}

impl random::Host for Host {
    fn next(&mut self) -> wasmtime::Result<u64> {
        Host::random()
    }

    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        Host::random_bytes(len)
    }
}

impl kv::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, kv::Error>> {
        self.kv_get(&key).map(Ok)
    }

    fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<(), kv::Error>> {
        self.kv_set(&key, &value, ttl_ms)
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Result<bool, kv::Error>> {
        self.kv_delete(&key).map(Ok)
    }

    fn add(
        &mut self,
        key: String,
        delta: i64,
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<i64, kv::Error>> {
        self.kv_add(&key, delta, ttl_ms)
    }

    fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<bool, kv::Error>> {
        self.kv_compare_and_set(&key, expected.as_deref(), &value, ttl_ms)
    }
}
