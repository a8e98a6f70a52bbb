//! What the addresses mean that tasks are made at: the place in the program, and who makes them.
//!
//! An instruction's address is looked up in a table of our own; what it means is found out when it
//! is first met. The table keeps the code objects, so that an address never comes to mean another
//! place; it is bounded, and places that find no room in it are unknown.

use std::cell::{Cell, RefCell};

use ferrio_inspect::snapshot::Site;
use ferrio_inspect::{CoroutineRecord, SiteId, intern_site};

use crate::ffi::{Frame, Guarded, Object, Outcome, line_of, text};

/// Who makes a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Maker {
    /// The program, by `create_task` or `Task(…)`.
    Program,
    /// `asyncio.run`, `run_until_complete`.
    Runner,
    /// A server, for a connection.
    Server,
    TaskGroup,
    EnsureFuture,
    Gather,
    Wait,
    WaitFor,
    AsCompleted,
    Shield,
    RunCoroutineThreadsafe,
    StaggeredRace,
}

impl Maker {
    /// The function's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Maker::Program => "create_task",
            Maker::Runner => "run",
            Maker::Server => "start_server",
            Maker::TaskGroup => "TaskGroup",
            Maker::EnsureFuture => "ensure_future",
            Maker::Gather => "gather",
            Maker::Wait => "wait",
            Maker::WaitFor => "wait_for",
            Maker::AsCompleted => "as_completed",
            Maker::Shield => "shield",
            Maker::RunCoroutineThreadsafe => "run_coroutine_threadsafe",
            Maker::StaggeredRace => "staggered_race",
        }
    }

    /// The name of who has that code in memory; `None` for the program, and for what is no code.
    pub(crate) fn name_of_code(code: u8) -> Option<&'static str> {
        const OTHERS: [Maker; 11] = [
            Maker::Runner,
            Maker::Server,
            Maker::TaskGroup,
            Maker::EnsureFuture,
            Maker::Gather,
            Maker::Wait,
            Maker::WaitFor,
            Maker::AsCompleted,
            Maker::Shield,
            Maker::RunCoroutineThreadsafe,
            Maker::StaggeredRace,
        ];
        OTHERS
            .into_iter()
            .find(|maker| *maker as u8 == code)
            .map(Maker::name)
    }

    /// Who a function of asyncio's or ferrio's makes a task for, by its file and name.
    fn of_function(file: &str, function: &str) -> Maker {
        let module = file.rsplit('/').next().unwrap_or(file);
        let function = function.rsplit('.').next().unwrap_or(function);
        match (module, function) {
            ("taskgroups.py", _) => Maker::TaskGroup,
            ("runners.py" | "runner.py", _) | (_, "run_until_complete") => Maker::Runner,
            ("streams.py", _) => Maker::Server,
            ("staggered.py", _) => Maker::StaggeredRace,
            ("tasks.py", "gather") => Maker::Gather,
            ("tasks.py", "wait" | "_wait") => Maker::Wait,
            ("tasks.py", "wait_for") => Maker::WaitFor,
            ("tasks.py", "as_completed" | "__init__") => Maker::AsCompleted,
            ("tasks.py", "shield") => Maker::Shield,
            ("tasks.py", "ensure_future") => Maker::EnsureFuture,
            ("tasks.py", "callback" | "run_coroutine_threadsafe") => Maker::RunCoroutineThreadsafe,
            _ => Maker::Program,
        }
    }
}

/// What an instruction's address means.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// A line of the program.
    Program(SiteId),
    /// A line of asyncio's or ferrio's: who is served is to be found further out.
    Inside(Maker),
    /// The line that runs a loop: nobody further out has anything to do with the task.
    Loop,
}

/// Where a task is made, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Creator {
    pub(crate) site: SiteId,
    pub(crate) maker: Maker,
}

/// More addresses are not kept.
const MOST: usize = 1 << 16;

/// A map from addresses, quick to look at.
struct Addresses<V: Copy> {
    /// A power of two of slots, half of them empty at least; an empty one has the address 0.
    slots: Vec<(usize, V)>,
    count: usize,
    empty: V,
}

impl<V: Copy> Addresses<V> {
    const fn new(empty: V) -> Addresses<V> {
        Addresses {
            slots: Vec::new(),
            count: 0,
            empty,
        }
    }

