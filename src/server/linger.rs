//! The end of a connection whose client may still be sending: what nobody wants is read for a while and let go.
//!
//! A socket that is closed with bytes unread resets the connection, and with it goes the answer that the client has not
//! read yet: one that sends all of its body before it reads would learn of a broken pipe instead of a refusal (RFC 9112,
//! section 9.6). So the sending side is closed first, and what comes then is read into a buffer of its own, which is
//! thrown away: nothing grows by it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// How long.
const LONGEST: Duration = Duration::from_secs(10);

/// How many bytes: of manifests, which are sent without asking first, more than anybody takes.
const MOST: usize = 64 * 1024 * 1024;

/// How many bytes in one turn, that other connections get theirs.
const TURN: usize = 1024 * 1024;

const BUFFER: usize = 16 * 1024;

/// Reads what still comes.
#[derive(Debug)]
pub struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Default for Linger {
    fn default() -> Self {
        Self::within(LONGEST, MOST)
    }
}

impl Linger {
    fn within(time: Duration, bytes: usize) -> Self {
        Self { until: Box::pin(tokio::time::sleep(time)), left: bytes }
    }

    /// Ready when the client has ended its side too, or has had enough time or bytes.
    pub fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; BUFFER];
        let turn = self.left.saturating_sub(TURN);
        while self.left > turn {
            if self.until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut read = ReadBuf::new(&mut buffer);
            let came = ready!(Pin::new(&mut *stream).poll_read(cx, &mut read));
            // Whoever resets the connection has gone as well.
            if came.is_err() || read.filled().is_empty() {
                return Poll::Ready(());
            }
            self.left = self.left.saturating_sub(read.filled().len());
        }
        if self.left == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Instant;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    async fn ends(mut linger: Linger, mut stream: impl AsyncRead + Unpin) {
        poll_fn(|cx| linger.poll(&mut stream, cx)).await;
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn it_ends_with_the_client() {
        let (mut client, server) = duplex(1_000);
        let sends = async move { client.write_all(&vec![0; 5 * TURN / 2]).await.unwrap() };
        tokio::join!(sends, ends(Linger::within(HOUR, usize::MAX), server));
    }

    #[tokio::test]
    async fn a_client_that_does_nothing_is_waited_for_so_long() {
        let (_client, server) = duplex(1_000);
        let (time, began) = (Duration::from_millis(20), Instant::now());
        ends(Linger::within(time, usize::MAX), server).await;
        assert!(began.elapsed() >= time, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_sends_without_end_is_left() {
        let (mut client, server) = duplex(BUFFER);
        let sends = async move {
            let mut sent = 0;
            while client.write_all(&[0; BUFFER]).await.is_ok() {
                sent += BUFFER;
            }
            sent
        };
        let most = 5 * TURN / 2;
        let (sent, ()) = tokio::join!(sends, ends(Linger::within(HOUR, most), server));
        assert!((most..most + 4 * BUFFER).contains(&sent), "{sent}");
    }
}
