//! Frames of HTTP/2 among the bytes of a connection, by their headers alone, as they pass: for what the HTTP
//! code does not tell (RFC 9113, section 4.1).

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const CONTINUATION: u8 = 9;

/// What a frame's header says.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Bytes of its payload.
    pub(crate) len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; 9],
    /// Bytes of the header so far.
    have: usize,
    /// Bytes of the payload that are still to come.
    skip: usize,
}

impl Frames {
    /// Frames come behind so many other bytes.
    pub(crate) fn after(skip: usize) -> Self {
        Self {
            skip,
            ..Self::default()
        }
    }

    /// Gives the frames that begin in these bytes, which come next, to `found`.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let len = self.skip.min(bytes.len());
                bytes = &bytes[len..];
                self.skip -= len;
                continue;
            }
            let len = (self.header.len() - self.have).min(bytes.len());
            self.header[self.have..self.have + len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            self.have += len;
            if let (9, [a, b, c, kind, flags, ..]) = (self.have, self.header) {
                let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                found(&Frame { len, kind, flags });
                self.have = 0;
                self.skip = len;
            }
        }
    }
}
