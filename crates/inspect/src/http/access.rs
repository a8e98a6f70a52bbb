//! Who may ask.
//!
//! What is shown (names, paths, addresses) is the business of whoever started the program, and a
//! port on loopback can be reached by every user of the machine and by every web page that its
//! browser shows. So a random token is asked for, in the URL or as `Authorization: Bearer`. Against
//! names that an attacker points at this machine (DNS rebinding) the `Host` has to be an address or
//! `localhost`, and a page of another origin is refused by its `Origin`.

use std::io;
use std::net::IpAddr;

use rustix::rand::{GetRandomFlags, getrandom};

use super::request::Request;

/// Where to listen, and who may ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// An address or a name of this machine.
    pub host: String,
    /// 0 for any that is free.
    pub port: u16,
    /// What who asks has to know.
    pub token: String,
    /// Whether the address may be another than a loopback one.
    pub allow_remote: bool,
    /// Whether `/metrics` is answered without the token.
    pub public_metrics: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It says by no, or a foreign, name for whom it is.
    Host,
    /// It was made by a page of another origin.
    Origin,
    /// The token is missing or wrong.
    Token,
}

/// 128 random bits in hexadecimal.
///
/// # Errors
/// What the kernel says when it has no random numbers.
pub fn random_token() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Options {
    /// Checks what every request has to satisfy, also one for what is no secret.
    pub(super) fn check_host(&self, request: &Request) -> Result<(), Refusal> {
        let host = request.host().ok_or(Refusal::Host)?;
        if !self.is_own_name(name_of(host)) {
            return Err(Refusal::Host);
        }
        match request.origin() {
            Some(origin) if origin.strip_prefix("http://") != Some(host) => Err(Refusal::Origin),
            _ => Ok(()),
        }
    }

    /// Checks that the client knows the token.
    pub(super) fn check_token(&self, request: &Request) -> Result<(), Refusal> {
        match request.token() {
            Some(token) if is_equal(token.as_bytes(), self.token.as_bytes()) => Ok(()),
            _ => Err(Refusal::Token),
        }
    }

    /// Whether a name cannot be one that somebody else points here.
    fn is_own_name(&self, name: &str) -> bool {
        match name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || self.allow_remote,
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.allow_remote && name.eq_ignore_ascii_case(&self.host)
            }
        }
    }
}

/// The name or address of a `Host`, without the port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

/// Compares in a time that does not depend on where the two differ.
fn is_equal(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len()
        && given
            .iter()
            .zip(wanted)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(allow_remote: bool) -> Options {
        Options {
            host: "loops.example".to_owned(),
            port: 0,
            token: "secret".to_owned(),
            allow_remote,
            public_metrics: false,
        }
    }

    fn request(headers: &str) -> Request {
        Request::parse(format!("GET /?token=secret HTTP/1.1\r\n{headers}\r\n").as_bytes())
            .expect("a whole request")
            .expect("a good one")
    }

    fn check(allow_remote: bool, headers: &str) -> Result<(), Refusal> {
        options(allow_remote).check_host(&request(headers))
    }

    #[test]
    fn only_names_of_loopback_are_answered() {
        for host in [
            "127.0.0.1:80",
            "127.8.9.1",
            "localhost:1",
            "LOCALHOST",
            "[::1]:80",
        ] {
            assert_eq!(check(false, &format!("Host: {host}\r\n")), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "loops.example",
            "10.0.0.1",
            "",
            "[::2]",
        ] {
            let refused = check(false, &format!("Host: {host}\r\n"));
            assert_eq!(refused, Err(Refusal::Host), "{host}");
        }
        assert_eq!(check(false, ""), Err(Refusal::Host));
    }

    #[test]
    fn remote_addresses_and_the_name_that_was_asked_for_only_when_told() {
        assert_eq!(check(true, "Host: 10.0.0.1:80\r\n"), Ok(()));
        assert_eq!(check(true, "Host: loops.example:80\r\n"), Ok(()));
        assert_eq!(check(true, "Host: evil.example\r\n"), Err(Refusal::Host));
    }

    #[test]
    fn other_origins_are_refused() {
        let host = "Host: localhost:80\r\n";
        assert_eq!(
            check(false, &format!("{host}Origin: http://localhost:80\r\n")),
            Ok(())
        );
        for origin in [
            "http://evil.example",
            "null",
            "https://localhost:80",
            "http://localhost:81",
        ] {
            let refused = check(false, &format!("{host}Origin: {origin}\r\n"));
            assert_eq!(refused, Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn two_hosts_are_none() {
        assert_eq!(
            check(false, "Host: localhost\r\nHost: localhost\r\n"),
            Err(Refusal::Host)
        );
    }

    #[test]
    fn tokens_differ() {
        let tokens = [
            random_token().expect("a token"),
            random_token().expect("a token"),
        ];
        assert_eq!(tokens[0].len(), 32);
        assert_ne!(tokens[0], tokens[1]);
    }
}
