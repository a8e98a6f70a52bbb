//! Why a task waits, in a few words that hold for everyone who waits so at that line.

use ferrio_inspect::snapshot::{Site, WaitKind};
use ferrio_inspect::view::words;

use super::chain::{Link, chain_of, readable};
use super::waits::wait_of;
use crate::awaitable::Coroutine;
use crate::ffi::{Object, This};
use crate::task::{OWNERS, site_in};

/// "queue get at app.py:12 worker".
pub(crate) fn reason_to_wait(coroutine: Option<&Object>, awaited: &Object) -> String {
    let chain = coroutine.map(chain_of).unwrap_or_default();
    let kind = words::wait_kind(wait_of(&chain, awaited, None).kind);
    match program_site(&chain) {
        Some(site) => format!("{kind} at {}", words::site(&site)),
        None => kind.to_owned(),
    }
}

/// What an awaitable of ours says that it waits for, without the rest of the chain.
pub(crate) fn told_kind(link: &Object) -> Option<WaitKind> {
    let told = This::<Coroutine>::from_exact(link)?.tell();
    told.subjects.last().map(|subject| subject.kind)
}

/// The innermost line that is the program's own and not a library's of the loop.
fn program_site(chain: &[Link]) -> Option<Site> {
    let owners = OWNERS.get();
    let sites: Vec<_> = chain
        .iter()
        .filter_map(|link| link.spot.as_ref())
        .filter_map(|spot| readable(site_in(&spot.code, spot.instruction)))
        .collect();
    let inner = sites.iter().rev();
    inner
        .clone()
        .find(|site| !owners.is_inside(&site.file))
        .or(sites.last())
        .cloned()
}
