//! What a client asks for.

/// The head of a request is no longer than this.
pub(super) const LONGEST_HEAD: usize = 8 * 1024;

const MOST_HEADERS: usize = 64;

/// The part of a request that matters here.
#[derive(Debug)]
pub(super) struct Request {
    method: String,
    path: String,
    query: String,
    /// `None` without one and with several.
    host: Option<String>,
    origin: Option<String>,
    authorization: Option<String>,
}

/// It is not HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl Request {
    /// Reads a request from what has arrived; `None` while there is more to come.
    pub(super) fn parse(bytes: &[u8]) -> Option<Result<Request, Malformed>> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(bytes) {
            Ok(status) if status.is_partial() => None,
            Ok(_) => Some(Request::from_head(&head).ok_or(Malformed)),
            Err(_) => Some(Err(Malformed)),
        }
    }

    fn from_head(head: &httparse::Request<'_, '_>) -> Option<Request> {
        let target = head.path?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |name| single(head, name);
        Some(Request {
            method: head.method?.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            host: header("Host"),
            origin: any(head, "Origin"),
            authorization: header("Authorization"),
        })
    }

    /// Whether the answer is to have no body; `None` for a method that is not served.
    pub(super) fn is_head(&self) -> Option<bool> {
        match self.method.as_str() {
            "GET" => Some(false),
            "HEAD" => Some(true),
            _ => None,
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    pub(super) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The token that the client knows: that of the header or else that of the URL, as it stands
    /// there.
    pub(super) fn token(&self) -> Option<&str> {
        let bearer = self.authorization.as_deref().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then_some(token)
        });
        bearer.or_else(|| {
            self.query
                .split('&')
                .find_map(|field| field.strip_prefix("token="))
        })
    }
}

/// The value of a header that must not be there twice.
fn single(head: &httparse::Request<'_, '_>, name: &str) -> Option<String> {
    let mut values = values(head, name);
    let value = values.next()?;
    match values.next() {
        None => Some(value),
        Some(_) => None,
    }
}

/// The value of a header; one that stands for several when there are several.
fn any(head: &httparse::Request<'_, '_>, name: &str) -> Option<String> {
    let values: Vec<_> = values(head, name).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn values(head: &httparse::Request<'_, '_>, name: &str) -> impl Iterator<Item = String> {
    head.headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| String::from_utf8_lossy(header.value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_come_in_pieces() {
        let whole = b"GET /metrics?a=1&token=t HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for length in 0..whole.len() {
            assert!(Request::parse(&whole[..length]).is_none(), "{length}");
        }
        let request = Request::parse(whole).expect("whole").expect("good");
        assert_eq!((request.path(), request.token()), ("/metrics", Some("t")));
        assert_eq!(request.is_head(), Some(false));
    }

    #[test]
    fn the_header_comes_before_the_url() {
        let bytes = b"GET /?token=url HTTP/1.1\r\nAuthorization: bearer header\r\n\r\n";
        let request = Request::parse(bytes).expect("whole").expect("good");
        assert_eq!(request.token(), Some("header"));
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert_eq!(
            Request::parse(b"\x16\x03\x01\x02\n\n").map(|request| request.err()),
            Some(Some(Malformed))
        );
    }
}
