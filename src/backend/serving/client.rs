//! The three calls, each with its deadline, on whichever host is free.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use opentelemetry::propagation::Injector;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::bounded::Bounded;
use super::host::{Host, Lease, SIGN_PATIENCE};
use super::pool::{Pool, Route, Settings};
use super::predict::{self, Arrived, Framed};
use super::proto::tensorflow::serving::{
    GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, PredictRequest, PredictResponse,
    model_service_client::ModelServiceClient, model_spec, prediction_service_client::PredictionServiceClient,
};
use super::replica::OneHost;
use super::status::Blame;
use super::{answer, status, tls, wire};
use crate::backend::room::{AnswerRoom, ModelAnswers};
use crate::backend::{Backend, Call, Predict, Prediction, Replica, Target};
use crate::background::Background;
use crate::deadline::Deadline;
use crate::fault::{Code, Fault};
use crate::model::signature::Signature;
use crate::model::version::{VersionChoice, VersionStatus};
use crate::telemetry::metrics::Hosts;
use crate::telemetry::traces;
use crate::workers::Workers;

/// Bytes of an answer up to which it is read where it comes: a hundred boxes are some kilobytes. More takes as long as the way to a
/// core and back, or longer.
const SHORT_ANSWER: usize = 64 << 10;

/// Bytes of the states of a model's versions: what tonic takes by itself.
pub(super) const MAX_STATUS: usize = 4 << 20;

/// What a call is counted as that was given up at a host that says nothing.
const SILENT: &str = "silent";
/// What a call is counted as that was given up at a host that answers questions and does no work.
const STUCK: &str = "stuck";

/// Where the model server is told which span is its parent.
struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

/// A set of TensorFlow Serving hosts that serve the same models.
#[derive(Debug)]
pub struct Serving {
    pool: Arc<Pool>,
    settings: Settings,
    workers: Workers,
    /// Room for what hosts answer.
    answers: ModelAnswers,
    /// The only host to ask, where it is to be one.
    only: Option<Arc<Host>>,
}

/// How a version is named to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// By the number that it stands for there.
    Standing,
    /// As it was asked for.
    Literal,
}

/// What an answer says of the host that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// It does its work.
    Work,
    /// It is there.
    Life,
}

impl Shows {
    fn note(self, host: &Host) {
        match self {
            Self::Work => host.worked(),
            Self::Life => host.lives(),
        }
    }
}

/// Why another host is to be asked before one has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The host says nothing, to nobody: its answer is not waited for any longer.
    Silent,
    /// The host does no work, for nobody, and another may. It may be slow all the same: its answer is as good as another's.
    Stuck,
}

impl Serving {
    /// Reads answers into the room for `answers`, long ones on the `workers`; counts its calls in `series`, and has its tasks in the
    /// `background` for as long as it is there. Must be called inside a tokio runtime. Connects to nothing yet.
    ///
    /// # Errors
    /// When the files of TLS cannot be used.
    pub fn new(
        settings: Settings,
        workers: Workers,
        answers: ModelAnswers,
        series: &Hosts,
        background: &Background,
    ) -> Result<Self, tls::Error> {
        Ok(Self { pool: Arc::new(Pool::new(&settings, series, background)?), settings, workers, answers, only: None })
    }

    fn prediction(&self, channel: Channel) -> PredictionServiceClient<Bounded> {
        let most = self.settings.max_answer_bytes;
        PredictionServiceClient::new(Bounded::new(channel, most)).max_decoding_message_size(most)
    }

