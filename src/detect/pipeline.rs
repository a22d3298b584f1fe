//! One photo, from bytes to detections.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::admission::{Admission, Admitted};
use crate::backend::{Call, Prediction};
use crate::detect::catalog::{Model, Resolved};
use crate::detect::options::{Options, OrientationPolicy, Param, Wanted};
use crate::detect::select::{Detection, select};
use crate::detect::{crops, keypoints, masks, views};
use crate::fault::{Code, Fault, FieldError};
use crate::geometry::{Letterbox, Size};
use crate::image::{Decoded, Encoded, Format, Limits, Rgb};
use crate::model::adapter::Extras;
use crate::model::input::{self, Form, Input, Prepared};
use crate::model::version::VersionChoice;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Stage, traces};
use crate::workers::Workers;

/// What every photo passes through.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// What a photo may be.
    pub limits: Limits,
    /// Where the cores are.
    pub workers: Workers,
    /// How many photos are taken on at once.
    pub admission: Admission,
    /// Where photos are counted.
    pub metrics: Arc<Metrics>,
}

/// A photo and what is wanted of it.
#[derive(Debug)]
pub struct Job {
    /// The file as it was uploaded.
    pub image: Bytes,
    /// Which detections, of which version.
    pub wanted: Wanted,
    /// Whether the pixels are needed afterwards.
    pub keep: Keep,
}

/// What to keep of a photo once its objects are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The numbers.
    Nothing,
    /// The upright pixels, to draw on.
    Photo,
}

/// What was found.
#[derive(Debug)]
pub struct Answer {
    /// The version that answered.
    pub version: i64,
    /// Width and height of the photo as a person sees it; the frame of all boxes.
    pub photo: Size,
    /// What kind of file it was.
    pub format: Format,
    /// The EXIF orientation that the file had, 1..8.
    pub orientation: u8,
    /// What was done about it.
    pub policy: OrientationPolicy,
    /// How many tiles were looked at beside the whole.
    pub tiles: usize,
    /// The objects, best first.
    pub detections: Vec<Detection>,
    /// How many of them went without a mask, where masks are wanted.
    pub masks_omitted: usize,
    /// How many of them went without a crop, where crops are wanted.
    pub crops_omitted: usize,
    /// Where the time went.
    pub timings: Timings,
    /// The pixels, where they were to be kept.
    pub pixels: Option<Kept>,
}

/// Pixels that outlive the detection, with their share of the memory for photos.
#[derive(Debug)]
pub struct Kept {
    /// The photo in the frame of all boxes.
    pub pixels: Rgb,
    _admitted: Arc<Admitted>,
}

/// Where the time went. Waiting for a core counts in the total only, of the first view.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Until there was room among the photos that are worked on.
    pub queue: Duration,
    /// From the file to upright pixels.
    pub decode: Duration,
    /// From pixels to the model's input, of all views.
    pub prepare: Duration,
    /// The model, there and back. Where there are several views, the others wait for a core and are prepared meanwhile.
    pub infer: Duration,
    /// From the model's answer to detections.
    pub interpret: Duration,
    /// From the whole upload to the detections.
    pub total: Duration,
}

/// The first view of a photo in the model's terms, and the photo where it is needed later: for other views, or as it is.
struct Ready {
    first: Prepared,
    decoded: Option<Decoded>,
    decode: Duration,
    prepare: Duration,
}

/// What the model is asked about.
enum Look {
    /// A view that is there.
    Prepared(Prepared),
    /// Another one of the same photo.
    Of(Arc<Decoded>, Letterbox),
}

/// What the model's answers say of a photo.
struct Read {
    detections: Vec<Detection>,
    masks_omitted: usize,
    crops_omitted: usize,
    pixels: Option<Rgb>,
    /// How long reading them took, crops apart.
    took: Duration,
}

/// One round to the model.
struct Attempt {
    letterboxes: Vec<Letterbox>,
    pixels: Option<Rgb>,
    decode: Duration,
    prepare: Duration,
    infer: Duration,
    /// One prediction a letterbox.
    outcome: Result<Vec<Prediction>, Fault>,
}

/// Views of one photo that are prepared and that the model is asked about beside each other: some, so that a photo in tiles is
/// not answered in single file, and not all, so that it takes neither every place in the queue nor memory for all of them.
const VIEWS_AT_ONCE: usize = 4;

/// Numbers in an answer up to which it is read where it comes, as most are: a hundred boxes are six hundred. That takes some
/// tens of microseconds, as long as the way to a core and back.
const SHORT_ANSWER: usize = 2048;

