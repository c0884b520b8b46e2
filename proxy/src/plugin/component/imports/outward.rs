//! The imports of the interfaces `http-client`, `metrics` and `crypto`.

use wasmtime::component::Resource;

use super::Fields;
use crate::plugin::contract::weir::plugin::crypto::{Algorithm, Hash};
use crate::plugin::contract::weir::plugin::{crypto, http_client, metrics};
use crate::plugin::host::{Asked, Host, PublicKey, ReplyHandle, text};
use crate::plugin::measures::{Change, Kind};

type Reply = Resource<ReplyHandle>;

impl http_client::Host for Host {
    fn may_call(&mut self, upstream: String) -> wasmtime::Result<bool> {
        Ok(Host::may_call(self, &upstream))
    }

    async fn send(
        &mut self,
        upstream: String,
        method: String,
        path_and_query: String,
        headers: Fields,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Reply, http_client::Error>> {
        let headers: Vec<(&str, &[u8])> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        let begun = Host::send(
            self,
            &Asked {
                upstream: &upstream,
                method: &method,
                path_and_query: &path_and_query,
                headers: &headers,
                body: &body,
                timeout_ms,
            },
        )?;
        if let Err(error) = begun {
            return Ok(Err(error));
        }
        let made = self.desk().made().await;
        Ok(self.sent(made)?.map(Resource::new_own))
    }
}

impl http_client::HostReply for Host {
    fn status(&mut self, reply: Reply) -> wasmtime::Result<u16> {
        Ok(self.reply(reply.rep())?.status.as_u16())
    }

    fn header(&mut self, reply: Reply, name: String) -> wasmtime::Result<Option<String>> {
        let value = self.reply(reply.rep())?.headers.get(name);
        Ok(value.map(|value| text(value).into_owned()))
    }

    fn headers(&mut self, reply: Reply) -> wasmtime::Result<Fields> {
        let fields = self.reply(reply.rep())?.headers.iter();
        Ok(fields
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect())
    }

    fn body(&mut self, reply: Reply) -> wasmtime::Result<Vec<u8>> {
        Ok(self.reply(reply.rep())?.body.to_vec())
    }

    fn drop(&mut self, reply: Reply) -> wasmtime::Result<()> {
        self.drop_reply(reply.rep());
        Ok(())
    }
}

type Defined = wasmtime::Result<Result<u32, metrics::Error>>;

impl metrics::Host for Host {
    fn counter(&mut self, name: String, help: String, labels: Vec<String>) -> Defined {
        Ok(self.define(Kind::Counter, &name, &help, &borrowed(&labels)))
    }

    fn gauge(&mut self, name: String, help: String, labels: Vec<String>) -> Defined {
        Ok(self.define(Kind::Gauge, &name, &help, &borrowed(&labels)))
    }

    fn histogram(
        &mut self,
        name: String,
        help: String,
        labels: Vec<String>,
        bounds: Vec<f64>,
    ) -> Defined {
        let kind = Kind::Histogram(bounds);
        Ok(self.define(kind, &name, &help, &borrowed(&labels)))
    }

    fn add(&mut self, metric: u32, labels: Vec<String>, value: f64) -> wasmtime::Result<()> {
        self.measure(metric, &borrowed(&labels), value, Change::Add);
        Ok(())
    }

    fn set(&mut self, metric: u32, labels: Vec<String>, value: f64) -> wasmtime::Result<()> {
        self.measure(metric, &borrowed(&labels), value, Change::Set);
        Ok(())
    }
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

impl crypto::Host for Host {
    fn digest(&mut self, hash: Hash, data: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        Ok(Host::digest(hash, &data)?.as_ref().to_vec())
    }

    fn hmac(&mut self, hash: Hash, key: Vec<u8>, data: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        Ok(Host::hmac(hash, &key, &data)?.as_ref().to_vec())
    }

    fn verify(
        &mut self,
        algorithm: Algorithm,
        key: crypto::PublicKey,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> wasmtime::Result<bool> {
        let key = match &key {
            crypto::PublicKey::Rsa(crypto::Rsa { n, e }) => PublicKey::Rsa { n, e },
            crypto::PublicKey::Point(bytes) | crypto::PublicKey::Spki(bytes) => {
                PublicKey::Encoded(bytes)
            }
        };
        Host::verify(algorithm, key, &message, &signature)
    }

    fn equal(&mut self, one: Vec<u8>, other: Vec<u8>) -> wasmtime::Result<bool> {
        Ok(Host::equal(&one, &other))
    }
}
