//! Assembly: the one file that knows everything.

use std::hash::Hash;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::OptionFuture;
use opentelemetry_otlp::ExporterBuildError;
use rustls::RootCertStore;
use tokio::net::TcpListener;

use crate::access::Access;
use crate::access::client::TrustedProxies;
use crate::access::key_files;
use crate::access::keys::Keys;
use crate::access::rate::{Limiter, Rate};
use crate::admission::Admission;
use crate::answering::Answering;
use crate::backend::Call;
use crate::backend::embedded::{Engine, LibraryError, LoadError, OnnxRuntime};
use crate::backend::room::ModelAnswers;
use crate::backend::serving;
use crate::background::Background;
use crate::config::{Labels, ModelSettings, Runs, Settings};
use crate::deadline::Deadline;
use crate::detect::{Catalog, Model, Pipeline, Profile};
use crate::fetch::address::AddressPolicy;
use crate::fetch::resolve::SystemResolver;
use crate::fetch::{self, Fetcher, NoRoots, Scheme};
use crate::http;
use crate::http::metrics::Scraping;
use crate::http::server::{Bounds, Identity, Routes, Server, TlsError};
use crate::lifecycle::{Lifecycle, Phase, Shutdown};
use crate::model::adapter::{self, Unfit};
use crate::model::labels::{self, LabelMap};
use crate::model::version::VersionChoice;
use crate::request_id::RequestId;
use crate::service::{Current, Service};
use crate::telemetry::metrics::Metrics;
use crate::workers::Workers;

mod backends;
mod reloading;