/// A file up to this long is looked at where it arrives: ordinary ones take some microseconds, whatever their length, and those
/// that are made to last one or two milliseconds a megabyte ([`Encoded::inspect`]).
const SHORT_FILE: usize = 256 << 10;

/// One photo on its way to one version of a model.
struct Asked<'a> {
    model: &'a Model,
    /// The version as the request names it; a number where a second attempt must meet the very version.
    choice: VersionChoice,
    /// What the choice is taken to stand for.
    resolved: Arc<Resolved>,
    photo: Arc<Encoded>,
    /// Goes along with every job on a core: the photo takes its memory until the last has ended, also where the client has
    /// left or time is up.
    admitted: Arc<Admitted>,
    options: &'a Options,
    keep: Keep,
    call: &'a Call,
}

/// What an outcome says about the version that the photo was prepared for.
enum Verdict {
    /// The outcome stands, and reads as this version says.
    Stands(Arc<Resolved>),
    /// The photo has to be prepared for this version and sent to it.
    Anew(Arc<Resolved>),
}

impl Pipeline {
    /// What a request wants, read from its options: they may be long lists, so on a core, beside the photos in work. Most requests
    /// have none, and are spared the way there and back.
    ///
    /// # Errors
    /// As [`Wanted::read`].
    pub async fn wanted(&self, model: &Model, params: Vec<Param>, call: &Call) -> Result<Wanted, Fault> {
        let (defaults, labels) = (model.profile().defaults, model.labels());
        if params.is_empty() {
            return Wanted::read(&params, defaults, &labels);
        }
        self.workers.run_ahead(call.deadline, move || Wanted::read(&params, defaults, &labels)).await
    }

    /// That a photo which came now would have its turn in time: before it is read, and before it is unpacked.
    ///
    /// # Errors
    /// `OVERLOADED`.
    pub fn has_room(&self, model: &Model, call: &Call) -> Result<(), Fault> {
        self.admission
            .check(model.name(), call.deadline)
            .inspect_err(|fault| self.metrics.photos.failed(model.name(), None, fault.code().name()))
    }

    /// Finds the objects in a photo.
    ///
    /// # Errors
    /// Any that [`Code`] lists for photos and models.
    pub async fn detect(&self, model: &Model, job: Job, call: &Call) -> Result<Answer, Fault> {
        let photos = &self.metrics.photos;
        photos.arrived(job.image.len());
        call.record.arrived(model.name(), job.image.len());
        let mut meant = None;
        let answer = self.find(model, job, call, &mut meant).await;
        match &answer {
            Ok(Answer { version, detections, .. }) => {
                let labels = detections.iter().map(|found| found.label.as_str());
                photos.version(model.name(), *version).answered(labels);
                call.record.version(*version);
                call.record.found(detections.len());
            }
            Err(fault) => photos.failed(model.name(), meant, fault.code().name()),
        }
        answer
    }

