//! What requests and responses share: the host's plain texts and bytes as types of `http`.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

pub(crate) fn method(method: &str) -> Method {
    Method::from_bytes(method.as_bytes()).expect("the host gives a method that is a token")
}

pub(crate) fn map(fields: Vec<(String, Vec<u8>)>) -> HeaderMap {
    let field = |(name, value): (String, Vec<u8>)| {
        let name = HeaderName::try_from(name).expect("the host gives field names");
        let value = HeaderValue::try_from(value).expect("the host gives field values");
        (name, value)
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.into_iter().map(field) {
        map.append(name, value);
    }
    map
}
