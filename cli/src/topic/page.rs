//! Gets a page from the admin port of a node.

use std::time::Duration;

use keylane_protocol::cluster::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one node is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Returns the body of a page, or says in words why there is none.
pub(super) async fn get(at: &Endpoint, page: &str) -> Result<String, String> {
    let asked = timeout(PATIENCE, exchange(at, page)).await;
    let asked = asked.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
    body(&asked.map_err(|error| error.to_string())?)
}

async fn exchange(at: &Endpoint, page: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((&*at.host, at.port)).await?;
    let request = format!("GET {page} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(answer)
}

fn body(answer: &[u8]) -> Result<String, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let no_http = || "what answers there is no admin port".to_owned();
    let Ok(httparse::Status::Complete(head_bytes)) = head.parse(answer) else {
        return Err(no_http());
    };
    let body = std::str::from_utf8(&answer[head_bytes..]).map_err(|_| no_http())?;
    match head.code {
        Some(200) => Ok(body.to_owned()),
        _ => Err(body.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_page_is_told_in_words() {
        assert_eq!(
            body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}"),
            Ok("{}".to_owned())
        );
        let refused = body(b"HTTP/1.1 404 Not Found\r\n\r\nnothing here\n");
        assert_eq!(refused, Err("nothing here".to_owned()));
        for odd in [
            &b"HTTP/1.1 200 OK\r\nA: b"[..],
            b"\0\0\0\x07",
            b"HTTP/1.1 200 OK\r\n\r\n\xff",
        ] {
            assert!(body(odd).is_err_and(|words| words.contains("no admin port")));
        }
    }
}