    /// Asks one host after the other until one can answer, within the deadline. All calls here only read, so a call that
    /// may have been carried out is safe to repeat. Hosts may differ in the versions they have loaded, so one that lacks
    /// the version is passed over like one that cannot be reached.
    ///
    /// Where the version that a target stands for at a host is gone, the call waits there for its successor.
    ///
    /// What a host refuses for a reason that may be its own or the call's ([`Blame::Either`]) is held against it once another
    /// host has done the same work, and against nobody where that one refuses it too: a photo that breaks every model must not
    /// put hosts out of rotation.
    ///
    /// So it is with a host that may be stuck or slow: another is asked beside it, as far as the budget for retries goes, the
    /// first answer is taken, and where it is the other's, the first host has failed.
    async fn ask<A, B, F>(
        &self,
        target: &Target,
        naming: Naming,
        shows: Shows,
        call: &Call,
        message: impl Fn(&VersionChoice) -> A,
        send: impl Fn(Channel, Request<A>, Arc<Host>) -> F,
    ) -> Result<B, Fault>
    where
        F: Future<Output = Result<Response<B>, Status>>,
    {
        let mut route = match &self.only {
            Some(host) => self.pool.route_to(host),
            None => self.pool.route(call.deadline).await,
        };
        let (message, send) = (&message, &send);
        let mut refused: Option<Fault> = None;
        let mut suspect: Option<Arc<Host>> = None;
        // Calls at hosts that another was asked beside, and those hosts.
        let mut late = FuturesUnordered::new();
        let mut doubted: Vec<(Arc<Host>, Instant)> = Vec::new();
        let mut next = route.first();
        if next.is_none() && route.is_silent() {
            return Err(status::silent(target));
        }
        while let Some(mut lease) = next {
            if call.deadline.passed() {
                return Err(status::deadline_passed(target));
            }
            lease.begins();
            let span = traces::call(lease.host().place());
            let mut metadata = MetadataMap::new();
            let id = MetadataValue::try_from(call.request_id.as_str()).expect("a request id is visible ASCII");
            metadata.insert("x-request-id", id);
            traces::inject(&span, call.caller.as_deref(), &mut Metadata(&mut metadata));
            let sent = Arc::new(OnceLock::new());
            let mut asking = Box::pin({
                let (host, channel, sent) = (Arc::clone(lease.host()), lease.channel(), Arc::clone(&sent));
                async move {
                    let standing = match naming {
                        Naming::Standing => host.standings().version(target).await,
                        Naming::Literal => None,
                    };
                    let named = standing.map(VersionChoice::Number);
                    let mut request = Request::new(message(named.as_ref().unwrap_or(&target.version)));
                    *request.metadata_mut() = metadata;
                    request.set_timeout(call.deadline.left());
                    let _ = sent.set(Instant::now());
                    (standing, send(channel, request, host).await)
                }
            });
            let answer = tokio::select! {
                biased;
                Some(answer) = first(&mut late, &mut refused) => {
                    suspect.iter().for_each(Host::failed);
                    return Ok(answer);
                }
                answer = call.deadline.bound(self.wait(&route, &lease, call.deadline, &sent, &mut asking)) => answer,
            };
            let outcome = match &answer {
                Ok(Ok((_, Ok(_)))) => status::outcome(tonic::Code::Ok),
                Ok(Ok((_, Err(refusal)))) => status::outcome_of(refusal),
                Ok(Err(Doubt::Silent)) => SILENT,
                Ok(Err(Doubt::Stuck)) => STUCK,
                Err(_) => status::outcome(tonic::Code::DeadlineExceeded),
            };
            lease.ended(outcome);
            traces::called(&span, outcome);
            let Ok(answer) = answer else {
                if self.is_behind(&route, lease.host(), &sent) {
                    lease.host().failed();
                }
                return Err(status::deadline_passed(target));
            };
            let (fault, blame) = match answer {
                Ok((_, Ok(answer))) => {
                    shows.note(lease.host());
                    let still = doubted.iter().filter(|(host, sent)| !host.has_worked_since(*sent));
                    still.map(|(host, _)| host).chain(&suspect).for_each(Host::failed);
                    return Ok(answer.into_inner());
                }
                Ok((_, Err(refusal))) if status::is_late(&refusal) => {
                    if self.is_behind(&route, lease.host(), &sent) {
                        lease.host().failed();
                    }
                    return Err(status::fault(refusal, target));
                }
                Ok((Some(version), Err(refusal))) => {
                    let named = Target { version: VersionChoice::Number(version), ..target.clone() };
                    let blame = status::blame(&refusal, &named);
                    lease.host().refused(blame);
                    if blame == Blame::Lacking {
                        if lease.host().standings().vacate(target, version) {
                            self.pool.disturbances().send_replace(());
                        }
                        next = Some(lease);
                        continue;
                    }
                    (status::fault(refusal, target), blame)
                }
                Ok((None, Err(refusal))) => {
                    let blame = status::blame(&refusal, target);
                    lease.host().refused(blame);
                    (status::fault(refusal, target), blame)
                }
                Err(Doubt::Silent) => (status::silent(target), Blame::Unreachable),
                Err(Doubt::Stuck) => {
                    tracing::debug!(host = %lease.host().place(), "no answer in half of the time: another is asked as well, as far as the budget goes");
                    doubted.extend(sent.get().map(|sent| (Arc::clone(lease.host()), *sent)));
                    late.push(async move {
                        let _span = span;
                        let answer = asking.await.1.map_err(|refusal| status::fault(refusal, target))?;
                        shows.note(lease.host());
                        Ok(answer.into_inner())
                    });
                    // Another, and never the same once more.
                    next = route.next(Blame::Busy).await;
                    continue;
                }
            };
            tracing::debug!(host = %lease.host().place(), ?blame, cause = fault.cause_chain(), "no answer");
            // Of several reasons, one that says the model is there weighs more than a host that is not.
            if refused.as_ref().is_none_or(|known| known.code() == Code::ModelUnavailable) {
                refused = Some(fault);
            }
            let host = Arc::clone(lease.host());
            drop((asking, lease, span));
            let is_disputed = blame == Blame::Either && suspect.replace(host).is_some();
            if blame == Blame::Ours {
                // One that is late may be what has the room.
                break;
            }
            if is_disputed || blame == Blame::Nobody {
                // Whoever has not answered yet would say the same.
                late.clear();
                break;
            }
            next = route.next(blame).await;
        }
        match call.deadline.bound(first(&mut late, &mut refused)).await {
            Ok(Some(answer)) => {
                suspect.iter().for_each(Host::failed);
                Ok(answer)
            }
            Err(_) => Err(status::deadline_passed(target)),
            Ok(None) => Err(refused.unwrap_or_else(|| status::nowhere(target))),
        }
    }

