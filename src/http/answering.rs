//! Large answers take room, where their length is known, before they are handed to the connection.
//!
//! Of the gRPC front's and of batches the length is not known here: they see to their own.

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answering::Answering;

/// Counts an answer, or refuses it where there is no room; the connection keeps the room for as long as the answer.
pub(super) async fn counted(State(answering): State<Answering>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let length = response.body().size_hint().exact().unwrap_or_default();
    match answering.take(usize::try_from(length).unwrap_or(usize::MAX)) {
        Ok(Some(held)) => {
            response.extensions_mut().insert(held);
            response
        }
        Ok(None) => response,
        Err(fault) => fault.into_response(),
    }
}
