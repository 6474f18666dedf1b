//! As much of HTTP/2 (RFC 9113) as it takes to misuse it, written by hand: clients do not let one.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::protocol_process::LOGIN;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, and windows of so many bytes for each stream and the connection.
pub fn opening(window: u32) -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    let more = (window - 65_535).max(1).to_be_bytes();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, frame(SETTINGS, 0, 0, &settings), frame(WINDOW_UPDATE, 0, 0, &more)].concat()
}

/// A GET as the administrator (HPACK, RFC 7541: names by their number in the static table, values as they are).
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let login = LOGIN.strip_prefix("Authorization: ").unwrap();
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    // :method GET, :scheme http, :authority, :path, authorization
    let head = [&[0x82, 0x86, 0x01][..], &text("x"), &[0x04], &text(path), &[0x0f, 0x08], &text(login)].concat();
    // END_STREAM and END_HEADERS
    frame(HEADERS, 0x5, stream, &head)
}

/// Does nothing but answer pings until the connection ends.
pub async fn answer_pings(mut stream: TcpStream) {
    let mut head = [0; 9];
    // Some of it may have been read already, at a frame's border.
    while stream.read_exact(&mut head).await.is_ok() {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        if head[3] == PING && head[4] & ACK == 0 && stream.write_all(&frame(PING, ACK, 0, &payload)).await.is_err() {
            return;
        }
    }
}

/// Begins a request that does not end its head.
pub fn endless_head(stream: u32) -> Vec<u8> {
    frame(HEADERS, 0, stream, &[0x82, 0x86])
}

/// More of a head: a header of one letter.
pub fn more_head(stream: u32) -> Vec<u8> {
    frame(CONTINUATION, 0, stream, &[0x00, 1, b'a', 1, b'b'])
}

/// Takes a request back.
pub fn reset(stream: u32) -> Vec<u8> {
    // CANCEL
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Reads until the server ends the connection, and answers the code that it gave for that (GOAWAY), if it gave one.
pub async fn read_code(mut stream: impl AsyncRead + Unpin) -> Option<u32> {
    let (mut head, mut code) = ([0; 9], None);
    while stream.read_exact(&mut head).await.is_ok() {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    code
}
