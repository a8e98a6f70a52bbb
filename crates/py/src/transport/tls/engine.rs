//! The calls into OpenSSL, through Python's own `ssl` objects.

use super::TlsProtocol;
use crate::ffi::{Object, Outcome, Raised, SslSocket, This, learn_tls_types, text};
use crate::imports::{imports, tls_imports};

/// How a call into OpenSSL went.
pub(super) enum Progress<T> {
    /// It is done.
    Done(T),
    /// It needs more from the peer.
    Again,
}

impl<T> Progress<T> {
    /// Takes the exceptions apart that say only that more is needed.
    #[inline]
    pub(super) fn of(outcome: Outcome<T>) -> Outcome<Progress<T>> {
        match outcome {
            Ok(value) => Ok(Progress::Done(value)),
            Err(raised) if needs_more(&raised)? => {
                raised.discard(); // It is what `Again` says.
                Ok(Progress::Again)
            }
            Err(raised) => Err(raised),
        }
    }
}

fn needs_more(raised: &Raised) -> Outcome<bool> {
    let imports = tls_imports()?;
    Ok(raised.matches(imports.want_read_error.as_ptr())
        || raised.matches(imports.syscall_error.as_ptr()))
}

/// Whether the exception is an `ssl.SSLError`.
pub(super) fn is_tls_error(raised: &Raised) -> Outcome<bool> {
    Ok(raised.matches(tls_imports()?.ssl_error.as_ptr()))
}

/// What an `ssl.SSLObject` wraps, if it may be called in the object's stead: if all methods that
/// we would call are `ssl`'s own.
pub(super) fn wrapped(ssl_object: &Object) -> Outcome<Option<SslSocket>> {
    learn_tls_types()?;
    for (name, function) in &tls_imports()?.ssl_object_methods {
        let method = ssl_object.get_attr(name)?;
        let own = method
            .find_attr(&text("__func__")?)?
            .is_some_and(|found| found.is(function));
        if !own {
            return Ok(None);
        }
    }
    let wrapped = ssl_object.find_attr(&text("_sslobj")?)?;
    Ok(wrapped.as_ref().and_then(SslSocket::of))
}

impl This<'_, TlsProtocol> {
    pub(super) fn engine_handshake(self) -> Outcome<Progress<()>> {
        Progress::of(match self.ssl_socket.get() {
            Some(socket) => socket.do_handshake(),
            None => self
                .call_object(&imports().names.do_handshake, &[])
                .map(drop),
        })
    }

    pub(super) fn engine_unwrap(self) -> Outcome<Progress<()>> {
        Progress::of(match self.ssl_socket.get() {
            Some(socket) => socket.shutdown(),
            None => self.call_object(&imports().names.unwrap, &[]).map(drop),
        })
    }

    /// Encrypts; how many bytes were taken.
    #[inline]
    pub(super) fn engine_write(self, data: &Object) -> Outcome<Progress<usize>> {
        Progress::of(match self.ssl_socket.get() {
            Some(socket) => socket.write(data),
            None => self.call_object_for_size(&imports().names.write, &[data]),
        })
    }

    /// Decrypts one record at most, as `bytes`.
    pub(super) fn engine_read(self, limit: usize) -> Outcome<Progress<Object>> {
        let limit = Object::from_i64(i64::try_from(limit).unwrap_or(i64::MAX))?;
        Progress::of(self.call_object(&imports().names.read, &[&limit]))
    }

    /// Decrypts one record at most into an object; how many bytes it had.
    pub(super) fn engine_read_into(self, memory: &Object) -> Outcome<Progress<usize>> {
        let limit = Object::from_i64(i64::try_from(memory.len()?).unwrap_or(i64::MAX))?;
        Progress::of(self.call_object_for_size(&imports().names.read, &[&limit, memory]))
    }

    fn call_object(self, method: &Object, arguments: &[&Object]) -> Outcome<Object> {
        match self.ssl_object.get() {
            Some(object) => object.call_method(method, arguments),
            None => Err(Raised::runtime_error("the protocol has no SSLObject")),
        }
    }

    fn call_object_for_size(self, method: &Object, arguments: &[&Object]) -> Outcome<usize> {
        let size = self.call_object(method, arguments)?.to_i64()?;
        Ok(usize::try_from(size).unwrap_or(0))
    }
}
