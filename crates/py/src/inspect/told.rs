//! What a native body says of its wait, to whoever looks.

use ferrio_inspect::snapshot::WaitKind;

use crate::awaitable::Awaited;
use crate::ffi::Object;

/// One thing that is waited for.
pub(crate) struct Subject {
    pub(super) kind: WaitKind,
    /// The lock, queue, reader and so on.
    pub(super) object: Option<Object>,
    /// The tasks and other futures whose end is waited for.
    pub(super) futures: Vec<Object>,
    /// Whether one of them is enough.
    pub(super) any: bool,
}

/// What a coroutine with a native body waits for. Nothing of the program's runs while a body
/// tells it: it names the objects, and the one who looks asks them.
#[derive(Default)]
pub(crate) struct Told {
    /// The outermost first.
    pub(super) subjects: Vec<Subject>,
    /// What it awaits in turn.
    pub(super) next: Option<Object>,
    /// When it ends by itself, in seconds of loop time.
    pub(super) until: Option<f64>,
}

impl Told {
    /// It waits for `object`.
    pub(crate) fn waits_for(&mut self, kind: WaitKind, object: &Object) {
        self.subjects.push(Subject {
            kind,
            object: Some(object.clone()),
            futures: Vec::new(),
            any: false,
        });
    }

    /// It waits for these to end; for any of them or for all.
    pub(crate) fn waits_for_futures(&mut self, kind: WaitKind, futures: &[Object], any: bool) {
        self.subjects.push(Subject {
            kind,
            object: None,
            futures: futures.to_vec(),
            any,
        });
    }

    /// It waits for nothing but this kind of thing.
    pub(crate) fn waits(&mut self, kind: WaitKind) {
        self.subjects.push(Subject {
            kind,
            object: None,
            futures: Vec::new(),
            any: false,
        });
    }

    /// It ends by itself when the loop's time is that, in seconds.
    pub(crate) fn until(&mut self, seconds: Option<f64>) {
        self.until = match (self.until, seconds) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// It awaits that in turn.
    pub(crate) fn then(&mut self, awaited: &Awaited) {
        self.next = awaited.iterator().cloned();
    }
}
