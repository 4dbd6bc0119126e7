//! The binary against a daemon that is a thread of the test: what it asks, prints and exits with.

mod changes;
mod config;
mod fake;
mod process;
mod reads;
