//! What each answer of the model server that is not an answer means to a client.
//!
//! The gRPC code alone does not say who is at fault: `INVALID_ARGUMENT` covers a wrong key, a wrong dtype, an unknown
//! version label and an undecodable picture. What the request asked for decides, and two texts that are part of
//! TensorFlow Serving's behaviour. Its own words go to the log and never to the client: they carry node names.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code as Grpc, Status};

use crate::backend::Target;
use crate::backend::room::NoRoom;
use crate::fault::{Code, Fault};
use crate::model::version::VersionChoice;

/// Enough for a model server to be scheduled again or to finish loading, short enough not to be noticed.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(2);
/// A batch queue empties in less.
const RETRY_OVERLOADED: Duration = Duration::from_secs(1);

/// An answer that is none, said as tonic says it.
pub(super) fn undecodable(why: &str) -> Status {
    Status::internal(format!("{UNDECODABLE}: {why}"))
}

/// A call whose answer there is no room for.
pub(super) fn no_room(no_room: NoRoom) -> Status {
    let mut status = Status::resource_exhausted("there is no room for the answer");
    status.set_source(Arc::new(no_room));
    status
}

fn as_no_room(status: &Status) -> Option<&NoRoom> {
    status.source()?.downcast_ref()
}

/// Turns a status into the failure that the client sees.
pub(super) fn fault(status: Status, target: &Target) -> Fault {
    if let Some(NoRoom { max_bytes }) = as_no_room(&status) {
        let detail = format!(
            "The answers of model servers that are being worked on take the {max_bytes} bytes that this service keeps for them. Try again, or ask for fewer tiles or masks at once."
        );
        let fault = Fault::new(Code::Overloaded, detail).with("max_bytes_in_flight", *max_bytes);
        return fault.retry_after(RETRY_OVERLOADED);
    }
    let Target { model, version } = target;
    let text = status.message();
    let (code, detail) = match status.code() {
        _ if is_late(&status) => deadline(model),
        Grpc::InvalidArgument | Grpc::NotFound if names_version(text, version) => unknown_version(target),
        Grpc::NotFound => unavailable(format!("The model server has no version of '{model}' ready.")),
        Grpc::Unavailable if says_batcher_is_full(text) => overloaded(model),
        Grpc::ResourceExhausted if !text.contains("larger than max") => overloaded(model),
        Grpc::Unavailable => {
            unavailable(format!("The model server for '{model}' cannot be reached. Try again shortly."))
        }
        // A connection that breaks in the middle of a call surfaces as one of these, with the transport's error
        // behind it; the same codes without one were sent by the server.
        Grpc::Cancelled | Grpc::Unknown | Grpc::Internal if status.source().is_some() => {
            unavailable(format!("The connection to the model server for '{model}' broke."))
        }
        Grpc::OutOfRange if text.contains("message length too large") => contract(format!(
            "The answer of model '{model}' is larger than this service accepts (--serving-max-answer-bytes)."
        )),
        Grpc::Unimplemented => contract(format!(
            "The address configured for model '{model}' does not speak TensorFlow Serving's gRPC API (its gRPC port is 8500, its REST port 8501)."
        )),
        Grpc::PermissionDenied | Grpc::Unauthenticated => {
            contract(format!("The model server for '{model}' refuses this service."))
        }
        Grpc::Ok
        | Grpc::Cancelled
        | Grpc::Unknown
        | Grpc::InvalidArgument
        | Grpc::AlreadyExists
        | Grpc::ResourceExhausted
        | Grpc::FailedPrecondition
        | Grpc::Aborted
        | Grpc::OutOfRange
        | Grpc::DeadlineExceeded
        | Grpc::Internal
        | Grpc::DataLoss => contract(format!("The model server refused the request for model '{model}'.")),
    };
    let fault = Fault::new(code, detail).with("upstream_code", grpc_name(status.code()));
    let fault = match code {
        Code::ModelUnavailable => fault.retry_after(RETRY_UNAVAILABLE),
        Code::Overloaded => fault.retry_after(RETRY_OVERLOADED),
        _ => fault,
    };
    fault.caused_by(Upstream::new(status))
}

/// What a refusal says about the host that gave it, and so about asking another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The connection could not be made, or it broke: nobody knows who is there.
    Unreachable,
    /// It is there and cannot do its work: it says UNAVAILABLE, or what it says is no gRPC.
    Failing,
    /// It has more to do than it can. Where it runs out of memory it says so too: others have room, and it goes on.
    Busy,
    /// It lacks what was asked for, which costs it nothing.
    Lacking,
    /// Its model or its machine is broken, or what it was sent breaks every model alike: another host can tell.
    Either,
    /// Not about the host: any other would say the same.
    Nobody,
    /// Not about the host, which has done its work: there is no room for its answer here.
    Ours,
}