    /// The host's answer, where it is worth waiting for it alone.
    ///
    /// At a host that was found to be dead it is not where another is in rotation. Where none is, the call waits for half of its
    /// time, so that what is left is enough to say so. At a host that answers questions and has done no work for anybody, it
    /// waits for half of its time where another host is in rotation and the call may be made again.
    async fn wait<T>(
        &self,
        route: &Route<'_>,
        lease: &Lease,
        deadline: Deadline,
        sent: &OnceLock<Instant>,
        answer: &mut (impl Future<Output = T> + Unpin),
    ) -> Result<T, Doubt> {
        let silence = self.settings.silence;
        let pulse = silence / 4;
        let mut pulse = interval_at(Instant::now() + pulse, pulse);
        let begin = Instant::now();
        loop {
            tokio::select! {
                biased;
                answer = &mut *answer => return Ok(answer),
                _ = pulse.tick() => {
                    if begin.elapsed() >= silence {
                        lease.host().doubt(silence);
                    }
                    let (host, is_half_over) = (lease.host(), begin.elapsed() >= deadline.left());
                    let has_another = route.has_another();
                    if (!host.is_sound() && has_another) || (host.is_silent() && is_half_over) {
                        return Err(Doubt::Silent);
                    }
                    if has_another && route.may_repeat() && is_half_over && self.is_stuck(host, sent) {
                        return Err(Doubt::Stuck);
                    }
                }
            }
        }
    }