use backends::Backends;
pub use reloading::{Reloading, Seen};

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The label map cannot be used.
    #[error("--labels")]
    Labels(#[source] labels::LoadError),
    /// The model file cannot be used.
    #[error("--model-file {}", .path.display())]
    ModelFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// A model in this process loads, and no adapter understands it.
    #[error(
        "the model '{model}' cannot be used; docs/MODELS.md says what is understood, and how to say it of a model of another kind"
    )]
    Unfit {
        /// Which model.
        model: String,
        /// What was found, and what would have been needed.
        #[source]
        source: Unfit,
    },
    /// The built-in detector cannot be loaded.
    #[error("the built-in detector cannot be loaded")]
    BuiltIn(#[source] LoadError),
    /// The engine cannot be used.
    #[error("--onnx-runtime {}", .path.display())]
    OnnxRuntime {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LibraryError,
    },
    /// The keys cannot be used.
    #[error("--api-keys")]
    Keys(#[source] key_files::LoadError),
    /// Everybody on the network could ask.
    #[error(
        "{address} can be reached from other machines, and no keys are set, so that everybody there could use this service: give keys with --api-keys FILE, or say --allow-anonymous where somebody else sees to that, or listen on 127.0.0.1"
    )]
    OpenToAll {
        /// Which address.
        address: SocketAddr,
    },
    /// The files of TLS towards TensorFlow Serving cannot be used.
    #[error("--serving-ca, --serving-client-cert, --serving-client-key")]
    ServingTls(#[source] serving::tls::Error),
    /// Photos cannot be fetched.
    #[error("--image-url-schemes")]
    Fetch(#[source] NoRoots),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; choose another with {flag} (port 0 takes any free port)")]
    Listen {
        /// Which flag names it.
        flag: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("--tls-certificate, --tls-key")]
    Tls(#[source] TlsError),
    /// The collector of traces cannot be used.
    #[error("--otlp-endpoint")]
    Traces(#[source] ExporterBuildError),
    /// The server stopped with an error.
    #[error("the server failed")]
    Serve(#[source] io::Error),
    /// A part of the service that runs all the time does so no longer.
    #[error("the task '{0}' broke, and the service with it; the log says how")]
    Crashed(&'static str),
}

/// Bytes of documents and pages that wait to be read. They are the same for everybody, and the largest has 1.5 MB.
const OPEN_ANSWERS: u64 = 64 << 20;

/// What outlives a service: cores, tasks in the background, and the places where models run. A service that takes the place of
/// another is made of the same.
pub struct Assembly {
    workers: Workers,
    /// Room for what model servers answer.
    answers: ModelAnswers,
    background: Background,
    engine: Engine,
    metrics: Arc<Metrics>,
    backends: Backends,
}

impl Assembly {
    /// For services with as many workers, and the engine, that these settings say.
    ///
    /// # Errors
    /// When the engine cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, StartError> {
        Ok(Self {
            workers: Workers::new(settings.worker_count()),
            answers: settings.model_answers(),
            background: Background::default(),
            engine: engine(settings)?,
            metrics: Arc::new(Metrics::new()),
            backends: Backends::default(),
        })
    }

    /// Puts a service together, to take the place of an old one where there is one: what both have in common goes on as it is.
    /// Must be called inside a tokio runtime; connects to nothing yet, and may read files.
    ///
    /// # Errors
    /// When a file that the settings name cannot be used.
    pub fn service(&self, settings: &Settings, old: Option<&Service>) -> Result<Service, StartError> {
        let admission = settings.admission();
        let pipeline = Pipeline {
            limits: settings.limits(),
            workers: self.workers.clone(),
            admission: match old {
                Some(old) => old.pipeline.admission.renewed(admission),
                None => Admission::new(admission),
            },
            metrics: Arc::clone(&self.metrics),
        };
        let access = access(settings, old.map(|old| &old.access))?;
        let fetcher = fetcher(settings, old.and_then(|old| old.fetcher.as_ref()))?;
        // Last, because it forgets the backends of the old one.
        let catalog = self.catalog(settings, old.map(|old| &old.catalog))?;
        Ok(Service {
            access,
            catalog,
            pipeline,
            batch: settings.batch(),
            head: settings.head(),
            shape: settings.shape(),
            request_timeout: settings.request_timeout(),
            arriving: settings.arriving(old.map(|old| &old.arriving)),
            model_answers: self.answers.clone(),
            answering: settings.answering(old.map(|old| &old.answering)),
            answering_open: old.map_or_else(|| Answering::new(OPEN_ANSWERS), |old| old.answering_open.clone()),
            lifecycle: old.map(|old| old.lifecycle.clone()).unwrap_or_default(),
            background: self.background.clone(),
            metrics: Arc::clone(&self.metrics),
            fetcher,
        })
    }

    /// The models that the settings declare, made as a whole or not at all.
    fn catalog(&self, settings: &Settings, old: Option<&Catalog>) -> Result<Catalog, StartError> {
        let mut backends = self.backends.replace();
        let mut models = Vec::new();
        for declared in settings.models() {
            let backend = backends.of(&declared.runs, settings, self)?;
            if let Some(signature) = backend.fixed_signature() {
                let unfit = |source| StartError::Unfit { model: declared.name.clone(), source };
                adapter::fit(signature, &declared.mapping).map_err(unfit)?;
            }
            let model = Model::new(profile(settings, &declared)?, backend, self.workers.clone());
            let old = old.and_then(|old| old.iter().find(|old| old.name() == model.name()));
            models.push(match old {
                Some(old) => model.in_place_of(old),
                None => model,
            });
        }
        backends.done();
        Ok(Catalog::new(models))
    }
}

/// Puts the service together. Must be called inside a tokio runtime; connects to nothing yet.
///
/// # Errors
/// When a file that the settings name cannot be used.
pub fn build(settings: &Settings) -> Result<Service, StartError> {
    Assembly::new(settings)?.service(settings, None)
}

/// Refuses to serve everybody by mistake: without keys, only loopback is listened on unless the settings say otherwise.
///
/// # Errors
/// When the address can be reached from other machines and neither keys nor permission are set.
pub fn check_exposure(settings: &Settings) -> Result<(), StartError> {
    let address = settings.listen;
    let is_open = settings.api_keys.is_none() && !settings.allow_anonymous;
    if is_open && !address.ip().to_canonical().is_loopback() {
        return Err(StartError::OpenToAll { address });
    }
    Ok(())
}

/// What fetches photos by their addresses, where that is allowed: the old one where nothing has changed, with its connections and
/// with what it is fetching, which counts towards what may be fetched at once.
///
/// # Errors
/// When https is allowed, and no authority is trusted.
fn fetcher(settings: &Settings, old: Option<&Arc<Fetcher>>) -> Result<Option<Arc<Fetcher>>, StartError> {
    let settings = settings.fetch();
    if settings.schemes.is_empty() {
        return Ok(None);
    }
    if let Some(old) = old.filter(|old| *old.settings() == settings) {
        return Ok(Some(Arc::clone(old)));
    }
    let is_secure = settings.schemes.contains(&Scheme::Https);
    let roots = if is_secure { fetch::system_roots().map_err(StartError::Fetch)? } else { RootCertStore::empty() };
    let fetcher = Fetcher::new(settings, AddressPolicy::public(), Arc::new(SystemResolver::default()), roots);
    Ok(Some(Arc::new(fetcher)))
}

fn access(settings: &Settings, old: Option<&Access>) -> Result<Access, StartError> {
    let keys = match (&settings.api_keys, old.and_then(|old| old.keys.as_ref())) {
        // They are read again by themselves.
        (Some(path), Some(keys)) if keys.path() == path => Some(Arc::clone(keys)),
        (Some(path), _) => Some(Arc::new(Keys::load(path).map_err(StartError::Keys)?)),
        (None, _) => None,
    };
    Ok(Access {
        keys,
        per_key: limiter(settings.key_rate(), old.and_then(|old| old.per_key.as_ref())),
        per_address: limiter(settings.address_rate(), old.and_then(|old| old.per_address.as_ref())),
        trusted_proxies: TrustedProxies::new(settings.trusted_proxies.clone()),
        origins: settings.cors_origins.clone(),
    })
}

/// The old one, with all that it has counted, where the rate is the same.
fn limiter<K: Hash + Eq>(rate: Option<Rate>, old: Option<&Arc<Limiter<K>>>) -> Option<Arc<Limiter<K>>> {
    let rate = rate?;
    let old = old.filter(|old| old.rate() == rate);
    Some(old.map_or_else(|| Arc::new(Limiter::new(rate)), Arc::clone))
}

/// What runs the models of this process.
fn engine(settings: &Settings) -> Result<Engine, StartError> {
    let Some(path) = &settings.onnx_runtime else { return Ok(Engine::Rten) };
    let wrong = |source| StartError::OnnxRuntime { path: path.clone(), source };
    Ok(Engine::OnnxRuntime(OnnxRuntime::open(path).map_err(wrong)?))
}

/// What the settings say of a model.
fn profile(settings: &Settings, model: &ModelSettings) -> Result<Profile, StartError> {
    let labels = match model.labels.as_ref().or(settings.labels.as_ref()) {
        Some(Labels::Coco) => LabelMap::coco(),
        Some(Labels::File(path)) => LabelMap::load(path).map_err(StartError::Labels)?,
        None if model.runs == Runs::Embedded(None) => LabelMap::coco(),
        // A wrong label is worse than none: without a map of its own a model's classes are called by their ids.
        None => LabelMap::empty(),
    };
    let (remote, version, signature) = match &model.runs {
        Runs::Embedded(_) => (model.name.clone(), VersionChoice::Latest, None),
        Runs::Serving { remote, version, signature, .. } => (remote.clone(), version.clone(), signature.clone()),
    };
    Ok(Profile {
        name: model.name.clone(),
        remote,
        version,
        signature,
        labels,
        mapping: model.mapping.clone(),
        defaults: settings.defaults(model),
        max_side: model.max_side.unwrap_or(settings.max_side),
    })
}

/// Who the service is to its clients, where it speaks TLS.
///
/// # Errors
/// When the certificate or its key cannot be used.
pub fn identity(settings: &Settings) -> Result<Option<Arc<Identity>>, StartError> {
    let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else { return Ok(None) };
    Ok(Some(Arc::new(Identity::load(certificate, key).map_err(StartError::Tls)?)))
}

/// A service that listens, ready to run.
pub struct Listening {
    listener: TcpListener,
    succession: Succession,
    bounds: Bounds,
    identity: Option<Arc<Identity>>,
    address: SocketAddr,
    /// Where the metrics are scraped, if not where requests are answered.
    metrics: Option<TcpListener>,
}

/// What bounds the connections of those who scrape the metrics: they are few, and ask for little.
const SCRAPERS: usize = 16;

impl Listening {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is not to be had.
    pub async fn bind(service: Service, bounds: Bounds, address: SocketAddr) -> Result<Self, StartError> {
        let (listener, address) = listen(address, "--listen").await?;
        let current = Current::new(service);
        let routes = Routes::new(http::front(&current, Scraping::Here));
        let succession = Succession { current, routes, scraping: Scraping::Here };
        Ok(Self { listener, succession, bounds, identity: None, address, metrics: None })
    }

    /// Takes another address for the metrics, where there is one, and gives them there alone.
    ///
    /// # Errors
    /// When it is not to be had.
    pub async fn with_metrics_at(mut self, address: Option<SocketAddr>) -> Result<Self, StartError> {
        if let Some(address) = address {
            self.metrics = Some(listen(address, "--metrics-listen").await?.0);
            self.succession.scraping = Scraping::Elsewhere;
            self.succession.route();
        }
        Ok(self)
    }

    /// Where the metrics are scraped, if not where requests are answered.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Speaks TLS, where there is an identity.
    #[must_use]
    pub fn as_identity(mut self, identity: Option<Arc<Identity>>) -> Self {
        self.identity = identity;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves now.
    pub fn service(&self) -> Arc<Service> {
        self.succession.current()
    }

    /// Where another service can be put in its place.
    pub fn succession(&self) -> Succession {
        self.succession.clone()
    }

    /// Answers requests until `stop` completes, and goes through the last phases then.
    ///
    /// # Errors
    /// When a task in the background breaks.
    pub async fn serve(self, stop: impl Future<Output = ()>, shutdown: Shutdown) -> Result<(), StartError> {
        let Succession { current, routes, .. } = self.succession;
        let service = current.get();
        let (lifecycle, background) = (service.lifecycle.clone(), service.background.clone());
        let metrics = Arc::clone(&service.metrics);
        drop(service);
        // Of a life of its own: it is scraped until the last request is answered.
        let scraped = self.metrics.map(|listener| {
            let bounds = Bounds { connections: SCRAPERS, ..self.bounds.clone() };
            let routes = Routes::new(http::metrics::router(current));
            Server::new(routes, bounds, None, Lifecycle::new(), Arc::clone(&metrics)).serve(listener)
        });
        let server = Server::new(routes, self.bounds, self.identity.as_ref(), lifecycle.clone(), metrics);
        let end = async {
            stop.await;
            lifecycle.advance(Phase::Draining);
            tokio::time::sleep(shutdown.delay).await;
            lifecycle.advance(Phase::Stopping);
            tokio::time::sleep(shutdown.grace).await;
        };
        tokio::select! {
            () = server.serve(self.listener) => Ok(()),
            () = end => {
                let grace = shutdown.grace;
                tracing::warn!(?grace, "connections were still open after the grace and are cut off");
                Ok(())
            }
            Some(()) = OptionFuture::from(scraped) => Ok(()),
            task = background.crashed() => Err(StartError::Crashed(task)),
        }
    }
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |source| StartError::Listen { flag, address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Where a service is put in the place of the one in force, while requests are answered. Clones share it.
#[derive(Clone)]
pub struct Succession {
    current: Current,
    routes: Routes,
    scraping: Scraping,
}

impl Succession {
    /// The service in force.
    pub fn current(&self) -> Arc<Service> {
        self.current.get()
    }

    /// From now on requests go to this one; those that have begun keep the one that they began with.
    pub fn install(&self, service: Service) {
        self.current.replace(service);
        self.route();
    }

    fn route(&self) {
        self.routes.replace(http::front(&self.current, self.scraping));
    }
}

/// Begins what a service does beside answering requests: it follows the versions of its models, and asks each model once.
pub fn look_after(service: Arc<Service>, settings: &Settings) {
    let background = service.background.clone();
    service.catalog.follow_versions(&background, settings.version_pace(), settings.request_timeout());
    background.spawn("warm-up", warm_up(service));
}

/// Asks every model once, so that the first photo does not pay for it, and says in the log how each stands.
///
/// Apart from [`Listening::serve`], so that whoever watches what the model server is sent can do without.
pub async fn warm_up(service: Arc<Service>) {
    let models = service.catalog.iter().map(|model| warm_up_model(&service, model));
    futures::future::join_all(models).await;
}

async fn warm_up_model(service: &Service, model: &Arc<Model>) {
    let call = Call::new(Deadline::after(service.request_timeout), RequestId::generate());
    let backend = model.backend().describe();
    match model.ready(&call, service.request_timeout).await {
        Ok(resolved) => {
            let kind = resolved.adapter.kind;
            tracing::info!(model = model.name(), version = resolved.version, kind, backend, "ready");
        }
        Err(fault) => tracing::warn!(
            model = model.name(),
            backend,
            code = fault.code().name(),
            detail = fault.detail(),
            cause = fault.cause_chain(),
            "not ready yet; `spotter doctor` with the same settings says what to do"
        ),
    }
    if model.labels().is_empty() {
        tracing::warn!(
            model = model.name(),
            "no label map: classes are called class_1, class_2, …; give one with --labels"
        );
    }
}
