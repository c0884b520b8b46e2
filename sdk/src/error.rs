//! Why the host refused what a plugin asked for. Each is decided by the host; the fake host
//! decides by the same rules.

/// Why a header was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is not a field name by RFC 9110, section 5.1.
    #[error("not a header name")]
    InvalidName,
    /// The value holds CR, LF, NUL or another control character (RFC 9110, section 5.5).
    #[error("a header value with a control character")]
    InvalidValue,
    /// The field belongs to the proxy: `host`, `connection`, `content-length`,
    /// `transfer-encoding`, `te`, `trailer`, `upgrade`, `keep-alive`, `proxy-connection` and names
    /// that begin with `:`.
    #[error("a header that belongs to the proxy")]
    Forbidden,
    /// The head would hold more fields or bytes than the host allows.
    #[error("more headers than the host allows")]
    TooLarge,
    /// The head can no longer be changed: an answer has been given.
    #[error("an answer has been given already")]
    Immutable,
}

/// Why a body is not at hand, or was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// `interests` did not ask for it.
    #[error("a body that `interests` did not ask for")]
    NotBuffered,
    /// It has more bytes than the plugin may hold. To read, it can only be one that the operator lets
    /// pass by (`on_large_body: bypass`); others are refused before the hook.
    #[error("a body larger than the plugin may hold")]
    TooLarge,
    /// It can no longer be changed: an answer has been given. Or it is a part of a response (206) that is
    /// not all of it: then only as many bytes can stand for it.
    #[error("an answer has been given already, or it is a part")]
    Immutable,
}

/// Why an answer or a status was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// Not a status a plugin may send: 200 to 599.
    #[error("not a status from 200 to 599")]
    InvalidStatus,
    /// A header was refused.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body is larger than the host allows.
    #[error("a body larger than the host allows")]
    TooLarge,
    /// The response's head has gone out: only pieces of a request may be answered.
    #[error("the response has begun to go out")]
    TooLate,
}

/// Why a request was not routed anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RerouteError {
    /// Only `on_pre_request` comes before routing.
    #[error("the request has been routed already")]
    TooLate,
    /// Not an authority, not a path with query, or not a configured upstream's name; or a path that could
    /// be read in two ways, as by dot segments and escaped slashes.
    #[error("{0}")]
    Invalid(String),
}
