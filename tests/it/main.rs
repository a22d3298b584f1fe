//! The service from outside: real sockets, real gRPC, the real detector. One binary, so that it links once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod api;
mod backend_contract;
mod cli;
mod models;
mod openapi;
mod problems;
mod serving;
mod support;
