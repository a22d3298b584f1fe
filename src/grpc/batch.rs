//! Several photos in one call.

use std::sync::Arc;

use futures::StreamExt;

use super::detection::Detector;
use super::message;
use super::proto::v1;
use crate::arriving::Room;
use crate::backend::Call;
use crate::fault::{Code, Fault, unless_panicked};
use crate::fetch::{Allowance, Source};

/// Each photo's own result or failure, in the order in which they were sent.
pub(super) async fn detect(
    detector: &Detector,
    request: v1::DetectBatchRequest,
    room: Arc<Room>,
    call: &Call,
) -> Result<v1::DetectBatchResponse, Fault> {
    let v1::DetectBatchRequest { images, image_urls, model, options } = request;
    let bounds = detector.service().batch;
    bounds.check(images.len() + image_urls.len())?;
    let sent = images.into_iter().map(|image| Source::Sent(image).held(&room));
    let photos: Vec<_> = sent.chain(image_urls.into_iter().map(Source::At)).collect();
    drop(room);
    if photos.is_empty() {
        return Err(Fault::new(Code::MissingImage, "The request has no photo in `images` and none in `image_urls`."));
    }
    let params = message::params(model.as_ref(), options);
    let allowance = Allowance::new(bounds.max_bytes);
    let results = photos.into_iter().zip(0..).map(|(photo, index)| {
        let (params, model) = (params.clone(), model.as_ref());
        let image = detector.service().photo(photo, &allowance, call);
        let looking = Box::pin(detector.detect(image, model, params, call));
        async move { message::result(index, unless_panicked(looking).await) }
    });
    Ok(v1::DetectBatchResponse { results: futures::stream::iter(results).buffered(bounds.at_once).collect().await })
}