    /// As [`Self::detect`]; tells also which version the photo was meant for, as soon as that is known.
    async fn find(&self, model: &Model, job: Job, call: &Call, meant: &mut Option<i64>) -> Result<Answer, Fault> {
        let begin = Instant::now();
        let Job { image, wanted: Wanted { version: choice, options }, keep } = job;
        let photo = if image.len() <= SHORT_FILE {
            Encoded::inspect(image, &self.limits)?
        } else {
            let limits = self.limits;
            Encoded::check(&image, &limits)?;
            self.workers.run_ahead(call.deadline, move || Encoded::inspect(image, &limits)).await?
        };
        let photo = Arc::new(match options.orientation {
            OrientationPolicy::Apply => photo,
            OrientationPolicy::Ignore => photo.as_stored(),
        });
        call.record.seen(photo.format().name(), photo.photo());
        let choice = model.version(&choice).clone();
        let views_at_once = (1 + options.tiles).min(VIEWS_AT_ONCE) as u64;
        let pixels = photo.photo().pixels() + views_at_once * model.canvas(&choice, photo.photo());
        let waiting = Instant::now();
        let admitted = traces::awaited(Stage::Queue, self.admission.admit(model.name(), pixels, call.deadline)).await;
        let queue = waiting.elapsed();
        // Also of a photo that has waited in vain.
        call.record.passed(Stage::Queue, queue);
        let admitted = Arc::new(admitted?);
        let resolved = model.resolve(&choice, call).await?;
        *meant = Some(resolved.version);
        self.metrics.photos.version(model.name(), resolved.version).passed(Stage::Queue, queue);

        let needs = if options.crops.is_some() { Keep::Photo } else { keep };
        let mut asked = Asked { model, choice, resolved, photo, admitted, options: &options, keep: needs, call };
        let mut attempt = self.attempt(&asked).await?;
        match asked.verdict(&attempt.outcome).await? {
            Verdict::Stands(answered) => {
                *meant = Some(answered.version);
                asked.resolved = answered;
            }
            Verdict::Anew(current) => {
                let named = std::mem::replace(&mut asked.choice, VersionChoice::Number(current.version));
                *meant = Some(current.version);
                asked.resolved = current;
                // What was answered in vain takes room, and this will need as much.
                drop(attempt);
                attempt = self.attempt(&asked).await?;
                // Hosts that take a new version one after the other may have lost this one meanwhile.
                let is_gone = attempt.outcome.as_ref().is_err_and(|fault| fault.code() == Code::UnknownVersion);
                if is_gone && !matches!(named, VersionChoice::Number(_)) {
                    asked.resolved = model.look_up(&named, call).await?;
                    asked.choice = VersionChoice::Number(asked.resolved.version);
                    *meant = Some(asked.resolved.version);
                    attempt = self.attempt(&asked).await?;
                }
                asked.check_version(&attempt.outcome)?;
            }
        }
        let Asked { resolved, photo, admitted, .. } = asked;
        let Attempt { letterboxes, pixels, decode, prepare, infer, outcome } = attempt;
        let predictions = match outcome {
            Ok(predictions) => predictions,
            Err(fault) => return Err(self.blame(fault, photo, admitted, &resolved, call).await),
        };

        let version = resolved.version;
        let labels = model.labels();
        let (tiles, policy) = (letterboxes.len() - 1, options.orientation);
        let numbers =
            |prediction: &Prediction| prediction.outputs.iter().map(|(_, tensor)| tensor.len()).sum::<usize>();
        let is_light = options.crops.is_none() && options.masks.is_none();
        let is_short = is_light && predictions.iter().map(numbers).sum::<usize>() <= SHORT_ANSWER;
        let share = Arc::clone(&admitted);
        let interpret = move || {
            let _share = share;
            let begin = Instant::now();
            let lowest = options.lowest_score();
            let (mut detections, masks_omitted, took) = traces::on_core(Stage::Interpret, || {
                let seen: Vec<_> = letterboxes.into_iter().zip(predictions).collect();
                let candidates = seen.iter().map(|(letterbox, prediction)| {
                    Ok((*letterbox, resolved.adapter.interpret(&prediction.outputs, letterbox.canvas, lowest)?))
                });
                let mut selected = select(candidates.collect::<Result<_, Fault>>()?, &labels, &options);
                let masks_omitted = match (options.masks, resolved.adapter.masks) {
                    (Some(form), Some(output)) => masks::add(&mut selected, &seen, output, form)?,
                    _ => 0,
                };
                if let (true, Some(output)) = (options.keypoints, resolved.adapter.keypoints) {
                    keypoints::add(&mut selected, &seen, output, &labels)?;
                }
                let detections: Vec<_> = selected.into_iter().map(|selected| selected.detection).collect();
                Ok((detections, masks_omitted, begin.elapsed()))
            })?;
            let photo = pixels.map(Decoded::full);
            let crops_omitted = match (options.crops, &photo) {
                (Some(picture), Some(photo)) => crops::cut(photo, &mut detections, picture)?,
                (None, _) => 0,
                (Some(_), None) => unreachable!("the pixels are kept where crops are wanted"),
            };
            let pixels = photo.and_then(Decoded::into_photo);
            Ok(Read { detections, masks_omitted, crops_omitted, pixels, took })
        };
        let Read { detections, masks_omitted, crops_omitted, pixels, took: interpret } =
            if is_short { interpret()? } else { self.workers.run(call.deadline, interpret).await? };
        self.passed(model, version, call, [(Stage::Interpret, interpret)]);
        let timings = Timings { queue, decode, prepare, infer, interpret, total: begin.elapsed() };
        Ok(Answer {
            version,
            photo: photo.photo(),
            format: photo.format(),
            orientation: photo.orientation(),
            policy,
            tiles,
            detections,
            masks_omitted,
            crops_omitted,
            timings,
            pixels: pixels.filter(|_| keep == Keep::Photo).map(|pixels| Kept { pixels, _admitted: admitted }),
        })
    }

    /// A photo for this version has passed through these stages.
    fn passed<const N: usize>(&self, model: &Model, version: i64, call: &Call, stages: [(Stage, Duration); N]) {
        let series = self.metrics.photos.version(model.name(), version);
        call.record.version(version);
        for (stage, took) in stages {
            series.passed(stage, took);
            call.record.passed(stage, took);
        }
    }

