//! spotter: a photo goes in, labelled boxes in pixels of that photo come out.
//!
//! Reading order, each layer using only those before it:
//!
//! 1. [`fault`], [`geometry`], [`mask`], [`tensor`], [`deadline`], [`request_id`], [`workers`], [`admission`],
//!    [`lifecycle`], [`background`], [`reload`], [`arriving`], [`answering`], [`access`], [`telemetry`]: the words everything
//!    is said in.
//! 2. [`image`]: an uploaded file becomes upright RGB pixels, or a clear refusal. [`fetch`]: a photo by its address, from the
//!    public internet only.
//! 3. [`model`]: signatures, label maps, and the adapters that know how a kind of detector reads.
//! 4. [`backend`]: where models run, in this process or behind TensorFlow Serving. `grpc_frame`: how gRPC writes a message, for
//!    this layer and for the typed front.
//! 5. [`detect`]: the pipeline that joins them.
//! 6. [`service`], [`grpc`], [`http`]: what fronts need; the typed front; the REST front, its documents, and the layers around both.
//! 7. [`config`], [`app`], [`cli`]: settings, assembly, commands.
//!
//! docs/ARCHITECTURE.md follows one photo through all of it.

pub mod access;
pub mod admission;
pub mod answering;
pub mod app;
pub mod arriving;
pub mod backend;
pub mod background;
pub mod cli;
pub mod config;
pub mod deadline;
pub mod detect;
pub mod fault;
pub mod fetch;
pub mod geometry;
pub mod grpc;
mod grpc_frame;
pub mod http;
pub mod image;
pub mod lifecycle;
pub mod mask;
pub mod model;
pub mod reload;
pub mod request_id;
pub mod service;
pub mod telemetry;
pub mod tensor;
pub mod workers;