/// Whose fault a status is that does not say that time ran out ([`is_late`]). A transport's error has a source; what a server
/// sent has none.
pub(super) fn blame(status: &Status, target: &Target) -> Blame {
    let text = status.message();
    match status.code() {
        _ if as_no_room(status).is_some() => Blame::Ours,
        Grpc::InvalidArgument | Grpc::NotFound if names_version(text, &target.version) => Blame::Lacking,
        Grpc::NotFound => Blame::Lacking,
        Grpc::Unavailable if says_batcher_is_full(text) => Blame::Busy,
        Grpc::ResourceExhausted if !text.contains("larger than max") => Blame::Busy,
        Grpc::Unavailable | Grpc::Cancelled | Grpc::Unknown | Grpc::Internal if status.source().is_some() => {
            Blame::Unreachable
        }
        Grpc::Unavailable => Blame::Failing,
        Grpc::Internal if text.contains(UNDECODABLE) => Blame::Failing,
        Grpc::Internal | Grpc::Unknown | Grpc::Aborted | Grpc::DataLoss => Blame::Either,
        Grpc::Ok
        | Grpc::Cancelled
        | Grpc::InvalidArgument
        | Grpc::DeadlineExceeded
        | Grpc::AlreadyExists
        | Grpc::PermissionDenied
        | Grpc::Unauthenticated
        | Grpc::ResourceExhausted
        | Grpc::FailedPrecondition
        | Grpc::OutOfRange
        | Grpc::Unimplemented => Blame::Nobody,
    }
}

/// Whether time ran out, here, there, or at a proxy in between: Envoy calls that UNAVAILABLE, in words of its own. tonic's own
/// deadline is reported as Cancelled.
pub(super) fn is_late(status: &Status) -> bool {
    match status.code() {
        Grpc::DeadlineExceeded => true,
        Grpc::Cancelled => status.message().contains("Timeout expired"),
        Grpc::Unavailable => status.message() == "upstream request timeout",
        _ => false,
    }
}

/// How a refused call is counted in the metrics.
pub(super) fn outcome_of(refusal: &Status) -> &'static str {
    if as_no_room(refusal).is_some() { "no_room" } else { outcome(refusal.code()) }
}

/// The code in a word, for the metrics.
pub(super) fn outcome(code: Grpc) -> &'static str {
    match code {
        Grpc::Ok => "ok",
        Grpc::Cancelled => "cancelled",
        Grpc::Unknown => "unknown",
        Grpc::InvalidArgument => "invalid_argument",
        Grpc::DeadlineExceeded => "deadline_exceeded",
        Grpc::NotFound => "not_found",
        Grpc::AlreadyExists => "already_exists",
        Grpc::PermissionDenied => "permission_denied",
        Grpc::ResourceExhausted => "resource_exhausted",
        Grpc::FailedPrecondition => "failed_precondition",
        Grpc::Aborted => "aborted",
        Grpc::OutOfRange => "out_of_range",
        Grpc::Unimplemented => "unimplemented",
        Grpc::Internal => "internal",
        Grpc::Unavailable => "unavailable",
        Grpc::DataLoss => "data_loss",
        Grpc::Unauthenticated => "unauthenticated",
    }
}

/// How prost says that bytes are no message.
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// A host that gave no sign of life, neither for this call nor when asked for one; or all of them.
pub(super) fn silent(Target { model, .. }: &Target) -> Fault {
    let (code, detail) = unavailable(format!("The model server for '{model}' does not answer. Try again shortly."));
    Fault::new(code, detail).retry_after(RETRY_UNAVAILABLE)
}

/// No host is known: a name that could not be resolved.
pub(super) fn nowhere(Target { model, .. }: &Target) -> Fault {
    let (code, detail) = unavailable(format!("No model server for '{model}' is to be found. Try again shortly."));
    Fault::new(code, detail)
        .retry_after(RETRY_UNAVAILABLE)
        .caused_by("no address of --serving has been resolved; the log says why")
}

/// The call's deadline, as measured on this side.
pub(super) fn deadline_passed(target: &Target) -> Fault {
    let (code, detail) = deadline(&target.model);
    Fault::new(code, detail)
}

