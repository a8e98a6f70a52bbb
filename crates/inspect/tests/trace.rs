//! A recording, from the switch to the events of the file.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod shop;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ferrio_inspect::clock::now_ns;
use ferrio_inspect::snapshot::{Snapshot, WaitKind};
use ferrio_inspect::trace::{Lane, TaskName, TraceEvent, start};
use ferrio_inspect::{Metrics, Source, add_loop};
use shop::{shop, task, wait};

/// There is one recording at a time in a process, which the tests of this file share.
static TURN: Mutex<()> = Mutex::new(());

struct Fixed(Snapshot);

impl Source for Fixed {
    fn snapshot(&self, _patience: Duration) -> Snapshot {
        self.0.clone()
    }

    fn metrics(&self) -> Metrics {
        Metrics::of_loops()
    }
}

/// What every trace has to keep to: Perfetto drops silently what does not.
fn check(events: &[TraceEvent]) {
    let mut slices: HashMap<u64, Vec<(f64, f64)>> = HashMap::new();
    let named: HashSet<u64> = events
        .iter()
        .filter(|event| event.ph == "M" && event.name == "thread_name")
        .map(|event| event.tid)
        .collect();
    for event in events {
        assert!(event.ts >= 0.0, "{event:?}");
        assert!(
            event.ph == "M" && event.tid == 0 || named.contains(&event.tid),
            "{event:?}"
        );
        if event.ph == "X" {
            slices
                .entry(event.tid)
                .or_default()
                .push((event.ts, event.ts + event.dur.unwrap()));
        }
    }
    for slices in slices.values_mut() {
        slices.sort_by(|one, other| one.0.total_cmp(&other.0));
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0 + 1e-6, "slices overlap: {pair:?}");
        }
    }
    for (begins, ends) in flows(events) {
        let ends: Vec<_> = ends.iter().collect();
        assert_eq!(ends.len(), 1, "{begins:?} {ends:?}");
        let (begin, end) = (&begins, ends[0]);
        assert!(begin.ts <= end.ts);
        for event in [begin, end] {
            let inside = |(from, to): &(f64, f64)| *from <= event.ts && event.ts <= *to;
            assert!(
                slices[&event.tid].iter().any(inside),
                "{event:?} is in no slice"
            );
        }
        assert_eq!(end.bp, Some("e"));
    }
}

/// Each beginning with the ends that have its number. The last ones may have none: see the caller.
fn flows(events: &[TraceEvent]) -> Vec<(TraceEvent, Vec<TraceEvent>)> {
    let of = |ph: &str| {
        events
            .iter()
            .filter(move |event| event.ph == ph)
            .cloned()
            .collect::<Vec<_>>()
    };
    let ends = of("f");
    of("s")
        .into_iter()
        .map(|begin| {
            let its = ends
                .iter()
                .filter(|end| end.id == begin.id)
                .cloned()
                .collect();
            (begin, its)
        })
        .collect()
}

#[test]
fn a_recording_becomes_slices_and_arrows() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let record = add_loop();
    assert!(!record.trace.is_on());
    let recording = start().expect("nothing is recorded");
    assert!(record.trace.is_on());
    assert!(start().is_none(), "one at a time");
    let tape = record.trace.tape().expect("it is on");

    let (producer, consumer) = (Lane::of(11), Lane::of(12));
    let (produce, consume) = (tape.text("produce"), tape.text("consume"));
    tape.name(producer, TaskName::Given("producer".into()), produce);
    tape.name(consumer, TaskName::Given("consumer".into()), consume);
    let get = tape.text("queue get at app.py:7");
    let callback = tape.text("Protocol.data_received");
    tape.poll(now_ns());
    tape.turn(now_ns());
    tape.step(consumer);
    tape.waits(get);
    tape.call(callback);
    tape.woke(producer);
    tape.turn(now_ns());
    tape.step(producer);
    tape.woke(consumer);
    tape.turn(now_ns());
    tape.step(consumer);
    tape.ended();
    tape.stop();

    let mut snapshot = shop();
    snapshot.loops[0].id = record.id();
    let mut idle = task(20, "idle", "idle");
    idle.wait = Some(wait(WaitKind::Event, "shutdown"));
    snapshot.loops[0].tasks = vec![idle];
    let recorded = recording.stop(&Fixed(snapshot));
    assert!(!record.trace.is_on());
    let mut events = Vec::new();
    recorded
        .write(|event| {
            events.push(event);
            Ok::<_, ()>(())
        })
        .unwrap();
    check(&events);

    let slices_of = |lane: Lane| {
        let name = format!("{lane:?}");
        let number: u64 = name
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap();
        events
            .iter()
            .filter(move |event| event.ph == "X" && event.tid == number)
            .map(|event| event.name.clone().into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        slices_of(consumer),
        ["step", "queue get at app.py:7", "ready", "step"]
    );
    assert_eq!(slices_of(producer), ["ready", "step", "ready"]);
    assert_eq!(slices_of(Lane::of(20)), ["event shutdown"]);
    assert!(
        events
            .iter()
            .any(|event| event.name == "Protocol.data_received" && event.cat == "call")
    );
    assert!(
        events
            .iter()
            .any(|event| event.name == "waits for events" && event.cat == "poll")
    );
    let arrows: Vec<_> = flows(&events)
        .into_iter()
        .map(|(begin, ends)| (begin.tid, ends[0].tid))
        .collect();
    assert_eq!(arrows, [((1 << 30) + record.id(), 11), (11, 12)]);
    let names: Vec<_> = events
        .iter()
        .filter(|event| event.name == "thread_name")
        .map(|event| event.args["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains(&"consumer: consume".to_owned()), "{names:?}");
    assert!(names.contains(&"idle: idle".to_owned()), "{names:?}");
    let summary = recorded.summary();
    assert_eq!((summary.events, summary.lost), (15, 0));
    // The format's own names and numbers.
    let json = serde_json::to_value(&events[1]).unwrap();
    assert_eq!(json["ph"], "M");
    assert!(json.get("dur").is_none());
}

#[test]
fn a_recording_that_is_dropped_makes_room_for_the_next() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let record = add_loop();
    drop(start().expect("nothing is recorded"));
    assert!(!record.trace.is_on());
    assert!(start().is_some());
}

#[test]
fn a_long_step_is_marked() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let record = add_loop();
    let recording = start().expect("nothing is recorded");
    let tape = record.trace.tape().expect("it is on");
    let lane = Lane::of(5);
    tape.step(lane);
    std::thread::sleep(Duration::from_millis(110));
    tape.turn(now_ns());
    let mut marks = Vec::new();
    recording
        .stop(&Fixed(shop()))
        .write(|event| {
            marks.extend(Some(event).filter(|event| event.ph == "i"));
            Ok::<_, ()>(())
        })
        .unwrap();
    assert_eq!(marks.len(), 1);
    assert_eq!((marks[0].tid, marks[0].s), (5, Some("p")));
    // As "110ms", and as "1.2s" where others have the processor.
    let words = marks[0].name.strip_prefix("blocked for ").unwrap();
    let seconds = words
        .strip_suffix("ms")
        .map(|milliseconds| milliseconds.parse::<f64>().unwrap() / 1e3)
        .unwrap_or_else(|| words.trim_end_matches('s').parse().unwrap());
    assert!(seconds >= 0.11, "{words}");
}
