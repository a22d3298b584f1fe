//! The service from outside: real sockets, real gRPC, the real detector. One binary, so that it links once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]
#![allow(unreachable_pub, reason = "there is nobody outside of a test binary")]

mod access;
mod api;
mod backend_contract;
mod batch;
mod cli;
mod configuration;
mod connections;
mod cors;
mod crops;
mod faults;
mod grpc;
mod headers;
mod http2;
mod image_url;
mod leaving;
mod lifecycle;
mod log;
mod masks;
mod metrics;
mod models;
mod openapi;
mod options;
mod overload;
mod page;
mod problems;
mod readme;
mod reliability;
mod reloading;
mod serving;
mod support;
mod tls;
mod traces;
mod uploads;
mod versions;
mod views;
