//! Several photos in one call.

use std::sync::Arc;

use futures::StreamExt;

use super::answers::Weighed;
use super::detection::Detector;
use super::message;
use super::proto::v1;
use crate::answering::Held;
use crate::arriving::Room;
use crate::backend::Call;
use crate::fault::{Code, Fault, unless_panicked};
use crate::fetch::{Allowance, Source};

/// Each photo's own result or failure, in the order in which they were sent, and the room that these have among the answers.
pub(super) async fn detect(
    detector: &Detector,
    request: v1::DetectBatchRequest,
    room: Arc<Room>,
    call: &Call,
) -> Result<(Weighed<v1::DetectBatchResponse>, Vec<Held>), Fault> {
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
        async move {
            let counted = async {
                let response = looking.await?;
                let held = detector.service().answering.take(response.at_most)?;
                Ok((response, held))
            };
            match unless_panicked(counted).await {
                Ok((response, held)) => (response.within(|response| message::result(index, Ok(response))), held),
                Err(fault) => (Weighed::new(message::result(index, Err(fault))), None),
            }
        }
    });
    let results: Vec<_> = futures::stream::iter(results).buffered(bounds.at_once).collect().await;
    let (results, rooms): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    let lengths: Vec<_> = results.iter().map(|result| result.at_most).collect();
    let results = results.into_iter().map(|result| result.message).collect();
    let answer = Weighed::of_parts(v1::DetectBatchResponse { results }, lengths);
    Ok((answer, rooms.into_iter().flatten().collect()))
}
