//! Which path is answered with what.

use serde::Serialize;

use super::PATIENCE;
use super::access::{Options, Refusal};
use super::request::Request;
use super::response::{Response, Status};
use crate::{Metrics, Snapshot, Source, prometheus, web};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// What the page is given each time.
#[derive(Serialize)]
struct Live {
    snapshot: Snapshot,
    metrics: Metrics,
}

/// The answer to a request.
pub(super) fn answer(request: &Request, options: &Options, source: &dyn Source) -> Response {
    if let Err(refusal) = options.check_host(request) {
        return refuse(refusal);
    }
    // The same for everybody: browsers do not send the page's token with them.
    match request.path() {
        "/style.css" => return Response::ok(CSS, web::STYLE),
        "/script.js" => return Response::ok(JAVASCRIPT, web::SCRIPT),
        "/metrics" if options.public_metrics => return text(source),
        _ => {}
    }
    if let Err(refusal) = options.check_token(request) {
        return refuse(refusal);
    }
    match request.path() {
        "/" => Response::ok(HTML, web::INDEX),
        "/live.json" => json(&Live {
            snapshot: source.snapshot(PATIENCE),
            metrics: source.metrics(),
        }),
        "/snapshot.json" => json(&source.snapshot(PATIENCE)),
        "/metrics.json" => json(&source.metrics()),
        "/metrics" => text(source),
        _ => Response::refused(Status::NotFound, "There is nothing at this path."),
    }
}

fn text(source: &dyn Source) -> Response {
    Response::ok(
        prometheus::CONTENT_TYPE,
        prometheus::render(&source.metrics()),
    )
}

fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("plain data with text for keys has a JSON form");
    Response::ok(JSON, body)
}

fn refuse(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Host => Response::refused(
            Status::Forbidden,
            "The Host of this request is no name of this server.",
        ),
        Refusal::Origin => Response::refused(
            Status::Forbidden,
            "A page of another origin has no business here.",
        ),
        Refusal::Token => Response::refused(
            Status::Unauthorized,
            "The token is missing or wrong: use the whole URL that the program printed, or send \
             \"Authorization: Bearer TOKEN\".",
        ),
    }
}
