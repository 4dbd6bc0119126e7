//! Stories: the real weir and weirctl on real sockets, one file for each thing that is promised.

mod abort;
mod accept;
mod backends;
mod backpressure;
mod balance;
mod cli;
mod close_matrix;
mod crash;
mod failure_table;
mod half_close;
mod health;
mod integrity;
mod lifecycle;
mod limits;
mod metrics;
mod nofile;
mod overflow;
mod readme;
mod real;
mod reload;
mod reset;
mod security;
mod watchdog;
