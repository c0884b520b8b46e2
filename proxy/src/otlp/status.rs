//! The answers of OTLP: responses to exports, and `google.rpc.Status` where something is wrong; as
//! protobuf and as JSON.

use std::time::Duration;

use super::Signal;
use super::wire::{put_bytes, put_nested, put_tag, put_varint};
use crate::trace::json::text::{integer, string};

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// An `Export…ServiceResponse`.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub signal: Signal,
    /// Items that were not taken, and why.
    pub rejected: Option<(u64, &'a str)>,
}

impl Response<'_> {
    pub fn protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some((count, why)) = self.rejected {
            // partial_success
            put_tag(1, 2, &mut out);
            put_nested(1, &mut out, |out| {
                put_tag(1, 0, out);
                put_varint(count, out);
                put_bytes(2, why.as_bytes(), out);
            });
        }
        out
    }

    pub fn json(&self) -> Vec<u8> {
        let Some((count, why)) = self.rejected else {
            return b"{}".to_vec();
        };
        let mut out = br#"{"partialSuccess":{""#.to_vec();
        out.extend_from_slice(self.signal.rejected().as_bytes());
        out.extend_from_slice(br#"":""#);
        integer(count, &mut out);
        out.extend_from_slice(br#"","errorMessage":"#);
        string(why, &mut out);
        out.extend_from_slice(b"}}");
        out
    }
}

/// A `google.rpc.Status`.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// Of gRPC.
    pub code: u8,
    pub message: &'a str,
    /// When to try again, where that may help.
    pub retry: Option<Duration>,
}

impl Status<'_> {
    pub fn protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_tag(1, 0, &mut out);
        put_varint(self.code.into(), &mut out);
        put_bytes(2, self.message.as_bytes(), &mut out);
        if let Some(retry) = self.retry {
            // details, an `Any`
            put_tag(3, 2, &mut out);
            put_nested(1, &mut out, |out| {
                put_bytes(1, RETRY_INFO.as_bytes(), out);
                put_tag(2, 2, out);
                put_nested(1, out, |out| {
                    // RetryInfo.retry_delay.seconds
                    put_tag(1, 2, out);
                    put_nested(1, out, |out| {
                        put_tag(1, 0, out);
                        put_varint(retry.as_secs(), out);
                    });
                });
            });
        }
        out
    }

    pub fn json(&self) -> Vec<u8> {
        let mut out = br#"{"code":"#.to_vec();
        integer(self.code, &mut out);
        out.extend_from_slice(br#","message":"#);
        string(self.message, &mut out);
        if let Some(retry) = self.retry {
            out.extend_from_slice(br#","details":[{"@type":"#);
            string(RETRY_INFO, &mut out);
            out.extend_from_slice(br#","retryDelay":""#);
            integer(retry.as_secs(), &mut out);
            out.extend_from_slice(br#"s"}]"#);
        }
        out.push(b'}');
        out
    }
}
