//! The imports of the interfaces `metrics` and `crypto`.

use wasmtime::Linker;

use super::Guest;
use crate::plugin::contract::weir::plugin::crypto::{Algorithm, Hash};
use crate::plugin::host::{Host, PublicKey};
use crate::plugin::measures::{Change, Error, Kind};
use crate::plugin::module::abi::{Done, broken, parts};
use crate::plugin::module::given::{give, room, store};
use crate::plugin::module::passed::{Passed, long, number};

const METRICS: &str = "weir:plugin/metrics@0.1.0";
const CRYPTO: &str = "weir:plugin/crypto@0.1.0";

pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    metrics(linker)?;
    crypto(linker)
}

fn metrics(linker: &mut Linker<Host>) -> Done {
    for (name, kind) in [("counter", Kind::Counter), ("gauge", Kind::Gauge)] {
        linker.func_wrap(
            METRICS,
            name,
            move |mut guest: Guest<'_>,
                  name: u32,
                  name_len: u32,
                  help: u32,
                  help_len: u32,
                  labels: u32,
                  count: u32,
                  to: u32|
                  -> Done {
                let place = room::<8>(&mut guest, to)?;
                let (memory, host) = parts(&mut guest)?;
                let passed = Passed::of(memory);
                let labels = texts(&passed, labels, count)?;
                let (name, help) = (passed.text(name, name_len)?, passed.text(help, help_len)?);
                let defined = host.define(kind.clone(), name, help, &labels);
                store(memory, place, &result(defined))
            },
        )?;
    }
    linker.func_wrap(
        METRICS,
        "histogram",
        |mut guest: Guest<'_>,
         name: u32,
         name_len: u32,
         help: u32,
         help_len: u32,
         labels: u32,
         count: u32,
         bounds: u32,
         bounds_count: u32,
         to: u32|
         -> Done {
            let place = room::<8>(&mut guest, to)?;
            let (memory, host) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let labels = texts(&passed, labels, count)?;
            let bounds = passed.list((bounds, bounds_count), 8, |item: &[u8; 8]| {
                Ok(f64::from_bits(long(item, 0)))
            })?;
            let (name, help) = (passed.text(name, name_len)?, passed.text(help, help_len)?);
            let defined = host.define(Kind::Histogram(bounds), name, help, &labels);
            store(memory, place, &result(defined))
        },
    )?;
    for (name, change) in [("add", Change::Add), ("set", Change::Set)] {
        linker.func_wrap(
            METRICS,
            name,
            move |mut guest: Guest<'_>, metric: u32, labels: u32, count: u32, value: f64| -> Done {
                let (memory, host) = parts(&mut guest)?;
                let labels = texts(&Passed::of(memory), labels, count)?;
                host.measure(metric, &labels, value, change);
                Ok(())
            },
        )?;
    }
    Ok(())
}

fn texts<'m>(passed: &Passed<'m>, list: u32, count: u32) -> Done<Vec<&'m str>> {
    passed.list((list, count), 4, |item: &[u8; 8]| {
        passed.text(number(item, 0), number(item, 4))
    })
}

fn result(defined: Result<u32, Error>) -> [u8; 8] {
    let mut bytes = [0; 8];
    match defined {
        Ok(metric) => bytes[4..].copy_from_slice(&metric.to_le_bytes()),
        Err(error) => (bytes[0], bytes[4]) = (1, error as u8),
    }
    bytes
}

fn crypto(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        CRYPTO,
        "digest",
        |mut guest: Guest<'_>, hash: u32, data: u32, len: u32, to: u32| -> Done {
            let (memory, _) = parts(&mut guest)?;
            let digest = Host::digest(hash_of(hash)?, Passed::of(memory).bytes(data, len)?)?;
            give(&mut guest, to, digest.as_ref())
        },
    )?;
    linker.func_wrap(
        CRYPTO,
        "hmac",
        |mut guest: Guest<'_>,
         hash: u32,
         key: u32,
         key_len: u32,
         data: u32,
         len: u32,
         to: u32|
         -> Done {
            let (memory, _) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let (key, data) = (passed.bytes(key, key_len)?, passed.bytes(data, len)?);
            let tag = Host::hmac(hash_of(hash)?, key, data)?;
            give(&mut guest, to, tag.as_ref())
        },
    )?;
    linker.func_wrap(
        CRYPTO,
        "verify",
        |mut guest: Guest<'_>,
         algorithm: u32,
         kind: u32,
         key: u32,
         key_len: u32,
         e: u32,
         e_len: u32,
         message: u32,
         message_len: u32,
         signature: u32,
         signature_len: u32|
         -> Done<u32> {
            const ALGORITHMS: [Algorithm; 10] = [
                Algorithm::Rs256,
                Algorithm::Rs384,
                Algorithm::Rs512,
                Algorithm::Ps256,
                Algorithm::Ps384,
                Algorithm::Ps512,
                Algorithm::Es256,
                Algorithm::Es384,
                Algorithm::Es512,
                Algorithm::Ed25519,
            ];
            let (memory, _) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let algorithm = ALGORITHMS.get(algorithm as usize).copied();
            let bytes = passed.bytes(key, key_len)?;
            let key = match kind {
                0 => PublicKey::Rsa {
                    n: bytes,
                    e: passed.bytes(e, e_len)?,
                },
                1 | 2 => PublicKey::Encoded(bytes),
                other => return Err(broken(format!("`{other}` is no key"))),
            };
            let right = Host::verify(
                algorithm.ok_or_else(|| broken("no such algorithm"))?,
                key,
                passed.bytes(message, message_len)?,
                passed.bytes(signature, signature_len)?,
            )?;
            Ok(right.into())
        },
    )?;
    linker.func_wrap(
        CRYPTO,
        "equal",
        |mut guest: Guest<'_>, one: u32, one_len: u32, other: u32, other_len: u32| -> Done<u32> {
            let (memory, _) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let (one, other) = (passed.bytes(one, one_len)?, passed.bytes(other, other_len)?);
            Ok(Host::equal(one, other).into())
        },
    )?;
    Ok(())
}

fn hash_of(hash: u32) -> Done<Hash> {
    match hash {
        0 => Ok(Hash::Sha256),
        1 => Ok(Hash::Sha384),
        2 => Ok(Hash::Sha512),
        other => Err(broken(format!("`{other}` is no hash"))),
    }
}
