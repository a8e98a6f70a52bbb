//! From `gather`'s arguments to its children.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{GatheringFuture, nothing, tell};
use crate::awaitable::is_exact_coroutine;
use crate::combinators::any_future::{add_done_callback, expect_abandonment, is_done, loop_of};
use crate::combinators::ensure_future::ensure_future;
use crate::ffi::{Arguments, Context, Native, Object, Outcome, Own, Raised, This};
use crate::future::{Future, Watcher, add_awaiter, ours};
use crate::originals::originals;
use crate::task::{Maker, Making};

/// `gather(*awaitables, …)`.
pub(super) fn gather(arguments: Arguments<'_>) -> Outcome<Object> {
    let outer = Own::new(GatheringFuture::create()?)?;
    if arguments.has_keywords() {
        take_options(outer.this(), arguments)?;
    }
    let awaitables = arguments.positional();
    if awaitables.is_empty() {
        return nothing();
    }
    let mut assembly = Assembly::new(outer.this(), awaitables)?;
    for awaitable in awaitables {
        assembly.take(awaitable)?;
    }
    assembly.finish()?;
    Ok(outer.into_object())
}

fn take_options(outer: This<'_, GatheringFuture>, arguments: Arguments<'_>) -> Outcome<()> {
    let options = [c"return_exceptions", c"cancel_on_error"];
    let [return_exceptions, cancel_on_error] = arguments.named("gather", options, 0)?;
    let return_exceptions = return_exceptions.map_or(Ok(false), Object::is_true)?;
    let cancel_on_error = cancel_on_error.map_or(Ok(false), Object::is_true)?;
    if return_exceptions && cancel_on_error {
        return Err(Raised::value_error(
            "return_exceptions and cancel_on_error exclude each other",
        ));
    }
    outer.return_exceptions.set(return_exceptions);
    outer.all_or_nothing.set(cancel_on_error);
    Ok(())
}

/// A gather whose arguments are being looked at.
struct Assembly<'a> {
    outer: This<'a, GatheringFuture>,
    watcher: Object,
    context: Object,
    running: Option<Object>,
    /// The loop that all children have to belong to, once it is known.
    event_loop: Option<Object>,
    /// The task that calls, where that is noted: from 3.14.
    waiter: Option<Object>,
    known: Known,
    children: Vec<Object>,
    /// Those that were done already.
    done: Vec<Object>,
}

impl<'a> Assembly<'a> {
    fn new(outer: This<'a, GatheringFuture>, awaitables: &[Object]) -> Outcome<Assembly<'a>> {
        let running = originals().running_loop.call0()?.some().cloned();
        let mut assembly = Assembly {
            outer,
            watcher: Watcher::make(
                outer.own().into_object(),
                "gather.<locals>._done_callback",
                tell,
            )?,
            context: Context::copy_current()?,
            running,
            event_loop: None,
            waiter: None,
            known: Known::for_all(awaitables)?,
            children: Vec::with_capacity(awaitables.len()),
            done: Vec::new(),
        };
        if cfg!(Py_3_14)
            && let Some(running) = &assembly.running
        {
            assembly.event_loop = Some(running.clone());
            let waiter = originals().current_task.call1(running)?;
            assembly.waiter = waiter.some().cloned();
            assembly.outer.waiter.assign(assembly.waiter.clone());
        }
        Ok(assembly)
    }

    fn take(&mut self, awaitable: &Object) -> Outcome<()> {
        if let Some(index) = self.known.find(awaitable, self.children.len())? {
            let child = self.children[index].clone();
            self.children.push(child);
            return Ok(());
        }
        let _making = Making::by(Maker::Gather, 0);
        let child = ensure_future(awaitable, self.event_loop.as_ref(), self.running.as_ref())?;
        if self.event_loop.is_none() {
            self.event_loop = Some(loop_of(&child)?);
        }
        if !child.is(awaitable) {
            expect_abandonment(&child)?;
        }
        let expected = self.outer.expected.get();
        self.outer.expected.set(expected + 1);
        if cfg!(Py_3_12) && is_done(&child)? {
            self.done.push(child.clone());
        } else {
            if let Some(waiter) = &self.waiter {
                add_awaiter(&child, waiter)?;
            }
            add_done_callback(&child, &self.watcher, &self.context)?;
        }
        self.children.push(child);
        Ok(())
    }

    fn finish(self) -> Outcome<()> {
        let outer = self.outer;
        outer
            .upcast::<Future>()
            .initialise(self.event_loop.as_ref())?;
        // It is the first time: nobody else has this future yet.
        outer
            .children
            .get_or_init(|| self.children.into_boxed_slice());
        for child in self.done {
            outer.child_is_done(&child)?;
        }
        Ok(())
    }
}

/// The awaitables that there were before, with the index of their child.
enum Known {
    /// There is only one.
    Nothing,
    /// All are of types whose objects equal only themselves.
    Addresses(HashMap<usize, usize, BuildHasherDefault<AddressHasher>>),
    /// A dict, for whatever equals whatever.
    Equals(Object),
}

impl Known {
    fn for_all(awaitables: &[Object]) -> Outcome<Known> {
        let all_equal_only_themselves = awaitables
            .iter()
            .all(|each| is_exact_coroutine(each) || ours(each).is_some());
        Ok(match awaitables {
            [_] if all_equal_only_themselves => Known::Nothing,
            _ if all_equal_only_themselves => Known::Addresses(HashMap::with_capacity_and_hasher(
                awaitables.len(),
                BuildHasherDefault::default(),
            )),
            _ => Known::Equals(Object::dict()?),
        })
    }

    /// The index of the child of an equal awaitable; where there is none, `index` becomes its.
    fn find(&mut self, awaitable: &Object, index: usize) -> Outcome<Option<usize>> {
        match self {
            Known::Nothing => Ok(None),
            Known::Addresses(addresses) => {
                let first = *addresses.entry(awaitable.as_ptr().addr()).or_insert(index);
                Ok((first != index).then_some(first))
            }
            Known::Equals(dict) => {
                if let Some(first) = dict.dict_get(awaitable)? {
                    return Ok(usize::try_from(first.to_i64()?).ok());
                }
                let number = i64::try_from(index).unwrap_or(i64::MAX);
                dict.dict_set(awaitable, &Object::from_i64(number)?)?;
                Ok(None)
            }
        }
    }
}

/// Addresses are spread well enough by one multiplication.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    #[inline]
    fn write_usize(&mut self, address: usize) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (self.0 ^ (address as u64)).wrapping_mul(ODD);
        // The table takes its place from the low bits and its tag from the high ones.
        self.0 = mixed ^ (mixed >> 32);
    }
}
