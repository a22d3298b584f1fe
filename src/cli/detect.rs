//! `spotter detect PHOTO…`: the service's whole way of a photo, without the service.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::app;
use crate::backend::Call;
use crate::cli::{Failure, print};
use crate::config::Settings;
use crate::deadline::Deadline;
use crate::detect::{Answer, Job, Keep, Model, Param, Wanted};
use crate::fault::{Code, Fault};
use crate::fetch::{Allowance, Scheme, Source};
use crate::geometry::PixelBox;
use crate::http::detect::{DetectAnswer, tags};
use crate::image::draw;
use crate::image::encode::{self, Picture};
use crate::request_id::RequestId;
use crate::service::Service;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Arguments {
    /// Photos to look at: files, or `https://` addresses on the public internet; - reads one from standard input
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,

    /// Print the API's JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Write the photo with its boxes: a .jpg or .png file; for several photos a folder
    #[arg(long, value_name = "OUT")]
    annotated: Option<PathBuf>,

    /// How many detections are listed at most
    #[arg(long, value_name = "COUNT")]
    max_detections: Option<String>,

    /// Only these classes: labels or ids, separated by commas
    #[arg(long, value_name = "CLASSES")]
    classes: Option<String>,

    /// None of these classes
    #[arg(long, value_name = "CLASSES")]
    exclude_classes: Option<String>,

    /// Least scores of single classes, such as person:0.6,dog:0.3
    #[arg(long, value_name = "SCORES")]
    min_scores: Option<String>,

    /// Thin out boxes of a class that overlap by more than this, 0 to 1
    #[arg(long, value_name = "OVERLAP")]
    iou: Option<String>,

    /// With --iou: boxes of different classes count as well
    #[arg(long)]
    class_agnostic: bool,

    /// Look only inside this part of the photo: `x_min,y_min,x_max,y_max`
    #[arg(long, value_name = "PIXELS")]
    region: Option<String>,

    /// Look at a large photo in up to this many tiles as well, so that small objects are found
    #[arg(long, value_name = "COUNT")]
    tiles: Option<String>,

    /// Whether to set photos upright: apply or ignore
    #[arg(long, value_name = "POLICY")]
    orientation: Option<String>,

    /// Add each detection's part of the photo to the JSON: jpeg or png
    #[arg(long, value_name = "FORMAT")]
    crops: Option<String>,

    /// Add boxes in fractions of the photo to the JSON
    #[arg(long)]
    normalized: bool,

    /// Add the pixels of each object to the JSON and to the picture, as rle or polygon
    #[arg(long, value_name = "FORM")]
    masks: Option<String>,

    /// Add the keypoints of each object to the JSON and to the picture
    #[arg(long)]
    keypoints: bool,

    /// Version of the model, by number
    #[arg(long = "model-version", value_name = "NUMBER")]
    version: Option<String>,

    /// Version of the model, by label
    #[arg(long, value_name = "LABEL")]
    version_label: Option<String>,

    #[command(flatten)]
    pub(super) settings: Settings,
}

impl Arguments {
    /// Whoever gives an address on the command line wants it asked.
    fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        let names_photo = self.photos.iter().any(|photo| address(photo).is_some());
        if names_photo && settings.image_url_schemes.is_empty() {
            settings.image_url_schemes = vec![Scheme::Https];
        }
        settings
    }

    fn params(&self) -> Vec<Param> {
        let given = [
            ("max_detections", self.max_detections.clone()),
            ("classes", self.classes.clone()),
            ("exclude_classes", self.exclude_classes.clone()),
            ("min_scores", self.min_scores.clone()),
            ("iou", self.iou.clone()),
            ("class_agnostic", self.class_agnostic.then(|| "true".to_owned())),
            ("region", self.region.clone()),
            ("tiles", self.tiles.clone()),
            ("orientation", self.orientation.clone()),
            ("crops", self.crops.clone()),
            ("normalized", self.normalized.then(|| "true".to_owned())),
            ("masks", self.masks.clone()),
            ("keypoints", self.keypoints.then(|| "true".to_owned())),
            ("version", self.version.clone()),
            ("version_label", self.version_label.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some(Param::text(name, value?))).collect()
    }
}

/// The API's JSON, after the name of the file.
#[derive(Serialize)]
struct Line {
    file: String,
    #[serde(flatten)]
    answer: DetectAnswer,
}