    /// Whether a call that was sent to a host then lets it be thought that the host does no work: for as long as it takes to find
    /// a host silent it was not answered, and nobody else was. A client that gives its call less time says nothing of the host.
    fn is_stuck(&self, host: &Host, sent: &OnceLock<Instant>) -> bool {
        let is_long_ago = |sent: &Instant| sent.elapsed() >= self.settings.silence + SIGN_PATIENCE;
        sent.get().is_some_and(|sent| is_long_ago(sent) && !host.has_worked_since(*sent))
    }

    /// Whether such a call says so, now that its time is over: another host has worked meanwhile, so the model is not merely slow.
    fn is_behind(&self, route: &Route<'_>, host: &Arc<Host>, sent: &OnceLock<Instant>) -> bool {
        self.is_stuck(host, sent) && sent.get().is_some_and(|sent| route.another_has_worked_since(host, *sent))
    }

    /// The same, to ask this host and no other.
    fn to(&self, host: &Arc<Host>) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            settings: self.settings.clone(),
            workers: self.workers.clone(),
            // The blank pictures of its warm-up are not to be refused for the photos of others.
            answers: ModelAnswers::new(self.settings.max_answer_bytes as u64),
            only: Some(Arc::clone(host)),
        }
    }

    /// How the version of a model is named: with a single host it is asked for literally.
    fn naming(&self) -> Naming {
        if self.only.is_some() { Naming::Literal } else { Naming::Standing }
    }

    /// What is in an answer; on a core where it is long. Beside the photos in work: it takes milliseconds.
    ///
    /// # Errors
    /// Where it is no answer at all, as tonic would say it, or there is no room for its numbers; within, what is wrong with one.
    async fn read(
        &self,
        Arrived { message, room }: Arrived,
        wanted: Arc<[String]>,
        deadline: Deadline,
    ) -> Result<Result<Prediction, Fault>, Status> {
        let max_bytes = self.settings.max_answer_bytes;
        let decode = |message| PredictResponse::decode(message).map_err(|error| Status::internal(error.to_string()));
        let take = move |answer, mut room: AnswerRoom| {
            let read = answer::prediction(answer, &wanted, max_bytes);
            let Ok(mut prediction) = read else { return Ok(read) };
            let numbers: usize = prediction.outputs.iter().map(|(_, tensor)| tensor.len()).sum();
            room.resize(numbers * size_of::<f32>()).map_err(status::no_room)?;
            prediction.room = Some(room);
            Ok(Ok(prediction))
        };
        let mut short = None;
        if message.len() <= SHORT_ANSWER {
            // A few bytes may stand for numbers without end.
            let answer = decode(message.clone())?;
            short = (answer::elements(&answer) <= SHORT_ANSWER / size_of::<f32>()).then_some(answer);
        }
        let read = if let Some(answer) = short {
            Ok(take(answer, room))
        } else {
            // The room goes along: whoever leaves meanwhile does not stop the job.
            let job = move || Ok(decode(message).and_then(|answer| take(answer, room)));
            self.workers.run_ahead(deadline, job).await
        };
        match read {
            Ok(read) => Ok(read?.map_err(|what| self.broken(&what))),
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// An answer that no TensorFlow Serving gives.
    fn broken(&self, what: &answer::Broken) -> Fault {
        Fault::new(
            Code::ModelContract,
            "The model server's answer does not have the form that TensorFlow Serving gives.",
        )
        .caused_by(format!("{what}, from {}", self.pool.addresses()))
    }
}

#[async_trait]
impl Backend for Serving {
    fn kind(&self) -> &'static str {
        "tensorflow-serving"
    }

    fn describe(&self) -> String {
        format!("TensorFlow Serving at {}", self.pool.addresses())
    }

    async fn versions(&self, model: &str, call: &Call) -> Result<Vec<VersionStatus>, Fault> {
        let target = Target { model: model.to_owned(), version: VersionChoice::Latest };
        let request = |version: &_| GetModelStatusRequest { model_spec: Some(spec(&target.model, version, "")) };
        let send = |channel, request, _| async move {
            ModelServiceClient::new(Bounded::new(channel, MAX_STATUS)).get_model_status(request).await
        };
        let answer = self.ask(&target, Naming::Literal, Shows::Life, call, request, send).await?;
        Ok(answer::versions(&answer))
    }

    async fn signature(&self, target: &Target, name: Option<&str>, call: &Call) -> Result<(i64, Signature), Fault> {
        let request = |version: &_| GetModelMetadataRequest {
            model_spec: Some(spec(&target.model, version, "")),
            metadata_field: vec![answer::SIGNATURE_FIELD.to_owned()],
        };
        let send = |channel, request, _| {
            let mut client = self.prediction(channel);
            async move { client.get_model_metadata(request).await }
        };
        let answer = self.ask(target, self.naming(), Shows::Life, call, request, send).await?;
        answer::signature(answer, name).map_err(|what| self.broken(&what))
    }

    async fn predict(&self, predict: Predict, call: &Call) -> Result<Prediction, Fault> {
        let Predict { target, signature, input: (key, tensor), outputs } = predict;
        let tensor = wire::encode(tensor);
        let message = |version: &_| {
            let model_spec = Some(spec(&target.model, version, &signature));
            let request = PredictRequest { model_spec, output_filter: outputs.clone(), ..Default::default() };
            Framed::new(&request, &key, tensor.clone())
        };
        // A number may be named instead, which has some bytes more.
        let named = [&target.version, &VersionChoice::Number(i64::MAX)];
        let found = named.map(|version| message(version).message_len()).into_iter().max().unwrap_or_default();
        let limit = self.settings.max_request_bytes;
        if found > limit {
            let detail = format!(
                "As model '{}' takes it, this photo is a request of {found} bytes, and this service sends up to {limit}. Send it at a smaller size; whoever runs the service can raise --serving-max-request-bytes, or lower --max-side.",
                target.model
            );
            let fault = Fault::new(Code::ImageTooLarge, detail);
            return Err(fault.with("bytes", found).with("max_bytes", limit));
        }
        let wanted: Arc<[String]> = outputs.clone().into();
        let send = |channel, request, host: Arc<Host>| {
            let wanted = Arc::clone(&wanted);
            async move {
                let (max_bytes, room) = (self.settings.max_answer_bytes, self.answers.begin());
                let arrived = predict::call(channel, request, max_bytes, room).await?;
                // However long a core is waited for to look into it.
                host.answered();
                self.read(arrived, wanted, call.deadline).await.map(Response::new)
            }
        };
        self.ask(&target, self.naming(), Shows::Work, call, message, send).await?
    }

    fn replicas(&self) -> Vec<Arc<dyn Replica>> {
        let one = |host: Arc<Host>| -> Arc<dyn Replica> {
            let client = self.to(&host);
            Arc::new(OneHost::new(host, client))
        };
        self.pool.in_use().into_iter().map(one).collect()
    }

    fn disturbances(&self) -> Option<watch::Receiver<()>> {
        Some(self.pool.disturbances().subscribe())
    }
}

/// The first answer that comes of these calls; where none does, one says why.
async fn first<T>(
    calls: &mut FuturesUnordered<impl Future<Output = Result<T, Fault>>>,
    refused: &mut Option<Fault>,
) -> Option<T> {
    while let Some(outcome) = calls.next().await {
        match outcome {
            Ok(answer) => return Some(answer),
            Err(fault) => _ = refused.get_or_insert(fault),
        }
    }
    None
}

fn spec(model: &str, version: &VersionChoice, signature: &str) -> ModelSpec {
    let version_choice = match version {
        VersionChoice::Latest => None,
        VersionChoice::Number(number) => Some(model_spec::VersionChoice::Version(*number)),
        VersionChoice::Label(label) => Some(model_spec::VersionChoice::VersionLabel(label.clone())),
    };
    ModelSpec { name: model.to_owned(), version_choice, signature_name: signature.to_owned() }
}
