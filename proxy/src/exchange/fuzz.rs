//! What must hold of paths, whatever they have.

use super::target::check;

/// Looks at a path.
///
/// # Panics
///
/// Where one is taken that an upstream could read in another way.
pub fn path(bytes: &[u8]) {
    let Ok(path) = str::from_utf8(bytes) else {
        return;
    };
    if check(path).is_err() {
        return;
    }
    assert!(path.is_ascii());
    let decoded = decoded(path);
    let mut segments = decoded.split(|byte| *byte == b'/');
    assert_eq!(segments.clone().count(), path.split('/').count());
    assert!(!decoded.iter().any(|byte| matches!(byte, b'\\' | 0)));
    // One that does not begin with a slash has no segments: it is `*`, or refused elsewhere.
    if path.starts_with('/') {
        assert!(segments.all(|segment| segment != b"." && segment != b".."));
    }
}

/// As an upstream may decode it.
fn decoded(path: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}
