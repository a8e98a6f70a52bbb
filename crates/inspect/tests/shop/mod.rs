//! A process as the extension would describe it.

use ferrio_inspect::snapshot::{
    Loop, Owner, Resource, Running, Site, Snapshot, Task, TaskState, Wait, WaitKind,
};

pub(crate) fn site(line: u32, function: &str) -> Site {
    Site {
        file: "/srv/shop/app.py".to_owned(),
        line,
        function: function.to_owned(),
    }
}

pub(crate) fn wait(kind: WaitKind, what: &str) -> Wait {
    Wait {
        kind,
        what: what.to_owned(),
        name: None,
        tasks: vec![],
        object: 0,
        site: None,
        since: Some(97.5),
        until: None,
        certain: false,
        all: false,
    }
}

pub(crate) fn task(id: u64, name: &str, coroutine: &str) -> Task {
    Task {
        id,
        name: name.to_owned(),
        coroutine: coroutine.to_owned(),
        created: Some(site(80, "main")),
        created_at: Some(40.0),
        parent: None,
        owner: Owner::User,
        state: TaskState::Waiting,
        wait: None,
        stack: vec![],
        steps: Some(3),
        cpu: None,
        longest_step: None,
        cancelling: 0,
        foreign: false,
    }
}

/// A small service: a main task, a group of two, one whose parent is gone.
pub(crate) fn shop() -> Snapshot {
    let mut main = task(1, "Task-1", "main");
    main.owner = Owner::Runner;
    main.wait = Some(Wait {
        tasks: vec![2, 3],
        site: Some(site(84, "main")),
        since: Some(40.0),
        ..wait(WaitKind::TaskGroup, "")
    });
    main.stack = vec![site(90, "start"), site(84, "main")];

    let mut worker = task(2, "worker", "Worker.run");
    worker.owner = Owner::TaskGroup { task: Some(1) };
    worker.parent = Some(1);
    worker.wait = Some(Wait {
        site: Some(site(31, "Worker.run")),
        ..wait(WaitKind::QueueGet, "orders, 0 of 10")
    });
    worker.steps = Some(12_345);
    worker.cpu = Some(0.75);

    let mut busy = task(3, "report", "report");
    busy.owner = Owner::TaskGroup { task: Some(1) };
    busy.parent = Some(1);
    busy.state = TaskState::Running;
    busy.stack = vec![site(55, "report")];

    let mut orphan = task(9, "cleanup", "cleanup");
    orphan.parent = Some(7);
    orphan.cancelling = 1;
    orphan.wait = Some(Wait {
        site: Some(site(61, "cleanup")),
        until: Some(130.0),
        ..wait(WaitKind::Sleep, "")
    });

    Snapshot {
        process: 4711,
        command: vec!["python".to_owned(), "app.py".to_owned()],
        python: "3.13.0".to_owned(),
        ferrio: "0.1.0".to_owned(),
        taken_at: 100.0,
        tasks_at: 100.0,
        queues: Vec::new(),
        loops: vec![Loop {
            id: 1,
            thread: Some(4712),
            running: Running::Step {
                task: 3,
                since: Some(99.65),
            },
            turns: 1_234_567,
            ready: 2,
            timers: 1,
            tasks: vec![main, worker, busy, orphan],
            resources: vec![Resource {
                kind: "server".to_owned(),
                what: "127.0.0.1:8000".to_owned(),
                bytes: Some((1536, 312)),
                buffered: Some(99),
            }],
        }],
    }
}
