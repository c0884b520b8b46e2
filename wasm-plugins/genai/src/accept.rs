//! Which encodings replies may have, so that they can be read.

/// What Weir decodes.
const READABLE: [&str; 5] = ["gzip", "x-gzip", "deflate", "zstd", "identity"];

/// Of what a client accepts (`accept-encoding`) that which can be read here; none where that is all of
/// it.
pub(crate) fn acceptable(accepted: &str) -> Option<String> {
    let codings = || {
        accepted
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
    };
    let is_readable = |coding: &str| {
        let name = coding.split(';').next().unwrap_or_default().trim();
        READABLE
            .iter()
            .any(|readable| name.eq_ignore_ascii_case(readable))
    };
    if codings().all(is_readable) {
        return None;
    }
    let mut left: Vec<&str> = codings().filter(|coding| is_readable(coding)).collect();
    if left.is_empty() {
        left.push("identity");
    }
    Some(left.join(", "))
}
