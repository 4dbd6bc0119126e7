//! `weir-micro`: nanoseconds of one pick, by strategy and number of backends.
fn main() {}
