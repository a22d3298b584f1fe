//! Several photos in one call.

use futures::StreamExt;

use super::detection::Detector;
use super::message;
use super::proto::v1;
use crate::backend::Call;
use crate::fault::{Code, Fault};

/// Each photo's own result or failure, in the order in which they were sent.
pub(super) async fn detect(
    detector: &Detector,
    request: v1::DetectBatchRequest,
    call: &Call,
) -> Result<v1::DetectBatchResponse, Fault> {
    let v1::DetectBatchRequest { images, model, options } = request;
    if images.is_empty() {
        return Err(Fault::new(Code::MissingImage, "The request has no photo in `images`."));
    }
    let bounds = detector.service().batch;
    bounds.check(images.len())?;
    let params = message::params(model.as_ref(), options);
    let results = images.into_iter().zip(0..).map(|(image, index)| {
        let (params, model) = (params.clone(), model.as_ref());
        async move { message::result(index, detector.detect(image, model, params, call).await) }
    });
    Ok(v1::DetectBatchResponse { results: futures::stream::iter(results).buffered(bounds.at_once).collect().await })
}
