//! What requests and responses share: names and values a plugin may set, and the host's plain texts
//! and bytes as types of `http`.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::HeaderError;

/// Fields that only the proxy sets.
const PROXYS: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
];

/// A header's name that a plugin may change, by the host's rules: for configured names, so that
/// [`Plugin::new`](crate::Plugin::new) refuses what every hook would be refused.
///
/// ```
/// use weir_sdk::{HeaderError, header_name};
///
/// assert_eq!(header_name("X-Tenant").unwrap(), "x-tenant");
/// assert_eq!(header_name("x tenant"), Err(HeaderError::InvalidName));
/// assert_eq!(header_name("content-length"), Err(HeaderError::Forbidden));
/// ```
pub fn header_name(name: &str) -> Result<HeaderName, HeaderError> {
    if name.starts_with(':') {
        return Err(HeaderError::Forbidden);
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::InvalidName)?;
    if PROXYS.contains(&name.as_str()) {
        Err(HeaderError::Forbidden)
    } else {
        Ok(name)
    }
}

/// A header's value, by the host's rules.
///
/// ```
/// use weir_sdk::{HeaderError, header_value};
///
/// assert_eq!(header_value(b"no-store").unwrap(), "no-store");
/// assert_eq!(header_value(b"a\r\nset-cookie: b"), Err(HeaderError::InvalidValue));
/// ```
pub fn header_value(value: &[u8]) -> Result<HeaderValue, HeaderError> {
    HeaderValue::from_bytes(value).map_err(|_| HeaderError::InvalidValue)
}

pub(crate) fn method(method: &str) -> Method {
    Method::from_bytes(method.as_bytes()).expect("the host gives a method that is a token")
}

pub(crate) fn map(fields: Vec<(String, Vec<u8>)>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name = HeaderName::try_from(name).expect("the host gives field names");
        let value = HeaderValue::try_from(value).expect("the host gives field values");
        map.append(name, value);
    }
    map
}
