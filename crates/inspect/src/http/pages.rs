//! Which path is answered with what.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::PATIENCE;
use super::access::{Options, Refusal};
use super::request::Request;
use super::response::{Response, Status};
use crate::{Metrics, Snapshot, Source, prometheus, web};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// So many tasks of a loop are told of: nobody looks at more, and a browser would choke on them.
const MOST_TASKS: usize = 1_000;

/// What the page is given each time.
#[derive(Serialize)]
struct Live {
    snapshot: Snapshot,
    metrics: Metrics,
    /// The last blocks, the oldest first.
    blocks: Vec<Value>,
    /// How many tasks each loop has, by its number.
    tasks: BTreeMap<u64, usize>,
}

impl Live {
    fn of(source: &dyn Source) -> Live {
        let mut snapshot = source.snapshot(PATIENCE);
        let tasks = snapshot
            .loops
            .iter()
            .map(|each| (each.id, each.tasks.len()))
            .collect();
        for each in &mut snapshot.loops {
            each.tasks.truncate(MOST_TASKS);
        }
        Live {
            snapshot,
            metrics: source.metrics(),
            blocks: source
                .recent_blocks()
                .iter()
                .map(|block| plain(&**block))
                .collect(),
            tasks,
        }
    }
}

/// The answer to a request.
pub(super) fn answer(request: &Request, options: &Options, source: &dyn Source) -> Response {
    if let Err(refusal) = options.check_host(request) {
        return refuse(refusal);
    }
    // The same for everybody: browsers do not send the page's token with them.
    let file = web::FILES.iter().find(|(path, ..)| *path == request.path());
    if let Some(&(_, content_type, content)) = file {
        return Response::ok(content_type, content);
    }
    if options.public_metrics && request.path() == "/metrics" {
        return text(source);
    }
    if let Err(refusal) = options.check_token(request) {
        return refuse(refusal);
    }
    match request.path() {
        "/" => Response::ok(HTML, web::INDEX),
        "/live.json" => json(&Live::of(source)),
        "/snapshot.json" => json(&source.snapshot(PATIENCE)),
        "/metrics.json" => json(&source.fresh_metrics(PATIENCE)),
        "/metrics" => text(source),
        _ => Response::refused(Status::NotFound, "There is nothing at this path."),
    }
}

fn text(source: &dyn Source) -> Response {
    Response::ok(
        prometheus::CONTENT_TYPE,
        prometheus::render(&source.fresh_metrics(PATIENCE)),
    )
}

fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data with text for keys has a JSON form")
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