/// Photos looked at beside each other; the pool of workers bounds what really runs.
const AT_ONCE: usize = 8;

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let service = Arc::new(app::build(&arguments.settings())?);
    let model = Arc::clone(service.catalog.default_model());
    let wanted =
        Wanted::read(&arguments.params(), model.profile().defaults, &model.labels()).map_err(|fault| say(&fault))?;
    let several = arguments.photos.len() > 1;
    let targets = Targets::of(arguments);
    if let Targets::Folder { folder, .. } = &targets {
        let cause = |error: io::Error| {
            Fault::new(Code::InvalidOption, format!("cannot make the folder {}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(cause).map_err(|fault| say(&fault))?;
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} photos, {eta} left").expect("a valid template");
    // Hidden by itself where standard error is no terminal.
    let bar =
        if several { ProgressBar::new(arguments.photos.len() as u64).with_style(style) } else { ProgressBar::hidden() };

    let mut failed = false;
    let work = arguments.photos.iter().enumerate().map(|(index, photo)| {
        let (service, model, wanted, target) = (&service, &model, wanted.clone(), targets.get(index));
        async move { (photo, look(service, model, wanted, photo, target).await) }
    });
    // In the order of the command line.
    let mut done = futures::stream::iter(work).buffered(AT_ONCE);
    while let Some((photo, outcome)) = done.next().await {
        bar.inc(1);
        let name = photo.display();
        match outcome {
            Ok((answer, request_id)) if arguments.json => {
                let answer = DetectAnswer::new(model.name(), &answer, wanted.options.normalized, &request_id);
                let line = Line { file: name.to_string(), answer };
                let line = serde_json::to_string(&line).expect("an answer is made of strings and numbers");
                bar.suspend(|| print::line(line));
            }
            Ok((answer, _)) => bar.suspend(|| print::line(readable(photo, &model, &answer))),
            Err(fault) => {
                failed = true;
                tracing::debug!(cause = fault.cause_chain(), "{name} failed");
                if arguments.json {
                    let problem =
                        json!({ "file": name.to_string(), "code": fault.code().name(), "detail": fault.detail() });
                    bar.suspend(|| print::line(problem));
                }
                bar.suspend(|| eprintln!("spotter: {name}: {fault}"));
            }
        }
    }
    bar.finish_and_clear();
    if failed { Err(Failure::Said) } else { Ok(()) }
}

fn say(fault: &Fault) -> Failure {
    eprintln!("spotter: {fault}");
    Failure::Said
}

/// One photo: read, look, write the annotated picture.
async fn look(
    service: &Service,
    model: &Model,
    wanted: Wanted,
    photo: &Path,
    target: Option<PathBuf>,
) -> Result<(Answer, RequestId), Fault> {
    let call = Call::new(Deadline::after(service.request_timeout), RequestId::generate());
    let source = if let Some(url) = address(photo) {
        Source::At(url.to_owned())
    } else {
        let path = photo.to_owned();
        let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(Fault::internal)?;
        Source::Sent(read.map_err(|error| Fault::new(Code::MissingImage, format!("cannot be read: {error}")))?)
    };
    let image = service.photo(source, &Allowance::new(service.pipeline.limits.max_bytes), &call).await?;
    let keep = if target.is_some() { Keep::Photo } else { Keep::Nothing };
    let mut answer = service.pipeline.detect(model, Job { image, wanted, keep }, &call).await?;
    if let (Some(out), Some(mut kept)) = (target, answer.pixels.take()) {
        let tags = tags(&answer.detections);
        let write = move || {
            draw::boxes(&mut kept.pixels, &tags);
            let is_png = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
            let file = encode::encode(&kept.pixels, if is_png { Picture::Png } else { Picture::Jpeg })?;
            let failed = |error| Fault::new(Code::InvalidOption, format!("cannot write {}: {error}", out.display()));
            std::fs::write(&out, file).map_err(failed)
        };
        service.pipeline.workers.run(call.deadline, write).await?;
    }
    Ok((answer, call.request_id))
}

/// The photo's address, where it is named by one.
fn address(photo: &Path) -> Option<&str> {
    photo.to_str().filter(|text| text.starts_with("https://") || text.starts_with("http://"))
}

/// What a file of its own is called: the last segment of a path or of an address.
fn file_name(photo: &Path) -> String {
    let path = address(photo).map_or(photo, |url| Path::new(url.split(['?', '#']).next().unwrap_or(url)));
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> io::Result<Bytes> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes.into());
    }
    std::fs::read(path).map(Bytes::from)
}

/// Where the annotated pictures go.
enum Targets {
    Nowhere,
    File(PathBuf),
    Folder { folder: PathBuf, names: Vec<String> },
}

impl Targets {
    /// A folder for several photos, or where OUT is one or is written like one; else a file.
    fn of(arguments: &Arguments) -> Self {
        let Some(out) = &arguments.annotated else { return Self::Nowhere };
        let is_folder = out.is_dir() || out.as_os_str().to_string_lossy().ends_with('/');
        if arguments.photos.len() == 1 && !is_folder {
            return Self::File(out.clone());
        }
        let mut names: Vec<String> = Vec::new();
        for photo in &arguments.photos {
            let name = file_name(photo);
            // Photos of one name from several folders must not overwrite each other.
            let mut unique = format!("{name}.jpg");
            let mut number = 2;
            while names.contains(&unique) {
                unique = format!("{name}.{number}.jpg");
                number += 1;
            }
            names.push(unique);
        }
        Self::Folder { folder: out.clone(), names }
    }

    /// Where that of the photo with this index goes.
    fn get(&self, index: usize) -> Option<PathBuf> {
        match self {
            Self::Nowhere => None,
            Self::File(file) => Some(file.clone()),
            Self::Folder { folder, names } => Some(folder.join(&names[index])),
        }
    }
}

/// A photo's detections for people.
fn readable(photo: &Path, model: &Model, answer: &Answer) -> String {
    let ms = answer.timings.total.as_millis();
    let Answer { photo: size, format, version, .. } = answer;
    let head = format!("{}: {size} {}, {} version {version}, {ms} ms", photo.display(), format.name(), model.name());
    if answer.detections.is_empty() {
        return format!("{head}\n  nothing found; a lower --min-score lists less certain objects\n");
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["  LABEL", "SCORE", "X MIN", "Y MIN", "X MAX", "Y MAX"]);
    for found in &answer.detections {
        let PixelBox { x_min, y_min, x_max, y_max } = found.pixels;
        let numbers = [x_min, y_min, x_max, y_max].map(|edge| edge.to_string());
        let cells = [format!("  {}", found.label), format!("{:.2}", found.score)].into_iter().chain(numbers);
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{head}\n{}\n", table.trim_fmt())
}
