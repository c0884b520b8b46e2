//! Lower-case hexadecimal digits of bytes; of ids without allocation.

const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Writes two digits a byte; `out` is twice as long as `bytes`.
pub(crate) fn write(bytes: &[u8], out: &mut [u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
}

/// The digits of half as many bytes.
pub(crate) struct Digits<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Digits<N> {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut digits = [b'0'; N];
        write(bytes, &mut digits);
        Self(digits)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

/// The digits of any number of bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    let pairs = bytes.iter().map(|byte| PAIRS[usize::from(*byte)]);
    pairs.flatten().map(char::from).collect()
}

/// Reads lower-case digits only, as W3C Trace Context demands.
pub(crate) fn read<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
