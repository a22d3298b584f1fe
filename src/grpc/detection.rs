//! `spotter.v1.DetectionService`: it translates and does not think, as the REST front.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::answers::{self, Weighed};
use super::proto::v1;
use super::status::Failed;
use super::upload::Rooms;
use super::{batch, message, status, stream};
use crate::access::Caller;
use crate::answering::Held;
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::detect::{Job, Keep, Model, Param};
use crate::fault::Fault;
use crate::fetch::Allowance;
use crate::service::{Current, Service};

/// What answers the calls; clones share it.
#[derive(Clone)]
pub(super) struct Detector {
    service: Arc<Service>,
    current: Current,
}

impl Detector {
    pub(super) fn new(service: Arc<Service>, current: Current) -> Self {
        Self { service, current }
    }

    /// With the service that is in force now, for calls that go on for longer than a request does.
    pub(super) fn renewed(self) -> Self {
        Self { service: self.current.get(), ..self }
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    fn model(&self, choice: Option<&v1::ModelChoice>) -> Result<&Model, Fault> {
        self.service.model(choice.map(|choice| choice.name.as_str()).filter(|name| !name.is_empty()))
    }

    /// The objects in one photo, which is asked for once it is known that its options can be met.
    pub(super) async fn detect(
        &self,
        image: impl Future<Output = Result<Bytes, Fault>>,
        choice: Option<&v1::ModelChoice>,
        params: Vec<Param>,
        call: &Call,
    ) -> Result<Weighed<v1::DetectResponse>, Fault> {
        let Service { pipeline, .. } = self.service();
        let model = self.model(choice)?;
        let wanted = pipeline.wanted(model, params, call).await?;
        let normalized = wanted.options.normalized;
        let image = image.await?;
        let answer = pipeline.detect(model, Job { image, wanted, keep: Keep::Nothing }, call).await?;
        // Run lengths and corners are made of masks only now, which takes milliseconds. The files of crops are there.
        let has_masks = answer.detections.iter().any(|found| found.segmentation.is_some());
        let (name, request_id) = (model.name().to_owned(), call.request_id.clone());
        let write = move || Ok(Weighed::new(message::response(&name, &answer, normalized, &request_id)));
        if has_masks { pipeline.workers.run(call.deadline, write).await } else { write() }
    }

    /// A message in its frame, with the room that it takes where it is large.
    ///
    /// # Errors
    /// `OVERLOADED` where there is none, `DEADLINE_EXCEEDED` where there was no time left.
    pub(super) async fn framed<M: Message + 'static>(
        &self,
        message: Weighed<M>,
        deadline: Deadline,
    ) -> Result<(Bytes, Option<Held>), Fault> {
        let held = self.service.answering.take(message.at_most)?;
        Ok((message.framed(&self.service.pipeline.workers, deadline).await?, held))
    }
}

/// What the layers made of the call.
fn call<T>(request: &Request<T>) -> Call {
    request.extensions().get::<Call>().expect("the outermost layer makes one for every request").clone()
}

/// The room of the messages that have arrived.
fn rooms<T>(request: &Request<T>) -> Rooms {
    request.extensions().get::<Rooms>().expect("the layer around the services makes them").clone()
}

fn failed<T>(request: &Request<T>) -> Failed {
    request.extensions().get::<Failed>().cloned().unwrap_or_default()
}

#[tonic::async_trait]
impl v1::detection_service_server::DetectionService for Detector {
    async fn detect(&self, request: Request<v1::DetectRequest>) -> Result<Response<v1::DetectResponse>, Status> {
        let (call, failed, room) = (call(&request), failed(&request), rooms(&request).take());
        let v1::DetectRequest { photo, model, options } = request.into_inner();
        let params = message::params(model.as_ref(), options);
        let allowance = Allowance::new(self.service.pipeline.limits.max_bytes);
        let image = self.service.photo(message::photo(photo).held(&room), &allowance, &call);
        drop(room);
        let framed = async {
            let answer = Detector::detect(self, image, model.as_ref(), params, &call).await?;
            self.framed(answer, call.deadline).await
        };
        let answer = framed.await.map(|(frame, held)| answers::one(frame, held));
        answer.map_err(|fault| status::refuse(fault, &call.request_id, &failed))
    }

    async fn detect_batch(
        &self,
        request: Request<v1::DetectBatchRequest>,
    ) -> Result<Response<v1::DetectBatchResponse>, Status> {
        let (call, failed, room) = (call(&request), failed(&request), rooms(&request).take());
        let framed = async {
            let (answer, rooms) = batch::detect(self, request.into_inner(), room, &call).await?;
            let held = self.service.answering.whole(answer.at_most, rooms);
            // Photos that were answered in time are not lost to one that was not: the call's own may be over.
            let deadline = Deadline::after(self.service.request_timeout);
            Ok((answer.framed(&self.service.pipeline.workers, deadline).await?, held))
        };
        let answer = framed.await.map(|(frame, held)| answers::one(frame, held));
        answer.map_err(|fault| status::refuse(fault, &call.request_id, &failed))
    }

    /// See [`answers`]: what is sent is written there.
    type StreamDetectStream = futures::stream::Empty<Result<v1::StreamDetectResponse, Status>>;

    async fn stream_detect(
        &self,
        request: Request<Streaming<v1::StreamDetectRequest>>,
    ) -> Result<Response<Self::StreamDetectStream>, Status> {
        let (call, failed, rooms) = (call(&request), failed(&request), rooms(&request));
        let caller = request.extensions().get::<Caller>().expect("the layer of access knows who asks").clone();
        let frames = stream::Frames::new(request.into_inner(), rooms);
        let answers = stream::detect(self.clone(), frames, stream::Opened { call, caller, failed });
        Ok(answers::written(futures::stream::empty(), answers))
    }

    async fn list_models(&self, _: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        let catalog = &self.service().catalog;
        let default = catalog.default_model().name();
        let model = |model: &Arc<Model>| v1::Model {
            name: model.name().to_owned(),
            default: model.name() == default,
            backend: model.backend().kind().to_owned(),
            labels: model.labels().len() as u32,
        };
        Ok(Response::new(v1::ListModelsResponse { models: catalog.iter().map(model).collect() }))
    }
}