/// Whether the queue of batches is full, in the words that TensorFlow Serving's schedulers have had for it over the years.
/// A label that a client made up comes back in a text of another kind, so the word alone would not do.
fn says_batcher_is_full(text: &str) -> bool {
    ["The batch scheduling queue", "scheduling capacity is only", "all batch threads are busy"]
        .iter()
        .any(|words| text.contains(words))
        && !text.starts_with(NO_LABELS_YET)
}

/// How a label is refused before any is known; the label follows.
const NO_LABELS_YET: &str = "Model labels does not init yet";

/// Whether the refusal is about the version that the request chose.
fn names_version(text: &str, version: &VersionChoice) -> bool {
    match version {
        VersionChoice::Latest => false,
        VersionChoice::Number(_) => text.contains("Specific(") || text.contains("Could not find version"),
        VersionChoice::Label(_) => text.contains("servable version label"),
    }
}

fn unknown_version(Target { model, version }: &Target) -> (Code, String) {
    (Code::UnknownVersion, format!("Model '{model}' has no {version}. GET /v1/models/{model} lists its versions."))
}

fn deadline(model: &str) -> (Code, String) {
    (Code::ModelDeadline, format!("Model '{model}' did not answer within the request's deadline."))
}

fn unavailable(detail: String) -> (Code, String) {
    (Code::ModelUnavailable, detail)
}

fn overloaded(model: &str) -> (Code, String) {
    (Code::Overloaded, format!("The model server for '{model}' has more work than it can queue."))
}

fn contract(detail: String) -> (Code, String) {
    (Code::ModelContract, detail)
}

