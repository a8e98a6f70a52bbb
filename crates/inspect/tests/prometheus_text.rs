//! The text that Prometheus reads, line by line.

mod support;

use ferrio_inspect::Metrics;
use ferrio_inspect::prometheus::render;

#[test]
fn the_whole_text() {
    let text = render(&support::metrics());
    let golden = include_str!("prometheus.txt");
    for (number, (line, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}

#[test]
fn a_process_without_loops() {
    let text = render(&Metrics {
        loops: Vec::new(),
        blocks: Vec::new(),
        coroutines: None,
        interpreter: None,
        ..support::metrics()
    });
    let mut samples = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(samples.next(), Some("ferrio_descheduled_total 3"));
    assert_eq!(samples.next(), None);
}

#[test]
fn every_family_has_its_two_lines_once() {
    let text = render(&support::metrics());
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let helped = text
        .lines()
        .filter(|line| line.starts_with("# HELP "))
        .count();
    assert_eq!(names.len(), helped);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), helped);
}