    #[inline]
    fn slot(&self, address: usize) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let spread = (address as u64).wrapping_mul(GOLDEN) >> 32;
        #[allow(clippy::cast_possible_truncation, reason = "32 bits")]
        let spread = spread as usize;
        spread & (self.slots.len() - 1)
    }

    #[inline]
    fn get(&self, address: usize) -> Option<V> {
        if self.slots.is_empty() {
            return None;
        }
        let mut index = self.slot(address);
        loop {
            let (found, value) = self.slots[index];
            if found == address {
                return Some(value);
            }
            if found == 0 {
                return None;
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds an address that is not there.
    fn add(&mut self, address: usize, value: V) {
        if (self.count + 1) * 2 > self.slots.len() {
            self.grow();
        }
        self.put(address, value);
        self.count += 1;
    }

    fn put(&mut self, address: usize, value: V) {
        let mut index = self.slot(address);
        while self.slots[index].0 != 0 {
            index = (index + 1) & (self.slots.len() - 1);
        }
        self.slots[index] = (address, value);
    }

    fn grow(&mut self) {
        let larger = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![(0, self.empty); larger]);
        for (address, value) in old {
            if address != 0 {
                self.put(address, value);
            }
        }
    }
}

/// What is known of instructions and code objects.
pub(crate) struct Owners {
    places: RefCell<Addresses<Place>>,
    records: RefCell<Addresses<Option<&'static CoroutineRecord>>>,
    /// Keeps the code objects whose addresses are in the maps.
    kept: RefCell<Vec<Object>>,
    /// asyncio's and ferrio's folders, with a slash at the end.
    folders: RefCell<Vec<String>>,
    /// Whether a place is being looked up: that may run Python code, which may make tasks.
    is_looking: Cell<bool>,
}

pub(crate) static OWNERS: Guarded<Owners> = Guarded::new(Owners {
    places: RefCell::new(Addresses::new(Place::Loop)),
    records: RefCell::new(Addresses::new(None)),
    kept: RefCell::new(Vec::new()),
    folders: RefCell::new(Vec::new()),
    is_looking: Cell::new(false),
});

impl Owners {
    /// The record of a coroutine's code object, if it was kept.
    #[inline]
    pub(super) fn record(&self, code: usize) -> Option<&'static CoroutineRecord> {
        self.records.borrow().get(code).flatten()
    }

    pub(super) fn keep_record(&self, code: Object, record: &'static CoroutineRecord) {
        let address = code.as_ptr().addr();
        let mut records = self.records.borrow_mut();
        if records.count < MOST && records.get(address).is_none() {
            records.add(address, Some(record));
            self.kept.borrow_mut().push(code);
        }
    }

    /// What the instruction means that a frame is at.
    #[inline]
    pub(crate) fn place(&self, frame: Frame) -> Place {
        if let Some(place) = self.places.borrow().get(frame.instruction()) {
            return place;
        }
        self.find(frame)
    }

    #[cold]
    fn find(&self, frame: Frame) -> Place {
        let unknown = Place::Program(SiteId::NONE);
        let Some(code) = frame.code() else {
            return unknown;
        };
        let instruction = frame.instruction();
        if self.is_looking.replace(true) {
            return unknown;
        }
        let found = self.describe(&code, instruction);
        self.is_looking.set(false);
        let place = match found {
            Ok(place) => place,
            Err(raised) => {
                raised.discard(); // A code object without a readable name is no place.
                unknown
            }
        };
        let mut places = self.places.borrow_mut();
        if places.count < MOST && places.get(instruction).is_none() {
            places.add(instruction, place);
            self.kept.borrow_mut().push(code);
        }
        place
    }

    fn describe(&self, code: &Object, instruction: usize) -> Outcome<Place> {
        let site = site_in(code, instruction)?;
        if !self.is_inside(&site.file) {
            return Ok(Place::Program(intern_site(site)));
        }
        let name = site.function.rsplit('.').next().unwrap_or_default();
        Ok(if name == "run_forever" {
            Place::Loop
        } else {
            Place::Inside(Maker::of_function(&site.file, &site.function))
        })
    }

    /// Whether a file is asyncio's or ferrio's.
    pub(crate) fn is_inside(&self, file: &str) -> bool {
        let folders = self.folders.borrow();
        folders.iter().any(|folder| file.starts_with(&**folder))
    }
}

/// The place of an instruction.
pub(crate) fn site_in(code: &Object, instruction: usize) -> Outcome<Site> {
    Ok(Site {
        file: code.get_attr(&text("co_filename")?)?.to_text()?,
        line: line_of(code, instruction),
        function: code.get_attr(&text("co_qualname")?)?.to_text()?,
    })
}

/// Who is making a task at this moment, and where. `native` is who is known to already.
#[inline]
pub(super) fn creator_of(native: Maker) -> Creator {
    let owners = OWNERS.get();
    let mut maker = Maker::Program;
    if native == Maker::Server {
        return Creator {
            site: SiteId::NONE,
            maker,
        };
    }
    let mut frame = Frame::current();
    while let Some(at) = frame {
        match owners.place(at) {
            Place::Program(site) => return Creator { site, maker },
            Place::Inside(Maker::Program) => {}
            Place::Inside(outer) => maker = outer,
            Place::Loop => break,
        }
        frame = at.caller();
    }
    Creator {
        site: SiteId::NONE,
        maker,
    }
}

/// The line of the program that is being run.
pub(crate) fn current_site() -> SiteId {
    creator_of(Maker::Program).site
}

/// Looks up where asyncio and ferrio are; once, at import.
pub(crate) fn learn_folders() -> Outcome<()> {
    let mut folders = Vec::new();
    for module in [c"asyncio", c"ferrio"] {
        let paths = crate::imports::module(module)?.get_attr(&text("__path__")?)?;
        for path in paths.items()? {
            folders.push(format!("{}/", path.to_text()?.trim_end_matches('/')));
        }
    }
    OWNERS.get().folders.replace(folders);
    Ok(())
}
