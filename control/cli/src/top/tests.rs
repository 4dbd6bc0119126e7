//! The screen as text, and what keys do to it.

mod keys;
mod sample;
mod screens;
