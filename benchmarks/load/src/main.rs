//! Load client and echo server for the benchmarks.
fn main() {}
