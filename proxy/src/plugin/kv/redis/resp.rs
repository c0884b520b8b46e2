//! Redis' protocol, as far as a few commands need it: commands as bytes, and replies of RESP2.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>
//!
//! Written here, because a client library would bring its own connections, TLS and reconnecting, of
//! which Weir has the first two and needs the third to be otherwise.

use bytes::{Buf, BytesMut};

/// Longest line: an error's text, or a number.
const LINE: usize = 16 << 10;

/// Longest value that is taken: more than Weir stores in one entry, for others may write there too.
const VALUE: usize = 1 << 20;

/// What Redis answers a command with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Such as `OK`.
    Status,
    Integer(i64),
    Bytes(Vec<u8>),
    Nothing,
    /// Begins with a code in capitals.
    Error(String),
}

/// It does not speak RESP2, or says more than Weir takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it says is no answer of Redis")]
pub(super) struct Malformed;

/// A command with its arguments, as it is sent.
pub(super) fn command(parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len() + 16).sum();
    let mut bytes = Vec::with_capacity(len + 16);
    bytes.extend(format!("*{}\r\n", parts.len()).bytes());
    for part in parts {
        bytes.extend(format!("${}\r\n", part.len()).bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Takes the first reply off what was received; `None` where it is not whole yet.
pub(super) fn take(inbox: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let searched = &inbox[..inbox.len().min(LINE)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return if searched.len() < LINE {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let (Some(kind), line) = (searched.first(), searched.get(1..end).unwrap_or_default()) else {
        return Ok(None);
    };
    let reply = match kind {
        b'+' => Reply::Status,
        b'-' => Reply::Error(String::from_utf8_lossy(line).into_owned()),
        b':' => Reply::Integer(number(line)?),
        b'$' if line == b"-1" => Reply::Nothing,
        b'$' => {
            let len = usize::try_from(number(line)?).map_err(|_| Malformed)?;
            if len > VALUE {
                return Err(Malformed);
            }
            let start = end + 2;
            let Some(rest) = inbox.get(start..start + len + 2) else {
                return Ok(None);
            };
            let Some(value) = rest.strip_suffix(b"\r\n") else {
                return Err(Malformed);
            };
            let value = value.to_vec();
            inbox.advance(start + len + 2);
            return Ok(Some(Reply::Bytes(value)));
        }
        _ => return Err(Malformed),
    };
    inbox.advance(end + 2);
    Ok(Some(reply))
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Reply>, Malformed> {
        let mut inbox = BytesMut::from(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = take(&mut inbox)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    #[test]
    fn a_command_is_an_array_of_its_parts() {
        let sent = command(&[b"SET", b"", b"\r\n\xff"]);
        assert_eq!(sent, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\n\r\n\xff\r\n");
    }

    #[test]
    fn replies_of_every_kind_are_read_one_after_the_other() {
        assert_eq!(
            all(b"+OK\r\n:-7\r\n$3\r\n\r\n\xff\r\n$0\r\n\r\n$-1\r\n-ERR no\r\n+PO").unwrap(),
            [
                Reply::Status,
                Reply::Integer(-7),
                Reply::Bytes(b"\r\n\xff".to_vec()),
                Reply::Bytes(Vec::new()),
                Reply::Nothing,
                Reply::Error("ERR no".into()),
            ]
        );
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for wrong in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"*1\r\n:1\r\n",
            b"$-2\r\n",
            b"$1048577\r\n",
            b"$99999999999999999999\r\n",
            b"$3\r\nabcde\r\n",
            b":one\r\n",
            b"\r\n",
        ] {
            assert_eq!(all(wrong), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(all(&[b'+'; LINE]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }

        #[test]
        fn a_value_is_read_however_it_is_cut(
            value in proptest::collection::vec(any::<u8>(), 0..100),
            cut in 0..100_usize,
        ) {
            let mut sent = format!("${}\r\n", value.len()).into_bytes();
            sent.extend(&value);
            sent.extend(b"\r\n");
            let (first, rest) = sent.split_at(cut.min(sent.len() - 1));
            let mut inbox = BytesMut::from(first);
            prop_assert_eq!(take(&mut inbox), Ok(None));
            inbox.extend_from_slice(rest);
            prop_assert_eq!(take(&mut inbox), Ok(Some(Reply::Bytes(value))));
            prop_assert!(inbox.is_empty());
        }
    }
}
