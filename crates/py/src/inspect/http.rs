//! The HTTP server, as Python starts and stops it: one a process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrio_inspect::http::{Options, Server, random_token};
use ferrio_inspect::services::services;

use super::process::Process;
use super::services::stop;
use crate::ffi::{Arguments, Method, Object, Outcome, Raised, none, text};

const NAME: &str = "ferrio-http";

/// Where the server listens, while there is one.
static ADDRESS: Mutex<Option<SocketAddr>> = Mutex::new(None);

fn address() -> MutexGuard<'static, Option<SocketAddr>> {
    // A panic elsewhere leaves one value behind that is whole.
    ADDRESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The functions that `ferrio.live_server` calls.
pub(super) fn functions() -> Vec<Method> {
    vec![
        Method::function(
            c"_serve_http",
            serve,
            c"_serve_http(host, port, token, allow_remote, public_metrics): serve from a native\n\
            thread; return the address, the port and the token. None stands for a random token.",
        ),
        Method::function(
            c"_stop_http",
            |_arguments| {
                stop(services().stop(NAME));
                *address() = None;
                Ok(none())
            },
            c"Stop the server, if there is one, and close its socket.",
        ),
    ]
}

/// This is the child of a fork: the server is the parent's.
pub(super) fn forget() {
    *address() = None;
}

fn serve(arguments: Arguments<'_>) -> Outcome<Object> {
    let [host, port, token, allow_remote, public_metrics] = arguments.positional() else {
        return Err(Raised::type_error("five arguments are expected"));
    };
    if let Some(address) = &*address() {
        return Err(Raised::runtime_error(&format!(
            "this process serves already, at {address}"
        )));
    }
    let token = match token.some() {
        Some(token) => token.to_text()?,
        None => random_token()?,
    };
    let options = Options {
        host: host.to_text()?,
        port: u16::try_from(port.to_i64()?)
            .map_err(|_| Raised::value_error("port must be 0-65535."))?,
        token: token.clone(),
        allow_remote: allow_remote.is_true()?,
        public_metrics: public_metrics.is_true()?,
    };
    let server = Server::bind(options, Arc::new(Process::start()?))?;
    let bound = server.address();
    services().start(NAME, move |stop| {
        if let Err(error) = stop.doorbell().and_then(|doorbell| server.serve(&doorbell)) {
            eprintln!("ferrio: the HTTP server has ended: {error}");
        }
    })?;
    *address() = Some(bound);
    Object::tuple(&[
        &text(&bound.ip().to_string())?,
        &Object::from_i64(bound.port().into())?,
        &text(&token)?,
    ])
}
