//! What is asked at the admin port: the head of an HTTP request, read without trust, and how answers begin.
//!
//! One request on each connection, GET and HEAD only, no body. Nothing here waits or allocates by what a client says.

use std::fmt::Write;

use keylane_protocol::identifiers::TopicName;

/// The most bytes of a request's head; longer ones are refused.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The most headers that are looked at; a request with more is refused.
const HEADERS_MAX: usize = 64;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// What there is.
    Contents,
    Metrics,
    Health,
    Readiness,
    /// What routers have seen of the keys of a topic.
    Keys(TopicName),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) page: Page,
    /// Whether only the head of the answer is wanted.
    pub(super) is_head: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("this is no HTTP request")]
    Malformed,
    #[error("the head of a request has at most {HEAD_BYTES_MAX} bytes and {HEADERS_MAX} headers")]
    TooLong,
    #[error("there is nothing here but /metrics, /healthz, /readyz and /keys?topic=NAME")]
    NotFound,
    #[error("name the topic: /keys?topic=NAME")]
    NoTopic,
    #[error("only GET and HEAD are answered")]
    Method,
    #[error("the request did not come in time")]
    TimedOut,
}

impl Refused {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Malformed | Self::NoTopic => Status::BadRequest,
            Self::TooLong => Status::TooLong,
            Self::NotFound => Status::NotFound,
            Self::Method => Status::MethodNotAllowed,
            Self::TimedOut => Status::TimedOut,
        }
    }
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TimedOut,
    TooLong,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TimedOut => "408 Request Timeout",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Reads what has arrived; `None` while the head is not whole.
///
/// # Errors
/// When it is no request, or none that is answered.
pub(super) fn read(arrived: &[u8]) -> Result<Option<Asked>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(arrived) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if arrived.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused::TooLong);
        }
        Err(_) => return Err(Refused::Malformed),
    }
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refused::Method),
    };
    let path = request.path.unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let page = match path {
        "/" => Page::Contents,
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Health,
        "/readyz" => Page::Readiness,
        "/keys" => Page::Keys(topic_in(query).ok_or(Refused::NoTopic)?),
        _ => return Err(Refused::NotFound),
    };
    Ok(Some(Asked { page, is_head }))
}

/// Returns the topic that a query names. No character of a topic's name is written otherwise in a query.
fn topic_in(query: &str) -> Option<TopicName> {
    let mut pairs = query.split('&');
    let name = pairs.find_map(|pair| pair.strip_prefix("topic="))?;
    TopicName::new(name).ok()
}

/// Returns the head of an answer whose body has so many bytes.
pub(super) fn head(status: Status, content_type: &str, length: usize) -> String {
    let mut head = format!("HTTP/1.1 {}\r\n", status.line());
    if status == Status::MethodNotAllowed {
        head.push_str("Allow: GET, HEAD\r\n");
    }
    // Writing to a string cannot fail.
    let _ = write!(
        head,
        "Content-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Option<Asked>, Refused>) {
        assert_eq!((text, read(text.as_bytes())), (text, expected));
    }

    fn asks(page: Page, is_head: bool) -> Result<Option<Asked>, Refused> {
        Ok(Some(Asked { page, is_head }))
    }

    #[test]
    fn what_is_asked_is_read_from_the_request_line() {
        let get = "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        check(get, asks(Page::Metrics, false));
        check(
            "HEAD /healthz?x=1 HTTP/1.0\r\n\r\n",
            asks(Page::Health, true),
        );
        check("GET /readyz HTTP/1.1\r\n\r\n", asks(Page::Readiness, false));
        check("GET / HTTP/1.1\r\n\r\nrest", asks(Page::Contents, false));
        check("GET /metrics/ HTTP/1.1\r\n\r\n", Err(Refused::NotFound));
        check(
            "GET http://a/metrics HTTP/1.1\r\n\r\n",
            Err(Refused::NotFound),
        );
        check("POST /metrics HTTP/1.1\r\n\r\n", Err(Refused::Method));
        check("get /metrics HTTP/1.1\r\n\r\n", Err(Refused::Method));
        let keys = Page::Keys(TopicName::new("a.b-c_1").expect("a name"));
        check(
            "GET /keys?x=1&topic=a.b-c_1 HTTP/1.1\r\n\r\n",
            asks(keys, false),
        );
        for query in ["", "?", "?topic=", "?topic=a/b", "?topic=%41", "?topics=a"] {
            let request = format!("GET /keys{query} HTTP/1.1\r\n\r\n");
            check(&request, Err(Refused::NoTopic));
        }
        check("\u{0}\u{1}", Err(Refused::Malformed));
        check("GET /metrics HTTP/2\r\n\r\n", Err(Refused::Malformed));
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for_up_to_a_bound() {
        let whole = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            check(&whole[..end], Ok(None));
        }
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES_MAX));
        check(&long, Err(Refused::TooLong));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(HEADERS_MAX + 1)
        );
        check(&many, Err(Refused::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0_u8.., 0..600)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_damaged_request_is_read_or_refused(at in 0_usize..60, byte in 0_u8..) {
            let mut bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost:1\r\nAccept: text/plain\r\n\r\n".to_vec();
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
