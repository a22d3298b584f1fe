//! Assembly: the one file that knows everything.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::OptionFuture;
use rustls::RootCertStore;
use tokio::net::TcpListener;

use crate::access::Access;
use crate::access::client::TrustedProxies;
use crate::access::key_files;
use crate::access::keys::Keys;
use crate::access::rate::Limiter;
use crate::admission::Admission;
use crate::backend::embedded::{Embedded, Engine, LibraryError, LoadError, OnnxRuntime};
use crate::backend::serving::{self, Address, Serving};
use crate::backend::{Backend, Call};
use crate::background::Background;
use crate::config::{Labels, ModelSettings, Runs, Settings};
use crate::deadline::Deadline;
use crate::detect::{Catalog, Model, Pipeline, Profile};
use crate::fetch::address::AddressPolicy;
use crate::fetch::resolve::SystemResolver;
use crate::fetch::{self, Fetcher, NoRoots, Scheme};
use crate::http;
use crate::http::metrics::Scraping;
use crate::http::server::{Bounds, Identity, Server, TlsError};
use crate::lifecycle::{Lifecycle, Phase, Shutdown};
use crate::model::labels::{self, LabelMap};
use crate::model::version::VersionChoice;
use crate::reload::Reloads;
use crate::request_id::RequestId;
use crate::service::Service;
use crate::telemetry::metrics::Metrics;
use crate::workers::Workers;

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
    /// The server stopped with an error.
    #[error("the server failed")]
    Serve(#[source] io::Error),
    /// A part of the service that runs all the time does so no longer.
    #[error("the task '{0}' broke, and the service with it; the log says how")]
    Crashed(&'static str),
}

/// Puts the service together. Must be called inside a tokio runtime; connects to nothing yet.
///
/// # Errors
/// When a file that the settings name cannot be used.
pub fn build(settings: &Settings) -> Result<Service, StartError> {
    let workers = Workers::new(settings.worker_count());
    let metrics = Arc::new(Metrics::new());
    let pipeline = Pipeline {
        limits: settings.limits(),
        workers: workers.clone(),
        admission: Admission::new(settings.admission()),
        metrics: Arc::clone(&metrics),
    };
    Ok(Service {
        catalog: catalog(settings, &workers, &metrics)?,
        pipeline,
        batch: settings.batch(),
        request_timeout: settings.request_timeout(),
        arriving: settings.arriving(),
        lifecycle: Lifecycle::new(),
        background: Background::default(),
        access: access(settings)?,
        metrics,
        fetcher: fetcher(settings)?,
    })
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

/// What fetches photos by their addresses, where that is allowed.
///
/// # Errors
/// When https is, and no authority is trusted.
pub fn fetcher(settings: &Settings) -> Result<Option<Fetcher>, StartError> {
    let settings = settings.fetch();
    if settings.schemes.is_empty() {
        return Ok(None);
    }
    let is_secure = settings.schemes.contains(&Scheme::Https);
    let roots = if is_secure { fetch::system_roots().map_err(StartError::Fetch)? } else { RootCertStore::empty() };
    Ok(Some(Fetcher::new(settings, AddressPolicy::public(), Arc::new(SystemResolver::default()), roots)))
}

fn access(settings: &Settings) -> Result<Access, StartError> {
    let keys = settings.api_keys.as_deref().map(Keys::load).transpose().map_err(StartError::Keys)?;
    Ok(Access {
        keys: keys.map(Arc::new),
        per_key: settings.key_rate().map(Limiter::new),
        per_address: settings.address_rate().map(Limiter::new),
        trusted_proxies: TrustedProxies::new(settings.trusted_proxies.clone()),
        origins: settings.cors_origins.clone(),
    })
}

/// The models that the settings declare. Connects to nothing; made as a whole or not at all, so that a running service
/// can put a new one in the place of its own.
///
/// # Errors
/// When a file that the settings name cannot be used.
pub fn catalog(settings: &Settings, workers: &Workers, metrics: &Metrics) -> Result<Catalog, StartError> {
    // Models at the same addresses share their connections.
    let mut pools: Vec<(Vec<Address>, Arc<dyn Backend>)> = Vec::new();
    let mut models = Vec::new();
    let engine = engine(settings)?;
    for model in settings.models() {
        let backend: Arc<dyn Backend> = match &model.runs {
            Runs::Embedded(None) => {
                Arc::new(Embedded::nanodet_g(&engine, workers.clone()).map_err(StartError::BuiltIn)?)
            }
            Runs::Embedded(Some(path)) => {
                let wrong = |source| StartError::ModelFile { path: path.clone(), source };
                Arc::new(Embedded::from_file(path, &engine, workers.clone()).map_err(wrong)?)
            }
            Runs::Serving { addresses, .. } => {
                let serving = settings.serving(addresses);
                let known = pools.iter().find(|(addresses, _)| *addresses == serving.addresses);
                if let Some((_, backend)) = known {
                    Arc::clone(backend)
                } else {
                    let addresses = serving.addresses.clone();
                    let backend = Serving::new(serving, &metrics.hosts).map_err(StartError::ServingTls)?;
                    let backend: Arc<dyn Backend> = Arc::new(backend);
                    pools.push((addresses, Arc::clone(&backend)));
                    backend
                }
            }
        };
        models.push(Model::new(profile(settings, &model)?, backend));
    }
    Ok(Catalog::new(models))
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

/// What SIGHUP reads again.
pub fn reloads(settings: &Settings, service: &Arc<Service>, identity: Option<&Arc<Identity>>) -> Reloads {
    let mut reloads = Reloads::default();
    let mut maps = Vec::new();
    for (model, declared) in service.catalog.iter().zip(settings.models()) {
        if let Some(Labels::File(path)) = declared.labels.or_else(|| settings.labels.clone()) {
            maps.push((Arc::clone(model), path));
        }
    }
    if !maps.is_empty() {
        reloads.add("label map", move || {
            let read = maps.iter().map(|(_, path)| LabelMap::load(path)).collect::<Result<Vec<_>, _>>()?;
            maps.iter().zip(read).for_each(|((model, _), labels)| model.relabel(labels));
            Ok::<_, labels::LoadError>(())
        });
    }
    if let Some(keys) = &service.access.keys {
        let keys = Arc::clone(keys);
        reloads.add("keys", move || keys.reload().map(drop));
    }
    if let Some(identity) = identity {
        let identity = Arc::clone(identity);
        reloads.add("certificate and key", move || identity.reload());
    }
    reloads
}

/// A service that listens, ready to run.
pub struct Listening {
    listener: TcpListener,
    service: Arc<Service>,
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
        Ok(Self { listener, service: Arc::new(service), bounds, identity: None, address, metrics: None })
    }

    /// Takes another address for the metrics, where there is one, and gives them there alone.
    ///
    /// # Errors
    /// When it is not to be had.
    pub async fn with_metrics_at(mut self, address: Option<SocketAddr>) -> Result<Self, StartError> {
        if let Some(address) = address {
            self.metrics = Some(listen(address, "--metrics-listen").await?.0);
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

    /// What it serves.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Answers requests until `stop` completes, and goes through the last phases then.
    ///
    /// # Errors
    /// When a task in the background breaks.
    pub async fn serve(self, stop: impl Future<Output = ()>, shutdown: Shutdown) -> Result<(), StartError> {
        let lifecycle = self.service.lifecycle.clone();
        let background = self.service.background.clone();
        let metrics = Arc::clone(&self.service.metrics);
        let scraping = if self.metrics.is_some() { Scraping::Elsewhere } else { Scraping::Here };
        // Of a life of its own: it is scraped until the last request is answered.
        let scraped = self.metrics.map(|listener| {
            let bounds = Bounds { connections: SCRAPERS, ..self.bounds.clone() };
            let router = http::metrics::router(Arc::clone(&self.service));
            Server::new(router, bounds, None, Lifecycle::new(), Arc::clone(&metrics)).serve(listener)
        });
        let router = http::router(self.service, scraping);
        let server = Server::new(router, self.bounds, self.identity.as_ref(), lifecycle.clone(), metrics);
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
            model = model.name(), backend, code = fault.code().name(), detail = %fault, cause = fault.cause_chain(),
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
