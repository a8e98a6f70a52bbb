//! The numbers of tasks, those of the standard library included.

use std::cell::RefCell;
use std::collections::HashMap;

use super::chain::readable;
use crate::ffi::{Guarded, Object, This};
use crate::imports::imports;
use crate::task::{Task, next_task_id};

/// The foreign tasks that were seen, by their address: a weak reference and the number.
static FOREIGN: Guarded<RefCell<Option<Foreign>>> = Guarded::new(RefCell::new(None));

type Foreign = HashMap<usize, (Object, u64)>;

/// The number of a task, which a foreign one gets when it is first seen; `None` for what is no
/// task.
pub(super) fn id_of(object: &Object) -> Option<u64> {
    if let Some(task) = This::<Task>::from_object(object) {
        return Some(task.origin.id()).filter(|&id| id != 0);
    }
    if !is_foreign_task(object) {
        return None;
    }
    let address = object.as_ptr().addr();
    let known = FOREIGN
        .get()
        .borrow()
        .as_ref()
        .and_then(|map| map.get(&address).cloned());
    if let Some((reference, id)) = known
        && readable(reference.weak_target())
            .flatten()
            .is_some_and(|target| target.is(object))
    {
        return Some(id);
    }
    let reference = readable(imports().weak_reference.call1(object))?;
    let id = next_task_id();
    let replaced = FOREIGN
        .get()
        .borrow_mut()
        .get_or_insert_default()
        .insert(address, (reference, id));
    drop(replaced);
    Some(id)
}

/// Whether it is a task of the standard library, or one that says so.
pub(super) fn is_foreign_task(object: &Object) -> bool {
    [&imports().asyncio_task, &imports().python_task]
        .into_iter()
        .any(|class| readable(object.is_instance(class.as_ptr())).unwrap_or(false))
}

/// Forgets the foreign tasks that are gone.
pub(super) fn forget_dead() {
    let Some(known) = FOREIGN.get().take() else {
        return;
    };
    let mut alive = HashMap::new();
    for (address, (reference, id)) in known {
        if readable(reference.weak_target()).flatten().is_some() {
            alive.insert(address, (reference, id));
        }
    }
    FOREIGN.get().replace(Some(alive));
}
