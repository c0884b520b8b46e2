//! Server-sent events as they come in pieces (HTML, section 9.2).

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    /// The last byte ended a line by CR: an LF behind it ends none.
    after_cr: bool,
    /// Of the event so far there is too much.
    too_long: bool,
    /// Most bytes of an event.
    most: usize,
    /// Events that had more.
    pub(crate) left_out: u32,
}

impl Events {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            after_cr: false,
            too_long: false,
            most,
            left_out: 0,
        }
    }

    /// Calls `event` with the data of each event that is complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], event: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + part.len() > self.most {
                self.too_long = true;
                (self.line, self.data) = (Vec::new(), Vec::new());
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
            } else if self.line.is_empty() && !part.is_empty() {
                // Only whether the line is empty matters.
                self.line.push(b':');
            }
            let Some(end) = end else { return };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(event);
        }
    }

    /// What came has no more behind it. Some servers leave out the empty line behind the last event.
    pub(crate) fn finish(&mut self, event: &mut impl FnMut(&[u8])) {
        self.end_line(event);
        self.end_line(event);
    }

    fn end_line(&mut self, event: &mut impl FnMut(&[u8])) {
        if self.line.is_empty() {
            if std::mem::take(&mut self.too_long) {
                self.left_out += 1;
            } else if !self.data.is_empty() {
                event(&self.data);
            }
            self.data.clear();
        } else if let Some(data) = self.line.strip_prefix(b"data:")
            && !self.too_long
        {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        self.line.clear();
    }
}