    /// Decodes and prepares on a core, then asks the model.
    ///
    /// # Errors
    /// The photo's own, and those of options that this version cannot serve; the model's are the outcome.
    async fn attempt(&self, asked: &Asked<'_>) -> Result<Attempt, Fault> {
        asked.check_extras()?;
        let Asked { model, resolved, photo, admitted, options, keep, call, .. } = asked;
        let max_side = model.profile().max_side;
        let side = resolved.adapter.input.side(max_side);
        let views = views::plan(photo.photo(), options.region, options.tiles, side)?;
        let input = &resolved.adapter.input;
        let mut letterboxes: Vec<_> = views.iter().map(|view| input.letterbox(*view, max_side)).collect();
        let job = {
            let (photo, resolved, keep, share) = (Arc::clone(photo), Arc::clone(resolved), *keep, Arc::clone(admitted));
            let letterboxes = letterboxes.clone();
            move || {
                let _share = share;
                ready(&photo, &letterboxes, &resolved.adapter.input, keep)
            }
        };
        let Ready { first, decoded, decode, mut prepare } = self.workers.run(call.deadline, job).await?;
        self.passed(model, resolved.version, call, [(Stage::Decode, decode), (Stage::Prepare, prepare)]);
        letterboxes[0] = first.letterbox;
        let decoded = decoded.map(Arc::new);
        let begin = Instant::now();
        let mut asking = vec![self.ask(asked, Look::Prepared(first))];
        for letterbox in &letterboxes[1..] {
            let decoded = Arc::clone(decoded.as_ref().expect("a photo of several views is kept for them"));
            asking.push(self.ask(asked, Look::Of(decoded, *letterbox)));
        }
        let asking = futures::stream::iter(asking).buffered(VIEWS_AT_ONCE).try_collect();
        let outcome: Result<Vec<_>, Fault> = traces::awaited(Stage::Infer, asking).await;
        let infer = begin.elapsed();
        self.passed(model, resolved.version, call, [(Stage::Infer, infer)]);
        let outcome = outcome.map(|answers| {
            let (predictions, took): (_, Vec<_>) = answers.into_iter().unzip();
            prepare += took.iter().sum::<Duration>();
            predictions
        });
        let pixels = decoded.and_then(Arc::into_inner).filter(|_| *keep == Keep::Photo).and_then(Decoded::into_photo);
        Ok(Attempt { letterboxes, pixels, decode, prepare, infer, outcome })
    }

    /// Asks the model about one view, which is made now unless it is there. How long a core took to make it is told as well.
    async fn ask(&self, asked: &Asked<'_>, look: Look) -> Result<(Prediction, Duration), Fault> {
        let Asked { model, choice, resolved, admitted, options, call, .. } = asked;
        let (tensor, took) = match look {
            Look::Prepared(Prepared { tensor, .. }) => (tensor, Duration::ZERO),
            Look::Of(decoded, letterbox) => {
                let (version, share) = (Arc::clone(resolved), Arc::clone(admitted));
                let job = move || {
                    let _share = share;
                    let begin = Instant::now();
                    let input = &version.adapter.input;
                    let prepared =
                        traces::on_core(Stage::Prepare, || input.prepare(Cow::Borrowed(&decoded), letterbox))?;
                    Ok((prepared.tensor, begin.elapsed()))
                };
                let (tensor, took) = self.workers.run(call.deadline, job).await?;
                self.passed(model, resolved.version, call, [(Stage::Prepare, took)]);
                (tensor, took)
            }
        };
        Ok((model.predict(choice, resolved, tensor, options.extras(), call).await?, took))
    }

    /// Who is at fault when a model refuses a file that it was to decode itself: the file, if we cannot decode it
    /// either.
    async fn blame(
        &self,
        fault: Fault,
        photo: Arc<Encoded>,
        admitted: Arc<Admitted>,
        resolved: &Resolved,
        call: &Call,
    ) -> Fault {
        if fault.code() != Code::ModelContract || resolved.adapter.input.form != Form::Encoded {
            return fault;
        }
        let decode = move || {
            let _share = admitted;
            photo.decode()
        };
        let decoded = self.workers.run(call.deadline, decode).await;
        match decoded {
            Err(unreadable) if unreadable.code() == Code::UnreadableImage => unreadable,
            _ => fault,
        }
    }
}

