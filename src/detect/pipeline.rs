//! One photo, from bytes to detections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backend::{Call, Prediction};
use crate::detect::catalog::{Model, Resolved};
use crate::detect::options::Wanted;
use crate::detect::select::{Detection, select};
use crate::fault::{Code, Fault};
use crate::geometry::{Letterbox, Size};
use crate::image::{Encoded, Format, Limits, Rgb};
use crate::model::input::{self, Form, Input, Prepared};
use crate::model::version::VersionChoice;
use crate::workers::Workers;

/// What every photo passes through.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// What a photo may be.
    pub limits: Limits,
    /// The longest side that a model without a size of its own is sent.
    pub max_side: u32,
    /// Where the cores are.
    pub workers: Workers,
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
    /// The objects, best first.
    pub detections: Vec<Detection>,
    /// Where the time went.
    pub timings: Timings,
    /// The upright pixels, where they were to be kept.
    pub pixels: Option<Rgb>,
}

/// Where the time went. Waiting for a core counts in the total only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// From the file to upright pixels.
    pub decode: Duration,
    /// From pixels to the model's input.
    pub prepare: Duration,
    /// The model, there and back.
    pub infer: Duration,
    /// From the whole upload to the detections.
    pub total: Duration,
}

/// A photo in the model's terms, and its pixels where they are wanted later.
struct Ready {
    prepared: Prepared,
    pixels: Option<Rgb>,
    decode: Duration,
    prepare: Duration,
}

/// One round to the model.
struct Attempt {
    letterbox: Letterbox,
    pixels: Option<Rgb>,
    decode: Duration,
    prepare: Duration,
    infer: Duration,
    outcome: Result<Prediction, Fault>,
}

impl Pipeline {
    /// Finds the objects in a photo.
    ///
    /// # Errors
    /// Any that [`Code`] lists for photos and models.
    pub async fn detect(&self, model: &Model, job: Job, call: &Call) -> Result<Answer, Fault> {
        let begin = Instant::now();
        let Job { image, wanted: Wanted { version: choice, options }, keep } = job;
        let photo = Arc::new(Encoded::inspect(image, &self.limits)?);

        let mut resolved = model.resolve(&choice, call).await?;
        let mut attempt = self.attempt(model, &choice, &resolved, &photo, keep, call).await?;
        // What "latest" or a label stands for may have changed since it was looked up. Where the new version reads
        // like the old one its answer stands; where it does not, the photo is prepared once more, for the new one.
        if let Some(current) = current(model, &choice, &resolved, &attempt.outcome, call).await {
            let answer_stands = attempt.outcome.is_ok() && current.signature == resolved.signature;
            resolved = current;
            if !answer_stands {
                attempt = self.attempt(model, &choice, &resolved, &photo, keep, call).await?;
            }
        }
        let Attempt { letterbox, pixels, decode, prepare, infer, outcome } = attempt;
        let prediction = match outcome {
            Ok(prediction) => prediction,
            Err(fault) => return Err(self.blame(fault, photo, &resolved, call).await),
        };

        let version = prediction.version;
        let labels = model.labels().clone();
        let interpret = move || {
            let candidates = resolved.adapter.interpret(&prediction.outputs, letterbox.canvas, options.min_score)?;
            Ok(select(&candidates, &letterbox, &labels, &options))
        };
        let detections = self.workers.run(call.deadline, interpret).await?;
        let timings = Timings { decode, prepare, infer, total: begin.elapsed() };
        Ok(Answer { version, photo: photo.photo(), format: photo.format(), detections, timings, pixels })
    }

    /// Decodes and prepares on a core, then asks the model.
    ///
    /// # Errors
    /// The photo's own; the model's are the outcome.
    async fn attempt(
        &self,
        model: &Model,
        choice: &VersionChoice,
        resolved: &Arc<Resolved>,
        photo: &Arc<Encoded>,
        keep: Keep,
        call: &Call,
    ) -> Result<Attempt, Fault> {
        let job = {
            let (photo, resolved, max_side) = (Arc::clone(photo), Arc::clone(resolved), self.max_side);
            move || ready(&photo, &resolved.adapter.input, keep, max_side)
        };
        let Ready { prepared: Prepared { tensor, letterbox }, pixels, decode, prepare } =
            self.workers.run(call.deadline, job).await?;
        let begin = Instant::now();
        let outcome = model.predict(choice, resolved, tensor, call).await;
        Ok(Attempt { letterbox, pixels, decode, prepare, infer: begin.elapsed(), outcome })
    }

    /// Who is at fault when a model refuses a file that it was to decode itself: the file, if we cannot decode it
    /// either.
    async fn blame(&self, fault: Fault, photo: Arc<Encoded>, resolved: &Resolved, call: &Call) -> Fault {
        if fault.code() != Code::ModelContract || resolved.adapter.input.form != Form::Encoded {
            return fault;
        }
        let decoded = self.workers.run(call.deadline, move || photo.decode()).await;
        match decoded {
            Err(unreadable) if unreadable.code() == Code::UnreadableImage => unreadable,
            _ => fault,
        }
    }
}

/// From a file to the model's input.
fn ready(photo: &Encoded, input: &Input, keep: Keep, max_side: u32) -> Result<Ready, Fault> {
    let untouched = photo.untouched().filter(|_| input.form == Form::Encoded);
    let begin = Instant::now();
    // A model that decodes by itself gets the client's own file, and nothing is decoded here.
    let pixels = if untouched.is_none() || keep == Keep::Photo { Some(photo.decode()?) } else { None };
    let decode = begin.elapsed();

    let begin = Instant::now();
    let prepared = match (&input.form, untouched, &pixels) {
        (Form::Encoded, Some(file), _) => input::untouched(file.clone(), photo.photo()),
        (Form::Encoded, None, Some(pixels)) => input::encoded(pixels, max_side)?,
        (Form::Pixels(form), _, Some(pixels)) => form.prepare(pixels, max_side),
        (_, None, None) | (Form::Pixels(_), _, None) => unreachable!("pixels are decoded unless the file is passed on"),
    };
    let prepare = begin.elapsed();
    Ok(Ready { prepared, pixels: pixels.filter(|_| keep == Keep::Photo), decode, prepare })
}

/// The version that the choice stands for now, where it is another than the one the photo was prepared for.
async fn current(
    model: &Model,
    choice: &VersionChoice,
    resolved: &Arc<Resolved>,
    outcome: &Result<Prediction, Fault>,
    call: &Call,
) -> Option<Arc<Resolved>> {
    let found = match outcome {
        Ok(prediction) if prediction.version == resolved.version => return None,
        Ok(prediction) => {
            let answered = model.resolve(&VersionChoice::Number(prediction.version), call).await;
            answered.inspect(|answered| model.remember(choice.clone(), answered))
        }
        Err(fault) if fault.code() == Code::ModelContract => model.look_up(choice, call).await,
        Err(_) => return None,
    };
    match found {
        Ok(current) if current.version != resolved.version => Some(current),
        Ok(_) => None,
        Err(fault) => {
            tracing::warn!(model = model.name(), %fault, cause = fault.cause_chain(), "cannot look up the version that answered");
            None
        }
    }
}
