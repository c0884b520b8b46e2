//! The end of a connection whose client may still send.
//!
//! A socket that is closed with bytes unread is reset, and a reset takes from the client what it has not
//! read of its answer (RFC 9112, section 9.6). So the client sees the end of what it is sent first, and
//! what it sends is read and forgotten for a while.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::io::Io;

/// How long a client may send nothing, and how long it may go on in all.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(10);

/// Most bytes that are read for nothing.
const MOST: usize = 128 << 20;

/// Ends a connection whose last answer has gone out.
pub(super) async fn linger(mut io: Io) {
    let ending = async {
        // It mostly is shut down already.
        if io.shutdown().await.is_err() {
            return;
        }
        let mut sink = vec![0; 16 << 10];
        let mut read = 0;
        while read < MOST
            && let Ok(Ok(len @ 1..)) = timeout(PAUSE, io.read(&mut sink)).await
        {
            read += len;
        }
    };
    // What it still sends then is answered with the reset.
    let _ = timeout(LONGEST, ending).await;
}