/// From a file to the model's input for the first of these views.
fn ready(photo: &Encoded, views: &[Letterbox], input: &Input, keep: Keep) -> Result<Ready, Fault> {
    let begin = Instant::now();
    // A model that decodes by itself gets the client's own file, and nothing is decoded here.
    if let [only] = views
        && input.form == Form::Encoded
        && only.view.is_whole()
        && let Some(file) = photo.untouched()
    {
        let decoded = if keep == Keep::Photo { Some(photo.decode()?) } else { None };
        let first = input::untouched(file.clone(), photo.photo());
        return Ok(Ready { first, decoded, decode: begin.elapsed(), prepare: Duration::ZERO });
    }

    let decoded = traces::on_core(Stage::Decode, || match keep {
        Keep::Photo => photo.decode(),
        Keep::Nothing => photo.decode_at_least(most(views.iter().map(Letterbox::least))),
    })?;
    let decode = begin.elapsed();

    let begin = Instant::now();
    let is_needed_later = keep == Keep::Photo || views.len() > 1;
    let (first, decoded) = traces::on_core(Stage::Prepare, || {
        if is_needed_later {
            Ok((input.prepare(Cow::Borrowed(&decoded), views[0])?, Some(decoded)))
        } else {
            Ok((input.prepare(Cow::Owned(decoded), views[0])?, None))
        }
    })?;
    Ok(Ready { first, decoded, decode, prepare: begin.elapsed() })
}

/// The longest of all widths and of all heights.
fn most(sizes: impl Iterator<Item = Size>) -> Size {
    sizes.fold(Size::new(1, 1), |most, size| Size::new(most.width.max(size.width), most.height.max(size.height)))
}

impl Asked<'_> {
    /// What "latest" or a label stands for may have changed since it was looked up, and may differ from host to host for
    /// a while. Where the version that answered reads like the one expected, its answer stands. Where it does not, or where
    /// the input was refused, the photo goes once more, to one version by its number.
    async fn verdict(&self, outcome: &Result<Vec<Prediction>, Fault>) -> Result<Verdict, Fault> {
        let Self { model, choice, resolved, call, .. } = self;
        match outcome {
            Ok(predictions) => {
                let Some(other) = predictions.iter().rfind(|prediction| prediction.version != resolved.version) else {
                    return Ok(Verdict::Stands(Arc::clone(resolved)));
                };
                let answered = model.resolve(&VersionChoice::Number(other.version), call).await?;
                model.remember(choice.clone(), &answered);
                let reads_alike = answered.signature == resolved.signature;
                Ok(if reads_alike { Verdict::Stands(answered) } else { Verdict::Anew(answered) })
            }
            Err(fault) if fault.code() == Code::ModelContract => match model.look_up(choice, call).await {
                Ok(current)
                    if !matches!(choice, VersionChoice::Number(_)) || current.signature != resolved.signature =>
                {
                    Ok(Verdict::Anew(current))
                }
                Ok(_) | Err(_) => Ok(Verdict::Stands(Arc::clone(resolved))),
            },
            Err(_) => Ok(Verdict::Stands(Arc::clone(resolved))),
        }
    }

    /// That the version has what the options ask for.
    fn check_extras(&self) -> Result<(), Fault> {
        let Self { model, resolved, options, .. } = self;
        let Resolved { version, adapter, .. } = &**resolved;
        let Extras { masks, keypoints } = options.extras();
        let missing =
            [("masks", masks && adapter.masks.is_none()), ("keypoints", keypoints && adapter.keypoints.is_none())];
        let error = |field: &str| FieldError {
            field: field.to_owned(),
            detail: format!(
                "{field} cannot be given: version {version} of model '{}' ({}) answers none. GET /v1/models/{{model}} says \
                 what a model answers.",
                model.name(),
                adapter.kind
            ),
        };
        let errors: Vec<_> =
            missing.into_iter().filter(|(_, is_missing)| *is_missing).map(|(field, _)| error(field)).collect();
        if errors.is_empty() { Ok(()) } else { Err(Fault::invalid_options(errors)) }
    }

    /// That the version asked for by its number is the one that answered.
    fn check_version(&self, outcome: &Result<Vec<Prediction>, Fault>) -> Result<(), Fault> {
        let predictions = outcome.as_deref().unwrap_or_default();
        match predictions.iter().find(|prediction| prediction.version != self.resolved.version) {
            None => Ok(()),
            Some(other) => {
                let detail =
                    format!("Model '{}' answered with another version than it was asked for.", self.model.name());
                let cause = format!("version {} for version {}", other.version, self.resolved.version);
                Err(Fault::new(Code::ModelContract, detail).caused_by(cause))
            }
        }
    }
}
