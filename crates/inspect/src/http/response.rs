//! What a client is answered.

/// Nothing of it is to be kept, guessed, framed or told to others; the page may load its own two
/// files and ask this server, and nothing else.
const HEADERS: &str = "\
Connection: close\r
Cache-Control: no-store\r
Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r
Cross-Origin-Resource-Policy: same-origin\r
Referrer-Policy: no-referrer\r
X-Content-Type-Options: nosniff\r
";

/// What is answered.
#[derive(Debug)]
pub(super) struct Response {
    status: Status,
    content_type: &'static str,
    body: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// It is answered.
    Ok,
    /// It is not HTTP, or too long.
    BadRequest,
    /// The token is missing or wrong.
    Unauthorized,
    /// It comes from the wrong place.
    Forbidden,
    /// There is no such path.
    NotFound,
    /// It is neither GET nor HEAD.
    MethodNotAllowed,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
        }
    }

    /// The header that has to come with it.
    fn header(self) -> &'static str {
        match self {
            Status::Unauthorized => "WWW-Authenticate: Bearer\r\n",
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        }
    }
}

impl Response {
    pub(super) fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status: Status::Ok,
            content_type,
            body: body.into(),
        }
    }

    /// A refusal, in words.
    pub(super) fn refused(status: Status, words: &str) -> Response {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{words}\n").into_bytes(),
        }
    }

    /// The bytes that are sent.
    pub(super) fn into_bytes(self, without_body: bool) -> Vec<u8> {
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}{HEADERS}\r\n",
            self.status.line(),
            self.content_type,
            self.body.len(),
            self.status.header(),
        )
        .into_bytes();
        if !without_body {
            bytes.extend(self.body);
        }
        bytes
    }
}
