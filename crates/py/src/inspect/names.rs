//! What a program calls the thing that a task waits for.
//!
//! Looked for where the task waits: an attribute of something that the waiting function has at hand
//! (`Pool.lock`), a global variable that it uses, or a variable of its own. Nothing of the program's
//! runs for it, but for a metaclass that answers itself when asked for a class's `__name__`; what that
//! raises leaves the thing without a name.

use super::chain::{Link, attribute, readable};
use crate::ffi::{attribute_that_is, text, variable_that_is};
use crate::task::OWNERS;
use ferrio_inspect::snapshot::WaitKind;

/// Whether programs give such things names.
pub(super) fn has_name(kind: WaitKind) -> bool {
    matches!(
        kind,
        WaitKind::Lock
            | WaitKind::Semaphore
            | WaitKind::Condition
            | WaitKind::Event
            | WaitKind::Barrier
            | WaitKind::QueueGet
            | WaitKind::QueuePut
            | WaitKind::QueueJoin
    )
}

/// The name by which the innermost function of the program's that has one for it knows the object at
/// an address.
pub(super) fn name_of(chain: &[Link], object: usize) -> Option<String> {
    let owners = OWNERS.get();
    chain.iter().rev().find_map(|link| {
        let code = &link.spot.as_ref()?.code;
        let file = readable(
            code.get_attr(&readable(text("co_filename"))?)
                .and_then(|name| name.to_text()),
        )?;
        if owners.is_inside(&file) {
            return None;
        }
        if let Some((class, name)) = attribute_that_is(&link.object, object) {
            let class = readable(class.get_attr(&readable(text("__name__"))?))?;
            return Some(format!("{}.{name}", readable(class.to_text())?));
        }
        let frame = ["cr_frame", "gi_frame", "ag_frame"]
            .into_iter()
            .find_map(|name| attribute(&link.object, name))
            .filter(|frame| !frame.is_none())?;
        readable(variable_that_is(&frame, code, object))?
    })
}