/// The name of a gRPC code as the specification writes it.
fn grpc_name(code: Grpc) -> &'static str {
    match code {
        Grpc::Ok => "OK",
        Grpc::Cancelled => "CANCELLED",
        Grpc::Unknown => "UNKNOWN",
        Grpc::InvalidArgument => "INVALID_ARGUMENT",
        Grpc::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Grpc::NotFound => "NOT_FOUND",
        Grpc::AlreadyExists => "ALREADY_EXISTS",
        Grpc::PermissionDenied => "PERMISSION_DENIED",
        Grpc::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Grpc::FailedPrecondition => "FAILED_PRECONDITION",
        Grpc::Aborted => "ABORTED",
        Grpc::OutOfRange => "OUT_OF_RANGE",
        Grpc::Unimplemented => "UNIMPLEMENTED",
        Grpc::Internal => "INTERNAL",
        Grpc::Unavailable => "UNAVAILABLE",
        Grpc::DataLoss => "DATA_LOSS",
        Grpc::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A status for the log: one line, its source kept.
#[derive(Debug)]
struct Upstream(Status);

impl Upstream {
    fn new(status: Status) -> Self {
        Self(status)
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // TensorFlow's texts hold newlines and tabs, and are bounded only by 1024 characters.
        let text: String = self.0.message().chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect();
        write!(f, "{}: {text}", grpc_name(self.0.code()))
    }
}

impl Error for Upstream {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(grpc: Grpc, text: &str, version: VersionChoice) -> Code {
        fault(Status::new(grpc, text), &Target { model: "m".to_owned(), version }).code()
    }

    /// The texts are TensorFlow Serving's own.
    #[test]
    fn every_row_of_the_contract_has_its_problem() {
        use VersionChoice::{Label, Latest, Number};
        let label = || Label("canary".to_owned());
        for (grpc, text, version, expected) in [
            (Grpc::InvalidArgument, "Missing ModelSpec", Latest, Code::ModelContract),
            (Grpc::InvalidArgument, "ModelSpec has no name specified.", Latest, Code::ModelContract),
            (
                Grpc::InvalidArgument,
                "Signature input alias: input_tensor(feed name: x:0) not found in request and no default value provided.",
                Latest,
                Code::ModelContract,
            ),
            (
                Grpc::InvalidArgument,
                "input tensor alias not found in signature: inputs. Inputs expected to be in the set {image_bytes}.",
                Latest,
                Code::ModelContract,
            ),
            (Grpc::InvalidArgument, "input must be 4-dimensional[512,512,3]", Latest, Code::ModelContract),
            (
                Grpc::InvalidArgument,
                "output tensor alias not found in signature: detection_masks Outputs expected to be in the set {a}.",
                Latest,
                Code::ModelContract,
            ),
            (Grpc::InvalidArgument, "duplicate output tensor alias: detection_boxes", Latest, Code::ModelContract),
            (
                Grpc::InvalidArgument,
                "Unknown image file format. One of JPEG, PNG required.",
                Latest,
                Code::ModelContract,
            ),
            (
                Grpc::FailedPrecondition,
                "Tensors with name 'X' from different tasks have different shapes and padding is turned off.",
                Latest,
                Code::ModelContract,
            ),
            (Grpc::FailedPrecondition, "Batched output tensor has 0 dimensions", Latest, Code::ModelContract),
            (
                Grpc::InvalidArgument,
                "GetModelMetadataRequest must specify at least one metadata_field",
                Latest,
                Code::ModelContract,
            ),
            (Grpc::InvalidArgument, "Metadata field foo is not supported", Latest, Code::ModelContract),
            (
                Grpc::Unavailable,
                "task size is 1 but scheduling capacity is only 0 (num_enqueued_batches=10, large-batch-splitting)",
                Latest,
                Code::Overloaded,
            ),
            (
                Grpc::Unavailable,
                "This task would start a fresh batch, but all batch threads are busy, so at present there is no processing capacity",
                Latest,
                Code::Overloaded,
            ),
            (Grpc::NotFound, "Servable not found for request: Latest(m)", Latest, Code::ModelUnavailable),
            (Grpc::NotFound, "Servable not found for request: Specific(m, 7)", Number(7), Code::UnknownVersion),
            (Grpc::InvalidArgument, "Unrecognized servable version label: canary", label(), Code::UnknownVersion),
            (Grpc::Unavailable, "Model labels does not init yet.canary", label(), Code::ModelUnavailable),
            (Grpc::Unavailable, "Model labels does not init yet.batch-x", label(), Code::ModelUnavailable),
            (
                Grpc::Unavailable,
                "Model labels does not init yet.all batch threads are busy",
                label(),
                Code::ModelUnavailable,
            ),
            (Grpc::FailedPrecondition, "Serving signature key \"foo\" not found.", Latest, Code::ModelContract),
            (Grpc::InvalidArgument, "input size does not match signature: 2!=1", Latest, Code::ModelContract),
            (Grpc::InvalidArgument, "Expects arg[0] to be uint8 but float is provided", Number(1), Code::ModelContract),
            (Grpc::InvalidArgument, "tensor parsing error: input_tensor", label(), Code::ModelContract),
            (Grpc::DeadlineExceeded, "Timed out waiting for notification", Latest, Code::ModelDeadline),
            (Grpc::Cancelled, "Timeout expired", Latest, Code::ModelDeadline),
            (Grpc::Unavailable, "upstream request timeout", Latest, Code::ModelDeadline),
            (
                Grpc::ResourceExhausted,
                "Run() timeout exceeded while waiting in batching queue",
                Latest,
                Code::Overloaded,
            ),
            (
                Grpc::Unavailable,
                "The batch scheduling queue to which this task was submitted is full; currently 10",
                Latest,
                Code::Overloaded,
            ),
            (
                Grpc::InvalidArgument,
                "Task size 33 is larger than maximum input batch size 32",
                Latest,
                Code::ModelContract,
            ),
            (Grpc::NotFound, "Could not find any versions of model m", Latest, Code::ModelUnavailable),
            (Grpc::NotFound, "Could not find version 7 of model m", Number(7), Code::UnknownVersion),
            (Grpc::Unavailable, "tcp connect error", Latest, Code::ModelUnavailable),
            (
                Grpc::OutOfRange,
                "Error, decoded message length too large: found 1388210 bytes, the limit is: 1000000 bytes",
                Latest,
                Code::ModelContract,
            ),
            (
                Grpc::ResourceExhausted,
                "Received message larger than max (1388210 vs. 1000000)",
                Latest,
                Code::ModelContract,
            ),
            (Grpc::Unimplemented, "", Latest, Code::ModelContract),
            (Grpc::Unauthenticated, "", Latest, Code::ModelContract),
            (Grpc::Internal, "", Latest, Code::ModelContract),
        ] {
            assert_eq!(code(grpc, text, version), expected, "{grpc:?} {text}");
        }
    }

    #[test]
    fn the_model_servers_words_reach_the_log_in_one_line_and_never_the_client() {
        let leak = "input must be 4-dimensional[512,512,3]\n\t [[{{node resize/ResizeBilinear}}]]";
        let target = Target { model: "m".to_owned(), version: VersionChoice::Latest };
        let fault = fault(Status::invalid_argument(leak), &target);
        assert!(
            !fault.detail().contains("node") && !fault.facts().values().any(|fact| fact.to_string().contains("node"))
        );
        let cause = fault.cause_chain().expect("kept");
        assert!(cause.contains("{{node resize/ResizeBilinear}}") && !cause.contains('\n'), "{cause}");
    }
}
