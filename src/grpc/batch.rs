//! Several photos in one call.

use futures::StreamExt;

use super::detection::Detector;
use super::message;
use super::proto::v1;
use crate::backend::Call;
use crate::fault::{Code, Fault};

/// Photos of a call at most.
const MAX_PHOTOS: usize = 16;
/// Photos of a call that are looked at beside each other, so that one call does not take every place.
const AT_ONCE: usize = 4;

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
    if images.len() > MAX_PHOTOS {
        let detail = format!("The request has {} photos; a call takes up to {MAX_PHOTOS}.", images.len());
        return Err(Fault::new(Code::InvalidRequest, detail).with("max_images", MAX_PHOTOS));
    }
    let params = message::params(model.as_ref(), options);
    let results = images.into_iter().map(|image| {
        let (params, model) = (params.clone(), model.as_ref());
        async move { message::result(detector.detect(image, model, params, call).await) }
    });
    Ok(v1::DetectBatchResponse { results: futures::stream::iter(results).buffered(AT_ONCE).collect().await })
}
